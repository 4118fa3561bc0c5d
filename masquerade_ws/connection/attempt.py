"""One attempt to connect: its deadline, its cancellation, and what it has open."""

from __future__ import annotations

import socket

from masquerade_ws.connection.sockets import Waker, ready
from masquerade_ws.deadline import Deadline
from masquerade_ws.latch import Latch

__all__ = ["Attempt", "Cancelled", "OutOfTime"]


class Cancelled(Exception):  # noqa: N818 - it reports no error
    """Another thread ended the attempt."""


class OutOfTime(TimeoutError):  # noqa: N818 - the name says what happened
    """The attempt's own deadline has come; a plain `TimeoutError` is the system's, or a signal handler's."""


class Attempt:
    """One attempt to connect: a deadline for all its phases, and a way for other threads to end it.

    Args:
        timeout: Seconds for the whole attempt; ``None``: no limit.

    Attributes:
        aim: What is to be reached, and through what, for the message of a failure.
        phase: What is being done, for the message of a time-out.
        racing: The sockets that are being connected.
        sock: The connected socket; it never blocks, since `wait` is to.
        looked_up: Set when the look-up of the moment ends or the attempt is cancelled.
    """

    def __init__(self, timeout: float | None) -> None:
        self.deadline = Deadline(timeout)
        self.aim = ""
        self.phase = ""
        self.racing: list[socket.socket] = []
        self.sock: socket.socket | None = None
        self.cancelled = False
        self.looked_up: Latch | None = None
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

    def hurry(self, seconds: float) -> None:
        """Bring the deadline forward, so that at most so many seconds are left."""
        left = self.deadline.remaining()
        self.deadline = Deadline(seconds if left is None else min(left, seconds))

    def check(self) -> None:
        """Raise if the attempt is to end.

        Raises:
            OutOfTime: If its deadline has come.
            Cancelled: If another thread ended the attempt.
        """
        if self.cancelled:
            raise Cancelled
        if self.deadline.expired():
            raise OutOfTime

    def wait(self, *, read: bool = False, write: bool = False) -> None:
        """Wait for the connected socket.

        Raises:
            OutOfTime: If the attempt's deadline has come.
            Cancelled: If another thread ended the attempt.
        """
        assert self.sock is not None
        descriptor = [self.sock.fileno()]
        self._wait(descriptor if read else [], descriptor if write else [], self.deadline)

    def wait_for_connects(self, pace: Deadline) -> list[socket.socket]:
        """Wait for the sockets that are being connected.

        Args:
            pace: When to return in any case, with nothing.

        Returns:
            Those that are connected or have failed.

        Raises:
            OutOfTime: If the attempt's deadline has come.
            Cancelled: If another thread ended the attempt.
        """
        writers = [sock.fileno() for sock in self.racing]
        # Without a waker at first, which costs descriptors: on the local machine they are connected at once.
        found = ready([], writers, 0) or self._wait([], writers, pace)
        return [sock for sock in self.racing if sock.fileno() in found]

    def _wait(self, readers: list[int], writers: list[int], pace: Deadline) -> set[int]:
        if self._waker is None:
            self._waker = Waker()
        self.check()  # after the waker is there: `cancel` sets the flag before it looks for the waker
        waker = self._waker.fileno()
        left = [seconds for seconds in (pace.remaining(), self.deadline.remaining()) if seconds is not None]
        found = ready([*readers, waker], writers, min(left, default=None))
        if waker in found:
            raise Cancelled
        if not found:
            self.check()
        return found

    def close(self) -> None:
        """Close what the attempt has open: its sockets, but for one that a connection took over, and its waker."""
        racing, self.racing = self.racing, []
        sock, self.sock = self.sock, None
        waker, self._waker = self._waker, None
        for one in (*racing, sock, waker):
            if one is not None:
                one.close()
