"""Where user code runs on a thread that others wait for, and so must not block.

A wait there would never end: a listener that waits for an event keeps the dispatcher thread from delivering it, a
predicate, or the callback of a future, keeps the reader thread from receiving it.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager

from masquerade_ws.process_hooks import notice_fork
from masquerade_ws.user_code import level_of_program

__all__ = ["DECODE", "DONE_CALLBACK", "GET_TOKEN", "HEADERS", "LISTENER", "PREDICATE", "URL", "Guard", "holds"]

LISTENER = "a listener"
GET_TOKEN = "get_token"
URL = "url"
HEADERS = "headers"
PREDICATE = "a predicate"
DECODE = "decode"
DONE_CALLBACK = "a done-callback"  # of a future, on whichever thread ends it


def holds(condition: threading.Condition) -> bool:
    """Return whether this very thread holds the lock of a condition.

    A signal handler or a finalizer may find it so: it runs in the middle of what its thread does.
    """
    try:
        condition.notify(0)  # wakes nobody, and raises unless the thread holds the lock
    except RuntimeError:
        return False
    return True


class Guard:
    """What each thread is doing for one client."""

    def __init__(self) -> None:
        self._warned_of_loop = False
        # By thread identity, which gevent may redefine later: a `threading.local` made before that would take all
        # greenlets for one thread.
        self._roles: dict[int, str] = {}

    @property
    def role(self) -> str | None:
        """The user code that the current thread runs, as an error names it; ``None`` on a thread that may block."""
        return self._roles.get(threading.get_ident())

    @contextmanager
    def running(self, role: str) -> Generator[None, None, None]:
        """Mark the current thread as running user code.

        Args:
            role: Which, as an error names it.
        """
        ident = threading.get_ident()
        previous = self._roles.get(ident)
        self._roles[ident] = role
        try:
            yield
        finally:
            if previous is None:
                self._roles.pop(ident, None)
            else:
                self._roles[ident] = previous

    def after_fork(self) -> None:
        """Forget all threads, in a forked child, where the identities of those that are not there may come again."""
        self._roles.clear()

    def check(self, member: str, *, waits: bool = True) -> None:
        """Refuse a wait for what only the current thread can bring, and warn of one that holds up an event loop.

        Args:
            member: What waits, as the error names it.
            waits: Whether it is going to wait, as far as can be seen now.

        Raises:
            RuntimeError: If the current thread runs user code.
        """
        notice_fork()
        role = self._roles.get(threading.get_ident())
        if role is not None:
            problem = f"{member} would block in {role}, and so hold up what it waits for"
            raise RuntimeError(f"{problem}; call it on another thread")
        if waits and not self._warned_of_loop and _runs_event_loop():
            self._warned_of_loop = True
            problem = f"{member} holds up the event loop that runs on this thread"
            remedy = "call it in asyncio.to_thread(), or await asyncio.wrap_future(client.future(...))"
            warnings.warn(f"{problem}; {remedy}", RuntimeWarning, stacklevel=level_of_program())


def _runs_event_loop() -> bool:
    """Return whether an event loop of asyncio's runs on this thread, other than that of a notebook.

    A notebook runs each cell within its own loop, which all code in cells holds up.
    """
    asyncio = sys.modules.get("asyncio")  # a program that has not imported it has no loop
    return asyncio is not None and asyncio._get_running_loop() is not None and "ipykernel" not in sys.modules
