"""Waiting on sockets, and the state that the phases of one attempt to connect share."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import socket
import threading
from io import FileIO
from typing import TYPE_CHECKING, Any

from masquerade_ws.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from masquerade_ws.tls import TLS

__all__ = [
    "DONTWAIT",
    "RECV_SIZE",
    "Address",
    "Attempt",
    "Cancelled",
    "Channel",
    "Waker",
    "dial",
    "send_now",
    "shutdown",
    "wait",
]

# Family, type, protocol, canonical name and socket address, as socket.getaddrinfo returns them.
Address = tuple[int, int, int, str, Any]

RECV_SIZE = 65536
DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)  # tells a send not to block; Windows cannot
# Where a send cannot be told so, so much fits into a socket that is writable.
_SMALL_SEND = 16384
_LONGEST_POLL = 2**31 - 1  # milliseconds
_IN_PROGRESS = {0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EWOULDBLOCK)}


class Cancelled(Exception):  # noqa: N818 - it reports no error
    """The attempt was cancelled by another thread."""


def wait(
    sock: socket.socket,
    timeout: float | None,
    *,
    read: bool = False,
    write: bool = False,
    wake: Waker | None = None,
) -> bool:
    """Wait until the socket is ready or broken; False when time runs out.

    One that another thread closes meanwhile may be waited for until then.

    Raises:
        Cancelled: ``wake`` became readable.
        OSError: The socket is closed.
    """
    descriptor = sock.fileno()  # once, for another thread may close the socket at any line
    if descriptor < 0:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    # Looked up now, not when imported: gevent may replace them, or take poll away.
    ready = (_poll if hasattr(select, "poll") else _select)(descriptor, timeout, read, write, wake)
    if wake is not None and wake.fileno() in ready:
        raise Cancelled
    return bool(ready)


def _poll(descriptor: int, timeout: float | None, read: bool, write: bool, wake: Waker | None) -> set[int]:
    poll = select.poll()
    poll.register(descriptor, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
    if wake is not None:
        poll.register(wake, select.POLLIN)
    milliseconds = None if timeout is None else min(math.ceil(timeout * 1000), _LONGEST_POLL)
    return {fd for fd, _ in poll.poll(milliseconds)}


def _select(descriptor: int, timeout: float | None, read: bool, write: bool, wake: Waker | None) -> set[int]:
    readers = [descriptor] if read else []
    if wake is not None:
        readers.append(wake.fileno())
    writers = [descriptor] if write else []
    # Windows reports a connect that failed as an exceptional condition only.
    return {one for group in select.select(readers, writers, writers, timeout) for one in group}


def send_now(sock: socket.socket, data: bytes | memoryview) -> int:
    """Hand the kernel what it takes of ``data`` at once; to be called when the socket is writable, or may be."""
    try:
        return sock.send(data if DONTWAIT else data[:_SMALL_SEND], DONTWAIT)
    except BlockingIOError:
        return 0


def shutdown(sock: socket.socket, how: int) -> None:
    """Shut one or both directions down, unless the peer has done so already."""
    with contextlib.suppress(OSError):
        sock.shutdown(how)


class Waker:
    """Becomes readable once another thread wants a wait to end."""

    def __init__(self) -> None:
        self._end: FileIO | socket.socket
        self._far_end: socket.socket | None = None
        if hasattr(os, "eventfd"):  # Linux: a third of the price
            self._end = FileIO(os.eventfd(0), "r+")
        else:
            self._end, self._far_end = socket.socketpair()

    def fileno(self) -> int:
        return self._end.fileno()

    def set(self) -> None:
        """End the wait; not to be called after ``close``."""
        if self._far_end is None:
            os.eventfd_write(self.fileno(), 1)
        else:
            self._far_end.send(b"\0")

    def close(self) -> None:
        """Let go of the descriptors."""
        self._end.close()
        if self._far_end is not None:
            self._far_end.close()


class Attempt:
    """One attempt to connect: a deadline for all its phases, and a way for other threads to end it.

    Args:
        timeout: Seconds for the whole attempt; ``None``: no limit.

    Attributes:
        phase: What is being done, for the message of a time-out.
        sock: The socket of the moment, so that a forked child can close it; it never blocks, for `wait` is to.
        looked_up: Set when the look-up of the moment ends or the attempt is cancelled.
    """

    def __init__(self, timeout: float | None) -> None:
        self.deadline = Deadline(timeout)
        self.phase = ""
        self.sock: socket.socket | None = None
        self.cancelled = False
        self.looked_up: threading.Event | None = None
        self._waker: Waker | None = None  # made by the first wait, and often there is none

    def cancel(self) -> None:
        """End the attempt, from another thread or a signal handler; not to be called after ``close``."""
        if self.cancelled:
            return
        self.cancelled = True
        if self._waker is not None:
            self._waker.set()  # wakes a wait on the socket, which raises Cancelled
        if self.looked_up is not None:
            self.looked_up.set()  # wakes a wait for a look-up, which raises Cancelled

    def check(self) -> None:
        """Raise if the attempt is to end.

        Raises:
            TimeoutError: Time ran out.
            Cancelled: Another thread ended the attempt.
        """
        if self.cancelled:
            raise Cancelled
        if self.deadline.expired():
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    def wait(self, *, read: bool = False, write: bool = False, deadline: Deadline | None = None) -> None:
        """Wait for the socket, by default until the attempt's own deadline.

        Raises:
            TimeoutError: Time ran out.
            Cancelled: Another thread ended the attempt.
        """
        assert self.sock is not None
        if self._waker is None:
            self._waker = Waker()
        self.check()  # behind that: `cancel` sets the flag ahead of its look at the waker, so one sees the other
        if not wait(self.sock, (deadline or self.deadline).remaining(), read=read, write=write, wake=self._waker):
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    def close(self) -> None:
        """Let go of the wake-up channel."""
        if self._waker is not None:
            self._waker.close()

    def discard(self) -> None:
        """Close the socket of an attempt that failed."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None


def dial(addresses: Sequence[Address], attempt: Attempt) -> None:
    """Connect to the first address that answers; each may use its share of the time left.

    Raises:
        OSError: What the last address failed with.
    """
    attempt.phase = "connecting"
    failure = OSError(errno.EADDRNOTAVAIL, "no address found")
    for tried, address in enumerate(addresses):
        left = attempt.deadline.remaining()
        share = Deadline(None if left is None else left / (len(addresses) - tried))
        try:
            return _dial(address, attempt, share)
        except OSError as exc:
            attempt.discard()
            failure = exc
    raise failure


def _dial(address: Address, attempt: Attempt, deadline: Deadline) -> None:
    family, kind, protocol, _, sockaddr = address
    attempt.sock = sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    error = sock.connect_ex(sockaddr)
    if error in _IN_PROGRESS:
        if not wait(sock, 0, write=True):  # as it is at once on the local machine
            attempt.wait(write=True, deadline=deadline)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    # A local port that nobody listens on may be given to this very socket, which then connects to itself.
    if not error and sock.getsockname()[1] == sockaddr[1] and sock.getsockname() == sock.getpeername():
        error = errno.ECONNREFUSED
    if error:
        raise OSError(error, os.strerror(error))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    attempt.check()  # for a connect without a wait has not looked


class Channel:
    """The byte stream of an attempt: its socket, and TLS on it once that is started."""

    def __init__(self, attempt: Attempt) -> None:
        assert attempt.sock is not None
        self.attempt = attempt
        self.sock = attempt.sock
        self.tls: TLS | None = None

    def recv(self, size: int = RECV_SIZE) -> bytes:
        """Return the next bytes; ``b""`` at the end of the stream."""
        while self.tls is None or not self.tls.ended:
            data = self._recv_raw(size)
            if not data or self.tls is None:
                return data
            plain = self.tls.decrypt(data)
            self._send_raw(self.tls.take())
            if plain:
                return plain
        if self.tls.fault is not None:
            raise self.tls.fault
        return b""

    def sendall(self, data: bytes) -> None:
        """Send all the bytes."""
        self._send_raw(data if self.tls is None else self.tls.encrypt(data))

    def start_tls(self, tls: TLS) -> None:
        """Do the TLS handshake.

        Raises:
            ssl.SSLError: The peer's certificate or its TLS is not acceptable.
        """
        self.attempt.phase = "the TLS handshake"
        while not tls.handshake():
            self._send_raw(tls.take())
            tls.receive(self._recv_raw(RECV_SIZE))
        self._send_raw(tls.take())
        self.tls = tls

    def _recv_raw(self, size: int) -> bytes:
        while True:
            self.attempt.check()  # a peer that never pauses gets no more time either
            try:
                return self.sock.recv(size)
            except BlockingIOError:
                pass
            self.attempt.wait(read=True)

    def _send_raw(self, data: bytes) -> None:
        view = memoryview(data)
        # To send nothing would tell of a reset, and lose the answer before it.
        while view and (view := view[send_now(self.sock, view) :]):
            self.attempt.wait(write=True)
