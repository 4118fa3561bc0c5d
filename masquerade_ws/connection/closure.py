"""How a connection ended: decided once, by the first cause."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from masquerade_ws.errors import DisconnectedError

if TYPE_CHECKING:
    from masquerade_ws.protocol.frames import Violation

__all__ = ["Closure"]


class Closure:
    """The end of a connection.

    Attributes:
        code: The close code (RFC 6455, 7.1.5); ``None`` until the end is decided.
        reason: The close reason (7.1.6).
        error: First cause of a loss; ``None`` after a closing handshake.
        ended: Whether TCP is closed, too.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self.reason = ""
        self.error: Exception | None = None
        self.ended = False
        # Guards the first three together, and tells of the end. Reentrant, for a signal handler may close the
        # connection whose end its own thread is deciding.
        self._changed = threading.Condition(threading.RLock())

    def decide(self, code: int, reason: str = "", error: Exception | None = None) -> bool:
        """Set how the connection ended, unless that is decided; tell whether this call did it."""
        with self._changed:
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

    def end(self) -> None:
        """Tell that TCP is closed."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def wait_ended(self, timeout: float | None) -> bool:
        """Wait until TCP is closed, at most ``timeout`` seconds; tell whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.ended, timeout)

    def abandon(self) -> None:
        """End without a decision, in a forked child, where a lock may be held for ever."""
        self._changed = threading.Condition(threading.RLock())
        self.ended = True

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
