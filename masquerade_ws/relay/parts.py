"""What the parts of one relay share."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from masquerade_ws.client import Client
from masquerade_ws.relay.buffer import Buffer
from masquerade_ws.relay.gateway import View
from masquerade_ws.relay.keys import Keys
from masquerade_ws.relay.lock import Lock
from masquerade_ws.relay.outbox import Outbox
from masquerade_ws.relay.streams import Streams
from masquerade_ws.relay.tail import Tail

__all__ = ["Clock", "Parts"]


class Clock:
    """The engine's clock, as it was when it was last asked. The relay's thread sets it, the outbox's reads it."""

    def __init__(self) -> None:
        self._offset_ms = time.time_ns() / 1e6 - time.monotonic() * 1000

    def set(self, engine_ms: int, now: float) -> None:
        """Learn the engine's time, in milliseconds since 1970, at a time of the monotonic clock."""
        self._offset_ms = engine_ms - now * 1000

    def engine_ms(self) -> float:
        """Return the engine's time, in milliseconds since 1970."""
        return time.monotonic() * 1000 + self._offset_ms


@dataclass(frozen=True, slots=True)
class Parts:
    """What the parts of one relay share. The relay's thread uses them; `buffer` and `stopping` are for all threads.

    Attributes:
        relay: The relay's id.
        keys: Those of the namespace.
        linger: Seconds from one flush to the next, at least, unless there is much.
        cold: Whether it connects to the gateway only when it is to lead.
        buffer: What came from the gateway.
        view: The gateway, as the relay's thread knows it.
        tail: What a relay that stands by has received and not seen, and the reverse.
        streams: What it appends.
        lock: The lock of the leader.
        outbox: What workers send.
        client: The client of the gateway.
        clock: The engine's clock.
        stopping: Set when the relay is to end; ends the waits of a relay that stands by.
    """

    relay: str
    keys: Keys
    linger: float
    cold: bool
    buffer: Buffer
    view: View
    tail: Tail
    streams: Streams
    lock: Lock
    outbox: Outbox
    client: Client
    clock: Clock
    stopping: threading.Event = field(default_factory=threading.Event)
