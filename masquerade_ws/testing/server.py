"""The event server that a test controls."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from websockets.exceptions import ProtocolError
from websockets.frames import Close, Frame, Opcode

from masquerade_ws.testing.host import CLOSE_GRACE, PATIENCE, Host, Peer, send
from masquerade_ws.testing.messages import decode, encode, token_of
from masquerade_ws.testing.painter import REQUEST, Fail, Painter
from masquerade_ws.testing.record import ExpectationError, Record
from masquerade_ws.testing.script import Script, Scripts, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from typing_extensions import Self
    from websockets.http11 import Request
    from websockets.sync.server import ServerConnection

__all__ = ["EventServer", "ExpectationError", "Peer", "Step"]

_logger = logging.getLogger("masquerade_ws.testing")


class EventServer:
    """A real WebSocket server on a loopback port, controlled by a test.

    As a context manager it serves inside the ``with`` block. Every path is accepted, with any token or none. Events of
    clients are recorded; a message that is not an event closes its connection with code 1007. A forked child leaves
    the server to its parent: in the child it is stopped.

    Args:
        handler: ``handler(peer, event)`` is called for each event received, on the thread of that connection, and may
            answer with ``peer.emit(type, payload)``. If it raises, the exception is logged and the connection is
            closed with code 1011.
        port: The port to listen on; 0 picks a free one.
    """

    def __init__(self, handler: Callable[[Peer, dict[str, Any]], object] | None = None, *, port: int = 0) -> None:
        self._handler = handler
        self._port = port
        self._changed = threading.Condition()  # guards all records; notified at each change of them
        self._record = Record(self._changed)
        self._refusals: deque[HTTPStatus] = deque()
        self._tokens: list[str] = []
        self._scripts = Scripts()
        self._painter: Painter | None = None
        self._host: Host | None = None
        _servers.add(self)

    def __repr__(self) -> str:
        if "_host" not in vars(self):  # set last
            return "<EventServer that was not made>"
        return f"<EventServer port={self._port} {'running' if self._running else 'stopped'}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # Starting and stopping

    @property
    def _running(self) -> bool:
        return self._host is not None and self._host.running

    def start(self) -> None:
        """Listen and serve; after `stop` again on the same port. Does nothing while it is running.

        Raises:
            OSError: If the port is taken.
        """
        if not self._running:
            self._host = Host(self._changed, self._port, admit=self._admit, receive=self._receive)
            self._port = self._host.port

    def stop(self) -> None:
        """Close every connection with code 1001, stop listening and end scripts; the records stay.

        Clients get a quarter of a second for the closing handshake, and no time if the server is frozen. Does nothing
        if it is stopped already. Handlers and scripts may call it, too.

        Raises:
            RuntimeError: If all that is done, but a handler or a function of a script has not returned within ten
                seconds.
        """
        scripts = self._scripts.end()
        self._stop_host()
        for thread in scripts:
            thread.join(PATIENCE)
            if thread.is_alive():
                raise RuntimeError(f"the server has stopped, but a step of a script has not ended for {PATIENCE:g} s")
        self._stop_host()  # a script may have started it again

    def _stop_host(self) -> None:
        if self._host is not None:
            self._host.stop()

    @property
    def url(self) -> str:
        """The URL for clients.

        Raises:
            RuntimeError: If the server was never started, so that it has no port yet.
        """
        if not self._port:
            raise RuntimeError("the server has no port yet: call start() first")
        return f"ws://127.0.0.1:{self._port}/ws"

    @property
    def port(self) -> int:
        """The port; before the server is started, the one given."""
        return self._port

    # To the clients

    def emit(self, type: str, payload: Mapping[str, Any] | None = None) -> None:
        """Send an event with the present time to every connected client.

        A client whose ``connect()`` has returned gets it. A client that does not read delays the others.

        Args:
            type: The event's name.
            payload: Its payload, empty by default.
        """
        self.broadcast_raw(encode(type, payload))

    def broadcast_raw(self, message: str | bytes) -> None:
        """Send a message as it is to every connected client.

        Args:
            message: ``str`` goes as a text message, ``bytes`` as a binary one (RFC 6455, section 5.6).
        """
        for connection in self._connected():
            send(connection, message)

    def script(self, steps: Iterable[Step], *, on: str | None = None) -> None:
        """Play steps in their order on a new thread, such as the events and faults of a job.

        ======================  ==================================================================================
        a step                  what the server does
        ======================  ==================================================================================
        ``(type, payload)``     It emits the event to all clients.
        a number                It waits that many seconds.
        a function              It calls it: ``server.drop``, or ``lambda: server.close(1012)``.
        ======================  ==================================================================================

        A function with a required parameter gets the event that starts the script. A payload may be such a function,
        too: ``("image.generation.started", lambda event: {"job_id": event["payload"]["job_id"], "user_id": "7"})``.

        A step that raises ends the script; the exception goes to ``threading.excepthook``, and pytest reports it.

        Args:
            steps: The steps.
            on: The type of an event of a client: the next one starts the script. Several scripts that wait for the
                same type answer one event each, in the order of the calls. ``None`` starts it at once.

        Raises:
            TypeError: If a step is none of these, or its payload cannot be written as JSON, or it wants the event that
                starts the script and none does.
            ValueError: If a pause is negative, or a payload holds NaN or an infinity.
        """
        script = Script(steps, self.emit, triggered=on is not None)
        if on is None:
            self._scripts.play(script, {})
        else:
            self._scripts.await_event(on, script)

    def paint(self, steps: int = 5, fail: Fail = None) -> None:
        """Answer every ``image.generate`` from now on with the events of a whole job, sent to all clients at once.

        The job has the id that came. Its image exists nowhere: ``https://images.example/<job id>.png``. A script that
        waits for ``image.generate`` comes first. A second call replaces the arguments of the first.

        Args:
            steps: How many times a job reports progress.
            fail: Why jobs fail, half way through: the reason, ``True`` for any reason, or a function that gets the
                payload of the request and returns either, or ``None`` for a job that succeeds. Without it a job fails
                if its payload says ``"fail": true``, as at the gateway of ``masquerade-ws serve``.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If ``steps`` is negative.
        """
        self._painter = Painter(steps, fail)

    # From the clients

    @property
    def received(self) -> list[dict[str, Any]]:
        """All events that clients have sent so far, heartbeats included, in the order of arrival.

        They are kept as long as the server object exists.
        """
        with self._changed:
            return list(self._record.events)

    @property
    def tokens(self) -> list[str]:
        """The tokens of all connection attempts, refused ones included, in their order.

        A token comes from ``token=`` in the query, percent-decoded, or else from ``Authorization: Bearer``; an attempt
        with neither adds none.
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
            ExpectationError: If none came in time; it is an ``AssertionError`` and a ``TimeoutError``.
        """
        __tracebackhide__ = True
        return self._record.expect(type, timeout)

    def assert_sent(
        self, type: str, payload_subset: Mapping[str, object] | None = None, timeout: float = 5.0
    ) -> dict[str, Any]:
        """Assert that a client has sent an event, or sends it in time, whether or not `expect` returned it.

        Args:
            type: The event's name.
            payload_subset: Fields that its payload must have, with equal values; it may have others. A mapping among
                them is a subset, too.
            timeout: Seconds to wait for it, if it has not come already.

        Returns:
            The decoded event, the oldest of several.

        Raises:
            ExpectationError: If none came in time; the message compares the closest one, field by field.
        """
        __tracebackhide__ = True
        return self._record.assert_sent(type, payload_subset or {}, timeout)

    def wait_for_connections(self, n: int, timeout: float = 5.0) -> None:
        """Wait until exactly ``n`` clients are connected.

        Args:
            n: How many; 0 waits until all are gone.
            timeout: Seconds to wait.

        Raises:
            ExpectationError: If that did not happen in time.
        """
        __tracebackhide__ = True
        with self._changed:
            if not self._changed.wait_for(lambda: self.connections == n, timeout):
                raise ExpectationError(f"{self.connections} clients are connected after {timeout:g} s, not {n}")

    # Faults

    def drop(self) -> None:
        """Reset every TCP connection, without a closing handshake."""
        if self._host is not None:
            self._host.drop()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close every connection with a closing handshake (RFC 6455, section 7.1.2); the server keeps running.

        Returns when all are closed. A client that does not answer within two seconds is disconnected.

        Args:
            code: The close code.
            reason: The close reason, at most 123 bytes in UTF-8.

        Raises:
            ValueError: If the code or the reason may not be sent.
        """
        try:
            Frame(Opcode.CLOSE, Close(code, reason).serialize()).check()
        except ProtocolError as error:
            raise ValueError(f"code or reason: {error}") from None
        if self._host is not None:
            self._host.close_all(code, reason, CLOSE_GRACE)

    def refuse(self, status: int, times: int = 1) -> None:
        """Answer the next handshakes with an HTTP status, after those of earlier calls.

        Args:
            status: The status, 200 or higher.
            times: How many handshakes.

        Raises:
            ValueError: If there is no such status.
        """
        refusal = HTTPStatus(status)
        if refusal < HTTPStatus.OK:
            raise ValueError(f"status: {status} does not refuse a handshake; give one from 200 on")
        with self._changed:
            self._refusals.extend([refusal] * times)

    def freeze(self) -> None:
        """Fall silent: accept TCP connections, but read nothing and answer neither handshakes nor pings.

        What the server sends meanwhile is held back until `thaw`. The operating system still acknowledges what
        arrives, so a client finds the server dead only after ``busy_timeout``.
        """
        if self._host is not None:
            self._host.freeze()

    def thaw(self) -> None:
        """Continue after `freeze`: send what was held back and read what has arrived."""
        if self._host is not None:
            self._host.thaw()

    # Internals

    def _connected(self) -> list[ServerConnection]:
        return [] if self._host is None else self._host.connected()

    def _admit(self, request: Request) -> HTTPStatus | None:
        """Record the token; return the status to refuse the handshake with, if a test asked for that."""
        token = token_of(request)
        with self._changed:
            if token is not None:
                self._tokens.append(token)
            return self._refusals.popleft() if self._refusals else None

    def _receive(self, peer: Peer, message: str | bytes) -> None:
        event = decode(message)
        if event is None:
            peer.refuse_message()
            return
        self._record.add(event)
        scripted = self._scripts.trigger(event)
        try:
            if self._painter is not None and event["type"] == REQUEST and not scripted:
                for name, payload in self._painter.job(event):
                    self.emit(name, payload)
            if self._handler is not None:
                self._handler(peer, event)
        except Exception:
            _logger.exception("the handler of the test server raised")
            raise

    def _after_fork(self) -> None:
        """Stop in a forked child; the parent keeps the connections, the threads and the locks."""
        if self._host is not None:
            self._host.after_fork()
        self._host = None
        self._scripts = Scripts()
        self._changed = self._record.changed = threading.Condition()


_servers: weakref.WeakSet[EventServer] = weakref.WeakSet()


def _after_fork() -> None:
    for server in list(_servers):
        server._after_fork()  # pyright: ignore[reportPrivateUsage]


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows cannot fork
    os.register_at_fork(after_in_child=_after_fork)
