"""What a client has done so far."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

__all__ = ["Counters", "Stats"]


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


class Traffic(Protocol):
    """What one connection counts."""

    @property
    def messages_sent(self) -> int: ...
    @property
    def bytes_received(self) -> int: ...
    @property
    def bytes_sent(self) -> int: ...


class Counters:
    """The numbers of the connections that have ended, and what the client counts itself."""

    def __init__(self) -> None:
        self.connections = 0
        self.reconnects = 0
        self.messages_received = 0
        self.messages_sent = 0
        self.bytes_received = 0
        self.bytes_sent = 0

    def snapshot(self, connection: Traffic | None) -> dict[str, int]:
        """Return the numbers, those of the present connection included."""
        return {
            "connections": self.connections,
            "reconnects": self.reconnects,
            "messages_received": self.messages_received,
            "messages_sent": self.messages_sent + (connection.messages_sent if connection else 0),
            "bytes_received": self.bytes_received + (connection.bytes_received if connection else 0),
            "bytes_sent": self.bytes_sent + (connection.bytes_sent if connection else 0),
        }

    def absorb(self, connection: Traffic) -> None:
        """Keep the numbers of a connection that has ended; under the life cycle's lock, which guards them."""
        self.messages_sent += connection.messages_sent
        self.bytes_received += connection.bytes_received
        self.bytes_sent += connection.bytes_sent

    def count_connection(self, reconnected: bool) -> None:
        """Count a connection; under the life cycle's lock, which guards them."""
        self.connections += 1
        self.reconnects += reconnected
