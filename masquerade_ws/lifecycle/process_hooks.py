"""What a process does to its clients: it forks, and it ends."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import Protocol, TypeVar

from masquerade_ws.deadline import Deadline

__all__ = ["await_at_exit", "watch"]

EXIT_TIMEOUT = 0.5  # seconds, half of them for the peer's answer to the close


class Client(Protocol):
    """A client, as the process sees it."""

    def close_at_exit(self, timeout: float) -> None:
        """Begin to close."""

    def await_end(self, deadline: Deadline) -> None:
        """Wait until that is done."""

    def reset_in_child(self) -> None:
        """Start anew in a forked child."""


_clients: weakref.WeakValueDictionary[int, Client] = weakref.WeakValueDictionary()
_ends: weakref.WeakValueDictionary[int, threading.Event] = weakref.WeakValueDictionary()
T = TypeVar("T")


def watch(client: Client) -> None:
    """Close ``client`` when the interpreter exits, and reset it in a forked child."""
    _clients[id(client)] = client


def await_at_exit(end: threading.Event) -> None:
    """Let the exit wait until ``end`` is set, by threads whose client may be forgotten by then."""
    _ends[id(end)] = end


def _alive(objects: weakref.WeakValueDictionary[int, T]) -> list[T]:
    """Return what is there now, copied in one step: daemon threads may add to it meanwhile."""
    return [one for ref in objects.valuerefs() if (one := ref()) is not None]


def _close_all() -> None:
    clients = _alive(_clients)
    deadline = Deadline(EXIT_TIMEOUT)
    for client in clients:
        client.close_at_exit(EXIT_TIMEOUT)
    for client in clients:
        client.await_end(deadline)
    for end in _alive(_ends):
        end.wait(deadline.remaining())


def _reset_all() -> None:
    _ends.clear()
    for client in _alive(_clients):
        client.reset_in_child()


atexit.register(_close_all)  # runs once all threads but daemons have ended
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
