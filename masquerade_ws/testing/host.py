"""One run of the test server on the threaded server of ``websockets``: its socket, connections and threads."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import ExitStack, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from websockets.exceptions import ConnectionClosed
from websockets.protocol import State
from websockets.sync.server import Server, ServerConnection, serve

from masquerade_ws.testing.gate import Gate, GatedSocket, Listener
from masquerade_ws.testing.messages import encode, token_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from websockets.http11 import Request, Response

__all__ = ["CLOSE_GRACE", "PATIENCE", "Host", "Peer", "send"]

# Faults are intended here, so what websockets logs about them is noise, and it logs handshakes with their tokens. Made
# without `getLogger`, so that no configuration of logging can enable it.
_silent = logging.Logger("masquerade_ws.testing.websockets", logging.CRITICAL + 1)  # noqa: LOG001

CLOSE_GRACE = 2.0  # seconds for the peers to answer a close frame
_STOP_GRACE = 0.25  # the same when the server stops
PATIENCE = 10.0  # seconds for functions of the test to return when the server stops


class _Connection(ServerConnection):
    """A connection that knows its gated socket."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        self.gated = cast("GatedSocket", sock)
        super().__init__(sock, *args, **kwargs)
        with self.gated.gate.changed:
            self.gated.gate.threads.update({threading.current_thread(), self.recv_events_thread})


class Peer:
    """One connected client, as a handler sees it.

    Attributes:
        token: The token of its handshake; ``None`` without one.
    """

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self.token = token_of(cast("Request", connection.request))

    def emit(self, type: str, payload: Mapping[str, Any] | None = None) -> None:
        """Send an event to this client alone, unless it has gone.

        Args:
            type: The event's name.
            payload: Its payload, empty by default.
        """
        send(self._connection, encode(type, payload))

    def refuse_message(self) -> None:
        """Close the connection because of a message that is not an event."""
        self._connection.close(1007, "not an event")


class Host:
    """Listens and serves from its construction until `stop`.

    Args:
        changed: Guards everything here; notified when a client connects or leaves.
        port: The port to listen on; 0 picks a free one.
        admit: Called with the request of each handshake; returns the status to refuse it with, or ``None``.
        receive: Called with each sender and message, on the thread of that connection.

    Raises:
        OSError: If the port is taken.
    """

    def __init__(
        self,
        changed: threading.Condition,
        port: int,
        *,
        admit: Callable[[Request], HTTPStatus | None],
        receive: Callable[[Peer, str | bytes], object],
    ) -> None:
        self._changed = changed
        self._gate = Gate(changed)
        self._admit = admit
        self._receive = receive
        self._open: dict[ServerConnection, GatedSocket] = {}
        self._disconnected = threading.Event()
        with ExitStack() as stack:
            self._listener = stack.enter_context(Listener(self._gate, port))
            self.port: int = self._listener.getsockname()[1]
            server = serve(
                self._serve,
                sock=self._listener,
                process_request=self._process_request,
                process_response=_process_response,
                create_connection=_Connection,
                open_timeout=None,
                ping_interval=None,
                close_timeout=CLOSE_GRACE,
                max_size=None,
                max_queue=None,
                logger=_silent,
            )
            stack.pop_all()
        _close_pipe(server)
        self._handle = server.handler
        # A daemon, and so are the threads that it starts: a server that nobody stops must not prevent the exit.
        self._accepting = threading.Thread(target=self._accept, name="masquerade-ws-testing", daemon=True)
        self._accepting.start()

    @property
    def running(self) -> bool:
        """Whether it still listens."""
        return not self._gate.stopped

    # Stopping

    def stop(self) -> None:
        """Close all connections with code 1001 and stop listening; wait for the threads, unless it is one of them.

        Raises:
            RuntimeError: If a thread does not end.
        """
        with self._changed:
            first, self._gate.stopped = not self._gate.stopped, True
        if first:
            try:
                self._disconnect_all()
            finally:  # after an interrupt, too
                self._disconnected.set()
        if threading.current_thread() in self._threads():
            return
        self._disconnected.wait()
        end = time.monotonic() + PATIENCE
        for thread in self._threads():  # each ends, because its socket has
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                raise RuntimeError(f"the server has stopped, but its handler has not returned for {PATIENCE:g} s")

    def _disconnect_all(self) -> None:
        self._listener.wake()
        self._accepting.join()
        self._listener.close()
        if not self._gate.frozen:
            self.close_all(1001, "", _STOP_GRACE)
        with self._changed:
            left = list(self._gate.sockets)
        for gated in left:
            gated.cut()
        with self._changed:
            self._changed.wait_for(lambda: not self._gate.sockets)  # its thread, which was woken, closes each

    def _threads(self) -> list[threading.Thread]:
        with self._changed:
            return list(self._gate.threads)

    def after_fork(self) -> None:
        """Close the sockets in a forked child, which has none of the threads and may find any lock held."""
        self._listener.close()
        self._gate.after_fork()

    # Connections

    def _accept(self) -> None:
        for connection in self._listener.connections():
            threading.Thread(target=self._handle, args=connection, daemon=True).start()

    def connected(self) -> list[ServerConnection]:
        """Return the connections whose clients have received the answer to their handshake."""
        with self._changed:
            self._settle()
            return [each for each, gated in self._open.items() if each.state is State.OPEN and not gated.dead]

    def close_all(self, code: int, reason: str, grace: float) -> None:
        """Close all connections side by side, and cut those that take longer than ``grace`` seconds."""
        closing = [
            (connection, threading.Thread(target=connection.close, args=(code, reason), daemon=True))
            for connection in self.connected()
        ]
        for _, thread in closing:
            thread.start()
        end = time.monotonic() + grace
        for connection, thread in closing:
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                cast("_Connection", connection).gated.cut()
        for _, thread in closing:
            thread.join()

    def drop(self) -> None:
        """Reset every TCP connection."""
        with self._changed:
            self._settle()
            dropped = list(self._gate.sockets)
        for gated in dropped:
            gated.cut(reset=True)

    def freeze(self) -> None:
        """Hold back all bytes in both directions."""
        with self._changed:
            self._gate.frozen = True

    def thaw(self) -> None:
        """Let bytes pass again."""
        with self._changed:
            self._gate.frozen = False
            self._changed.notify_all()
            thawed = list(self._gate.sockets)
        for gated in thawed:
            gated.thaw()

    def _settle(self) -> None:
        """Wait for handshakes that are being answered: a client that has read its answer counts as connected."""
        self._changed.wait_for(lambda: not any(gated.opening for gated in self._gate.sockets))

    # Called by the websockets package

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        refusal = self._admit(request)
        return None if refusal is None else connection.respond(refusal, f"{refusal.phrase}\n")

    def _serve(self, connection: ServerConnection) -> None:
        """Pass the messages of one connection on until it ends."""
        gated = cast("_Connection", connection).gated
        peer = Peer(connection)
        with self._changed:
            gated.opening = False
            self._open[connection] = gated
            self._changed.notify_all()
        try:
            for message in connection:
                self._receive(peer, message)
        except ConnectionClosed:
            pass
        finally:
            with self._changed:
                del self._open[connection]
                self._changed.notify_all()


def send(connection: ServerConnection, message: str | bytes) -> None:
    """Send unless the client has gone."""
    with suppress(ConnectionClosed):
        connection.send(message)


def _close_pipe(server: Server) -> None:
    """Close what wakes the unused accept loop of websockets: two descriptors or sockets, none on Windows.

    That loop may block after a peer that left too early, and it fails if it is stopped as soon as it is started.
    """
    for end in [vars(server)[name] for name in ("shutdown_watcher", "shutdown_notifier") if name in vars(server)]:
        os.close(end if isinstance(end, int) else end.detach())


def _process_response(connection: ServerConnection, request: Request, response: Response) -> None:
    """Mark a handshake that is about to be accepted."""
    gated = cast("_Connection", connection).gated
    with gated.gate.changed:
        gated.opening = response.status_code == HTTPStatus.SWITCHING_PROTOCOLS
