"""The opening handshake (RFC 6455, 4.1), through websocket-client.

websocket-client makes the request and the key. It is given a socket-like object that puts in what must not be shown
(the query, the user's headers) and shows it no response but the one that it wants to see. The server's is read here, in
bulk, and checked in full.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import websocket

from masquerade_ws.errors import ConnectError
from masquerade_ws.protocol.deflate import OFFER, negotiate

if TYPE_CHECKING:
    from masquerade_ws.connection.channel import Channel
    from masquerade_ws.protocol.deflate import Deflater, Inflater
    from masquerade_ws.protocol.uri import Target

__all__ = ["Request", "Upgrade", "check_headers", "check_subprotocols", "read_head", "upgrade"]

# What websocket-client takes for the host, under which its cookie jar, one for the whole process, holds nothing.
_NOBODY = "masquerade-ws.invalid"
# What websocket-client takes for the server's status line, and shows in its trace.
_STAND_IN = "HTTP/1.1 101 (not by the server, whose response masquerade-ws reads itself)"
_MAX_HEAD = 65536
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OWNED = {"host", "upgrade", "connection", "content-length", "transfer-encoding"}
_STATUS_LINE = re.compile(r"HTTP/(\d\.\d) (\d{3})(?: .*)?")


class Request(NamedTuple):
    """What the user asks the server for."""

    target: Target
    headers: Mapping[str, str]
    subprotocols: Sequence[str]
    compression: bool


class Upgrade(NamedTuple):
    """What the server agreed to, and the first bytes behind its response."""

    subprotocol: str | None
    compression: tuple[Inflater, Deflater] | None
    glued: bytes


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse headers that the handshake owns or that would break it.

    Raises:
        TypeError: A name or value is not a ``str``.
        ValueError: A name or value is not allowed.
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
        TypeError: Not a sequence of ``str``.
        ValueError: One is no token, or given twice.
    """
    is_sequence = isinstance(subprotocols, Sequence) and not isinstance(subprotocols, str)
    if not is_sequence or not all(isinstance(one, str) for one in subprotocols):
        raise TypeError("subprotocols must be a sequence of str")
    if not all(_TOKEN.fullmatch(one) for one in subprotocols):
        raise ValueError("subprotocols contains an invalid name")
    if len(set(subprotocols)) < len(subprotocols):
        raise ValueError("subprotocols contains a name twice")


def upgrade(channel: Channel, request: Request) -> Upgrade:
    """Do the opening handshake.

    Raises:
        ConnectError: The server refused, or its response is wrong.
        OSError: The connection broke, or time ran out.
        Cancelled: Another thread ended the attempt.
    """
    channel.attempt.phase = "the opening handshake"
    bridge = _Bridge(channel, request)
    client: Any = websocket.WebSocket()
    path = request.target.resource.partition("?")[0]
    try:
        client.connect(f"ws://{_NOBODY}{path}", socket=bridge, host=request.target.authority, suppress_origin=True)
    except Exception as exc:
        failure = bridge.failure or ConnectError(f"websocket-client refused the handshake ({type(exc).__name__})")
    else:
        head, glued = read_head(channel, "the server")
        return _check_response(head, bridge.accept, request, glued)
    # Raised here, for an exception of websocket-client's would show headers as the context.
    raise failure


class _Bridge:
    """The socket that websocket-client sees: it passes the request on and answers it in the server's place.

    So websocket-client is done by the time that the server's own answer comes.
    """

    def __init__(self, channel: Channel, request: Request) -> None:
        self._channel = channel
        self._request = request
        self._shown: list[bytes] = []
        self.failure: Exception | None = None
        self.accept = ""

    def gettimeout(self) -> float:
        return 0.0  # so that websocket-client calls send and recv and nothing else

    def send(self, data: bytes) -> int:
        lines = data.decode().split("\r\n")[1:-2]
        try:
            self._channel.sendall(self._build(lines))
        except Exception as exc:
            self.failure = exc
            raise
        key = next(line for line in lines if line.startswith("Sec-WebSocket-Key:")).partition(":")[2].strip()
        self.accept = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
        answer = [_STAND_IN, "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {self.accept}", "\r"]
        self._shown = [part for line in reversed(answer) for part in (b"\n", line.encode())]
        return len(data)

    def recv(self, _: int) -> bytes:
        """Return the next line, and then its end: asked byte by byte, it would be a hundred calls."""
        return self._shown.pop()

    def close(self) -> None:
        """Do nothing: the attempt closes the socket."""

    def _build(self, lines: list[str]) -> bytes:
        request = self._request
        lines = [f"GET {request.target.resource} HTTP/1.1", *lines]
        if request.subprotocols:
            lines.append(f"Sec-WebSocket-Protocol: {', '.join(request.subprotocols)}")
        if request.compression:
            lines.append(f"Sec-WebSocket-Extensions: {OFFER}")
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()


class Head(NamedTuple):
    """A response without its body; headers given more than once are joined by commas."""

    version: str
    status: int
    headers: dict[str, str]


def read_head(channel: Channel, peer: str) -> tuple[Head, bytes]:
    """Read a response's head, in bulk, and return it with the bytes behind it.

    Raises:
        ConnectError: The head is too long, cut short or no HTTP.
        OSError: The connection broke, or time ran out.
        Cancelled: Another thread ended the attempt.
    """
    data = b""
    while (end := data.find(b"\r\n\r\n", 0, _MAX_HEAD)) < 0:
        if len(data) >= _MAX_HEAD:
            raise ConnectError(f"{peer} sent more than {_MAX_HEAD} bytes of response headers")
        more = channel.recv()
        if not more:
            raise ConnectError(f"{peer} closed the connection during the handshake")
        data += more
    return _parse_head(data[:end].decode("latin-1"), peer), data[end + 4 :]


def _parse_head(text: str, peer: str) -> Head:
    status_line, *lines = text.split("\r\n")
    match = _STATUS_LINE.fullmatch(status_line)
    if match is None:
        raise ConnectError(f"{peer} did not answer in HTTP")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name):
            raise ConnectError(f"{peer} sent an invalid response header")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Head(match[1], int(match[2]), headers)


def _check_response(head: Head, accept: str, request: Request, glued: bytes) -> Upgrade:
    """Check the server's response in full (RFC 6455, 4.1)."""
    if head.status != 101:
        raise ConnectError(f"the server answered with HTTP status {head.status}", status=head.status)
    headers = head.headers
    if head.version != "1.1":
        raise _refused("is not HTTP/1.1")
    if headers.get("upgrade", "").lower() != "websocket":
        raise _refused("has no header Upgrade: websocket")
    if "upgrade" not in [token.strip().lower() for token in headers.get("connection", "").split(",")]:
        raise _refused("has no header Connection: Upgrade")
    if headers.get("sec-websocket-accept") != accept:
        raise _refused("has a wrong Sec-WebSocket-Accept")
    subprotocol = headers.get("sec-websocket-protocol")
    if subprotocol is not None and subprotocol not in request.subprotocols:
        raise _refused("has a subprotocol that was not offered")
    return Upgrade(subprotocol, _check_extensions(headers.get("sec-websocket-extensions"), request), glued)


def _check_extensions(extensions: str | None, request: Request) -> tuple[Inflater, Deflater] | None:
    if extensions is None:
        return None
    if not request.compression:
        raise _refused("has an extension that was not offered")
    try:
        return negotiate(extensions)
    except ValueError:
        pass
    # Raised here, since the context could show what the server sent.
    raise _refused("has an extension that was not offered so")


def _refused(fault: str) -> ConnectError:
    return ConnectError(f"the server's handshake response {fault}", status=101)
