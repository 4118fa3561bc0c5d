"""Encodes and decodes events, and finds the token of a handshake."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from websockets.http11 import Request

__all__ = ["decode", "encode", "token_of"]


def encode(type: str, payload: Mapping[str, Any] | None) -> str:
    """Return an event with the present time as text.

    Raises:
        TypeError: If the payload cannot be written as JSON.
        ValueError: If the payload holds NaN or an infinity.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": type, "payload": dict(payload or {}), "timestamp": now}, allow_nan=False)


def decode(message: str | bytes) -> dict[str, Any] | None:
    """Return the event in a message, or ``None`` if it is not an event."""
    try:
        event = json.loads(message if isinstance(message, str) else message.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(cast("dict[str, Any]", event).get("type"), str):
        return None
    return cast("dict[str, Any]", event)


def token_of(request: Request) -> str | None:
    """Return the token of a handshake: the last one in the query, otherwise that of ``Authorization: Bearer``."""
    for field in reversed(urlsplit(request.path).query.split("&")):
        name, _, value = field.partition("=")
        if name == "token":
            return unquote(value)
    for header in request.headers.get_all("Authorization"):
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "bearer":
            return value.strip()
    return None
