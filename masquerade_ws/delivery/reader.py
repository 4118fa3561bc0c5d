"""The reader thread: it moves messages from one connection to the streams and to the dispatcher's queue."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress

from masquerade_ws.connection.connection import Connection
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import AnyEvent
from masquerade_ws.delivery.listeners import Listeners
from masquerade_ws.delivery.stream_index import StreamIndex
from masquerade_ws.errors import DisconnectedError
from masquerade_ws.events import CLIENT_EVENT_TYPES, Event, timestamp_now
from masquerade_ws.log import logger
from masquerade_ws.protocol.codec import decode_each
from masquerade_ws.stats import Counters

__all__ = ["Intake", "read"]


class Intake:
    """Where messages become events."""

    def __init__(self, listeners: Listeners, streams: StreamIndex, counters: Counters) -> None:
        self._listeners = listeners
        self._streams = streams
        self._counters = counters

    def take(self, batch: list[str | bytes], dispatcher: EventQueue) -> Sequence[str | bytes | AnyEvent]:
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
    connection: Connection, dispatcher: EventQueue, intake_ref: weakref.ref[Intake], ended: Callable[[], object]
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
