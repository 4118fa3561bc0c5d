"""Checks of arguments: each raises an exception that names the argument."""

from __future__ import annotations

import inspect
import threading

__all__ = ["check_callable", "check_count", "check_duration", "check_flag", "check_share", "check_timeout"]


def check_duration(name: str, value: object, *, zero: bool = True) -> None:
    """Raise `TypeError` or `ValueError`, naming the argument, unless ``value`` is a number of seconds to wait."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not 0 <= value <= threading.TIMEOUT_MAX or (value == 0 and not zero):  # a NaN compares as false
        least = "at least 0" if zero else "more than 0"
        raise ValueError(f"{name} must be {least} and at most {threading.TIMEOUT_MAX:.0f} seconds, not {value}")


def check_timeout(value: object) -> None:
    """Raise `TypeError` or `ValueError` unless ``value`` is a number of seconds to wait, or ``None`` for no limit."""
    if value is not None:
        check_duration("timeout", value)


def check_share(name: str, value: object) -> None:
    """Raise `TypeError` or `ValueError`, naming the argument, unless ``value`` is a number between 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be between 0 and 1, not {value}")


def check_flag(name: str, value: object) -> None:
    """Raise `TypeError`, naming the argument, unless ``value`` is a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {type(value).__name__}")


def check_count(name: str, value: object) -> None:
    """Raise `TypeError` or `ValueError`, naming the argument, unless ``value`` is a positive int."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")


def check_callable(name: str, value: object, *, optional: bool = False) -> None:
    """Raise `TypeError`, naming the argument, unless ``value`` can be called, or is ``None`` where that will do.

    A coroutine function is refused: the library would call it on a thread, where nothing awaits what it returns.
    """
    if not callable(value) and not (optional and value is None):
        raise TypeError(f"{name} must be callable{' or None' if optional else ''}, not {type(value).__name__}")
    if any(inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call) for call in _calls_of(value)):
        raise TypeError(f"{name} must be a plain function, not a coroutine function, which nothing would await")


def _calls_of(value: object) -> tuple[object, object]:
    """Return what runs if ``value`` is called, be it a function or an object."""
    return value, getattr(type(value), "__call__", None)  # noqa: B004 - which of them it has is known by now
