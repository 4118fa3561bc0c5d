"""Events as the server writes them, and the end of a connection as a client sees it that is not ours."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

__all__ = ["NOON", "TIMESTAMP", "loss_of", "wire"]

NOON = "2026-11-22T12:00:00.000Z"
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def wire(type: str, **payload: Any) -> str:
    """Return the message of an event."""
    return json.dumps({"type": type, "payload": payload, "timestamp": NOON})


def loss_of(client: ClientConnection) -> ConnectionClosed:
    """Wait for the end of a connection, and return what tells of it."""
    with pytest.raises(ConnectionClosed) as caught:
        client.recv(timeout=30)
    return caught.value
