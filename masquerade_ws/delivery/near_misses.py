"""Names that look like a slip: ``"conected"`` is a type that any server may send, but hardly what was meant."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from difflib import SequenceMatcher

from masquerade_ws.events import CLIENT_EVENT_TYPES, EVENT_CLASSES
from masquerade_ws.user_code import level_of_program

__all__ = ["NearMisses"]

_KNOWN = frozenset(EVENT_CLASSES) | CLIENT_EVENT_TYPES
_ALIKE = 0.76  # the share of equal characters from which on a name counts as a slip: "failure" for "failed" still does
_LOOKED_AT = 100  # names of one client; a program with more makes them up


class NearMisses:
    """Warns, once per client and name, of names that nearly are those of known events."""

    def __init__(self) -> None:
        self._looked_at: dict[str, object] = {}

    def warn(self, names: Iterable[object]) -> None:
        """Warn of each of the names that is a near miss, at the line of the program that gave it.

        Args:
            names: What the program asks for; what is not a str is for others to refuse.
        """
        for name in names:
            mine = object()
            if (
                isinstance(name, str)
                and len(self._looked_at) < _LOOKED_AT
                and self._looked_at.setdefault(name, mine) is mine  # in one step: another thread may give the same name
            ):
                meant = _meant_by(name)
                if meant is not None:
                    message = f"no event of type {name!r} is known; did you mean {meant!r}?"
                    warnings.warn(message, stacklevel=level_of_program())


def _meant_by(name: str) -> str | None:
    """Return the known name that ``name`` nearly is, if there is one and it is not known itself."""
    if name in _KNOWN or name.endswith("*"):
        return None
    share, meant = max((_alike(name, known), known) for known in _KNOWN)
    return meant if share >= _ALIKE else None


def _alike(name: str, known: str) -> float:
    """Return the share of equal characters, without the parts with which both begin: they say nothing of a slip."""
    parts, others = name.split("."), known.split(".")
    while len(parts) > 1 and len(others) > 1 and parts[0] == others[0]:
        parts, others = parts[1:], others[1:]
    return SequenceMatcher(None, ".".join(parts), ".".join(others), autojunk=False).ratio()
