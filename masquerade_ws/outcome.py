"""How a connection ended: decided once, by the first cause."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from masquerade_ws.errors import DisconnectedError

if TYPE_CHECKING:
    from masquerade_ws.frames import Violation

__all__ = ["Outcome"]


class Outcome:
    """The end of a connection.

    Attributes:
        code: The close code (RFC 6455, 7.1.5); ``None`` until the end is decided.
        reason: The close reason (7.1.6).
        error: First cause of a loss; ``None`` after a closing handshake.
        ended: Set when TCP is closed, too.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self.reason = ""
        self.error: Exception | None = None
        self.ended = threading.Event()
        # Guards the three together: the first to decide sets them all.
        self._lock = threading.Lock()

    def decide(self, code: int, reason: str = "", error: Exception | None = None) -> bool:
        """Set how the connection ended, unless that is decided; tell whether this call did it."""
        with self._lock:
            if self.code is not None:
                return False
            self.error, self.reason, self.code = error, reason, code
            return True

    def lose(self, cause: Exception | None) -> None:
        """Decide that the stream ended without a closing handshake."""
        how = "without a closing handshake" if cause is None else f"({cause})"
        error = DisconnectedError(f"the connection was lost {how}")
        error.__cause__ = cause
        self.decide(1006, "", error)

    def fail(self, violation: Violation) -> None:
        """Decide that the peer broke the protocol."""
        code, reason = violation.code, violation.reason
        self.decide(code, reason, DisconnectedError(f"the peer broke the protocol: {reason}", code, reason))

    def abandon(self) -> None:
        """End without a decision, in a forked child, where a lock may be held for ever."""
        self.ended = threading.Event()
        self.ended.set()

    def check(self) -> None:
        """Raise unless the connection ended by a closing handshake.

        Raises:
            DisconnectedError: It ended otherwise; chained from the first cause, if that is of another kind.
        """
        if isinstance(self.error, DisconnectedError):
            raise self.error
        if self.error is not None:
            message = f"the connection was lost ({self.error})"
            raise DisconnectedError(message, self.code or 1006, self.reason) from self.error
