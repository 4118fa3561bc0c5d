"""What the threads of a client ask of a connection, so that another kind of stream can take its place.

`masquerade_ws.connection.Connection` is one such transport. The supervisor thread connects, finishes and closes it, the
reader thread takes its batches, the heartbeat thread watches it, and any thread of the user sends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from masquerade_ws.stats import Traffic

__all__ = ["Heart", "Transport"]


class Transport(Traffic, Protocol):
    """A connection that carries messages both ways, used once."""

    @property
    def close_code(self) -> int | None:
        """How it ended, by a close code of RFC 6455; ``None`` until that is decided."""

    @property
    def close_reason(self) -> str:
        """The reason that goes with the code."""
        ...

    @property
    def error(self) -> Exception | None:
        """The first cause of a loss; ``None`` while it is open, and after a closing handshake."""

    @property
    def latency(self) -> float | None:
        """Seconds that the last answered ping took there and back."""
        ...

    @property
    def awaits(self) -> bool:
        """Whether the attempt failed for want of what may come at any time, so that the delays need not grow."""
        ...

    def connect(self, timeout: float | None) -> None:
        """Open it, once, or raise `ConnectError`; ``abort``, ``cut`` and ``close`` end that at once."""

    def gap_since(self, lost_at: float) -> float | None:
        """Return for how many seconds events may have been missed, or ``None`` if this one resumes where that ended.

        Args:
            lost_at: When the connection before this one was lost, by the monotonic clock.
        """

    def batches(self) -> Iterator[list[Any]]:
        """Yield the messages that arrived together; raise `DisconnectedError` unless the peer closed it properly."""
        ...

    def send(self, data: str | bytes) -> None:
        """Send a message, or raise `SendError`."""

    def finish(self) -> None:
        """Do what remains after the last batch, waiting for the peer for a moment."""

    def close(self, code: int = ..., reason: str = ..., timeout: float = ...) -> None:
        """Close it properly, waiting for the peer for at most ``timeout`` seconds."""

    def abort(self, cause: Exception) -> None:
        """End it at once, for this cause unless it has ended before, and wake all threads that use it."""

    def cut(self, cause: Exception) -> None:
        """Do as `abort`, but wait for no other thread."""

    def wait_tcp_closed(self, timeout: float | None) -> bool:
        """Wait until nothing is open any more; return whether that is so."""
        ...

    def after_fork(self) -> None:
        """Close what is open in a forked child, and leave the parent's side as it is."""


class Heart(Transport, Protocol):
    """What the heartbeats ask of a connection to the gateway beside that."""

    @property
    def last_received(self) -> float:
        """When the last byte came, by the monotonic clock."""
        ...

    def readable(self) -> bool:
        """Return whether something received waits to be read."""
        ...

    def acknowledged(self, within: float) -> bool | None:
        """Return whether the peer's system acknowledges what is sent; ``None`` if that cannot be told.

        While something is on its way, an acknowledgement in the last ``within`` seconds counts.
        """

    def beat(self, text: str | None, patience: float) -> None:
        """Send a heartbeat, if there is a text, and a ping, after other threads' sends.

        `DisconnectedError` if that ends it.
        """
