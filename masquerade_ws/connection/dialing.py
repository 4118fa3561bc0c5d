"""TCP: from addresses to a connected socket, under the deadline of an attempt."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from masquerade_ws.connection.sockets import wait
from masquerade_ws.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from masquerade_ws.connection.attempt import Attempt
    from masquerade_ws.connection.resolver import Address

__all__ = ["dial"]

_IN_PROGRESS = {0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EWOULDBLOCK)}


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
        except OSError as error:
            if attempt.sock is not None:
                attempt.sock.close()
                attempt.sock = None
            failure = error
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
    attempt.check()  # since a connect without a wait has not looked
