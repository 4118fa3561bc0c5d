"""Where the connections of a client come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.transport import Transport

__all__ = ["Source"]


@dataclass(frozen=True, slots=True)
class Source:
    """Makes the connections of a client, one for each attempt, and keeps them alive.

    Attributes:
        name: Returns what it leads to, to be shown.
        prepare: Asks for what an attempt needs; returns the connection, not yet opened.
        beat: Runs the heartbeat thread of a connection, which holds it while it waits; so it must not refer to the
            client.
    """

    name: Callable[[], str]
    prepare: Callable[[], Transport]
    beat: Callable[[Any, EventQueue], object]
