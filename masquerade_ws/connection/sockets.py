"""Waiting on sockets, sending what fits, and waking a wait from another thread."""

from __future__ import annotations

import errno
import math
import os
import select
import socket
from collections.abc import Collection
from io import FileIO

__all__ = ["DONTWAIT", "RECV_SIZE", "Waker", "ignoring_failures", "is_failure", "ready", "send_now", "shutdown", "wait"]

RECV_SIZE = 65536
DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)  # asks a send not to block, which Windows cannot do
# Where a send cannot be asked that, this many bytes fit into a socket that is writable.
_SMALL_SEND = 16384
_LONGEST_POLL = 2**31 - 1  # milliseconds


def ready(readers: Collection[int], writers: Collection[int], timeout: float | None) -> set[int]:
    """Wait until descriptors are ready or broken, and return those; none when time runs out."""
    # Looked up now, not when imported: gevent may replace them, or take poll away.
    return (_poll if hasattr(select, "poll") else _select)(readers, writers, timeout)


def _poll(readers: Collection[int], writers: Collection[int], timeout: float | None) -> set[int]:
    poll = select.poll()
    for descriptor in {*readers, *writers}:
        reads, writes = descriptor in readers, descriptor in writers
        poll.register(descriptor, (select.POLLIN if reads else 0) | (select.POLLOUT if writes else 0))
    milliseconds = None if timeout is None else min(math.ceil(timeout * 1000), _LONGEST_POLL)
    return {descriptor for descriptor, _ in poll.poll(milliseconds)}


def _select(readers: Collection[int], writers: Collection[int], timeout: float | None) -> set[int]:
    # Windows reports a connect that failed as an exceptional condition only.
    return {one for group in select.select(readers, writers, writers, timeout) for one in group}


def wait(sock: socket.socket, timeout: float | None, *, read: bool = False, write: bool = False) -> bool:
    """Wait until the socket is ready or broken; return ``False`` when time runs out.

    One that another thread closes meanwhile may be waited for until then.

    Raises:
        OSError: If the socket is closed.
    """
    descriptor = sock.fileno()  # once, since another thread may close the socket at any line
    if descriptor < 0:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return bool(ready([descriptor] if read else [], [descriptor] if write else [], timeout))


def is_failure(error: OSError) -> bool:
    """Return whether the system or TLS reported an error, so that the socket has failed.

    Both give it a number. One without is a signal handler's, such as the `TimeoutError` of an alarm, which may come out
    of any line and is not to be taken for the socket's.
    """
    return error.errno is not None


class ignoring_failures:  # noqa: N801 - a block's name, as `contextlib.suppress` is
    """Ends the block in silence when the socket has failed, where that changes nothing any more.

    A class, since a generator as a context manager takes three times as long, and a connection meets several.
    """

    def __enter__(self) -> None:
        """Let the block begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> bool:
        """Swallow the failure of a socket, and nothing else."""
        return isinstance(error, OSError) and is_failure(error)


def send_now(sock: socket.socket, data: bytes | memoryview) -> int:
    """Hand the kernel what it takes of ``data`` at once; to be called when the socket is writable, or may be."""
    try:
        return sock.send(data if DONTWAIT else data[:_SMALL_SEND], DONTWAIT)
    except BlockingIOError:
        return 0


def shutdown(sock: socket.socket, how: int) -> None:
    """Shut one or both directions down, unless the peer has done so already."""
    with ignoring_failures():
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
        """Return the descriptor to wait for."""
        return self._end.fileno()

    def set(self) -> None:
        """End the wait; not to be called after `close`."""
        if self._far_end is None:
            os.eventfd_write(self.fileno(), 1)
        else:
            self._far_end.send(b"\0")

    def close(self) -> None:
        """Close the descriptors."""
        self._end.close()
        if self._far_end is not None:
            self._far_end.close()
