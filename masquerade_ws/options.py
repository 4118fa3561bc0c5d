"""The arguments of a client, checked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Options", "check_callable", "check_count", "check_duration", "check_flag", "check_timeout"]


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


def _check_share(name: str, value: object) -> None:
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
    """Raise `TypeError`, naming the argument, unless ``value`` can be called, or is ``None`` where that will do."""
    if not callable(value) and not (optional and value is None):
        raise TypeError(f"{name} must be callable{' or None' if optional else ''}, not {type(value).__name__}")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Options:
    """What `WebSocketClient` was given beside URL and transport; its docstring says what each means."""

    get_token: Callable[[], str]
    initial_reconnect_delay: float
    max_reconnect_delay: float
    heartbeat_interval: float
    auto_reconnect: bool
    reconnect_jitter: float
    min_uptime: float
    connect_timeout: float
    heartbeat_timeout: float | None
    queue_size: int
    token_in: Literal["query", "header"]
    around_event: Callable[[Any], AbstractContextManager[object]] | None

    def __post_init__(self) -> None:
        check_callable("get_token", self.get_token)
        check_callable("around_event", self.around_event, optional=True)
        if self.token_in not in ("query", "header"):
            raise ValueError(f"token_in must be 'query' or 'header', not {self.token_in!r}")
        for name in ("initial_reconnect_delay", "max_reconnect_delay", "min_uptime"):
            check_duration(name, getattr(self, name))
        for name in ("heartbeat_interval", "connect_timeout"):
            check_duration(name, getattr(self, name), zero=False)
        if self.heartbeat_timeout is not None:
            check_duration("heartbeat_timeout", self.heartbeat_timeout, zero=False)
        _check_share("reconnect_jitter", self.reconnect_jitter)
        check_flag("auto_reconnect", self.auto_reconnect)
        check_count("queue_size", self.queue_size)
