"""TCP: from addresses to a connected socket, under the deadline of an attempt."""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from masquerade_ws.connection.sockets import is_failure
from masquerade_ws.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from masquerade_ws.connection.attempt import Attempt
    from masquerade_ws.connection.resolver import Address

__all__ = ["dial"]

_PACE = 0.25  # seconds from the attempt at one address to that at the next (RFC 8305, 5)
_IN_PROGRESS = {0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EWOULDBLOCK)}


def dial(addresses: Sequence[Address], attempt: Attempt) -> None:
    """Connect to the first address that answers, and give its socket to the attempt (RFC 8305, 4 and 5).

    The families take turns, beginning with that of the first address. The next address is tried when the one before
    has failed, or has not answered for a while.

    Raises:
        OSError: What the last address failed with.
        OutOfTime: If the attempt's deadline has come.
        Cancelled: If another thread ended the attempt.
    """
    attempt.phase = "connecting"
    failure = OSError(errno.EADDRNOTAVAIL, "no address found")
    untried, pace = deque(_in_turns(addresses)), Deadline(0)
    while untried or attempt.racing:
        if untried and (not attempt.racing or pace.expired()):
            failed = _start(untried.popleft(), attempt)
            pace = Deadline(_PACE if failed is None else 0)
            if failed is not None:
                failure = failed
                continue
        for sock in attempt.wait_for_connects(pace if untried else Deadline(None)):
            error = _error_of(sock)
            if error is None:
                return _choose(sock, attempt)
            attempt.racing.remove(sock)
            sock.close()
            failure, pace = error, Deadline(0)
    raise failure


def _in_turns(addresses: Sequence[Address]) -> list[Address]:
    """Return the addresses with the families in turn, each family in its own order."""
    families: dict[int, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    return [address for address in chain.from_iterable(zip_longest(*families.values())) if address is not None]


def _start(address: Address, attempt: Attempt) -> OSError | None:
    """Begin to connect to an address; return why that failed at once, if it did."""
    family, kind, protocol, _, sockaddr = address
    try:
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        if not is_failure(error):
            raise
        return error.with_traceback(None)
    attempt.racing.append(sock)
    sock.setblocking(False)
    error_number = sock.connect_ex(sockaddr)
    if error_number in _IN_PROGRESS:
        return None
    attempt.racing.remove(sock)
    sock.close()
    return OSError(error_number, os.strerror(error_number))


def _error_of(sock: socket.socket) -> OSError | None:
    """Return why a socket that is ready is not connected; ``None`` if it is, and then set up."""
    error_number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    try:
        # A local port that nobody listens on may be given to this very socket, which then connects to itself.
        if not error_number and sock.getsockname() == sock.getpeername():
            error_number = errno.ECONNREFUSED
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except OSError as error:  # reset already
        if not is_failure(error):
            raise
        return error.with_traceback(None)
    return OSError(error_number, os.strerror(error_number)) if error_number else None


def _choose(sock: socket.socket, attempt: Attempt) -> None:
    """Make a socket that is connected that of the attempt, and give the others up."""
    attempt.sock = sock
    attempt.racing.remove(sock)
    while attempt.racing:
        attempt.racing.pop().close()
    attempt.check()  # since a connect without a wait has not looked
