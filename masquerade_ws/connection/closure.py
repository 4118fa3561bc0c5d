"""How a connection ended: decided once, by the first cause."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from masquerade_ws.errors import DisconnectedError, copy_of

if TYPE_CHECKING:
    from masquerade_ws.protocol.frames import Violation

__all__ = ["Closure", "lost"]


class Closure:
    """How a connection ended, and whether TCP is closed.

    Attributes:
        code: The close code (RFC 6455, 7.1.5); ``None`` until the end is decided.
        reason: The close reason (7.1.6).
        error: First cause of a loss; ``None`` after a closing handshake.
        tcp_closed: Whether the socket is closed, too.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self.reason = ""
        self.error: Exception | None = None
        self.tcp_closed = False
        self._supposed: Exception | None = None
        # Guards the first three together, and what is supposed, and reports that TCP is closed. Reentrant, since a
        # signal handler may close the connection whose end its own thread is deciding.
        self._changed = threading.Condition(threading.RLock())

    def decide(self, code: int, reason: str = "", error: Exception | None = None) -> bool:
        """Set how the connection ended, unless that is decided; return whether this call did it."""
        with self._changed:
            if self.code is not None:
                return False
            self.error, self.reason, self.code = error, reason, code
            return True

    def suppose(self, error: Exception) -> None:
        """Keep the first cause of a loss until all is read that came before it: the peer may have closed properly."""
        with self._changed:
            self._supposed = self._supposed or error

    def lose(self, cause: Exception | None) -> None:
        """Decide that the stream ended without a closing handshake, by what was supposed, or else by ``cause``."""
        self.decide(1006, "", self._supposed or lost(cause))

    def fail(self, violation: Violation) -> None:
        """Decide that the peer broke the protocol."""
        code, reason = violation.code, violation.reason
        known = f"code {code}, {violation.detail}" if violation.detail else f"code {code}"
        self.decide(code, reason, DisconnectedError(f"the peer broke the protocol: {reason} ({known})", code, reason))

    def note_tcp_closed(self) -> None:
        """Note that TCP is closed, and wake those who wait for that."""
        with self._changed:
            self.tcp_closed = True
            self._changed.notify_all()

    def wait_tcp_closed(self, timeout: float | None) -> bool:
        """Wait until TCP is closed, at most ``timeout`` seconds; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.tcp_closed, timeout)

    def after_fork(self) -> None:
        """End without a decision, in a forked child, where a lock may be held for ever."""
        self._changed = threading.Condition(threading.RLock())
        self.tcp_closed = True

    def check(self) -> None:
        """Raise unless the connection ended by a closing handshake.

        Raises:
            DisconnectedError: If it ended otherwise; chained from the first cause, if that is of another kind.
        """
        if isinstance(self.error, DisconnectedError):
            raise copy_of(self.error)  # each iteration over what has ended comes here
        if self.error is not None:
            message = f"the connection was lost ({self.error})"
            raise DisconnectedError(message, self.code or 1006, self.reason) from self.error


def lost(cause: Exception | None) -> DisconnectedError:
    """Return the error of a stream that ended without a closing handshake, for this cause if there is one."""
    how = "without a closing handshake" if cause is None else f"({cause})"
    error = DisconnectedError(f"the connection was lost {how}")
    error.__cause__ = cause
    return error
