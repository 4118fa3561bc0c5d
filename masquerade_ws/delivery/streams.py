"""A stream of events for the threads that wait or iterate.

It is filled by the reader thread (server events) and the dispatcher thread (the client's own events), emptied by
whoever holds it, and ended by its holder, by the dispatcher thread behind its last event, or by a ``disconnect()``
that waits for a hung dispatcher no longer. Each of them wakes those who wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from itertools import islice
from types import TracebackType
from typing import Any, Generic, Protocol

from typing_extensions import Self, TypeVar

from masquerade_ws.checks import check_timeout
from masquerade_ws.deadline import Deadline
from masquerade_ws.delivery.blocking import Guard
from masquerade_ws.delivery.filters import AnyEvent, Filter, Where
from masquerade_ws.errors import DisconnectedError, EventsDroppedError, WaitTimeoutError, copy_of
from masquerade_ws.events import Event
from masquerade_ws.process_hooks import notice_fork

__all__ = ["EventStream"]

EventT_co = TypeVar("EventT_co", bound=AnyEvent, default=Event, covariant=True)


class Owner(Protocol):
    """What keeps the streams: the index."""

    guard: Guard

    def discard(self, stream: EventStream[Any]) -> None:
        """Put nothing into ``stream`` any more."""


class EventStream(Generic[EventT_co]):
    """The events of some types, buffered from the creation of the stream on.

    Made by `WebSocketClient.events`. It is an iterator, which stops when the stream has ended, and a context manager,
    which closes it. A stream ends when it is closed, by the first ``disconnect()`` after it was made, or when the
    client gives up, and then first hands out what it has buffered; it goes on across reconnections. One that is made
    after the client has given up waits for the next ``connect()``. When it is full the oldest event is dropped, and
    the next `get` or step of an iteration raises `EventsDroppedError` once. Any thread may use it.
    """

    def __init__(self, owner: Owner, taken: Filter, maxsize: float, keeps: object = None) -> None:
        self._owner = owner
        self._keeps = keeps  # the client: while somebody reads the stream, somebody refers to the client
        self.filter = taken
        self._maxsize = maxsize
        self._buffer: deque[Any] = deque()
        self._arrived = 0
        self._dropped = 0
        self._unreported = 0
        self._end: BaseException | None = None
        self._make_lock()

    def _make_lock(self) -> None:
        self._changed = threading.Condition()  # guards the buffer, the counts and the end

    def after_fork(self, cause: BaseException) -> None:
        """End the stream in a forked child, where another thread of the parent may have held the lock."""
        self._make_lock()
        self.end(cause)

    @property
    def dropped(self) -> int:
        """How many events the stream has dropped because it was full."""
        return self._dropped

    def get(self, timeout: float | None = None) -> EventT_co:
        """Return the next event, waiting for it if need be.

        Args:
            timeout: Seconds to wait; ``None`` waits until there is one or the stream ends.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If an argument has a value that is not allowed.
            WaitTimeoutError: If none came in time.
            EventsDroppedError: Once, after events were dropped.
            DisconnectedError: If the stream has ended and is empty.
            RuntimeError: In a listener, in ``get_token`` or in a predicate.
        """
        check_timeout(timeout)
        self._owner.guard.check("get")
        deadline = Deadline(timeout)
        with self._changed:
            self._changed.wait_for(lambda: self._buffer or self._unreported or self._ended, deadline.remaining())
            self._report_dropped()
            if self._buffer:
                event: EventT_co = self._buffer.popleft()
                return event
            end = self._ending()
            raise WaitTimeoutError(f"no event of {self.filter} came in time") if end is None else end

    def wait_for(self, *types: str, where: Where = None, timeout: float | None = None) -> EventT_co:
        """Return the first event, buffered or to come, that matches; what does not match stays in the stream.

        Args:
            types: Types or patterns; none means every event of the stream.
            where: A mapping of payload fields that must be equal, or a predicate of the event.
            timeout: Seconds to wait; ``None`` waits until there is one or the stream ends.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If an argument has a value that is not allowed.
            WaitTimeoutError: If none came in time.
            EventsDroppedError: Once, after events were dropped.
            DisconnectedError: If the stream has ended and holds none.
            RuntimeError: In a listener, in ``get_token`` or in a predicate.
        """
        check_timeout(timeout)
        self._owner.guard.check("wait_for")
        wanted = Filter(types or self.filter.names, where, self._owner.guard)
        deadline = Deadline(timeout)
        seen = 0
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._arrived > seen or self._unreported or self._ended,  # noqa: B023 - called at once
                    deadline.remaining(),
                )
                self._report_dropped()
                new, seen, end = self._since(seen), self._arrived, self._ending()
            for event in new:
                if wanted.covers(event) and self._take(event):
                    return event
            if end is not None:
                raise end
            if deadline.expired():
                raise WaitTimeoutError(f"no event of {wanted} came in time")

    def close(self) -> None:
        """End the stream: what is buffered can still be read, and whoever waits for more is told. Idempotent."""
        notice_fork()
        self._owner.discard(self)
        self.end(DisconnectedError("the stream is closed", 1000))

    def end(self, cause: BaseException) -> None:
        """End the stream for this cause, unless it has ended; wakes all who wait, since no event will."""
        with self._changed:
            if not self._ended:
                self._end = cause
            self._changed.notify_all()

    def offer(self, event: object) -> bool:
        """Buffer an event; tell whether another one had to go for it."""
        with self._changed:
            if self._ended:
                return False
            full = len(self._buffer) >= self._maxsize
            if full:
                self._buffer.popleft()
                self._dropped += 1
                self._unreported += 1
            self._buffer.append(event)
            self._arrived += 1
            self._changed.notify_all()
            return full

    @property
    def _ended(self) -> bool:
        return self._end is not None  # a user's exception may count as false

    def _ending(self) -> BaseException | None:
        """Return what ended the stream; a cause of ours as a copy, since several threads may raise it."""
        return copy_of(self._end) if type(self._end) is DisconnectedError else self._end

    def _report_dropped(self) -> None:
        if self._unreported:
            count, self._unreported = self._unreported, 0
            raise EventsDroppedError(count)

    def _since(self, seen: int) -> list[EventT_co]:
        start = max(0, len(self._buffer) - (self._arrived - seen))
        return list(islice(self._buffer, start, None))

    def _take(self, wanted: AnyEvent) -> bool:
        with self._changed:
            for position, event in enumerate(self._buffer):
                if event is wanted:
                    del self._buffer[position]
                    return True
        return False

    def __iter__(self) -> Iterator[EventT_co]:
        return self

    def __next__(self) -> EventT_co:
        try:
            return self.get()
        except DisconnectedError:
            pass
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<EventStream of {self.filter}, {'ended' if self._ended else 'open'}, {len(self._buffer)} buffered>"
