"""The event server for tests, on the ``websockets`` package's threading server."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from contextlib import suppress
from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from .gate import Gate, GatedSocket, Listener

try:
    from websockets.exceptions import ConnectionClosed, ProtocolError
    from websockets.frames import Close, Frame, Opcode
    from websockets.protocol import State
    from websockets.sync.server import Server, ServerConnection, serve
except ImportError as exc:
    raise ImportError(
        "masquerade_ws.testing needs the websockets package: pip install masquerade-ws[testing]", name=exc.name
    ) from exc

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from typing_extensions import Self
    from websockets.http11 import Request, Response

__all__ = ["EventServer", "ExpectationError", "Peer"]

logger = logging.getLogger("masquerade_ws.testing")
# Faults are the point here: what the websockets package says of them is noise, and its handshakes show tokens. Not one
# of `getLogger`'s, so that no configuration of logging brings it back.
silent = logging.Logger("masquerade_ws.testing.websockets", logging.CRITICAL + 1)  # noqa: LOG001

CLOSE_GRACE = 2.0  # seconds for the peers' side of a closing handshake
STOP_GRACE = 0.25  # the same when the server stops


class ExpectationError(AssertionError, TimeoutError):
    """What a test expected of the clients did not happen in time; the message lists what did."""


class _Connection(ServerConnection):
    """A connection that knows its gated socket."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        self.gated = cast("GatedSocket", sock)
        super().__init__(sock, *args, **kwargs)
        self.gated.gate.threads.update({threading.current_thread(), self.recv_events_thread})


class Peer:
    """One connected client, as a handler sees it.

    Attributes:
        token: The token of its handshake, ``None`` if it had none.
    """

    def __init__(self, connection: ServerConnection, token: str | None) -> None:
        self._connection = connection
        self.token = token

    def emit(self, type: str, payload: Mapping[str, Any] | None = None) -> None:
        """Send an event to this client alone; one that has gone misses it.

        Args:
            type: The event's name.
            payload: Its payload, empty by default.
        """
        _send(self._connection, _encode(type, payload))


class EventServer:
    """A real WebSocket server on a loopback port that a test commands.

    As a context manager it serves inside the ``with`` block. Every path is accepted, with any token or none. Events
    of clients are recorded; a message that is no event closes its connection with code 1007.

    Args:
        handler: ``handler(peer, event)`` is called for each event received, on a thread of that connection, and may
            answer with ``peer.emit(type, payload)``. When it raises, the exception is logged and the connection
            closed with code 1011. It must return before the server can stop.
        port: The port to listen on; 0 picks a free one.
    """

    def __init__(self, handler: Callable[[Peer, dict[str, Any]], object] | None = None, *, port: int = 0) -> None:
        self._handler = handler
        self._port = port
        self._gate = Gate()
        self._changed = self._gate.changed
        self._open: dict[ServerConnection, GatedSocket] = {}
        self._refusals: deque[HTTPStatus] = deque()
        self._received: list[dict[str, Any]] = []
        self._unexpected: list[dict[str, Any]] = []
        self._tokens: list[str] = []
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<EventServer port={self._port} {'running' if self._server else 'stopped'}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # Life

    def start(self) -> None:
        """Listen and serve, again after :meth:`stop` and then on the same port. Does nothing while it runs.

        Raises:
            OSError: The port is taken.
        """
        if self._server is not None:
            return
        listener = Listener(self._gate, self._port)
        self._port = listener.getsockname()[1]
        self._gate.stopped = self._gate.frozen = False
        server = self._server = serve(
            self._serve,
            sock=listener,
            process_request=self._process_request,
            process_response=_process_response,
            create_connection=_Connection,
            open_timeout=None,
            ping_interval=None,
            close_timeout=CLOSE_GRACE,
            max_size=None,
            max_queue=None,
            logger=silent,
        )
        # A daemon, and so are the threads it starts: a server that nobody stops does not hold up the exit.
        self._thread = threading.Thread(target=server.serve_forever, name="masquerade-ws-testing", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close every connection with code 1001 and stop listening; what was recorded stays.

        Clients get a quarter of a second for the closing handshake, and none when the server is frozen. Does nothing
        when it is stopped already.
        """
        if self._server is None:
            return
        if not self._gate.frozen:
            self._farewell(1001, "", STOP_GRACE)
        with self._changed:
            self._gate.stopped = True
            left = list(self._gate.sockets)
        for gated in left:
            gated.cut()
        with self._changed:
            self._changed.wait_for(lambda: not self._gate.sockets)
        for thread in list(self._gate.threads):  # their sockets read as ended
            thread.join()
        self._server.shutdown()  # after its connections: it would poll for their end
        cast("threading.Thread", self._thread).join()
        for end in ("shutdown_watcher", "shutdown_notifier"):
            with suppress(
                AttributeError, TypeError
            ):  # before websockets 17 a pipe that stays open; now a closed socket
                os.close(getattr(self._server, end))
        self._server = self._thread = None

    @property
    def url(self) -> str:
        """The address for clients.

        Raises:
            RuntimeError: The server was never started, so it has no port yet.
        """
        if not self._port:
            raise RuntimeError("the server has no port before it is started")
        return f"ws://127.0.0.1:{self._port}/ws"

    @property
    def port(self) -> int:
        """The port; the one given until the server is started."""
        return self._port

    # To the clients

    def emit(self, type: str, payload: Mapping[str, Any] | None = None) -> None:
        """Send an event, with the time of now, to every connected client.

        A client whose ``connect()`` has returned gets it. One that does not read holds up the others.

        Args:
            type: The event's name.
            payload: Its payload, empty by default.
        """
        self.broadcast_raw(_encode(type, payload))

    def broadcast_raw(self, message: str | bytes) -> None:
        """Send a message as it is to every connected client.

        Args:
            message: ``str`` goes as a text message, ``bytes`` as a binary one (RFC 6455, section 5.6).
        """
        for connection in self._connected():
            _send(connection, message)

    # From the clients

    @property
    def received(self) -> list[dict[str, Any]]:
        """All events that clients have sent so far, heartbeats included, in the order of arrival."""
        with self._changed:
            return list(self._received)

    @property
    def tokens(self) -> list[str]:
        """The tokens of all connection attempts, refused ones included, in their order.

        They come from the query's ``token``, percent-decoded, or else from ``Authorization: Bearer``; an attempt
        without either adds none.
        """
        with self._changed:
            return list(self._tokens)

    @property
    def connections(self) -> int:
        """The number of clients that are connected now."""
        return len(self._connected())

    def expect(self, type: str, timeout: float = 5.0) -> dict[str, Any]:
        """Wait for an event from a client. Each event is returned once, the oldest first.

        Args:
            type: The event's name.
            timeout: Seconds to wait for it, if it has not come already.

        Returns:
            The decoded event, a mapping with ``type``, ``payload`` and ``timestamp``.

        Raises:
            ExpectationError: None came in time. It is an ``AssertionError`` and a ``TimeoutError``.
        """
        with self._changed:
            found = self._changed.wait_for(
                lambda: next((event for event in self._unexpected if event["type"] == type), None), timeout
            )
            if found is None:
                raise ExpectationError(
                    f"no {type!r} event within {timeout:g} s; {_listing(self._unexpected)}"
                    f" ({len(self._received)} received in all)"
                )
            self._unexpected.remove(found)
            return found

    def wait_for_connections(self, n: int, timeout: float = 5.0) -> None:
        """Wait until exactly so many clients are connected.

        Args:
            n: How many; 0 waits until all are gone.
            timeout: Seconds to wait.

        Raises:
            ExpectationError: It did not happen in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._live()) == n, timeout):
                raise ExpectationError(f"not {n} but {len(self._live())} connections after {timeout:g} s")

    # Faults

    def drop(self) -> None:
        """Reset every TCP connection, without a closing handshake."""
        with self._changed:
            self._settle()
            dropped = list(self._gate.sockets)
        for gated in dropped:
            gated.cut(reset=True)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close every connection with a closing handshake (RFC 6455, section 7.1.2); the server goes on.

        Returns when all are closed. A client that does not answer within two seconds is cut off.

        Args:
            code: The close code.
            reason: The close reason, at most 123 bytes in UTF-8.

        Raises:
            ValueError: The code or the reason may not be sent.
        """
        try:
            Frame(Opcode.CLOSE, Close(code, reason).serialize()).check()
        except ProtocolError as exc:
            raise ValueError(f"code or reason: {exc}") from None
        self._farewell(code, reason, CLOSE_GRACE)

    def refuse(self, status: int, times: int = 1) -> None:
        """Answer the next handshakes with an HTTP status; refusals asked for before come first.

        Args:
            status: The status, 200 or higher.
            times: How many handshakes.

        Raises:
            ValueError: There is no such status.
        """
        refusal = HTTPStatus(status)
        if refusal < HTTPStatus.OK:
            raise ValueError(f"status: {status} does not end a handshake")
        with self._changed:
            self._refusals.extend([refusal] * times)

    def freeze(self) -> None:
        """Fall silent: accept TCP connections, read nothing, answer nothing, neither handshakes nor pings.

        What the server sends meanwhile is held back for :meth:`thaw`.
        """
        with self._changed:
            self._gate.frozen = True

    def thaw(self) -> None:
        """Go on after :meth:`freeze`: send what was held back, read what has come."""
        with self._changed:
            self._gate.frozen = False
            self._changed.notify_all()
            thawed = list(self._gate.sockets)
        for gated in thawed:
            gated.thaw()

    # Inside

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Record the token; refuse the handshake if a test asked for it."""
        token = _token(request)
        with self._changed:
            if token is not None:
                self._tokens.append(token)
            refusal = self._refusals.popleft() if self._refusals else None
        return None if refusal is None else connection.respond(refusal, f"{refusal.phrase}\n")

    def _serve(self, connection: ServerConnection) -> None:
        """Record one connection's events until it ends."""
        gated = cast("_Connection", connection).gated
        peer = Peer(connection, _token(cast("Request", connection.request)))
        with self._changed:
            gated.opening = False
            self._open[connection] = gated
            self._changed.notify_all()
        try:
            for message in connection:
                self._receive(peer, connection, message)
        except ConnectionClosed:
            pass
        finally:
            with self._changed:
                del self._open[connection]
                self._changed.notify_all()

    def _receive(self, peer: Peer, connection: ServerConnection, message: str | bytes) -> None:
        event = _decode(message)
        if event is None:
            connection.close(1007, "not an event")
            return
        with self._changed:
            self._received.append(event)
            self._unexpected.append(event)
            self._changed.notify_all()
        if self._handler is not None:
            try:
                self._handler(peer, event)
            except Exception:
                logger.exception("the handler of the test server failed")
                raise

    def _connected(self) -> list[ServerConnection]:
        with self._changed:
            self._settle()
            return self._live()

    def _settle(self) -> None:
        """Wait for handshakes whose answer is under way, so that whoever has read it counts as connected."""
        self._changed.wait_for(lambda: not any(gated.opening for gated in self._gate.sockets))

    def _live(self) -> list[ServerConnection]:
        return [each for each, gated in self._open.items() if each.state is State.OPEN and not gated.dead]

    def _farewell(self, code: int, reason: str, grace: float) -> None:
        """Close all connections at once, and cut those that take longer than the grace."""
        leaving = [
            (connection, threading.Thread(target=connection.close, args=(code, reason), daemon=True))
            for connection in self._connected()
        ]
        for _, thread in leaving:
            thread.start()
        end = time.monotonic() + grace
        for connection, thread in leaving:
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                cast("_Connection", connection).gated.cut()
        for _, thread in leaving:
            thread.join()


def _process_response(connection: ServerConnection, request: Request, response: Response) -> None:
    """Mark a handshake that is about to be accepted."""
    gated = cast("_Connection", connection).gated
    with gated.gate.changed:
        gated.opening = response.status_code == HTTPStatus.SWITCHING_PROTOCOLS


def _send(connection: ServerConnection, message: str | bytes) -> None:
    """Send unless the client has gone."""
    with suppress(ConnectionClosed):
        connection.send(message)


def _encode(type: str, payload: Mapping[str, Any] | None) -> str:
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": type, "payload": dict(payload or {}), "timestamp": now})


def _decode(message: str | bytes) -> dict[str, Any] | None:
    """Return the event in a message, or ``None`` if it is none."""
    try:
        event = json.loads(message)
    except ValueError:
        return None
    if not isinstance(event, dict) or not isinstance(cast("dict[str, Any]", event).get("type"), str):
        return None
    return cast("dict[str, Any]", event)


def _token(request: Request) -> str | None:
    """Return the token of a handshake: the query's last one, or else the bearer's."""
    for field in reversed(urlsplit(request.path).query.split("&")):
        name, _, value = field.partition("=")
        if name == "token":
            return unquote(value)
    for header in request.headers.get_all("Authorization"):
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "bearer":
            return value.strip()
    return None


def _listing(events: list[dict[str, Any]]) -> str:
    """Say what arrived, newest last, without more text than a reader wants."""
    if not events:
        return "nothing else is waiting"
    shown = ", ".join(f"{event['type']} {json.dumps(event.get('payload', {}))[:60]}" for event in events[-10:])
    return f"waiting are {len(events)}: {'... ' if len(events) > 10 else ''}{shown}"
