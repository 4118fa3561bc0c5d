"""The reader thread: it moves messages from one connection to the streams and to the queue for the listeners.

It waits in the connection's ``recv``, which the connection's end wakes, and in `EventQueue.put` while the queue is
full. It ends with the connection, when the queue takes no more, or when its client is gone, and notifies the supervisor
thread, which has then lost the connection or is ending the session anyway.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice, takewhile
from typing import Any

from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import AnyEvent
from masquerade_ws.delivery.message_decoder import MessageDecoder
from masquerade_ws.delivery.takers import Takers
from masquerade_ws.delivery.transport import Transport
from masquerade_ws.errors import DisconnectedError
from masquerade_ws.events import CLIENT_EVENT_TYPES
from masquerade_ws.log import logger
from masquerade_ws.protocol.codec import decode_each, named_type
from masquerade_ws.sanitize import excerpt
from masquerade_ws.stats import Counters
from masquerade_ws.timestamps import timestamp_now

__all__ = ["Intake", "read"]

_PART = 100  # events of the user's own wire format that are made before they are handed over


class Intake:
    """Where messages become events.

    Args:
        takers: Who listens and waits.
        counters: Where the messages are counted.
        decoder: Has the user's own wire format, if there is one.
    """

    def __init__(
        self,
        takers: Takers,
        counters: Counters,
        decoder: MessageDecoder | None = None,
    ) -> None:
        self._takers = takers
        self._listeners = takers.listeners
        self._streams = takers.streams
        self._counters = counters
        self._decoder = decoder

    def take(self, batch: list[Any], queue: EventQueue) -> Iterable[Sequence[Any]]:
        """Decode messages and feed the streams, but pass over what nobody takes.

        If nobody but listeners takes events, and the dispatcher thread is at rest, the messages go to it undecoded.
        With one listener that is worth a factor of 1.31 (events of 130 bytes): an event that is gone before the next
        one is made costs the processor's caches least.

        Args:
            batch: The messages that arrived together.
            queue: Where they go next; it may be abandoned meanwhile.

        Returns:
            The events that somebody listens to and the parse errors, or the messages as they came; a part at a time,
            of which the next is made when it is asked for.
        """
        self._counters.count_messages(len(batch))
        if logger.isEnabledFor(logging.DEBUG):
            for message in batch:
                logger.debug("received %s", excerpt(message))
        if self._decoder is not None:
            return self._in_parts(self._decoder.decode_each(batch, timestamp_now), queue)
        if self._listeners and not self._streams and queue.admit_undecoded(len(batch)):
            return (batch,)
        takers = None if self._takers.takes_all() else self._takers
        return (self._feed(decode_each(batch, timestamp_now, takers), queue, batch[-1]),)

    def _in_parts(self, events: Iterator[AnyEvent], queue: EventQueue) -> Iterator[Sequence[AnyEvent]]:
        """Feed events that are still to be made, and yield what somebody listens to, before the next ones are made."""
        wanted = takewhile(lambda _: not queue.abandoned, events)  # what comes back late from `decode` is dropped
        while part := list(islice(wanted, _PART)):
            yield self._feed(part, queue)

    def _feed(self, events: Iterable[AnyEvent], queue: EventQueue, last: str | bytes = "") -> Sequence[AnyEvent]:
        """Feed the streams; return the events that somebody listens to, and the parse errors.

        Args:
            events: The events, each to be made when the one before it is in the streams.
            queue: Where they go next.
            last: The last message, if its event may be passed over.
        """
        made = self._streams.feed(events, queue, named_type(last)) if self._streams else list(events)
        types = {event.type for event in made}
        unheard = {name for name in types - CLIENT_EVENT_TYPES if not self._listeners.for_type(name)}
        if not all(map(self._streams.takes, unheard)):
            self._takers.fronts.worth_a_look = True
        return [event for event in made if event.type not in unheard] if unheard else made


def read(
    connection: Transport, queue: EventQueue, intake_ref: weakref.ref[Intake], ended: Callable[[], object]
) -> None:
    """Run the reader thread, which ends with the connection, with its client, or when the queue takes no more.

    Args:
        connection: What to read.
        queue: Where events go that somebody listens to.
        intake_ref: What decodes the messages; it is gone once nobody refers to the client any more.
        ended: Called when the thread ends.
    """
    try:
        with suppress(DisconnectedError):  # the connection keeps it as its error
            for batch in connection.batches():
                intake = intake_ref()
                if intake is None:
                    return
                brought = intake.take(batch, queue)
                del intake, batch
                if not _hand_over(brought, queue):
                    return
                del brought
    finally:
        ended()


def _hand_over(brought: Iterable[Sequence[Any]], queue: EventQueue) -> bool:
    """Queue what messages brought; return whether the reader may go on reading, now that there is room again."""
    return all(queue.put(events) for events in brought if events or queue.length)
