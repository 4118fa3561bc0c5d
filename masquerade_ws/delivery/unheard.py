"""What is logged of an error that nobody listens to."""

from __future__ import annotations

import logging
from collections.abc import Callable

from masquerade_ws.errors import MasqueradeError, ParseError
from masquerade_ws.events import ErrorEvent
from masquerade_ws.log import logger
from masquerade_ws.sanitize import excerpt

__all__ = ["UnheardErrors"]

_PAUSE = 10.0  # seconds from one record of a kind of parse error to the next: a server may send them without end


class UnheardErrors:
    """The log of one client's errors that nobody listens to; used by its dispatcher threads, one at a time.

    Args:
        now: Returns a monotonic time in seconds.

    Attributes:
        watchers: Called with each error before it is logged; for the tests of programs, and must not raise.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.watchers: list[Callable[[ErrorEvent], object]] = []
        self._now = now
        self._pauses: dict[str, tuple[float, int]] = {}  # by kind: its end, and how many errors were left out so far

    def report(self, event: ErrorEvent) -> None:
        """Show an error to the watchers, and log it."""
        for watch in self.watchers:
            watch(event)
        self._log(event)

    def _log(self, event: ErrorEvent) -> None:
        """Log an error: one of user code as an error with its traceback, any other one as a warning."""
        left_out = self._left_out(event.error) if isinstance(event.error, ParseError) else 0
        if left_out is None:
            return
        level = logging.ERROR if event.context == "handler" else logging.WARNING
        trace = None if isinstance(event.error, MasqueradeError) and level != logging.ERROR else event.error
        more = f" ({left_out} more of this kind were not logged)" if left_out else ""
        logger.log(
            level,
            "%s error, and nobody listens to errors: %s%s",
            event.context,
            _describe(event.error),
            more,
            exc_info=trace,
        )

    def _left_out(self, error: ParseError) -> int | None:
        """Return how many errors of the same kind were left out since the last record, or ``None`` to leave it out.

        The kind is what the text says before its first colon. That is the library's own, so there are few.
        """
        kind, now = str(error).partition(":")[0], self._now()
        end, left_out = self._pauses.get(kind, (now, 0))
        if now < end:
            self._pauses[kind] = end, left_out + 1
            return None
        self._pauses[kind] = now + _PAUSE, 0
        return left_out


def _describe(error: Exception) -> str:
    try:
        return excerpt(repr(error))
    except Exception:  # of the user's own class
        return f"{type(error).__name__}, of which no repr can be made"
