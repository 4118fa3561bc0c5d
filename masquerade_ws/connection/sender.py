"""The send side of a connection: whole frames, one after the other, and never a wait for the reader."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from itertools import chain, repeat
from struct import Struct
from typing import TYPE_CHECKING

from masquerade_ws.connection.sockets import DONTWAIT, ignoring_failures, send_now, wait
from masquerade_ws.errors import SendError
from masquerade_ws.protocol.frames import CLOSE, PING, PONG, build_frame

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from masquerade_ws.connection.tls import TLS, NestedTLS
    from masquerade_ws.deadline import Deadline
    from masquerade_ws.protocol.deflate import Deflater

__all__ = ["Sender"]

# A socket that takes nothing for this long belongs to a peer that does not read.
_STALL = 0.1
_PINGS_KEPT = 8
_PONGS_OWED = 1024  # at most so many while another thread is sending
_PONGS_AT_ONCE = 64  # in one write, so that little has to wait when the kernel is full
_KEY = Struct("4s")
_CLOSED = "the connection is closed"


class Sender:
    """Send frames from any thread.

    Args:
        sock: The connected socket.
        tls: TLS on it, if there is.
        deflater: The agreed compression, if there is.

    Attributes:
        messages_sent: Messages sent.
        bytes_sent: Bytes sent since the opening handshake, as they went.
        send_closed: Whether nothing more will be sent.
    """

    def __init__(self, sock: socket.socket, tls: TLS | NestedTLS | None, deflater: Deflater | None) -> None:
        self.messages_sent = 0
        self.bytes_sent = 0
        self._sock = sock
        self._tls = tls
        self._deflater = deflater
        # Whether a send without a wait before it never waits itself. gevent's would: a blocking socket in name alone.
        self._eager = DONTWAIT != 0 and os.get_blocking(sock.fileno())
        # Guards the socket's send direction, _unsent, _broken, send_closed and the deflater: frames go out whole and in
        # order. Reentrant, since a signal handler may close the connection that its own thread is sending on.
        self.lock = threading.RLock()
        self._mid_frame = False  # the thread that has the lock may be in the middle of a frame
        self._unsent: bytes | memoryview = b""  # what the kernel would not take yet of what must go out next
        # Masking keys, fetched in bulk, since each fetch costs as much as half a frame.
        self._keys = chain.from_iterable(map(_KEY.iter_unpack, map(os.urandom, repeat(64 * _KEY.size))))
        self._pings: deque[tuple[bytes, float]] = deque(maxlen=_PINGS_KEPT)  # not answered yet, with their times
        # The pings to answer, or the latest of them. The reader appends; who holds the lock takes.
        self._owed: deque[bytes] = deque(maxlen=_PONGS_OWED)
        self._close_asked = False
        self._broken = False  # something was sent in part, after which nothing may follow
        self.send_closed = False

    @property
    def stalled(self) -> bool:
        """Whether something waits for the kernel that no thread is busy sending."""
        return bool(self._unsent) and not (self._close_asked or self.send_closed or self._mid_frame)

    @property
    def held(self) -> bool:
        """Whether TLS holds something up until the peer goes on with its handshake."""
        return self._tls is not None and self._tls.held and not self._broken

    def send(self, opcode: int, payload: bytes, timeout: float, patience: float | None = None) -> float:
        """Send a frame within ``timeout`` seconds, of which the sends of other threads may take ``patience``.

        Returns:
            The ``time.monotonic()`` at which those seconds are over, since TLS may hold the frame up.

        Raises:
            SendError: If the frame was not sent, and the connection is as it was.
            OSError: If the connection is broken, perhaps with half a frame sent.
        """
        if self.send_closed:  # also in a forked child, where the lock may be held for ever
            raise SendError(_CLOSED)
        until = time.monotonic() + timeout  # a Deadline would cost a thirtieth of a small send
        if not self.lock.acquire(True, timeout if patience is None else min(timeout, patience)):
            raise SendError("sending timed out while another thread was sending")
        try:
            if self._mid_frame:
                raise SendError("this thread is in the middle of another send")
            if self._close_asked or self.send_closed:
                raise SendError(_CLOSED)
            if opcode == PING:
                self._pings.append((payload, time.monotonic()))
            self._write(opcode, payload, until)
            self.messages_sent += opcode < CLOSE
        finally:
            self.lock.release()
        if self._owes():
            self.settle(until)
        return until

    def settle(self, until: float) -> None:
        """Send what the reader could not send meanwhile: it may be in recv by now, so it is left to this thread."""
        self.flush()
        while self.stalled and wait(self._sock, _left(until), write=True):
            self.flush()

    def close(self, payload: bytes, deadline: Deadline) -> bool:
        """Send a close frame, the last frame of all; return whether the kernel took it.

        A peer that does not read would not read that either, so nothing waits for it.
        """
        self._close_asked = True  # threads that wait for the lock give up when they get it
        with ignoring_failures():
            while not self.lock.acquire(timeout=_shorter(deadline)):
                if deadline.expired() or not wait(self._sock, _shorter(deadline), write=True):
                    return False
            try:
                if self._mid_frame or self.send_closed or not wait(self._sock, _shorter(deadline), write=True):
                    return False
                self._write(CLOSE, payload, time.monotonic() + (deadline.remaining() or 0))
                return True
            finally:
                self.send_closed = True
                self.lock.release()
        return False

    def end_tls(self) -> None:
        """Send TLS's close_notify after the last frame, as far as that goes without waiting.

        A frame that was sent in part is not followed by anything, so that the peer sees that the rest is missing.
        """
        if self._tls is None or not self.lock.acquire(blocking=False):
            return
        try:
            with ignoring_failures():
                if not (self._mid_frame or self._broken or self._unsent or self.held):
                    self.send_closed = True
                    self._unsent = self._tls.close()
                    while self._unsent and wait(self._sock, 0, write=True):
                        self._push()
        finally:
            self.lock.release()

    def pinged(self, payload: bytes) -> float | None:
        """Return when the ping was sent that a pong answers, the latest of its kind, since a peer may answer only that.

        It is forgotten, and all before it (RFC 6455, 5.5.3).
        """
        pings = list(self._pings)
        for count in range(len(pings), 0, -1):
            sent, at = pings[count - 1]
            if sent == payload:
                for _ in range(count):
                    self._pings.popleft()
                return at
        return None

    def pong(self, pings: Sequence[bytes]) -> None:
        """Answer pings (RFC 6455, 5.5.2), as `flush` does: each while the kernel takes the answers, then the latest.

        Raises:
            OSError: If the connection is broken.
        """
        for payload in pings:
            if len(self._owed) == _PONGS_OWED:
                self.flush()
            self._owed.append(payload)
        self.flush()

    def flush(self) -> None:
        """Send what is owed to the peer, as far as that goes without waiting for a thread or the kernel.

        Raises:
            OSError: If the connection is broken.
        """
        while self._owes() and self.lock.acquire(blocking=False):
            try:
                if self._mid_frame or self._broken or not self._flushed():
                    return  # if the kernel is full, the reader now waits for the socket to be writable
            finally:
                self.lock.release()

    def _flushed(self) -> bool:
        """Send what the kernel takes at once; return whether that was all."""
        self._mid_frame = True
        try:
            while self._collect():
                while self._unsent and wait(self._sock, 0, write=True):
                    self._push()
                if self._unsent:
                    while len(self._owed) > 1:  # an answer to the latest ping answers those before it (5.5.3)
                        self._owed.popleft()
                    return False
            return True
        except BaseException:  # with some of it sent perhaps
            self.send_closed = self._broken = True
            raise
        finally:
            self._mid_frame = False

    def _owes(self) -> bool:
        if self._owed and self._may_pong():
            return True
        return bool(self._unsent) or (self._tls is not None and self._tls.owes)

    def _may_pong(self) -> bool:
        return not (self._close_asked or self.send_closed or self.held)

    def _collect(self) -> bool:
        """Queue the next pongs and TLS's own records, unless something is unsent; return whether something is now."""
        if not self._unsent:
            count = min(len(self._owed), _PONGS_AT_ONCE) if self._may_pong() else 0
            pongs = [build_frame(PONG, self._owed.popleft(), next(self._keys)[0]) for _ in range(count)]
            self._queue(b"".join(pongs))
        return bool(self._unsent)

    def _queue(self, frame: bytes) -> None:
        data = frame if self._tls is None else self._tls.encrypt(frame)
        self._unsent = memoryview(bytes(self._unsent) + data) if self._unsent else data

    def _frame(self, opcode: int, payload: bytes) -> bytes:
        if self._deflater is None or opcode >= CLOSE:
            return build_frame(opcode, payload, next(self._keys)[0])
        return build_frame(opcode, self._deflater.deflate(payload), next(self._keys)[0], rsv1=True)

    def _write(self, opcode: int, payload: bytes, until: float) -> None:
        """Send all that is unsent and a frame; whatever interrupts that leaves the connection unfit to send."""
        self._mid_frame = True
        try:
            self._queue(self._frame(opcode, payload))
            if self._eager:
                self._push()
            while self._unsent:
                if not wait(self._sock, _left(until), write=True):
                    raise TimeoutError(errno.ETIMEDOUT, "timed out, as the peer does not read")
                self._push()
        except BaseException:
            self.send_closed = self._broken = True
            raise
        finally:
            self._mid_frame = False

    def _push(self) -> None:
        sent = send_now(self._sock, self._unsent)
        self.bytes_sent += sent
        self._unsent = b"" if sent == len(self._unsent) else memoryview(self._unsent)[sent:]


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())


def _shorter(deadline: Deadline) -> float:
    remaining = deadline.remaining()
    return _STALL if remaining is None else min(_STALL, remaining)
