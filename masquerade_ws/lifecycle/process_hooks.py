"""What a process does to its clients: it forks, and it ends."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol, TypeVar

from masquerade_ws.deadline import Deadline

__all__ = ["await_at_exit", "watch"]

_EXIT_TIMEOUT = 0.5  # seconds, half of them for the peer's answer to the close
_T = TypeVar("_T")


class _Watched(Protocol):
    """A client, as its process sees it."""

    def close_at_exit(self, timeout: float) -> Callable[[Deadline], None]:
        """Begin to close; return what waits until that is done."""

    def after_fork(self) -> None:
        """Start anew in a forked child."""


_watched: weakref.WeakValueDictionary[int, _Watched] = weakref.WeakValueDictionary()
_ends: weakref.WeakValueDictionary[int, threading.Event] = weakref.WeakValueDictionary()


def watch(client: _Watched) -> None:
    """Close ``client`` when the interpreter exits, and start it anew in a forked child."""
    _watched[id(client)] = client


def await_at_exit(end: threading.Event) -> None:
    """Let the exit wait until ``end`` is set, by threads whose client may be forgotten by then."""
    _ends[id(end)] = end


def _alive(objects: weakref.WeakValueDictionary[int, _T]) -> list[_T]:
    """Return what is there now, copied in one step: daemon threads may add to it meanwhile."""
    return [one for ref in objects.valuerefs() if (one := ref()) is not None]


def _close_all() -> None:
    deadline = Deadline(_EXIT_TIMEOUT)
    for wait in [client.close_at_exit(_EXIT_TIMEOUT) for client in _alive(_watched)]:
        wait(deadline)
    for end in _alive(_ends):
        end.wait(deadline.remaining())


def _after_fork() -> None:
    _ends.clear()
    for client in _alive(_watched):
        client.after_fork()


atexit.register(_close_all)  # runs once all threads but daemons have ended
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
