"""Reading the pages: their tables and literals, and the set-up that they must agree with."""

from __future__ import annotations

import configparser
import re

from masquerade_ws import errors
from tests.support.pages import ROOT

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")


def text_of(path: str) -> str:
    """Return the text of a page, by its path from the root of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


def tables_of(text: str) -> dict[str, list[list[str]]]:
    """Return the rows of each table, found by the heads of its columns; an empty first cell goes on with the row."""
    found: dict[str, list[list[str]]] = {}
    for match in re.finditer(r"^( *)(=+(?:  =+)+)\n(.+)\n\1\2\n((?:.+\n)+?)\1\2$", text, re.MULTILINE):
        indent = len(match[1])
        starts = [indent + column.start() for column in re.finditer("=+", match[2])]
        rows: list[list[str]] = []
        for line in match[4].splitlines():
            cells = [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
            if cells[0]:
                rows.append(cells)
            else:
                rows[-1] = [f"{old} {new}".strip() for old, new in zip(rows[-1], cells, strict=True)]
        found[" | ".join(re.split(r"  +", match[3].strip()))] = rows
    return found


def literals(text: str) -> list[str]:
    """Return what stands in double backquotes."""
    return re.findall(r"``(.+?)``", text)


def error_names() -> list[str]:
    """Return the names of the library's exceptions."""
    named = ((name, getattr(errors, name)) for name in errors.__all__)
    return [name for name, value in named if isinstance(value, type) and issubclass(value, Exception)]
