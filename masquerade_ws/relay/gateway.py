"""The relay's client of the gateway: what comes goes into the buffer as it is, and nothing else is done with it.

The gateway's reader thread sees everything in one order: a connection, what it brings, its end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal

from masquerade_ws.client import Client
from masquerade_ws.connection.connection import Connection
from masquerade_ws.connection.options import ConnectionOptions
from masquerade_ws.deadline import Deadline
from masquerade_ws.delivery.blocking import Guard
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import AnyEvent
from masquerade_ws.delivery.reader import Intake
from masquerade_ws.lifecycle.connector import Connector
from masquerade_ws.lifecycle.heartbeat import beat
from masquerade_ws.lifecycle.options import ClientOptions, HeartbeatOptions
from masquerade_ws.lifecycle.source import Source
from masquerade_ws.relay.buffer import Buffer, Note
from masquerade_ws.relay.entries import BACK, LOST

__all__ = ["Gateway", "GatewayClient", "View"]

_HEARTBEAT = HeartbeatOptions(
    heartbeat_interval=30.0, heartbeat_timeout=10.0, busy_timeout=120.0, heartbeat_message=True
)
_LIFE_CYCLE = ClientOptions(
    token_timeout=30.0,
    initial_reconnect_delay=1.0,
    max_reconnect_delay=30.0,
    auto_reconnect=True,
    reconnect_jitter=0.0,
    min_uptime=0.0,
    connect_timeout=10.0,
    queue_size=10_000,
    around_event=None,
    final_close_codes=(),
)


class View:
    """The gateway as the relay's thread knows it: it learns of a connection and of its end by notes in the buffer.

    Attributes:
        connected: Whether there is a connection.
        opened_at: When it was made, by the monotonic clock.
        opened_ms: The same in milliseconds since 1970, by this machine's clock.
        opened_engine_ms: The same by the engine's clock; ``None`` until that has been asked.
    """

    def __init__(self) -> None:
        self.connected = False
        self.opened_at = 0.0
        self.opened_ms = 0
        self.opened_engine_ms: float | None = None

    def learn(self, note: Note) -> None:
        """Take a note of a connection or of its end."""
        if note.kind == BACK:
            self.connected, self.opened_at, self.opened_ms = True, note.received_at, note.received_ms
            self.opened_engine_ms = None
        elif note.kind == LOST:
            self.connected = False

    def set_clock(self, engine_ms: int, now: float) -> None:
        """Learn the engine's time, in milliseconds since 1970, at a time of the monotonic clock."""
        if self.opened_engine_ms is None:
            self.opened_engine_ms = engine_ms - (now - self.opened_at) * 1000


class Gateway:
    """The connection of the moment, and where what it brings goes.

    Args:
        buffer: Takes what comes.
    """

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self._changed = threading.Condition()  # guards the connection, and whether one is waited for
        self._connection: Connection | None = None
        self._released = False

    def begin(self, connection: Connection) -> None:
        """Note a connection, on its reader thread."""
        self._buffer.put_note(Note(BACK, {}, time.monotonic(), time.time_ns() // 1_000_000))
        with self._changed:
            self._connection = connection
            self._changed.notify_all()  # wakes the outbox, which may send now

    def take(self, messages: Sequence[str | bytes]) -> None:
        """Take messages that arrived together."""
        self._buffer.put_messages(messages)

    def end(self, connection: Connection) -> None:
        """Note the end of a connection, after its last message."""
        with self._changed:
            self._connection = None
        code, reason = connection.close_code or 1006, connection.close_reason
        self._buffer.put_note(Note(LOST, {"code": code, "reason": reason}, time.monotonic()))

    def await_connection(self, deadline: Deadline) -> Connection | None:
        """Wait for a connection, on the outbox's thread; ``None`` if there is none in time, or it is released."""
        with self._changed:
            self._changed.wait_for(lambda: self._connection is not None or self._released, deadline.remaining())
            return None if self._released else self._connection

    def release(self, released: bool) -> None:
        """End the wait of the outbox's thread for good, or allow it again."""
        with self._changed:
            self._released = released
            self._changed.notify_all()


class _Tapped(Connection):
    """A connection to the gateway that shows what it brings."""

    def __init__(self, gateway: Gateway, url: str, options: ConnectionOptions) -> None:
        super().__init__(url, options)
        self._gateway = gateway

    def batches(self) -> Iterator[list[str | bytes]]:
        self._gateway.begin(self)
        try:
            for batch in super().batches():
                self._gateway.take(batch)
                yield batch
        finally:
            self._gateway.end(self)


class _Counting(Intake):
    """Counts messages; nobody waits for them here."""

    def take(self, batch: list[str | bytes], queue: EventQueue) -> Iterable[Sequence[str | bytes | AnyEvent]]:
        self._counters.count_messages(len(batch))
        return ()


class GatewayClient(Client):
    """A client whose connections show a `Gateway` what they bring; its listeners hear of the connection alone.

    Args:
        gateway: Takes it.
        url: As for `WebSocketClient`.
        get_token: Likewise.
        headers: Likewise.
        token_in: Likewise.
        options: Of each connection.
    """

    def __init__(
        self,
        gateway: Gateway,
        url: str,
        get_token: Callable[[], str],
        *,
        headers: Mapping[str, str] | None,
        token_in: Literal["query", "header"],
        options: ConnectionOptions,
    ) -> None:
        guard = Guard()
        connector = Connector(
            url,
            get_token,
            headers=headers,
            token_in=token_in,
            options=options,
            guard=guard,
            make=partial(_Tapped, gateway),
        )
        super().__init__(
            Source(lambda: connector.name, lambda _: connector.prepare(), partial(beat, options=_HEARTBEAT)),
            _LIFE_CYCLE,
            guard,
            lambda takers, state: _Counting(takers, state.counters),
            debug=False,
        )
