"""The threads of the library: daemons, by name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from .deadline import Deadline
from .errors import ConnectError

__all__ = ["Thread", "join", "start"]


class Thread(threading.Thread):
    """A thread that several others may join at once, which may raise RuntimeError ahead of CPython 3.13."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._joining = threading.RLock()  # reentrant, for a signal handler may disconnect amid a join

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the thread, or for ``timeout`` seconds."""
        deadline = Deadline(timeout)
        if self._joining.acquire(timeout=-1 if timeout is None else timeout):
            try:
                super().join(deadline.remaining())
            finally:
                self._joining.release()


def start(name: str, target: Callable[..., object], *args: object) -> Thread:
    """Start a thread; `ConnectError` if the system, or an interpreter that ends, refuses it."""
    thread = Thread(target=target, args=args, name=f"masquerade-ws-{name}", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise ConnectError(f"no thread could be started: {error}") from error
    return thread


def join(thread: threading.Thread, deadline: Deadline) -> None:
    """Wait for the end of another thread; a thread that disconnects may be the one that is to end."""
    if thread is not threading.current_thread():  # where a handler of the logger, or a finalizer, disconnects
        thread.join(deadline.remaining())
