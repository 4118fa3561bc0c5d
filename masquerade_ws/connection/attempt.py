"""One attempt to connect: its deadline, its cancellation, and what it has open."""

from __future__ import annotations

import errno
import os
import socket
import threading

from masquerade_ws.connection.sockets import Waker, ready
from masquerade_ws.deadline import Deadline

__all__ = ["Attempt", "Cancelled"]


class Cancelled(Exception):  # noqa: N818 - it reports no error
    """Another thread ended the attempt."""


class Attempt:
    """One attempt to connect: a deadline for all its phases, and a way for other threads to end it.

    Args:
        timeout: Seconds for the whole attempt; ``None``: no limit.

    Attributes:
        phase: What is being done, for the message of a time-out.
        sock: The socket of the moment, so that `close` finds it; it never blocks, since `wait` is to.
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
        """End the attempt, from another thread or a signal handler; never at the same time as `close`."""
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
            TimeoutError: If time ran out.
            Cancelled: If another thread ended the attempt.
        """
        if self.cancelled:
            raise Cancelled
        if self.deadline.expired():
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    def wait(self, *, read: bool = False, write: bool = False, deadline: Deadline | None = None) -> None:
        """Wait for the socket, by default until the attempt's own deadline.

        Raises:
            TimeoutError: If time ran out.
            Cancelled: If another thread ended the attempt.
        """
        assert self.sock is not None
        if self._waker is None:
            self._waker = Waker()
        self.check()  # after the waker is there: `cancel` sets the flag before it looks for the waker
        descriptor, waker = self.sock.fileno(), self._waker.fileno()
        readers = [descriptor, waker] if read else [waker]
        found = ready(readers, [descriptor] if write else [], (deadline or self.deadline).remaining())
        if waker in found:
            raise Cancelled
        if not found:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    def close(self) -> None:
        """Close what the attempt has open: its socket, unless a connection took that over, and its waker."""
        sock, self.sock = self.sock, None
        waker, self._waker = self._waker, None
        for one in (sock, waker):
            if one is not None:
                one.close()
