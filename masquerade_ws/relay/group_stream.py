"""A stream of a client of a group: who reads it also says what has become of each event."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from typing_extensions import TypeVar

from masquerade_ws.delivery.filters import AnyEvent, Filter, Where
from masquerade_ws.delivery.stream_index import StreamIndex
from masquerade_ws.delivery.streams import EventStream
from masquerade_ws.errors import DisconnectedError
from masquerade_ws.events import Event
from masquerade_ws.relay.hand import Hand, Hold

__all__ = ["GroupStream"]

_EventT_co = TypeVar("_EventT_co", bound=AnyEvent, default=Event, covariant=True)


class GroupStream(EventStream[_EventT_co]):
    """A stream that drops nothing.

    An event is done when the thread that took it asks for the next one, or leaves the ``with`` block of the stream
    without an exception. What else happens to it, or to the stream, leaves it for another try.

    Args:
        hand: What the client has in hand.
        owner: The index.
        taken: What the stream takes.
        keeps: The client.
    """

    def __init__(self, hand: Hand, owner: StreamIndex, taken: Filter, keeps: object) -> None:
        self._hand = hand
        self._unread: dict[str, Hold] = {}  # by the ids of their events
        self._taken: dict[int, list[Hold]] = {}  # by the thread that took them
        super().__init__(owner, taken, math.inf, keeps)

    def extend(self, events: Sequence[object]) -> int:
        """Buffer events that came together, and have them in hand."""
        with self._lock:
            if not self.ended:
                for event in events:
                    hold = self._hand.at(event.id) if isinstance(event, Event) else None
                    if hold is not None:
                        self._hand.share(hold)
                        self._unread[hold.event.place] = hold
            return super().extend(events)

    def get(self, timeout: float | None = None) -> _EventT_co:
        """Return the next event; the one before it, in this thread, is done."""
        self._settle()
        event: _EventT_co = self._begun(super().get(timeout))
        return event

    def __next__(self) -> _EventT_co:
        """Return the next event; the one before it, in this thread, is done."""
        self._settle()
        event: _EventT_co = self._begun(super().__next__())
        return event

    def wait_for(self, *types: str, where: Where = None, timeout: float | None = None) -> _EventT_co:
        """Return the first event that matches; the one before it, in this thread, is done."""
        self._settle()
        event: _EventT_co = self._begun(super().wait_for(*types, where=where, timeout=timeout))
        return event

    def _begun(self, event: Any) -> Any:
        hold = self._unread.pop(event.id or "", None) if isinstance(event, Event) else None
        if hold is not None:
            self._hand.begin(hold)
            self._taken.setdefault(threading.get_ident(), []).append(hold)
        return event

    def _settle(self, *, failed: bool = False, error: BaseException | None = None) -> None:
        """Let go of what this thread took."""
        for hold in self._taken.pop(threading.get_ident(), ()):
            self._hand.let_go(hold, failed=failed, error=error)

    def end(self, cause: DisconnectedError) -> None:
        """End the stream; what nobody has read of it goes to others."""
        super().end(cause)
        self._leave_unread()

    def fail(self, failure: BaseException) -> None:
        """End the stream likewise, with what its predicate raised."""
        super().fail(failure)
        self._leave_unread()

    def _leave_unread(self) -> None:
        with self._lock:
            unread, self._unread = self._unread, {}
            if unread:
                kept = [event for event in self._buffer if getattr(event, "id", None) not in unread]
                self._buffer.clear()
                self._buffer.extend(kept)
        for hold in unread.values():
            self._hand.let_go(hold, failed=True)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._settle(failed=kind is not None, error=value)
        super().__exit__(kind, value, trace)

    def __del__(self) -> None:
        for hold in (*self._unread.values(), *(hold for holds in self._taken.values() for hold in holds)):
            self._hand.forget(hold)
