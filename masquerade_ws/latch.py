"""What is done once and for all, and can be waited for."""

from __future__ import annotations

import threading

__all__ = ["Latch"]


class Latch:
    """Is set once; any thread waits for that, at any line.

    A signal handler or a finalizer may run in the middle of what its own thread does here, and wait or set as well. An
    Event of `threading` blocks for ever then, since its lock is not reentrant.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards the flag
        self._set = False

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self._set

    def set(self) -> None:
        """Set it, and wake all who wait."""
        with self._changed:
            self._set = True
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most ``timeout`` seconds; return whether it is."""
        with self._changed:
            return self._changed.wait_for(self.is_set, timeout)
