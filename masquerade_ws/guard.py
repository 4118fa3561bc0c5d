"""Where user code runs on a thread that others wait for, and so must not block."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["GET_TOKEN", "LISTENER", "PREDICATE", "Guard"]

LISTENER = "a listener"
GET_TOKEN = "get_token"
PREDICATE = "a predicate"


class Guard(threading.local):
    """What the current thread is doing for one client.

    Attributes:
        role: The user code that runs, as an error names it; ``None`` on a thread that may block.
    """

    role: str | None = None

    @contextmanager
    def running(self, role: str) -> Generator[None, None, None]:
        """Mark the current thread as running user code of this role."""
        previous, self.role = self.role, role
        try:
            yield
        finally:
            self.role = previous

    def check(self, member: str) -> None:
        """Raise `RuntimeError` if ``member`` would block the thread that it waits for."""
        if self.role is not None:
            problem = f"{member} would block in {self.role}, and so hold up what it waits for"
            raise RuntimeError(f"{problem}; call it on another thread")
