"""The packages stand on one another: each imports from those before it alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "masquerade_ws"
# From the ground up. What stands on one level may be imported by the levels after it, and by its own level.
LEVELS = (
    {
        "events",
        "errors",
        "stats",
        "deadline",
        "log",
        "checks",
        "sanitize",
        "timestamps",
        "user_code",
        "process_hooks",
        "latch",
        "version",
    },
    {"protocol"},
    {"connection"},
    {"delivery"},
    {"overloads"},
    {"lifecycle"},
    {"client"},
    {"", "relay", "cli", "contrib", "testing", "__main__"},
)
LEVEL_OF = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}


def room_of(module: str) -> str:
    """Return the room of a module of the package, ``""`` for the package itself."""
    return module.removeprefix("masquerade_ws").lstrip(".").partition(".")[0]


def imports_of(source: str) -> Iterator[str]:
    """Yield each module of the package that a source imports, also for its types alone."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
            if node.module == "masquerade_ws":
                modules = [f"masquerade_ws.{name.name}" for name in node.names]
        elif isinstance(node, ast.Import):
            modules = [name.name for name in node.names]
        else:
            continue
        for module in modules:
            if module.partition(".")[0] == "masquerade_ws":
                yield module if room_of(module) in LEVEL_OF else "masquerade_ws"


def upward_imports(room: str, source: str) -> list[str]:
    """Return what a source in a room imports from levels above it."""
    return [module for module in imports_of(source) if LEVEL_OF[room_of(module)] > LEVEL_OF[room]]


SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_from_the_packages_before_its_own_alone(path: Path) -> None:
    room = "" if path == PACKAGE / "__init__.py" else path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert upward_imports(room, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "from masquerade_ws.lifecycle.session import Session",
        "import masquerade_ws.client",
        "from masquerade_ws import WebSocketClient",
        "if TYPE_CHECKING:\n    from masquerade_ws.lifecycle.session import Session",
        "def late():\n    from masquerade_ws import client",
    ],
)
def test_an_upward_import_is_found(source: str) -> None:
    assert len(upward_imports("connection", source)) == 1


def test_every_room_has_its_level() -> None:
    assert {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in SOURCES} - {"__init__"} <= {*LEVEL_OF}
