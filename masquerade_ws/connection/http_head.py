"""Heads of HTTP/1.1 messages: what may stand in a request, and the response, read in bulk."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from masquerade_ws.errors import ConnectError

if TYPE_CHECKING:
    from masquerade_ws.connection.channel import Channel

__all__ = ["SWITCHING_PROTOCOLS", "Head", "check_headers", "check_subprotocols", "read_head"]

_MAX_HEAD = 65536
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OWNED = {"host", "upgrade", "connection", "content-length", "transfer-encoding"}
_FOLD = re.compile(r"\r\n[ \t]+")  # not the white space before it too: to look for that costs the square of its length
SWITCHING_PROTOCOLS = 101  # the only 1xx that is final
_STATUS_LINE = re.compile(r"HTTP/(\d\.\d) (\d{3})(?: .*)?")


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse headers that the handshake owns or that would break it.

    Raises:
        TypeError: If a name or a value is not a ``str``.
        ValueError: If a name or a value is not allowed.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError("headers must be a mapping of str to str")
        if not _TOKEN.fullmatch(name):
            raise ValueError("headers contains an invalid name")
        if name.lower() in _OWNED or name.lower().startswith("sec-websocket-"):
            raise ValueError(f"headers must not contain {name}, which the handshake sets")
        if _CONTROL.search(value) or any("\ud800" <= char <= "\udfff" for char in value):
            raise ValueError(f"headers contains an invalid value for {name}")


def check_subprotocols(subprotocols: Sequence[str]) -> None:
    """Refuse subprotocols that may not be offered (RFC 6455, 4.1).

    Raises:
        TypeError: If it is not a sequence of ``str``.
        ValueError: If one is not a token, or is given twice.
    """
    is_sequence = isinstance(subprotocols, Sequence) and not isinstance(subprotocols, str)
    if not is_sequence or not all(isinstance(one, str) for one in subprotocols):
        raise TypeError("subprotocols must be a sequence of str")
    if not all(_TOKEN.fullmatch(one) for one in subprotocols):
        raise ValueError("subprotocols contains an invalid name")
    if len(set(subprotocols)) < len(subprotocols):
        raise ValueError("subprotocols contains a name twice")


class Head(NamedTuple):
    """A response without its body; headers given more than once are joined by commas."""

    version: str
    status: int
    headers: dict[str, str]


def read_head(channel: Channel, peer: str) -> tuple[Head, bytes]:
    """Read the head of the final response, in bulk, and return it with the bytes after it.

    Interim responses before it (RFC 9110, 15.2) are read over; they count towards the limit of the head.

    Raises:
        ConnectError: If the head is too long, cut short or not HTTP.
        OSError: If the connection broke.
        OutOfTime: If the attempt's deadline has come.
        Cancelled: If another thread ended the attempt.
    """
    data, start = b"", 0
    while True:
        while (end := data.find(b"\r\n\r\n", start, _MAX_HEAD)) < 0:
            if len(data) >= _MAX_HEAD:
                raise ConnectError(f"{peer} sent more than {_MAX_HEAD} bytes of response headers")
            more = channel.recv()
            if not more:
                raise ConnectError(f"{peer} closed the connection during the handshake")
            data += more
        head = _parse_head(data[start:end].decode("latin-1"), peer)
        start = end + 4
        if head.status == SWITCHING_PROTOCOLS or not 100 <= head.status < 200:
            return head, data[start:]


def _parse_head(text: str, peer: str) -> Head:
    status_line, _, fields = text.partition("\r\n")
    match = _STATUS_LINE.fullmatch(status_line)
    if match is None:
        raise ConnectError(f"{peer} did not answer in HTTP")
    headers: dict[str, str] = {}
    # A field folded into several lines is one (RFC 9112, 5.2); none may be folded into the status line (2.2).
    for line in _FOLD.sub(" ", fields).split("\r\n") if fields else ():
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name):
            raise ConnectError(f"{peer} sent an invalid response header")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Head(match[1], int(match[2]), headers)
