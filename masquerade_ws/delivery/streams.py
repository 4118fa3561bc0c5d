"""A stream of events for the threads that wait or iterate.

Who fills it: the reader thread (server events) and the dispatcher thread (the client's own events). Who waits: whoever
holds it, in `EventStream.get` or `EventStream.wait_for`, and all of them are woken once for the events that come
together. A wait ends with an event,
with its time, or with the stream, which ends when its holder closes it, when the predicate of its condition raises, or
with its session: after the last event, or when a ``disconnect()`` gives up on what hangs.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Generic, Protocol

from typing_extensions import Self, TypeVar

from masquerade_ws.checks import check_timeout
from masquerade_ws.deadline import Deadline
from masquerade_ws.delivery.blocking import Guard, holds
from masquerade_ws.delivery.filters import AnyEvent, Filter, Where
from masquerade_ws.errors import DisconnectedError, EventsDroppedError, WaitTimeoutError, copy_of
from masquerade_ws.events import Event
from masquerade_ws.process_hooks import notice_fork
from masquerade_ws.sanitize import excerpt

__all__ = ["EventStream"]

_EventT_co = TypeVar("_EventT_co", bound=AnyEvent, default=Event, covariant=True)

_SHOWN = 100  # characters of a type, which is the server's


class _Owner(Protocol):
    """What keeps the streams: the index."""

    guard: Guard
    newest_event: tuple[str, float] | None

    def discard(self, stream: EventStream[Any], /) -> None:
        """Put nothing into ``stream`` any more."""

    def why_idle(self, serial: int, /) -> DisconnectedError | None:
        """Return why the stream with a serial number gets no event until the next ``connect()``, if it gets none."""


class EventStream(Generic[_EventT_co]):
    """The events of some types, buffered from the creation of the stream on.

    Made by `WebSocketClient.events`. It is an iterator, which stops when the stream has ended, and a context manager,
    which closes it. A stream ends when it is closed, by the first ``disconnect()`` after it was made, or when the
    client gives up, and then first hands out what it has buffered; it goes on across reconnections. One that is made
    while the client is not running, after it has run, behaves until the next ``connect()`` as if it had ended. When a
    stream is full the oldest event is dropped, and the next `get` or step of an iteration raises `EventsDroppedError`
    once. Any thread may use it.
    """

    def __init__(self, owner: _Owner, taken: Filter, maxsize: float, keeps: object = None) -> None:
        self._owner = owner
        self._keeps = keeps  # the client: while somebody reads the stream, somebody refers to the client
        self.filter = taken
        self.serial = 0  # set by the index
        self._maxsize = maxsize
        self._buffer: deque[Any] = deque()
        self._arrived = 0
        self._dropped = 0
        self._unreported = 0
        self._cause: DisconnectedError | None = None
        self._failure: BaseException | None = None
        self._trace: TracebackType | None = None
        self._make_lock()

    def _make_lock(self) -> None:
        # Guards the buffer, the counts, and why the stream has ended. It is reentrant, since a signal handler that
        # closes the stream may run at any line. Acquired directly, not by way of the condition, which is slower.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)

    def after_fork(self, cause: DisconnectedError) -> None:
        """End the stream in a forked child, where another thread of the parent may have held the lock."""
        self._make_lock()
        self.end(cause)

    @property
    def held(self) -> bool:
        """Whether this very thread is in the middle of reading the stream, or of filling it."""
        return holds(self._changed)

    @property
    def dropped(self) -> int:
        """How many events the stream has dropped because it was full."""
        return self._dropped

    @property
    def ended(self) -> bool:
        """Whether no event is taken any more."""
        return self._cause is not None or self._failure is not None

    def get(self, timeout: float | None = None) -> _EventT_co:
        """Return the next event, waiting for it if need be.

        What the predicate of the stream raised is raised here, once the buffer is empty.

        Args:
            timeout: Seconds to wait; ``None`` waits until there is one or the stream ends.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If an argument has a value that is not allowed.
            WaitTimeoutError: If none came in time.
            EventsDroppedError: If events were dropped since the last report.
            DisconnectedError: If the stream has ended and is empty, or the client is not running any more.
            RuntimeError: If it would block in a listener, a callable of an attempt, ``decode``, a predicate or a
                done-callback.
        """
        check_timeout(timeout)
        self._owner.guard.check("get", waits=not self._buffer)
        return self.take(Deadline(timeout))

    def take(self, deadline: Deadline) -> _EventT_co:
        """Return the next event, as `get` does, until a deadline."""
        with self._lock:
            if not self._buffer:
                self._changed.wait_for(lambda: self._buffer or self._unreported or self._over(), deadline.remaining())
            if self._unreported:
                self._raise_dropped()
            if self._buffer:
                event: _EventT_co = self._buffer.popleft()
                return event
            self._raise_end()
        raise self._timed_out(self.filter, deadline)

    def wait_for(self, *types: str, where: Where = None, timeout: float | None = None) -> _EventT_co:
        """Return the first event, buffered or to come, that matches; what does not match stays in the stream.

        Args:
            types: Types or patterns; none means every event of the stream.
            where: A mapping of payload fields that must be equal, or a predicate of the event. What it raises is
                raised.
            timeout: Seconds to wait; ``None`` waits until there is one or the stream ends.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If an argument has a value that is not allowed.
            WaitTimeoutError: If none came in time.
            EventsDroppedError: If events were dropped since the last report.
            DisconnectedError: If the stream has ended and holds none, or the client is not running any more.
            RuntimeError: If it would block in a listener, a callable of an attempt, ``decode``, a predicate or a
                done-callback.
        """
        check_timeout(timeout)
        self._owner.guard.check("wait_for")
        wanted = Filter(types or self.filter.names, where, self._owner.guard)
        deadline = Deadline(timeout)
        seen = 0
        while True:
            with self._lock:
                self._changed.wait_for(
                    lambda: self._arrived > seen or self._unreported or self._over(),  # noqa: B023 - called at once
                    deadline.remaining(),
                )
                if self._unreported:
                    self._raise_dropped()
                new, seen, over = self._since(seen), self._arrived, self._over()
            for event in new:
                if wanted.covers(event) and self._remove(event):
                    return event
            if over:
                self._raise_end()
            if deadline.expired():
                raise self._timed_out(wanted, deadline)

    def close(self) -> None:
        """End the stream: what is buffered can still be read, and whoever waits for more is woken. Idempotent."""
        notice_fork()
        self._owner.discard(self)
        self.end(DisconnectedError("the stream is closed", 1000))

    def end(self, cause: DisconnectedError) -> None:
        """End the stream, unless it has ended; wakes all who wait, since no event will."""
        with self._lock:
            if not self.ended:
                self._cause = cause
            self._changed.notify_all()

    def fail(self, failure: BaseException) -> None:
        """End the stream with what its predicate raised, unless it has ended; wakes all who wait."""
        with self._lock:
            if not self.ended:
                self._failure, self._trace = failure, failure.__traceback__
            self._changed.notify_all()

    def offer(self, event: object) -> bool:
        """Buffer an event; return whether another one had to go for it."""
        return self.extend((event,)) > 0

    def extend(self, events: Sequence[object]) -> int:
        """Buffer events that came together; return how many, of them or of others, had to go for them."""
        with self._lock:
            if self.ended:
                return 0
            self._buffer.extend(events)
            self._arrived += len(events)
            dropped = 0
            while len(self._buffer) > self._maxsize:
                self._buffer.popleft()
                dropped += 1
            self._dropped += dropped
            self._unreported += dropped
            self._changed.notify_all()
            return dropped

    def _over(self) -> bool:
        """Return whether no event comes for now; only an end can make it so while somebody waits."""
        return self.ended or self._owner.why_idle(self.serial) is not None

    def _raise_end(self) -> None:
        """Raise why no event comes, if none does; what the predicate raised, with the traceback that it had then."""
        if self._failure is not None:
            raise self._failure.with_traceback(self._trace)
        cause = self._owner.why_idle(self.serial) if self._cause is None else self._cause
        if cause is not None:
            raise copy_of(cause)

    def _timed_out(self, wanted: Filter, deadline: Deadline) -> WaitTimeoutError:
        waited = deadline.timeout or 0.0
        last = "no other event came meanwhile"
        if (newest := self._owner.newest_event) is not None and (ago := time.monotonic() - newest[1]) <= waited:
            last = f"the last event of any type was {excerpt(newest[0], _SHOWN)}, {ago:.1f} s ago"
        return WaitTimeoutError(f"no event of {wanted} came within {waited:g} s; {last}")

    def _raise_dropped(self) -> None:
        count, self._unreported = self._unreported, 0
        raise EventsDroppedError(count)

    def _since(self, seen: int) -> list[_EventT_co]:
        start = max(0, len(self._buffer) - (self._arrived - seen))
        return list(islice(self._buffer, start, None))

    def _remove(self, wanted: AnyEvent) -> bool:
        """Take out an event; return whether it was still there."""
        with self._lock:
            for position, event in enumerate(self._buffer):
                if event is wanted:
                    del self._buffer[position]
                    return True
        return False

    def __iter__(self) -> Iterator[_EventT_co]:
        return self

    def __next__(self) -> _EventT_co:
        """Return the next event.

        Raises:
            StopIteration: If the stream has ended and is empty. What the predicate raised is raised as in `get`, but
                its own `StopIteration`, which would end a loop in silence, as the cause of a `RuntimeError` (PEP 479).
        """
        self._owner.guard.check("get")
        with self._lock:
            if self._buffer and not self._unreported:
                event: _EventT_co = self._buffer.popleft()
                return event
        try:
            return self.take(Deadline(None))
        except DisconnectedError as error:
            if error is self._failure:
                raise
        except StopIteration as error:
            raise RuntimeError("the predicate of the stream raised StopIteration") from error
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if "_changed" not in vars(self):  # set last
            return "<EventStream that was not made>"
        return f"<EventStream of {self.filter}, {'ended' if self.ended else 'open'}, {len(self._buffer)} buffered>"
