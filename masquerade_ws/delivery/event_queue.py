"""The queue between the reader thread and the dispatcher thread."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress

from masquerade_ws.delivery.filters import AnyEvent
from masquerade_ws.events import CLIENT_EVENT_TYPES, timestamp_of
from masquerade_ws.protocol.codec import decode_each

__all__ = ["EventQueue"]


class EventQueue:
    """The events that wait for listeners, in one session of a client.

    Args:
        size: How many events of the server may wait before the reader must.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._low = size // 2  # so that a reader that waited does not wake for one event at a time
        self._queue: deque[str | bytes | AnyEvent] = deque()
        self._make_locks()
        self._finishing = False
        self._released = False
        self._at_rest = False  # whether the thread waits
        self._unread_since = 0.0  # when the messages came that are queued unread
        self.abandoned = False  # what the reader brings now would overtake the last events, or the next session's
        self.full = False
        self.resumed_at = 0.0

    def _make_locks(self) -> None:
        # Guards changes of the flags, the reader's look at the room, and what `abandon` sorts out; reentrant, for a
        # finalizer that disconnects may run at any line.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        # Wakes the dispatcher thread, which a condition would make wait for the lock as well. Looked up now, not when
        # imported: gevent may replace it.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    def admit_unread(self, count: int) -> bool:
        """Note the time of receipt of ``count`` messages that are to be put as they came, or refuse them.

        They count as events until they are taken out, also those that nobody will listen to. So a thread that is behind
        gets none, and they take half of the room at most.
        """
        # The queue first: if it is empty, and the thread at rest after that, no message is left that came before.
        if self._queue or not self._at_rest or count > self._low:
            return False
        self._unread_since = time.time()
        return True

    def put(self, events: Sequence[str | bytes | AnyEvent]) -> bool:
        """Queue events of the server, waiting for room; tell whether the reader may go on reading."""
        with self._lock:
            taken = 0
            while taken < len(events):
                if not self._released and len(self._queue) >= self._size:
                    self._wait_for_room()
                if self.abandoned:
                    return False
                room = len(events) if self._released else self._size - len(self._queue)
                self._queue.extend(events[taken : taken + room])
                taken += room
                self.wake()
            return not self._released

    def _wait_for_room(self) -> None:
        self.full = True  # ahead of the look at the length: `_take_out` shortens the queue ahead of its look at this
        self._changed.wait_for(lambda: len(self._queue) <= self._low or self._released)
        self.resumed_at = time.monotonic()
        self.full = False

    def post(self, *events: AnyEvent) -> None:
        """Queue the client's own events, without the lock, since the life cycle's is held; `wake` behind that."""
        self._queue.extend(events)

    def wake(self) -> None:
        """Wake the thread, if it is at rest, for what has changed before."""
        if self._at_rest:
            self._bell.put(None)

    def release(self) -> None:
        """Let the reader hand over what it holds, however full the queue is, and read no more."""
        with self._changed:
            self._released = True
            self._changed.notify_all()

    def finish(self) -> None:
        """Let the thread end once the queue is empty."""
        with self._changed:
            self._finishing = self._released = True
            self._changed.notify_all()
        self.wake()

    def forget(self) -> list[AnyEvent]:
        """Forget what waits, and return the client's own events among it."""
        forgotten: list[str | bytes | AnyEvent] = []
        with suppress(IndexError):  # the dispatcher thread takes events out meanwhile
            while True:
                forgotten.append(self._queue.popleft())
        return [event for event in forgotten if not isinstance(event, str | bytes) and event.type in CLIENT_EVENT_TYPES]

    def abandon(self) -> None:
        """Take nothing more from the reader, and keep the client's own events alone of what waits."""
        with self._lock:
            self.abandoned = True
            self._queue.extend(self.forget())

    def after_fork(self) -> None:
        """Forget, in a forked child, what waits for a thread that is not there."""
        self._make_locks()
        self._queue.clear()
        self._finishing = self._released = True

    def wait(self) -> bool:
        """Wait for events; tell whether any may be there or come, for the thread ends otherwise."""
        self._at_rest = True  # ahead of the look at the rest: who changes that looks at this after it
        while not self._queue and not self._finishing:
            self._bell.get()
        self._at_rest = False
        if self._queue:
            return True
        with self._lock:  # `abandon` may have the last events in its hands
            return bool(self._queue) or not self._finishing

    def waiting(self) -> Iterator[AnyEvent]:
        """Take one event after the other until there is none."""
        return decode_each(self._take_out(), lambda: timestamp_of(self._unread_since))

    def _take_out(self) -> Iterator[str | bytes | AnyEvent]:
        """Take out one item after the other, without the lock, until there is none."""
        queue, popleft, low = self._queue, self._queue.popleft, self._low
        with suppress(IndexError):  # the queue is empty
            while True:
                event = popleft()
                if self.full and len(queue) <= low:
                    with self._changed:
                        self._changed.notify_all()
                yield event
