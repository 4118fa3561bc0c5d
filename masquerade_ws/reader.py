"""The reader thread: it moves messages from one connection to the streams and to the dispatcher's queue."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress

from .codec import decode_each
from .connection import Connection
from .dispatcher import Dispatcher
from .errors import DisconnectedError
from .events import CLIENT_EVENT_TYPES, Event, timestamp_now
from .filters import AnyEvent
from .index import StreamIndex
from .listeners import Listeners
from .log import logger
from .stats import Counters

__all__ = ["Intake", "read"]


class Intake:
    """Where messages become events."""

    def __init__(self, listeners: Listeners, streams: StreamIndex, counters: Counters) -> None:
        self._listeners = listeners
        self._streams = streams
        self._counters = counters

    def take(self, batch: list[str | bytes], dispatcher: Dispatcher) -> Sequence[str | bytes | AnyEvent]:
        """Decode messages and feed the streams; return the events, parse errors included, that somebody listens to.

        If only listeners wait, the messages go as they are to a dispatcher thread that is at rest: events that are gone
        before the next is made cost the processor's caches least.
        """
        self._counters.messages_received += len(batch)  # one thread at a time reads
        if logger.isEnabledFor(logging.DEBUG):
            for message in batch:
                logger.debug("received %s", message)
        if self._listeners and not self._streams and dispatcher.admit_unread(len(batch)):
            return batch
        events = list(decode_each(batch, timestamp_now))
        if self._streams:
            for event in events:
                if dispatcher.abandoned:  # a predicate held them up, and the streams are the next session's by now
                    return ()
                if isinstance(event, Event):
                    self._streams.deliver(event)
        types = {event.type for event in events}
        unheard = {name for name in types - CLIENT_EVENT_TYPES if not self._listeners.for_type(name)}
        return [event for event in events if event.type not in unheard] if unheard else events


def read(
    connection: Connection, dispatcher: Dispatcher, intake_ref: weakref.ref[Intake], ended: Callable[[], object]
) -> None:
    """Run the reader thread, which ends with the connection, with its client, or when the dispatcher takes no more."""
    try:
        with suppress(DisconnectedError):  # the connection keeps it as its error
            for batch in connection.batches():
                intake = intake_ref()
                if intake is None:
                    return
                events = intake.take(batch, dispatcher)
                del intake, batch
                if events and not dispatcher.put(events):
                    return
                del events
    finally:
        ended()
