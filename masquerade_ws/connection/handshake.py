"""The opening handshake (RFC 6455, 4.1), through websocket-client.

websocket-client makes the request and the key. It is given a socket-like object that puts in what must not be shown
(the query, the user's headers) and shows it no response but the one that it wants to see. The server's is read here, in
bulk, and checked in full.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import websocket

from masquerade_ws.connection.http_body import read_response
from masquerade_ws.connection.http_head import SWITCHING_PROTOCOLS, Head, read_head
from masquerade_ws.errors import ConnectError, Response
from masquerade_ws.protocol.deflate import OFFER, negotiate
from masquerade_ws.protocol.uri import split_url
from masquerade_ws.version import __version__

if TYPE_CHECKING:
    from masquerade_ws.connection.channel import Channel
    from masquerade_ws.connection.options import ConnectionOptions
    from masquerade_ws.protocol.deflate import Deflater, Inflater
    from masquerade_ws.protocol.uri import WebSocketURI

__all__ = ["Upgrade", "upgrade"]

# What websocket-client takes for the host, under which its cookie jar, one for the whole process, holds nothing.
_NOBODY = "masquerade-ws.invalid"
# What websocket-client takes for the server's status line, and shows in its trace.
_STAND_IN = "HTTP/1.1 101 (not by the server, whose response masquerade-ws reads itself)"
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Upgrade(NamedTuple):
    """What the server agreed to, and the first bytes after its response."""

    subprotocol: str | None
    compression: tuple[Inflater, Deflater] | None
    glued: bytes


def upgrade(channel: Channel, uri: WebSocketURI, options: ConnectionOptions) -> Upgrade:
    """Do the opening handshake.

    Raises:
        ConnectError: If the server refused, or its response is wrong.
        OSError: If the connection broke.
        OutOfTime: If the attempt's deadline has come.
        Cancelled: If another thread ended the attempt.
    """
    channel.attempt.phase = "the opening handshake"
    bridge = _Bridge(channel, uri, options)
    client: Any = websocket.WebSocket()
    path = uri.resource.partition("?")[0]
    try:
        client.connect(f"ws://{_NOBODY}{path}", socket=bridge, host=uri.authority, suppress_origin=True)
    except Exception as error:
        failure = bridge.failure or ConnectError(f"websocket-client refused the handshake ({type(error).__name__})")
    else:
        head, glued = read_head(channel, "the server")
        if head.status != SWITCHING_PROTOCOLS:
            raise _refusal(head, read_response(channel, head, glued))
        return _check_response(head, bridge.accept, options, glued)
    # Raised here, since an exception of websocket-client's would show headers as the context.
    raise failure


class _Bridge:
    """The socket that websocket-client sees: it passes the request on and answers it in the server's place.

    So websocket-client is done by the time that the server's own answer comes.
    """

    def __init__(self, channel: Channel, uri: WebSocketURI, options: ConnectionOptions) -> None:
        self._channel = channel
        self._uri = uri
        self._options = options
        self._shown: list[bytes] = []
        self.failure: Exception | None = None
        self.accept = ""

    def gettimeout(self) -> float:
        return 0.0  # so that websocket-client calls send and recv and nothing else

    def send(self, data: bytes) -> int:
        lines = data.decode().split("\r\n")[1:-2]
        try:
            self._channel.sendall(self._build(lines))
        except Exception as error:
            self.failure = error
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
        options = self._options
        lines = [f"GET {self._uri.resource} HTTP/1.1", *lines]
        if options.subprotocols:
            lines.append(f"Sec-WebSocket-Protocol: {', '.join(options.subprotocols)}")
        if options.compression is not None:
            lines.append(f"Sec-WebSocket-Extensions: {OFFER}")
        headers = options.headers or {}
        if not any(name.lower() == "user-agent" for name in headers):
            lines.append(f"User-Agent: masquerade-ws/{__version__}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()


def _refusal(head: Head, response: Response) -> ConnectError:
    what = f"the server answered with HTTP status {head.status}"
    host = _redirected_to(head)
    if host is not None:
        what += f", a redirect to the host {host}, which is not followed"
    return ConnectError(what, head.status, response)


def _redirected_to(head: Head) -> str | None:
    """Return the host of a redirect's target, which alone of it is not secret."""
    if head.status not in {301, 302, 303, 307, 308}:
        return None
    try:
        return split_url(head.headers.get("location", ""), "Location", ("http", "https", "ws", "wss"))[1]
    except ValueError:  # relative, or not a URL
        return None


def _check_response(head: Head, accept: str, options: ConnectionOptions, glued: bytes) -> Upgrade:
    """Check the server's response in full (RFC 6455, 4.1)."""
    headers = head.headers
    if head.version != "1.1":
        raise _refused("is not HTTP/1.1")
    if headers.get("upgrade", "").lower() != "websocket":
        raise _refused("has no header Upgrade: websocket")
    if "upgrade" not in [token.strip().lower() for token in headers.get("connection", "").split(",")]:
        raise _refused("has no header Connection: Upgrade")
    if headers.get("sec-websocket-accept") != accept:
        raise _refused("has a wrong Sec-WebSocket-Accept")
    subprotocol = _listed(headers, "sec-websocket-protocol")
    if subprotocol is not None and subprotocol not in options.subprotocols:
        raise _refused("has a subprotocol that was not offered")
    return Upgrade(subprotocol, _check_extensions(_listed(headers, "sec-websocket-extensions"), options), glued)


def _listed(headers: dict[str, str], name: str) -> str | None:
    """Return a header that is a list, of which empty elements do not count (RFC 9110, 5.6.1); ``None`` if all are."""
    return headers.get(name, "").strip(", \t") or None


def _check_extensions(extensions: str | None, options: ConnectionOptions) -> tuple[Inflater, Deflater] | None:
    if extensions is None:
        return None
    if options.compression is None:
        raise _refused("has an extension that was not offered")
    try:
        return negotiate(extensions)
    except ValueError:
        pass
    # Raised here, since the context could show what the server sent.
    raise _refused("has an extension that was not offered so")


def _refused(fault: str) -> ConnectError:
    return ConnectError(f"the server's handshake response {fault}", status=101)
