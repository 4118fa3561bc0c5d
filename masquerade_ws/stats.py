"""What a client has done so far."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Protocol

__all__ = ["Counters", "Stats", "Traffic"]


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot of a client's counters, over all its connections.

    Attributes:
        connections: Connections made.
        reconnects: Those of them that replaced a lost one.
        messages_received: Messages, malformed ones included.
        messages_sent: Messages, heartbeats included.
        bytes_received: Bytes, as they came over TCP.
        bytes_sent: Bytes, as they went over TCP.
        events_dropped: Events that full streams dropped.
        latency: Seconds that the last ping took there and back; ``None`` without one on this connection.
        connected_since: When the present connection was made, in UTC; ``None`` without one.
        attempts_failed: Attempts to connect that failed.
        parse_errors: Messages, or parts of them, that were not events.
        handler_errors: Exceptions that listeners, or ``around_event``, raised.
        gap_seconds: Seconds without a connection, of all gaps that have ended.
        events_waiting: Events that wait for listeners now.
        last_event_at: When the last message came, in UTC; ``None`` before the first.
    """

    connections: int
    reconnects: int
    messages_received: int
    messages_sent: int
    bytes_received: int
    bytes_sent: int
    events_dropped: int
    latency: float | None
    connected_since: datetime | None
    attempts_failed: int
    parse_errors: int
    handler_errors: int
    gap_seconds: float
    events_waiting: int
    last_event_at: datetime | None


class Traffic(Protocol):
    """What one connection counts."""

    @property
    def messages_sent(self) -> int:
        """Messages sent."""
        ...

    @property
    def bytes_received(self) -> int:
        """Bytes received since the opening handshake."""
        ...

    @property
    def bytes_sent(self) -> int:
        """Bytes sent since the opening handshake."""
        ...


class Counters:
    """The numbers of the connections that have ended, and what the client counts itself.

    The life cycle's lock guards the numbers of connections. The reader thread counts messages, the dispatcher thread
    errors; there is one of each at a time.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.reconnects = 0
        self.messages_received = 0
        self.messages_sent = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self.attempts_failed = 0
        self.parse_errors = 0
        self.handler_errors = 0
        self.gap_seconds = 0.0
        self.last_event_at: float | None = None  # seconds since the epoch

    def snapshot(self, connection: Traffic | None) -> dict[str, Any]:
        """Return the numbers, those of the present connection included."""
        last = self.last_event_at
        return {
            "connections": self.connections,
            "reconnects": self.reconnects,
            "messages_received": self.messages_received,
            "messages_sent": self.messages_sent + (connection.messages_sent if connection else 0),
            "bytes_received": self.bytes_received + (connection.bytes_received if connection else 0),
            "bytes_sent": self.bytes_sent + (connection.bytes_sent if connection else 0),
            "attempts_failed": self.attempts_failed,
            "parse_errors": self.parse_errors,
            "handler_errors": self.handler_errors,
            "gap_seconds": self.gap_seconds,
            "last_event_at": last and datetime.fromtimestamp(last, timezone.utc),
        }

    def absorb(self, connection: Traffic) -> None:
        """Keep the numbers of a connection that has ended; under the life cycle's lock, which guards them."""
        self.messages_sent += connection.messages_sent
        self.bytes_received += connection.bytes_received
        self.bytes_sent += connection.bytes_sent

    def count_messages(self, count: int) -> None:
        """Count messages that have come together."""
        self.messages_received += count
        self.last_event_at = time.time()

    def count_connection(self, gap: float | None, *, reconnected: bool) -> None:
        """Count a connection; under the life cycle's lock.

        Args:
            gap: Seconds for which events may have been missed before it; ``None`` for none.
            reconnected: Whether it replaced one that was lost.
        """
        self.connections += 1
        self.reconnects += reconnected
        self.gap_seconds += gap or 0.0
