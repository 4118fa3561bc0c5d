"""How a client is, for the health checks of load balancers and orchestrators."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from masquerade_ws import WebSocketClient
from masquerade_ws.client import seconds_lost

__all__ = ["report"]


def report(client: WebSocketClient) -> tuple[dict[str, Any], int]:
    """Return what a health check is answered with, and its HTTP status. It waits for nothing and sends nothing.

    Returns:
        ``state``, as of the client; ``last_event_age``, the seconds since the last message, ``None`` before the first;
        ``gap``, the seconds since the connection was lost, ``None`` while there is one and if none was lost. The status
        is 200 while the client is connected, otherwise 503.
    """
    state, last, gap = client.state, client.stats.last_event_at, seconds_lost(client)
    age = None if last is None else max(0.0, (datetime.now(timezone.utc) - last).total_seconds())
    body = {"state": state, "last_event_age": _shown(age), "gap": _shown(gap)}
    return body, 200 if state == "connected" else 503


def _shown(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
