"""The queue between the reader thread and the dispatcher thread.

Who waits where, and who wakes whom:

- The dispatcher thread waits in `EventQueue.wait` while the queue is empty, for a bell. `put`, `wake` and `finish` ring
  it. The thread ends when `wait` returns false: the queue is empty and `finish` was called.
- The reader thread waits in `EventQueue.put` while the queue is full, for a condition. The dispatcher thread notifies
  it once the queue is half empty, and `release`, `finish` and `abandon` do so for good. The reader ends when `put`
  returns false.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from masquerade_ws.delivery.filters import AnyEvent
from masquerade_ws.events import CLIENT_EVENT_TYPES, ErrorEvent
from masquerade_ws.protocol.codec import Takers, decode_each
from masquerade_ws.timestamps import timestamp_of

__all__ = ["Errand", "EventQueue"]


@dataclass(frozen=True, slots=True)
class Errand:
    """What the dispatcher thread does for one image job, in its turn among the events.

    Attributes:
        event: The event that it is about, which ``around_event`` gets; ``None`` if it is about none.
        run: Called with that; must not raise.
    """

    event: AnyEvent | None
    run: Callable[[AnyEvent | None], object]
    type: ClassVar[str] = ""  # no event has it, so that whoever looks for listeners finds none


class EventQueue:
    """The events that wait for listeners, in one session of a client.

    A session ends in one or more of four ways, each for good:

    - released: the reader hands over what it holds, however full the queue is, and then reads no more;
    - finishing: the dispatcher thread delivers what is queued, and then ends; the reader is released as well;
    - abandoned: somebody hung. The reader brings nothing any more, and only the client's own events are delivered;
    - given up: nobody waits for the dispatcher thread any longer. What a listener that hung returns or raises has no
      consequence, and no other listener is called.

    Args:
        size: How many events of the server may wait before the reader must.
        decode: Makes events of what waits, if that is anything but messages and events. Called with what `waiting` is
            called with, it yields them one after the other; the next is asked for once the listeners of the one before
            have returned. Events and errands among the items it yields as they are.

    Attributes:
        more_in: How many events more than one the items hold that were put, as the reader counts them after `put`.
        more_out: How many of those were taken out, as ``decode`` counts them.
        unheeded: The last exception of a listener; ``decode`` may reset it to learn whether one raises.
        abandoned: Whether the queue is abandoned: what the reader brings now would come after the last events, or
            among those of the next session.
        given_up: Whether the dispatcher thread is given up.
        exited: Whether a listener has raised what ends the program, and with it the session.
        raised: The last error that a blocking ``connect()`` raises to its caller, so that it need not be logged.
        full: Whether the reader waits for room.
        resumed_at: When the reader last stopped waiting for room, by the monotonic clock.
    """

    def __init__(
        self, size: int, decode: Callable[[EventQueue, Takers | None], Iterator[AnyEvent]] | None = None
    ) -> None:
        self._size = size
        self._decode = decode
        self._low = size // 2  # so that a reader that waited does not wake for one event at a time
        self._queue: deque[Any] = deque()
        self._renew_locks()
        self._finishing = False
        self._released = False
        self._closed = False  # whether the dispatcher thread takes nothing more
        self._at_rest = False  # whether the dispatcher thread waits
        self._unread_since = 0.0  # when the messages came that are queued undecoded
        self.abandoned = False
        self.given_up = False
        self.exited = False
        self.raised: Exception | None = None
        self.full = False
        self.resumed_at = 0.0
        self.more_in = 0
        self.more_out = 0
        self.unheeded: BaseException | None = None

    def _renew_locks(self) -> None:
        # Guards changes of the flags, the reader's check for room, and the sorting in `abandon`. It is reentrant, since
        # a finalizer that disconnects may run at any line.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        # Wakes the dispatcher thread, which would have to acquire the lock as well if it waited for a condition. Looked
        # up when the queue is made, not when the module is imported: gevent may replace it in between.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    @property
    def length(self) -> int:
        """How many events wait for listeners, and errands."""
        more = 0 if self.abandoned or self.given_up else self.more_in - self.more_out
        return max(0, len(self._queue) + more)

    def admit_undecoded(self, count: int) -> bool:
        """Return whether ``count`` messages may be put as they came, and note the time of their receipt if so.

        Until they are taken out they count as events, also those that nobody will listen to. So a dispatcher thread
        that is busy gets none, and they take up half of the room at most.

        Args:
            count: How many messages have arrived together.
        """
        # The queue is checked first: if it is empty, and the thread is at rest after that, no earlier message is left.
        if self._queue or not self._at_rest or count > self._low:
            return False
        self._unread_since = time.time()
        return True

    def put(self, events: Sequence[Any]) -> bool:
        """Queue what the reader brings, waiting for room, even for nothing: errands may have filled the queue.

        Args:
            events: Events of the server and parse errors, or messages that `admit_undecoded` admitted; or an item for
                ``decode``, alone, which may hold more events than there is room for.

        Returns:
            Whether the reader may go on reading.
        """
        with self._lock:
            taken = 0
            while True:
                if not self._released and self.length >= self._size:
                    self._wait_for_room()
                if self.abandoned:
                    return False
                # `post` and `submit` may fill the queue meanwhile.
                room = len(events) if self._released else max(0, self._size - self.length)
                self._queue.extend(events[taken : taken + room])
                taken += room
                self.wake()
                if taken >= len(events):
                    return not self._released

    def _wait_for_room(self) -> None:
        self.full = True  # set before checking the length: `_take_out` shortens the queue first, then reads this
        self._changed.wait_for(lambda: self.length <= self._low or self._released)
        self.resumed_at = time.monotonic()
        self.full = False

    def post(self, *events: AnyEvent) -> None:
        """Queue the client's own events, without the lock, since the life cycle's is held; call `wake` after that."""
        self._queue.extend(events)

    def submit(self, item: ErrorEvent | Errand) -> bool:
        """Queue an error of user code, or an errand, from any thread; return whether its turn will come."""
        with self._lock:
            if self._closed or self.abandoned:
                return False
            self._queue.append(item)
        self.wake()
        return True

    def wake(self) -> None:
        """Wake the dispatcher thread, if it is at rest, for what has changed before the call."""
        with self._lock:  # see `wait`
            if self._at_rest:
                self._bell.put(None)

    def release(self) -> None:
        """Let the reader hand over what it holds, however full the queue is, and read no more."""
        with self._changed:
            self._released = True
            self._changed.notify_all()

    def finish(self) -> None:
        """Let the dispatcher thread end once the queue is empty."""
        with self._changed:
            self._finishing = self._released = True
            self._changed.notify_all()
        self.wake()

    def abandon(self) -> None:
        """Take nothing more from the reader, and keep only the client's own events of what waits."""
        with self._changed:
            self.abandoned = self._released = True
            self._queue.extend(self._take_own())
            self._changed.notify_all()

    def give_up(self) -> list[AnyEvent]:
        """Give the dispatcher thread up, if it has not ended, and return the client's own events that it left."""
        self.given_up = True
        return self._take_own()

    def _take_own(self) -> list[AnyEvent]:
        """Empty the queue, and return the client's own events that were in it."""
        taken: list[Any] = []
        with suppress(IndexError):  # the dispatcher thread takes events out meanwhile
            while True:
                taken.append(self._queue.popleft())
        return [event for event in taken if getattr(event, "type", None) in CLIENT_EVENT_TYPES]

    def after_fork(self) -> None:
        """Forget, in a forked child, what waits for a thread that is not there.

        The thread that forked may have been the dispatcher thread, in a listener, which then calls no other.
        """
        self._renew_locks()
        self._queue.clear()
        self._finishing = self._released = self._closed = self.given_up = True

    def wait(self) -> bool:
        """Wait for events; return whether any may be there or come, since the dispatcher thread ends otherwise."""
        self._at_rest = True  # set before checking the rest: writers change the rest first, then read this
        with self._lock:  # or, where threads run at once, each might still see what was before the other's change
            self.make_room()
        while not self._queue and not self._finishing:
            self._bell.get()
        self._at_rest = False
        if self._queue:
            return True
        with self._lock:  # `abandon` may be holding the last events
            return bool(self._queue) or not self._finishing

    def close(self) -> bool:
        """Take nothing more, if nothing is left; return whether that is so."""
        with self._lock:
            self._closed = not self._queue
            return self._closed

    def waiting(self, takers: Takers | None = None) -> Iterator[AnyEvent | Errand]:
        """Take out one event, or errand, after the other until there is none.

        Args:
            takers: Who takes events: messages of other types are passed over; ``None``: somebody takes all.
        """
        if self._decode is not None:
            return self._decode(self, takers)
        return decode_each(self.take_out(), lambda: self.read_at, takers)

    def take_out(self) -> Iterator[Any]:
        """Take out one item after the other, without the lock, until there is none; for ``decode``."""
        queue, popleft, low = self._queue, self._queue.popleft, self._low
        with suppress(IndexError):  # the queue is empty
            while True:
                event = popleft()
                if self.full and len(queue) + self.more_in - self.more_out <= low:  # no call for each event
                    self.make_room()
                yield event

    def make_room(self) -> None:
        """Let the reader go on if the queue is half empty; ``decode`` calls it after it has changed `more_out`."""
        if self.full and self.length <= self._low:
            with self._changed:
                self._changed.notify_all()

    @property
    def read_at(self) -> str:
        """When the messages came that are queued undecoded, as a timestamp."""
        return timestamp_of(self._unread_since)
