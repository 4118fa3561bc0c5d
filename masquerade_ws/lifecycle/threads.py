"""The threads of the library: daemons, by name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from masquerade_ws.deadline import Deadline
from masquerade_ws.errors import ConnectError

__all__ = ["Thread", "start"]


class Thread(threading.Thread):
    """A thread that any thread may join, which `threading` refuses to itself.

    CPython before 3.13 may also raise RuntimeError if several do at once.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._joining = threading.RLock()  # reentrant: a signal handler may disconnect during a join

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the thread, or for ``timeout`` seconds, but not for oneself."""
        if self is threading.current_thread():  # where a handler of the logger, or a finalizer, disconnects
            return
        deadline = Deadline(timeout)
        if self._joining.acquire(timeout=-1 if timeout is None else timeout):
            try:
                super().join(deadline.remaining())
            finally:
                self._joining.release()


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
