"""Events as the server writes them."""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["NOON", "TIMESTAMP", "wire"]

NOON = "2026-11-22T12:00:00.000Z"
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def wire(type: str, **payload: Any) -> str:
    """Return the message of an event."""
    return json.dumps({"type": type, "payload": payload, "timestamp": NOON})
