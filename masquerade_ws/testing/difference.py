"""Describes how a payload differs from what a test expects, field by field."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["closest", "describe", "fits"]

_WIDTH = 80  # characters shown of a value
_BEFORE = 20  # of them before the first difference
_ABSENT = object()


class _Field(NamedTuple):
    """A field that a test names: the value that it expects and the one that was sent."""

    path: str
    expected: object
    sent: object

    @property
    def fits(self) -> bool:
        return self.sent is not _ABSENT and bool(self.expected == self.sent)

    def __str__(self) -> str:
        if self.sent is _ABSENT:
            return f"{self.path}: expected {_window(repr(self.expected), 0)}, not sent"
        expected, sent = repr(self.expected), repr(self.sent)
        if self.fits:
            return f"{self.path}: {_window(sent, 0)}, as expected"
        at = sum(1 for _ in itertools.takewhile(bool, map(operator.eq, expected, sent)))
        return f"{self.path}: expected {_window(expected, at)}, sent {_window(sent, at)}"


def fits(subset: Mapping[str, object], payload: object) -> bool:
    """Return whether a payload has every field of a subset; mappings inside it are subsets, too."""
    return all(field.fits for field in _fields(subset, payload))


def closest(subset: Mapping[str, object], payloads: Sequence[object]) -> object:
    """Return the payload in which most fields fit, then most are present; of several the latest."""

    def nearness(payload: object) -> tuple[int, int]:
        fields = list(_fields(subset, payload))
        return sum(field.fits for field in fields), sum(field.sent is not _ABSENT for field in fields)

    return max(reversed(payloads), key=nearness)


def describe(subset: Mapping[str, object], payload: object) -> str:
    """Return a line for each field, those that differ first, and one for all other fields."""
    fields = sorted(_fields(subset, payload), key=lambda field: field.fits)
    lines = [str(field) for field in fields]
    if not isinstance(payload, Mapping):
        lines.append(f"the payload is not an object: {_window(repr(payload), 0)}")
    elif others := [name for name in cast("Mapping[str, Any]", payload) if name not in subset]:
        lines.append(f"also sent: {', '.join(others)}")
    return "\n".join(f"  {line}" for line in lines)


def _fields(subset: Mapping[str, object], payload: object, prefix: str = "") -> Iterator[_Field]:
    present = cast("Mapping[str, object]", payload if isinstance(payload, Mapping) else {})
    for name, expected in subset.items():
        sent = present.get(name, _ABSENT)
        if isinstance(expected, Mapping) and isinstance(sent, Mapping):
            yield from _fields(cast("Any", expected), cast("Any", sent), f"{prefix}{name}.")
        else:
            yield _Field(prefix + name, expected, sent)


def _window(text: str, at: int) -> str:
    """Return the part of a long text around a position."""
    start = max(0, at - _BEFORE) if len(text) > _WIDTH else 0
    end = start + _WIDTH
    return f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}"
