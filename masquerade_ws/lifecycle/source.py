"""Where the connections of a client come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import AnyEvent
from masquerade_ws.delivery.transport import Transport
from masquerade_ws.protocol.codec import Takers

__all__ = ["Place", "Source"]


class Place(Protocol):
    """What a session keeps from one connection to the next: how far it has read, and what it still has to say."""

    def decode(self, queue: EventQueue, takers: Takers | None, /) -> Iterator[AnyEvent]:
        """Make events of what waits for the dispatcher thread, on that thread."""
        ...

    def end(self) -> None:
        """End, after the last listener has returned; on the supervisor thread."""

    def after_fork(self) -> None:
        """Leave what is open to the parent, in a forked child."""


@dataclass(frozen=True, slots=True)
class Source:
    """Makes the connections of a client, one for each attempt, and keeps them alive.

    Attributes:
        name: Returns what it leads to, to be shown.
        prepare: Asks for what an attempt needs; returns the connection, not yet opened. Gets the session's place.
        beat: Runs the heartbeat thread of a connection, which holds it while it waits; so it must not refer to the
            client.
        begin: Makes the place of a session, if its connections go on where another ended; it must not refer to the
            client either.
    """

    name: Callable[[], str]
    prepare: Callable[[Any], Transport]
    beat: Callable[[Any, EventQueue], object]
    begin: Callable[[], Place | None] = lambda: None
