"""The dispatcher thread: it calls the listeners, one event after the other.

It waits in `EventQueue.wait`, and ends after the last event of its session, or when its client is gone. After that
event it ends the waits of the session, which another thread does only if this one hangs. Before it ends it lets the
reader thread pass, since nobody else would make room, and notifies the supervisor thread, which ends the session if
that is not what ended the dispatcher thread.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import cast

from masquerade_ws.delivery.blocking import LISTENER, Guard
from masquerade_ws.delivery.event_queue import Errand, EventQueue
from masquerade_ws.delivery.filters import AnyEvent
from masquerade_ws.delivery.listeners import Listener
from masquerade_ws.delivery.takers import Takers
from masquerade_ws.delivery.unheard import UnheardErrors
from masquerade_ws.events import CLIENT_EVENT_TYPES, ErrorEvent
from masquerade_ws.log import logger
from masquerade_ws.stats import Counters
from masquerade_ws.timestamps import timestamp_now
from masquerade_ws.user_code import as_exception, ends_program

__all__ = ["Delivery", "dispatch"]

_AROUND_EVENT = "around_event"


class Delivery:
    """Who gets an event: the listeners, and for the client's own events the streams as well.

    Args:
        takers: Who listens and waits.
        around_event: Makes the context that is entered around the listeners of an event.
        counters: Where errors are counted.

    Attributes:
        unheard: Gets the errors that nobody listens to.
    """

    def __init__(
        self,
        takers: Takers,
        around_event: Callable[[AnyEvent], object] | None,
        counters: Counters,
    ) -> None:
        self._takers = takers
        self._listeners = takers.listeners
        self._streams = takers.streams
        self._around_event = around_event
        self._counters = counters
        self.unheard = UnheardErrors(time.monotonic)

    def drain(self, queue: EventQueue) -> None:
        """Deliver what is queued.

        It does what `deliver` does. The loop of `_call` stands here once more, for the plain events of the server: two
        calls less are worth a factor of 1.14 with one listener (events of 130 bytes, decoding included).

        Raises:
            SystemExit: If a listener raised it; likewise any other exception that ends the program.
        """
        listeners, around_event = self._listeners, self._around_event
        for event in queue.waiting(None if self._takers.takes_all() else self._takers):
            try:
                known = listeners.by_type[event.type]
            except KeyError:
                known = None
            if known is None or around_event is not None:  # the client's own, of a type not seen lately, or an errand
                if isinstance(event, Errand):
                    self._run(event, queue)
                else:
                    self.deliver(event, queue)
                continue
            for listener in known:
                if listener.active and (not listener.once or listeners.claim(listener)):
                    try:
                        listener.handler(event)
                    except BaseException as error:
                        self._report(error, LISTENER, cast("AnyEvent", event), queue)
                    if queue.given_up:
                        return

    def deliver(self, event: AnyEvent, queue: EventQueue) -> None:
        """Feed the streams, if it is one of the client's own events, and call the listeners.

        Args:
            event: What to deliver.
            queue: Where it came from, which may be given up meanwhile.

        Raises:
            SystemExit: If a listener raised it; likewise any other exception that ends the program.
        """
        listeners = self._listeners.for_type(event.type)
        if event.type in CLIENT_EVENT_TYPES:
            if isinstance(event, ErrorEvent):
                self._count(event)
            waited_for = self._streams.deliver(event)
            if queue.given_up:  # a predicate hung
                return
            if isinstance(event, ErrorEvent) and not (listeners or waited_for or event.error is queue.raised):
                self.unheard.report(event)
        elif not listeners:  # which `drain` finds as well, but not for the first event of a type
            self._takers.fronts.worth_a_look = True
        if listeners and self._around_event is not None:
            self._call_within(self._around_event, listeners, event, queue)
        else:
            self._call(listeners, event, queue)

    def _count(self, event: ErrorEvent) -> None:
        """Count what may have come from more than one thread: decoding, and callbacks of futures."""
        if event.context == "parse":
            self._counters.parse_errors += 1
        elif event.context == "handler":
            self._counters.handler_errors += 1

    def _run(self, errand: Errand, queue: EventQueue) -> None:
        if errand.event is not None and self._around_event is not None:
            self._call_within(self._around_event, (Listener(errand.type, errand.run, once=False),), errand.event, queue)
        else:
            errand.run(errand.event)

    def _call_within(
        self,
        around_event: Callable[[AnyEvent], object],
        listeners: tuple[Listener, ...],
        event: AnyEvent,
        queue: EventQueue,
    ) -> None:
        stack = ExitStack()
        try:
            context = around_event(event)
            if not isinstance(context, AbstractContextManager):
                raise TypeError(f"around_event must return a context manager, not {type(context).__name__}")
            stack.enter_context(cast("AbstractContextManager[object]", context))
        except BaseException as error:
            self._report(error, _AROUND_EVENT, event, queue)
        try:
            self._call(() if queue.given_up else listeners, event, queue)
        finally:
            try:
                stack.close()
            except BaseException as error:
                self._report(error, _AROUND_EVENT, event, queue)

    def _call(self, listeners: tuple[Listener, ...], event: AnyEvent, queue: EventQueue) -> None:
        for listener in listeners:
            if listener.active and (not listener.once or self._listeners.claim(listener)):
                try:
                    listener.handler(event)
                except BaseException as error:
                    self._report(error, LISTENER, event, queue)
                if queue.given_up:
                    return

    def _report(self, error: BaseException, raised_by: str, event: AnyEvent, queue: EventQueue) -> None:
        """Report what user code raised, and raise it again if it ends the program; neither if that came too late.

        One exit ends the session, and is one error: what exits as well, at one of the last events, changes nothing.
        """
        leaves = ends_program(error)
        if queue.given_up or (leaves and queue.exited):
            return
        queue.exited = queue.exited or leaves
        queue.unheeded = error
        if isinstance(event, ErrorEvent):
            self._counters.handler_errors += 1
            logger.error("%s raised while it handled an error event", raised_by, exc_info=error)
        else:
            self.deliver(ErrorEvent(as_exception(error, raised_by), "handler", timestamp_now()), queue)
        if leaves:
            raise error


def dispatch(
    queue: EventQueue,
    delivery_ref: weakref.ref[Delivery],
    guard: Guard,
    ended: Callable[[], object],
    end_waits: Callable[[], object],
) -> None:
    """Run the dispatcher thread, which ends after the last event of its session, or with its client.

    Args:
        queue: Where the events come from.
        delivery_ref: What delivers them; it is gone once nobody refers to the client any more.
        guard: Refuses waits in listeners.
        ended: Called when the session has to end, and when the thread ends.
        end_waits: Called after the last event. Futures have callbacks, and what these raise is delivered as well.
    """
    try:
        with guard.running(LISTENER):
            if _deliver_all(queue, delivery_ref, ended):
                end_waits()
                while not queue.close():
                    _deliver_all(queue, delivery_ref, ended)
    finally:
        queue.finish()  # nobody else would make room for the reader
        ended()


def _deliver_all(queue: EventQueue, delivery_ref: weakref.ref[Delivery], ended: Callable[[], object]) -> bool:
    """Deliver what comes until the session ends; return whether it has, since the client may be gone before.

    An exception that ends the program ends the client, and has been reported: the thread delivers the client's own
    events, that the client has ended among them, and then ends without a traceback.
    """
    while queue.wait():
        delivery = delivery_ref()
        if delivery is None:
            return False
        try:
            delivery.drain(queue)
        except BaseException as error:
            if not ends_program(error):
                raise
            ended()
            queue.abandon()
        del delivery
    return True
