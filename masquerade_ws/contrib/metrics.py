"""The counters of a client as metrics, whoever collects them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from masquerade_ws import Stats, WebSocketClient

__all__ = ["COUNTERS", "GAUGES", "Metric"]


class Metric(NamedTuple):
    """One metric.

    Attributes:
        name: As in `Stats`.
        unit: In the notation of OpenTelemetry (UCUM).
        description: What it says.
        read: Returns the value; ``None`` where there is none now.
    """

    name: str
    unit: str
    description: str
    read: Callable[[WebSocketClient, Stats], float | None]


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()


COUNTERS = (
    Metric("connections", "{connection}", "Connections made.", lambda _, stats: stats.connections),
    Metric("reconnects", "{connection}", "Connections that replaced a lost one.", lambda _, stats: stats.reconnects),
    Metric("attempts_failed", "{attempt}", "Attempts to connect that failed.", lambda _, stats: stats.attempts_failed),
    Metric("messages_received", "{message}", "Messages received.", lambda _, stats: stats.messages_received),
    Metric("messages_sent", "{message}", "Messages sent, heartbeats included.", lambda _, stats: stats.messages_sent),
    Metric("bytes_received", "By", "Bytes received over TCP.", lambda _, stats: stats.bytes_received),
    Metric("bytes_sent", "By", "Bytes sent over TCP.", lambda _, stats: stats.bytes_sent),
    Metric("events_dropped", "{event}", "Events that full streams dropped.", lambda _, stats: stats.events_dropped),
    Metric("parse_errors", "{error}", "Messages that were not events.", lambda _, stats: stats.parse_errors),
    Metric("handler_errors", "{error}", "Exceptions that listeners raised.", lambda _, stats: stats.handler_errors),
    Metric("gap_seconds", "s", "Time without a connection, of gaps that ended.", lambda _, stats: stats.gap_seconds),
)
GAUGES = (
    Metric("connected", "1", "1 while connected, otherwise 0.", lambda client, _: float(client.state == "connected")),
    Metric(
        "connected_since",
        "s",
        "When the connection was made, as Unix time.",
        lambda _, stats: _seconds(stats.connected_since),
    ),
    Metric(
        "last_event_at",
        "s",
        "When the last message came, as Unix time.",
        lambda _, stats: _seconds(stats.last_event_at),
    ),
    Metric("latency", "s", "Time that the last ping took.", lambda _, stats: stats.latency),
    Metric("events_waiting", "{event}", "Events that wait for listeners.", lambda _, stats: stats.events_waiting),
)
