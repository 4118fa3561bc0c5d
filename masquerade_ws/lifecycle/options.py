"""The options of a client, checked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from masquerade_ws.checks import check_callable, check_count, check_duration, check_flag, check_share

__all__ = ["ClientOptions", "HeartbeatOptions"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ClientOptions:
    """What `WebSocketClient` was given for its life cycle; its docstring says what each means."""

    token_timeout: float | None
    initial_reconnect_delay: float
    max_reconnect_delay: float
    auto_reconnect: bool
    reconnect_jitter: float
    min_uptime: float
    connect_timeout: float
    queue_size: int
    around_event: Callable[[Any], AbstractContextManager[object]] | None
    final_close_codes: Collection[int]

    def __post_init__(self) -> None:
        check_callable("around_event", self.around_event, optional=True)
        for name in ("initial_reconnect_delay", "max_reconnect_delay", "min_uptime"):
            check_duration(name, getattr(self, name))
        check_duration("connect_timeout", self.connect_timeout, zero=False)
        if self.token_timeout is not None:
            check_duration("token_timeout", self.token_timeout, zero=False)
        check_share("reconnect_jitter", self.reconnect_jitter)
        check_flag("auto_reconnect", self.auto_reconnect)
        check_count("queue_size", self.queue_size)
        object.__setattr__(self, "final_close_codes", _checked_codes(self.final_close_codes))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatOptions:
    """What `WebSocketClient` was given for its heartbeats; its docstring says what each means.

    These are apart from the others, since a heartbeat thread must not hold what may refer to the client.
    """

    heartbeat_interval: float
    heartbeat_timeout: float | None
    busy_timeout: float | None
    heartbeat_message: bool

    def __post_init__(self) -> None:
        check_duration("heartbeat_interval", self.heartbeat_interval, zero=False)
        for name in ("heartbeat_timeout", "busy_timeout"):
            if getattr(self, name) is not None:
                check_duration(name, getattr(self, name), zero=False)
        check_flag("heartbeat_message", self.heartbeat_message)
        if self.heartbeat_timeout is not None and self.busy_timeout is not None:
            object.__setattr__(self, "busy_timeout", max(self.heartbeat_timeout, self.busy_timeout))


def _checked_codes(codes: Iterable[Any]) -> frozenset[int]:
    if isinstance(codes, str | bytes) or not isinstance(codes, Iterable):
        raise TypeError(f"final_close_codes must be a collection of close codes, not {type(codes).__name__}")
    checked: frozenset[Any] = frozenset(codes)
    for code in checked:
        if isinstance(code, bool) or not isinstance(code, int):
            raise TypeError(f"final_close_codes must hold ints, not {type(code).__name__}")
        if not 1000 <= code <= 4999:
            raise ValueError(f"final_close_codes must hold close codes from 1000 to 4999, not {code}")
    return checked
