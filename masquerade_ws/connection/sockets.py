"""Waiting on sockets."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import socket
from io import FileIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

__all__ = ["DONTWAIT", "RECV_SIZE", "Cancelled", "Waker", "send_now", "shutdown", "wait"]

RECV_SIZE = 65536


DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)  # tells a send not to block; Windows cannot


# Where a send cannot be told so, so much fits into a socket that is writable.
_SMALL_SEND = 16384


_LONGEST_POLL = 2**31 - 1  # milliseconds


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
