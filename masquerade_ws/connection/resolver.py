"""Name resolution with a deadline."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

from masquerade_ws.connection.attempt import Cancelled, OutOfTime
from masquerade_ws.latch import Latch

if TYPE_CHECKING:
    from masquerade_ws.connection.attempt import Attempt

__all__ = ["Address", "resolve"]

# Family, type, protocol, canonical name and socket address, as socket.getaddrinfo returns them.
Address = tuple[int, int, int, str, Any]


def resolve(host: str, port: int, attempt: Attempt) -> list[Address]:
    """Return the addresses of a host, within the attempt's deadline.

    Raises:
        OSError: If the look-up failed.
        OutOfTime: If the attempt's deadline has come.
        Cancelled: If another thread ended the attempt.
    """
    return _numeric(host, port) or _look_up(host, port, attempt)


def _numeric(host: str, port: int) -> list[Address]:
    """Return the address that the host is written as, if it is; one with a zone is left to the system."""
    for family, address in ((socket.AF_INET, (host, port)), (socket.AF_INET6, (host, port, 0, 0))):
        try:
            socket.inet_pton(family, host)
        except (OSError, UnicodeError):
            continue
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]
    return []


def _look_up(host: str, port: int, attempt: Attempt) -> list[Address]:
    """Look the host up on a thread of its own, since a look-up cannot be interrupted."""
    attempt.phase = "name resolution"
    outcome: list[list[Address] | BaseException] = []

    def look_up() -> None:
        try:
            outcome.append([*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)])
        except BaseException as error:  # raised again in the thread that waits
            outcome.append(error)
        finally:
            done.set()

    attempt.looked_up = done = Latch()
    # Ends with its look-up; a daemon, since that may take longer than the process lives.
    threading.Thread(target=look_up, name="masquerade-ws-resolver", daemon=True).start()
    if not attempt.cancelled:
        done.wait(attempt.deadline.remaining())  # woken by the look-up's end and by cancel()
    if attempt.cancelled:
        raise Cancelled
    if not outcome:
        raise OutOfTime
    found = outcome[0]
    if isinstance(found, BaseException):
        raise found
    return found
