"""Where user code runs on a thread that others wait for, and so must not block."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["GET_TOKEN", "LISTENER", "PREDICATE", "Guard"]

LISTENER = "a listener"
GET_TOKEN = "get_token"
PREDICATE = "a predicate"


class Guard:
    """What each thread is doing for one client."""

    def __init__(self) -> None:
        # By the thread's identity, which gevent may redefine later: a `threading.local` that is older than that would
        # take all greenlets for one thread.
        self._roles: dict[int, str] = {}

    @property
    def role(self) -> str | None:
        """The user code that the current thread runs, as an error names it; ``None`` on a thread that may block."""
        return self._roles.get(threading.get_ident())

    @contextmanager
    def running(self, role: str) -> Generator[None, None, None]:
        """Mark the current thread as running user code of this role."""
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

    def check(self, member: str) -> None:
        """Raise `RuntimeError` if ``member`` would block the thread that it waits for."""
        if self.role is not None:
            problem = f"{member} would block in {self.role}, and so hold up what it waits for"
            raise RuntimeError(f"{problem}; call it on another thread")
