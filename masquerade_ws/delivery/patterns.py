"""The names that listeners, waits and streams may ask for: a type, a prefix with ``.*``, or ``*``."""

from __future__ import annotations

from masquerade_ws.events import CLIENT_EVENT_TYPES

__all__ = ["check_type", "is_pattern", "matches"]


def check_type(name: object) -> str:
    """Return ``name`` if it is a type or a pattern; raise `TypeError` or `ValueError` if it is neither."""
    if not isinstance(name, str):
        raise TypeError(f"type must be a str, not {type(name).__name__}")
    if not name:
        raise ValueError("type must not be empty")
    if "*" in name and name != "*" and (not name.endswith(".*") or name.index("*") != len(name) - 1):
        raise ValueError(f"type {name!r}: a * may stand alone or at the end, behind a dot")
    return name


def is_pattern(name: str) -> bool:
    """Tell whether ``name``, once checked, is a pattern."""
    return name.endswith("*")


def matches(name: str, event_type: str) -> bool:
    """Tell whether ``name``, a type or a pattern, covers ``event_type``; a pattern covers server events alone."""
    if is_pattern(name):
        return event_type.startswith(name[:-1]) and event_type not in CLIENT_EVENT_TYPES
    return name == event_type
