"""What a refused handshake has to say beside its status: the body's beginning, and when to try again."""

from __future__ import annotations

import re
import threading
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from masquerade_ws.connection.attempt import OutOfTime
from masquerade_ws.connection.sockets import is_failure
from masquerade_ws.errors import Response

if TYPE_CHECKING:
    from masquerade_ws.connection.channel import Channel
    from masquerade_ws.connection.http_head import Head

__all__ = ["read_response"]

_MAX_BODY = 4096
_MAX_RAW = 16 * _MAX_BODY  # with the transfer coding
_PATIENCE = 0.5  # seconds after the head
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")


def read_response(channel: Channel, head: Head, begun: bytes) -> Response:
    """Return the rest of a response whose head has been read, as much of it as comes soon.

    Args:
        channel: Where it comes from; the attempt's deadline is brought forward.
        head: Its head.
        begun: What has come of its body.

    Raises:
        Cancelled: If another thread ended the attempt.
    """
    channel.attempt.hurry(_PATIENCE)
    body, complete = _decode(begun, head)
    while not complete and len(body) < _MAX_BODY and len(begun) < _MAX_RAW:
        try:
            more = channel.recv()
        except OSError as error:
            if not (is_failure(error) or isinstance(error, OutOfTime)):
                raise
            more = b""
        if not more:
            break
        begun += more
        body, complete = _decode(begun, head)
    return Response(head.headers, body[:_MAX_BODY], _retry_after(head))


def _decode(raw: bytes, head: Head) -> tuple[bytes, bool]:
    """Return a body without its transfer coding, and whether that is all of it (RFC 9112, 6.3)."""
    if head.status in {204, 304}:
        return b"", True
    if head.headers.get("transfer-encoding", "").lower().endswith("chunked"):
        return _dechunk(raw)
    length = head.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and len(length) <= 15:
        return raw[: int(length)], len(raw) >= int(length)
    return raw, False


def _dechunk(raw: bytes) -> tuple[bytes, bool]:
    """Return what the chunks hold, and whether the last one is there or something else is (RFC 9112, 7.1)."""
    body, start = b"", 0
    while (match := _CHUNK_SIZE.match(raw, start)) is not None:
        size = int(match[1], 16)
        if not size:
            return body, True
        body += raw[match.end() : match.end() + size]
        start = match.end() + size + 2
    return body, start < len(raw) and b"\r\n" in raw[start:]


def _retry_after(head: Head) -> float | None:
    """Return the seconds of Retry-After (RFC 9110, 10.2.3), a date counted from the response's own."""
    text = head.headers.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return min(float(text), threading.TIMEOUT_MAX)
    then = _date(text)
    if then is None:
        return None
    now = _date(head.headers.get("date", "")) or datetime.now(timezone.utc)
    return max(0.0, (then - now).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)
