"""One point in time that a chain of blocking calls shares."""

from __future__ import annotations

import threading
import time

__all__ = ["Deadline"]


class Deadline:
    """A point in time, or never.

    Args:
        timeout: Seconds from now; ``None`` means never.

    Attributes:
        timeout: The same, for messages that say how long somebody waited.
    """

    __slots__ = ("_at", "timeout")

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self._at = None if timeout is None else time.monotonic() + timeout

    def remaining(self) -> float | None:
        """Return the seconds left, as the calls of `threading` take them; ``None`` if the deadline never comes."""
        return None if self._at is None else min(max(0.0, self._at - time.monotonic()), threading.TIMEOUT_MAX)

    def expired(self) -> bool:
        """Return whether the deadline has come."""
        return self._at is not None and time.monotonic() >= self._at

    def later(self, seconds: float) -> Deadline:
        """Return the deadline so many seconds after this one."""
        later = Deadline(None if self.timeout is None else self.timeout + seconds)
        later._at = None if self._at is None else self._at + seconds
        return later
