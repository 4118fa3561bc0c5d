"""The threads of the library: daemons, by name."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from masquerade_ws.deadline import Deadline
from masquerade_ws.errors import ConnectError
from masquerade_ws.latch import Latch

__all__ = ["Thread", "receive", "start"]

_T = TypeVar("_T")


class Thread(threading.Thread):
    """A thread that any thread may join, which `threading` refuses to itself.

    CPython before 3.13 may also raise RuntimeError if several do at once, and when an interrupt breaks the wait off it
    takes the thread for one that has ended, though it lives: hence nobody joins it in earnest before it is over. And
    where gevent has replaced `threading`'s class after this module was imported, the class that this one derives from
    never learns that its thread has ended.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._over = Latch()
        self._joining = threading.RLock()  # reentrant: a signal handler may disconnect during a join

    @property
    def over(self) -> bool:
        """Whether the thread has done what it was made for."""
        return self._over.is_set()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the thread, or for ``timeout`` seconds, but not for oneself."""
        if self is threading.current_thread():  # where a handler of the logger, or a finalizer, disconnects
            return
        deadline = Deadline(timeout)
        if self._over.wait(timeout) and isinstance(self, threading.Thread):
            with self._joining:
                super().join(deadline.remaining())

    def run(self) -> None:
        """Run the thread."""
        try:
            super().run()
        finally:
            self._over.set()


def start(name: str, target: Callable[..., object], *args: object) -> Thread:
    """Start a thread.

    Raises:
        ConnectError: If the system refuses it, or an interpreter that ends or that allows no daemon threads.
    """
    try:
        thread = Thread(target=target, args=args, name=f"masquerade-ws-{name}", daemon=True)
        thread.start()
    except Exception as error:
        raise ConnectError(f"no thread could be started: {str(error) or type(error).__name__}") from error
    return thread


def receive(items: queue.SimpleQueue[_T], timeout: float | None) -> _T:
    """Take an item out of a queue, waiting for it for at most ``timeout`` seconds.

    Raises:
        queue.Empty: If none came in time.
    """
    # The first look leaves the queue's lock held, as a wait with a time needs it: CPython before 3.13 otherwise takes
    # that lock first, and waits for ever if the time runs out meanwhile.
    with suppress(queue.Empty):
        return items.get_nowait()
    return items.get(timeout=timeout)
