"""The pages for those who change the library name what exists, and the picture shows the packages that there are."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.figures.packages import PICTURE, draw
from masquerade_ws.lifecycle import transitions
from tests.docs.reading import literals, tables_of, text_of
from tests.support.pages import ROOT

ARCHITECTURE = text_of("docs/explanation/architecture.rst")
PACKAGE = ROOT / "masquerade_ws"
CONTRIBUTING = text_of("CONTRIBUTING.rst")
PAGES = {"architecture": ARCHITECTURE, "contributing": CONTRIBUTING}
# Names of Python, of the protocol and of values; whatever else looks like a name is one of the package.
OUTSIDE = {
    # of Python
    *("Condition", "Event", "Future", "from", "json.loads", "poll", "recv", "repr", "shutdown", "__all__", "__slots__"),
    *("ssl.MemoryBIO", "ssl.SSLObject", "ssl.SSLSocket"),
    # values and names on the wire
    *("connected", "disconnected", "error", "no_proxy", "state:change", "v"),
    # of the set-up and the tests
    *("dev", "slow", "speed", "test_a_slow_listener_delays_no_wait"),
    *("masquerade_ws.connection", "masquerade_ws.contrib", "masquerade_ws.testing"),
}


def names_in(body: list[ast.stmt], before: str = "") -> Iterator[str]:
    """Yield what a module or a class defines, ``Class.member`` included."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield f"{before}{node.name}"
            yield from names_in(node.body, f"{before}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            yield f"{before}{node.name}"
            for each in ast.walk(node):  # the attributes that a method sets, and the arguments that a user gives
                if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store) and before:
                    yield f"{before}{each.attr}"
                elif isinstance(each, ast.arg):
                    yield each.arg
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in ast.walk(node):
                if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store):
                    yield f"{before}{target.id}"


def names_of(path: Path) -> set[str]:
    return {*names_in(ast.parse(path.read_text(encoding="utf-8")).body)}


@functools.cache  # made when a test needs them, since every worker imports this module
def all_names() -> set[str]:
    """Return all names of the package, and their last parts."""
    found = names_of(ROOT / "noxfile.py").union(*map(names_of, PACKAGE.rglob("*.py")))
    return {*found, *(name.rpartition(".")[2] for name in found)}


def is_known(name: str) -> bool:
    return name in all_names() or name in OUTSIDE or re.sub(r"^(client|stats)\.", "", name) in all_names()


@pytest.mark.parametrize("page", PAGES)
def test_each_file_that_a_page_names_exists(page: str) -> None:
    named = {each for each in literals(PAGES[page]) if re.fullmatch(r"[\w./]+(?:\.py|\.rst|\.cfg|/run|/)", each)}

    assert named
    for name in named:
        assert any((root / name).exists() for root in (PACKAGE, ROOT)), name


@pytest.mark.parametrize("page", PAGES)
def test_each_name_that_a_page_names_exists(page: str) -> None:
    candidates = {each.removesuffix("()") for each in literals(PAGES[page])}
    named = {each for each in candidates if re.fullmatch(r"[A-Za-z_]\w*(?:\.\w+)*", each) and not each.endswith(".py")}

    unknown = {name for name in named if not is_known(name) and not any((r / name).exists() for r in (PACKAGE, ROOT))}

    assert unknown == set()


@pytest.mark.parametrize("pair", re.findall(r"``([\w/]+\.py)``:\s+``([\w.]+)``", ARCHITECTURE), ids=" ".join)
def test_a_step_is_in_the_module_that_the_page_names(pair: tuple[str, str]) -> None:
    module, name = pair

    assert name in names_of(PACKAGE / module)


WHERE = tables_of(CONTRIBUTING)["behaviour | module | where in it"]


@pytest.mark.parametrize("row", WHERE, ids=lambda row: row[0])
def test_a_behaviour_is_where_the_table_says(row: list[str]) -> None:
    _, module, where = row

    assert literals(where)
    assert {*literals(where)} <= names_of(PACKAGE / literals(module)[0])


def test_each_package_is_described() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    rooms -= {"__init__", "__main__"}

    assert rooms <= {*re.findall(r"``(\w+)(?:\.py)?``", ARCHITECTURE.split("The path of an event")[0])}


def test_the_picture_of_the_packages_is_up_to_date() -> None:
    assert PICTURE.read_text(encoding="utf-8") == draw(), "run: python -m docs.figures.packages"


def test_each_phase_and_each_trigger_is_explained() -> None:
    explained = {*literals(transitions.__doc__ or "")}

    assert {member.name for member in (*transitions.Phase, *transitions.Trigger)} <= explained


def test_the_tasks_are_those_of_the_noxfile() -> None:
    listed = {literals(task)[0] for task, _ in tables_of(CONTRIBUTING)["task | what it checks"]}
    sessions = [
        node.name.replace("_", "-")
        for node in ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and "nox.session" in map(ast.unparse, map(called, node.decorator_list))
    ]

    assert sessions
    assert {re.sub(r"-3\.\d+$", "", task) for task in listed} == {*sessions}


def called(decorator: ast.expr) -> ast.expr:
    return decorator.func if isinstance(decorator, ast.Call) else decorator
