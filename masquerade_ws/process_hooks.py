"""What a process does to its clients: it forks, and it ends.

A fork by Python (`os.fork`, `multiprocessing`) runs a hook in the child. C code may fork as well (uWSGI does, unless
configured otherwise), and then nothing runs: the child is recognized by its process id, which each use of a client
compares.

Most processes end by `atexit`. Children of `multiprocessing` do not, but run its finalizers.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Protocol, TypeVar

from masquerade_ws.deadline import Deadline
from masquerade_ws.latch import Latch

__all__ = ["await_at_exit", "notice_fork", "watch"]

_EXIT_TIMEOUT = 0.5  # seconds, half of them for the peer's answer to the close
_LAST = -1000  # the priority of a finalizer that runs after those of the program
_T = TypeVar("_T")


class _Watched(Protocol):
    """A client, as its process sees it."""

    def close_at_exit(self, timeout: float) -> Callable[[Deadline], None]:
        """Begin to close; return what waits until that is done."""
        ...

    def after_fork(self) -> None:
        """Start anew in a forked child."""


_watched: weakref.WeakValueDictionary[int, _Watched] = weakref.WeakValueDictionary()
_ends: weakref.WeakValueDictionary[int, Latch] = weakref.WeakValueDictionary()
_pid = os.getpid()
_finalized: int | None = None  # the child of `multiprocessing` whose finalizer closes the clients
# Guards the start anew of a child that C code forked, so that each of its threads finds that done. Reentrant, since a
# signal handler may use a client at any line.
_starting_anew = threading.RLock()


def watch(client: _Watched) -> None:
    """Close ``client`` when the interpreter exits, and start it anew in a forked child."""
    notice_fork()
    _watched[id(client)] = client


def await_at_exit(end: Latch) -> None:
    """Let the exit wait until ``end`` is set, by threads whose client may be forgotten by then."""
    _ends[id(end)] = end
    _close_in_child_of_multiprocessing()


def notice_fork() -> None:
    """Start all clients anew if C code has forked this process; to be called by whatever uses one."""
    if os.getpid() != _pid:
        with _starting_anew:
            if os.getpid() != _pid:
                _start_anew()


def _alive(objects: weakref.WeakValueDictionary[int, _T]) -> list[_T]:
    """Return what is there now, copied in one step: daemon threads may add to it meanwhile."""
    return [one for ref in objects.valuerefs() if (one := ref()) is not None]


def _close_all() -> None:
    notice_fork()
    deadline = Deadline(_EXIT_TIMEOUT)
    for wait in [client.close_at_exit(_EXIT_TIMEOUT) for client in _alive(_watched)]:
        wait(deadline)
    for end in _alive(_ends):
        end.wait(deadline.remaining())


def _close_in_child_of_multiprocessing() -> None:
    """Have `multiprocessing` close the clients at the end of this process, if it is a child of it."""
    global _finalized  # noqa: PLW0603 - one a process
    process, util = (sys.modules.get(f"multiprocessing.{name}") for name in ("process", "util"))
    if util is None or process is None or _finalized == _pid:
        return
    # billiard's children, which are Celery's, run the same finalizers, and are known by the current process alone.
    billiards = type(process.current_process()).__module__.partition(".")[0] == "billiard"
    if billiards or process.parent_process() is not None:
        _finalized = _pid
        util.Finalize(None, _close_after_threads, exitpriority=_LAST)


def _close_after_threads() -> None:
    # As `multiprocessing` itself does next: other threads of the program may use their clients until they end. Looked
    # up now, not when imported: gevent may replace it.
    getattr(threading, "_shutdown", _nothing)()
    _close_all()


def _nothing() -> None:
    """Stand in for what a later Python may not have: threads of the program then may find their clients closed."""


def _after_fork() -> None:
    global _starting_anew  # noqa: PLW0603 - another thread may have held it
    _starting_anew = threading.RLock()
    _start_anew()


def _start_anew() -> None:
    global _pid  # noqa: PLW0603 - one a process
    _ends.clear()
    for client in _alive(_watched):
        client.after_fork()
    _pid = os.getpid()


atexit.register(_close_all)  # runs once all threads but daemons have ended
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
