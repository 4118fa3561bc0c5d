"""The dispatcher thread: it calls the listeners, one event after the other.

The reader thread waits here while the queue is full, for a condition, and the dispatcher thread while it is empty, for
a bell. Each wakes the other; `release` wakes the reader for good, `finish` lets the dispatcher end behind the last
event.
"""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import cast

from .codec import decode_each
from .errors import MasqueradeError
from .events import CLIENT_EVENT_TYPES, ErrorEvent, timestamp_now, timestamp_of
from .filters import AnyEvent
from .guard import LISTENER, Guard
from .index import StreamIndex
from .listeners import Listener, Listeners
from .log import logger

__all__ = ["Delivery", "Dispatcher", "dispatch"]


class Dispatcher:
    """The events that wait for listeners, in one session of a client.

    Args:
        size: How many events of the server may wait before the reader must.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._low = size // 2  # so that a reader that waited does not wake for one event at a time
        self._queue: deque[str | bytes | AnyEvent] = deque()
        self._renew_locks()
        self._finishing = False
        self._released = False
        self._at_rest = False  # whether the thread waits
        self._unread_since = 0.0  # when the messages came that are queued unread
        self.abandoned = False  # what the reader brings now would overtake the last events, or the next session's
        self.full = False
        self.resumed_at = 0.0

    def _renew_locks(self) -> None:
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

    def abandon_in_child(self) -> None:
        """Forget, in a forked child, what waits for a thread that is not there."""
        self._renew_locks()
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


class Delivery:
    """Who gets an event: the listeners, and for the client's own events the streams as well.

    Args:
        listeners: Who listens.
        streams: Who waits.
        around_event: Makes the context that is entered around the listeners of an event.
    """

    def __init__(
        self,
        listeners: Listeners,
        streams: StreamIndex,
        around_event: Callable[[AnyEvent], object] | None,
    ) -> None:
        self._listeners = listeners
        self._streams = streams
        self._around_event = around_event

    def drain(self, dispatcher: Dispatcher) -> None:
        """Deliver what is queued: as `deliver` does, without its calls for the plain events of the server."""
        listeners, around_event = self._listeners, self._around_event
        for event in dispatcher.waiting():
            known = listeners.by_type.get(event.type)
            if known is None or around_event is not None:  # the client's own, or of a type not seen lately
                self.deliver(event)
                continue
            for listener in known:
                if listener.active and (not listener.once or listeners.claim(listener)):
                    try:
                        listener.handler(event)
                    except Exception as error:
                        self._report(error, event)

    def deliver(self, event: AnyEvent) -> None:
        """Feed the streams, if it is one of the client's own events, and call the listeners."""
        listeners = self._listeners.for_type(event.type)
        if event.type in CLIENT_EVENT_TYPES:
            waited_for = self._streams.deliver(event)
            if isinstance(event, ErrorEvent) and not listeners and not waited_for:
                log_error(event)
        if listeners and self._around_event is not None:
            self._call_within(self._around_event, listeners, event)
        else:
            self._call(listeners, event)

    def _call_within(
        self,
        around_event: Callable[[AnyEvent], object],
        listeners: tuple[Listener, ...],
        event: AnyEvent,
    ) -> None:
        with ExitStack() as stack:
            try:
                context = around_event(event)
                if not isinstance(context, AbstractContextManager):
                    raise TypeError(f"around_event must return a context manager, not {type(context).__name__}")
                stack.enter_context(cast("AbstractContextManager[object]", context))
            except Exception as error:
                self._report(error, event)
            self._call(listeners, event)
            try:
                stack.close()
            except Exception as error:
                self._report(error, event)

    def _call(self, listeners: tuple[Listener, ...], event: AnyEvent) -> None:
        for listener in listeners:
            if listener.active and (not listener.once or self._listeners.claim(listener)):
                try:
                    listener.handler(event)
                except Exception as error:
                    self._report(error, event)

    def _report(self, error: Exception, event: AnyEvent) -> None:
        if isinstance(event, ErrorEvent):
            logger.error("a listener of the error event raised", exc_info=error)
        else:
            self.deliver(ErrorEvent(error, "handler", timestamp_now()))


def log_error(event: ErrorEvent) -> None:
    """Log an error that nobody listens to."""
    trace = None if isinstance(event.error, MasqueradeError) else event.error
    logger.warning("%s error, and nobody listens to errors: %r", event.context, event.error, exc_info=trace)


def dispatch(
    dispatcher: Dispatcher, delivery_ref: weakref.ref[Delivery], guard: Guard, ended: Callable[[], object]
) -> None:
    """Run the dispatcher thread, which ends behind the last event, with its client, or with a listener that exits."""
    try:
        with guard.running(LISTENER):
            while dispatcher.wait():
                delivery = delivery_ref()
                if delivery is None:
                    return
                delivery.drain(dispatcher)
                del delivery
    finally:
        dispatcher.finish()  # nobody else would make room for the reader
        ended()
