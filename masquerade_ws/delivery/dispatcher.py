"""The dispatcher thread: it calls the listeners, one event after the other.

The reader thread waits here while the queue is full, for a condition, and the dispatcher thread while it is empty, for
a bell. Each wakes the other; `release` wakes the reader for good, `finish` lets the dispatcher end behind the last
event.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import cast

from masquerade_ws.delivery.blocking import LISTENER, Guard
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import AnyEvent
from masquerade_ws.delivery.listeners import Listener, Listeners
from masquerade_ws.delivery.stream_index import StreamIndex
from masquerade_ws.errors import MasqueradeError
from masquerade_ws.events import CLIENT_EVENT_TYPES, ErrorEvent, timestamp_now
from masquerade_ws.log import logger

__all__ = ["Delivery", "dispatch", "log_error"]


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

    def drain(self, dispatcher: EventQueue) -> None:
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
    dispatcher: EventQueue, delivery_ref: weakref.ref[Delivery], guard: Guard, ended: Callable[[], object]
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
