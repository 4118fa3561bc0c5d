"""The names that listeners, waits and streams may ask for: a type, a prefix with ``.*``, or ``*``."""

from __future__ import annotations

from masquerade_ws.events import CLIENT_EVENT_TYPES

__all__ = ["check_type", "is_pattern", "matches"]


def check_type(name: object) -> str:
    """Return a name that is a type or a pattern.

    Raises:
        TypeError: If it is not a str.
        ValueError: If it is empty, or has a ``*`` elsewhere than a pattern has it.
    """
    if not isinstance(name, str):
        raise TypeError(f"type must be a str, not {type(name).__name__}")
    if not name:
        raise ValueError("type must not be empty")
    if "*" in name and name != "*" and (not name.endswith(".*") or name.index("*") != len(name) - 1):
        raise ValueError(f"type {name!r}: a * may stand alone, or at the end after a dot")
    return name


def is_pattern(name: str) -> bool:
    """Return whether a name, once checked, is a pattern."""
    return name.endswith("*")


def matches(name: str, event_type: str) -> bool:
    """Return whether a type or a pattern covers the type of an event; a pattern covers server events alone."""
    if is_pattern(name):
        return event_type.startswith(name[:-1]) and event_type not in CLIENT_EVENT_TYPES
    return name == event_type
