"""The counters of a client as metrics, whoever collects them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any, NamedTuple

from masquerade_ws import WebSocketClient

__all__ = ["COUNTERS", "GAUGES", "Metric", "read"]


class Metric(NamedTuple):
    """One metric.

    Attributes:
        name: As in `Stats`.
        unit: In the notation of OpenTelemetry (UCUM).
        description: What it says.
    """

    name: str
    unit: str
    description: str


COUNTERS = (
    Metric("connections", "{connection}", "Connections made."),
    Metric("reconnects", "{connection}", "Connections that replaced a lost one."),
    Metric("attempts_failed", "{attempt}", "Attempts to connect that failed."),
    Metric("messages_received", "{message}", "Messages received."),
    Metric("messages_sent", "{message}", "Messages sent, heartbeats included."),
    Metric("bytes_received", "By", "Bytes received over TCP."),
    Metric("bytes_sent", "By", "Bytes sent over TCP."),
    Metric("events_dropped", "{event}", "Events that full streams dropped."),
    Metric("parse_errors", "{error}", "Messages that were not events."),
    Metric("handler_errors", "{error}", "Exceptions that listeners raised."),
    Metric("gap_seconds", "s", "Time without a connection, of gaps that ended."),
)
GAUGES = (
    Metric("connected", "1", "1 while connected, otherwise 0."),
    Metric("connected_since", "s", "When the connection was made, as Unix time."),
    Metric("last_event_at", "s", "When the last message came, as Unix time."),
    Metric("latency", "s", "Time that the last ping took."),
    Metric("events_waiting", "{event}", "Events that wait for listeners."),
)


def read(client: WebSocketClient) -> dict[str, float]:
    """Return the value of each metric that has one now."""
    values: dict[str, Any] = {"connected": float(client.state == "connected"), **asdict(client.stats)}
    return {
        name: value.timestamp() if isinstance(value, datetime) else value
        for name, value in values.items()
        if value is not None
    }
