"""One attempt to connect: its deadline, its cancellation, and TCP."""

from __future__ import annotations

import errno
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

from masquerade_ws.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Sequence

from masquerade_ws.connection.sockets import Cancelled, Waker, wait

__all__ = ["Address", "Attempt", "dial"]

# Family, type, protocol, canonical name and socket address, as socket.getaddrinfo returns them.
Address = tuple[int, int, int, str, Any]


_IN_PROGRESS = {0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EWOULDBLOCK)}


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
