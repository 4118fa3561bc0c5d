"""The receive side of a connection: bytes in bulk to messages, and what the peer's control frames ask for."""

from __future__ import annotations

import errno
import threading
import time
from typing import TYPE_CHECKING

from masquerade_ws.connection.closure import lost
from masquerade_ws.connection.sockets import RECV_SIZE, ignoring_failures, is_failure, wait
from masquerade_ws.deadline import Deadline

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from masquerade_ws.connection.closure import Closure
    from masquerade_ws.connection.sender import Sender
    from masquerade_ws.connection.tls import TLS, NestedTLS
    from masquerade_ws.protocol.frames import FrameReceiver

__all__ = ["Receiver"]

_FLOOD_SIZE = 8 * RECV_SIZE
_LAST_READS = 1.0  # seconds; a connection that has failed can mostly be read to its end at once
# The dispatcher thread can deal with this many messages before Python hands the interpreter to another thread, which
# it does after 5 ms (sys.getswitchinterval).
_FLOOD_COUNT = 2000


class Receiver:
    """Receive messages, one thread at a time.

    Args:
        sock: The connected socket.
        tls: TLS on it, if there is.
        frames: The parser.
        sender: Where pongs go.
        closure: Where the end is noted that the peer or the network brings.

    Attributes:
        latency: Round trip of the last answered ping, in seconds.
        last_received: ``time.monotonic()`` of the last byte received.
        bytes_received: Bytes received since the opening handshake.
        recv_closed: Whether nothing more will be read.
    """

    def __init__(
        self, sock: socket.socket, tls: TLS | NestedTLS | None, frames: FrameReceiver, sender: Sender, closure: Closure
    ) -> None:
        self.latency: float | None = None
        self.last_received = time.monotonic()
        self.bytes_received = 0
        self.recv_closed = False
        self.frames = frames
        self._sock = sock
        self._tls = tls
        self._sender = sender
        self._closure = closure
        # Guards all of the receive side, and the descriptor from being closed under another thread's recv. Held during
        # recv; reentrant, since a signal handler may close the connection that its own thread iterates over.
        self.lock = threading.RLock()
        self._backlog: list[str | bytes] = []  # received already, for the thread that iterates
        self._raw: list[bytes] = []  # received, but not parsed to the end
        self._size = RECV_SIZE
        self._until = Deadline(None)  # when to read nothing more but what is there
        self._reads = 0  # how often `announce_read` found threads waiting
        self._waiting = 0  # threads in `read_on`
        # Guards the two, and wakes those threads.
        self._read_over = threading.Condition()

    def receive(self) -> list[str | bytes] | None:
        """Return the next messages, perhaps none; ``None`` at the end."""
        try:
            with self.lock:
                if self._backlog:
                    messages, self._backlog = self._backlog, []
                    return messages
                return self._read()
        finally:
            self.announce_read()

    def preload(self, data: bytes) -> None:
        """Take bytes, in plain, that came along with the opening handshake."""
        with self.lock:
            self.bytes_received += len(data)
            self._backlog += self._take(data)

    def readable(self) -> bool:
        """Return whether something waits to be read, be it the stream's end."""
        with ignoring_failures():  # closed meanwhile
            return bool(self._backlog) or wait(self._sock, 0, read=True)
        return False

    def read_on(self, deadline: Deadline) -> bool:
        """Read once, for a thread that can go on only after what the peer sends next; or wait while another reads.

        A thread that iterates gets the messages.

        Returns:
            Whether anything may have changed; ``False`` if this thread itself is in the middle of a read.

        Raises:
            OSError: If nothing more will be read.
        """
        with self._read_over:
            self._waiting += 1
        try:
            reads = self._reads  # read before the lock is tried: a read that ends after that is seen below
            if not self.lock.acquire(blocking=False):
                with self._read_over:
                    self._read_over.wait_for(lambda: self._reads != reads, deadline.remaining())
                return True
            try:
                if self.recv_closed:
                    raise ConnectionAbortedError(errno.ECONNABORTED, "the peer has ended the connection")
                if self._raw:
                    return False
                if wait(self._sock, deadline.remaining(), read=True):
                    self._backlog += self._read() or ()
                return True
            finally:
                self._leave()
        finally:
            with self._read_over:
                self._waiting -= 1

    def announce_read(self) -> None:
        """Wake the threads in `read_on`, once the lock is free: TLS may have gone on, and one of them may read.

        Whoever has held the lock calls it, since a thread that found it taken waits for that.
        """
        if self._waiting:
            with self._read_over:
                self._reads += 1
                self._read_over.notify_all()

    def _leave(self) -> None:
        """Release the lock, and let the threads in `read_on` know."""
        self.lock.release()
        self.announce_read()

    def await_close(self, deadline: Deadline, limit: int) -> None:
        """Read until the peer's close frame, or ``limit`` bytes; a thread that iterates gets the messages.

        The lock comes free when the thread in ``recv`` has got something, perhaps that frame.
        """
        limit += self.bytes_received
        while self.bytes_received + sum(map(len, self._raw)) < limit and self.lock.acquire(
            timeout=deadline.remaining() or 0
        ):
            going_on = False
            try:
                with ignoring_failures():  # reset, or closed meanwhile
                    going_on = self._read_until_close(deadline)
            finally:
                self._leave()
            if not going_on:
                return

    def _read_until_close(self, deadline: Deadline) -> bool:
        """Read once, with the lock held; return whether the close frame may still come."""
        if self.recv_closed or not wait(self._sock, deadline.remaining(), read=True):
            return False
        if self._raw:  # a signal handler within a read of its own thread, which parses this as well
            return self._gather()
        self._backlog += self._read() or ()
        return True

    def drain(self, deadline: Deadline) -> None:
        """Read until the peer ends TLS or closes TCP: closing over unread bytes would reset the connection.

        The peer's close_notify is enough: some servers keep TCP open after it until the client closes that.
        """
        if not self.lock.acquire(timeout=deadline.remaining() or 0):
            return
        try:
            with ignoring_failures():  # reset, or closed meanwhile
                while not (self._tls is not None and self._tls.recv_closed) and not deadline.expired():
                    data = wait(self._sock, deadline.remaining(), read=True) and self._sock.recv(RECV_SIZE)
                    if not data:
                        return
                    if self._tls is not None:
                        self._tls.decrypt(data)
                        self._sender.flush()  # our close frame, if TLS held it up
        finally:
            self._leave()

    def after_fork(self) -> None:
        """Read nothing more, in a forked child, where a lock may be held for ever."""
        self.recv_closed = True
        self.lock = threading.RLock()
        self._read_over, self._waiting = threading.Condition(), 0

    def _read(self) -> list[str | bytes] | None:
        """Read once and parse that; ``None`` at the end."""
        if self.recv_closed:
            return None
        try:
            self._send_stalled()
            if not self._may_wait() or not self._gather():
                self._lose(None)
        except OSError as error:
            if not is_failure(error):
                raise
            self._lose(error.with_traceback(None))
        return self._parse() if self._raw else None

    def _may_wait(self) -> bool:
        """Return whether to read on, once it is clear that there will be something if reading has a limit."""
        left = self._until.remaining()
        return left is None or wait(self._sock, left, read=True)

    def _send_stalled(self) -> None:
        """Send what the kernel would not take before, until there is something to receive."""
        while self._sender.stalled:
            wait(self._sock, None, read=True, write=True)
            self._flush()
            if wait(self._sock, 0, read=True):
                break

    def _gather(self) -> bool:
        """Block until there are bytes or the stream ends; return whether there are bytes.

        Woken by bytes, by the peer's end of the stream, or by our own shutdown of the socket. In one step, so that a
        signal handler finds the bytes still in the kernel or here already.
        """
        known = len(self._raw)
        self._raw.extend(filter(None, map(self._sock.recv, (self._size,))))
        return len(self._raw) > known

    def _parse(self) -> list[str | bytes]:
        """Parse what is gathered, and what a signal handler gathers meanwhile."""
        messages: list[str | bytes] = []
        try:
            while self._raw:
                data = self._raw[0]
                self.last_received = time.monotonic()
                self.bytes_received += len(data)
                taken = self._take(data if self._tls is None else self._tls.decrypt(data))
                messages += taken
                del self._raw[0]
                # In a flood larger reads cost fewer changes from thread to thread; otherwise they would waste memory.
                if len(data) < self._size:
                    self._size = RECV_SIZE
                else:
                    flood = len(data) * _FLOOD_COUNT // max(1, len(taken))
                    self._size = max(RECV_SIZE, min(_FLOOD_SIZE, flood))
        finally:
            self._raw.clear()
        return messages

    def _take(self, data: bytes) -> list[str | bytes]:
        """Turn bytes into messages, and act on the control frames among them."""
        frames = self.frames
        messages = frames.feed(data)
        if frames.close is not None:
            self.recv_closed = True
            self._closure.decide(*frames.close)
        elif frames.violation is not None:
            self.recv_closed = True
            self._closure.fail(frames.violation)
        elif self._tls is not None and self._tls.recv_closed:
            self._lose(self._tls.fault)
        if frames.pongs:
            self._note(frames.pongs)
        self._answer()
        return messages

    def _note(self, pongs: list[bytes]) -> None:
        for pong in pongs:
            sent = self._sender.pinged(pong)
            if sent is not None:
                self.latency = self.last_received - sent
        pongs.clear()

    def _answer(self) -> None:
        """Send the pongs, and what TLS wants to answer, as far as that needs no waiting."""
        pings, self.frames.pings = self.frames.pings, []
        self._flush(pings)

    def _flush(self, pings: Sequence[bytes] = ()) -> None:
        """Send what is owed, and pongs; a failure is no reason not to read what the peer sent before that."""
        try:
            self._sender.pong(pings)
        except OSError as error:
            if not is_failure(error):
                raise
            self._closure.suppose(lost(error.with_traceback(None)))
            self._until = Deadline(_LAST_READS)

    def _lose(self, cause: OSError | None) -> None:
        self.recv_closed = True
        self._closure.lose(cause)
