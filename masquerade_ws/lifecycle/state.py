"""The state of a client: who may change it, and what is reported of each change, in the one order.

The client's threads and the supervisor thread share it. Each change of the state queues its events under the same
lock, so that their order is that of the changes.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import Literal

from masquerade_ws.deadline import Deadline
from masquerade_ws.delivery.blocking import holds
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import AnyEvent
from masquerade_ws.delivery.stream_index import StreamIndex
from masquerade_ws.delivery.transport import Transport
from masquerade_ws.errors import ConnectError, DisconnectedError, SendError
from masquerade_ws.events import ConnectionState, DisconnectedEvent, ErrorEvent, StateChangeEvent, timestamp_now
from masquerade_ws.lifecycle.session import LAST_WORDS, Mail, Session
from masquerade_ws.lifecycle.transitions import STATES, Phase, Trigger
from masquerade_ws.log import logger
from masquerade_ws.stats import Counters

__all__ = ["ClientState", "ended_by_user", "log_report", "report"]


class ClientState:
    """The state of one client, and its newest session.

    Args:
        streams: The streams and waits, which end with their session.
        counters: What a connection that has ended did is added to them.

    Attributes:
        counters: As given.
        current: What the client's ``state`` says.
        reported: What the last ``state:change`` says that was queued.
        last_error: Why the last attempt failed or the last connection was lost; ``None`` while connected.
        session: The newest session.
    """

    session: Session | None = None  # also where a finalizer finds a state whose constructor was interrupted

    def __init__(self, streams: StreamIndex, counters: Counters) -> None:
        self._streams = streams
        self.counters = counters
        self._reset()
        # Streams and futures outlive the client of which they are.
        why_idle, event_queue = weakref.WeakMethod(self.why_idle), weakref.WeakMethod(self.event_queue)
        streams.why_idle = lambda serial: ask(serial) if (ask := why_idle()) is not None else None
        streams.event_queue = lambda: ask() if (ask := event_queue()) is not None else None

    def _reset(self) -> None:
        vars(self).pop("_changed", None)
        self.current: ConnectionState = "disconnected"
        self.reported: ConnectionState = "disconnected"
        self.last_error: ConnectError | DisconnectedError | None = None
        self.session = None

    def after_fork(self) -> None:
        """Start anew in a forked child, which has none of the threads and may find any lock held."""
        session = self.session
        self._reset()
        if session is not None:
            for connection in (session.connection, session.leaving):
                if connection is not None:
                    self.counters.absorb(connection)
            session.after_fork()

    # What a finalizer needs is bound when the class is made: as the interpreter exits, a module's globals may be gone.
    def __del__(self, _stop: Mail = Mail.STOP) -> None:
        if self.session is not None:
            self.session.mail.put(_stop)  # its supervisor thread then finds the client gone, and ends all

    @property
    def changed(self) -> threading.Condition:
        """Guards the rest and the fields of the sessions; held for moments, never while a socket or user code is used.

        It is made by the first thread that needs it, not with the client. A program may make its client when it is
        imported and let gevent replace the locks of `threading` after that; a lock made before would block all
        greenlets. A forked child, which may find the lock held, likewise makes another. ``setdefault`` is atomic, so
        that two threads cannot make one each.
        """
        made: threading.Condition | None = vars(self).get("_changed")
        return made or vars(self).setdefault("_changed", threading.Condition())

    @property
    def changing(self) -> bool:
        """Whether this very thread holds the lock, as a signal handler or a finalizer may find it amid a change."""
        return holds(self.changed)

    @property
    def idle(self) -> DisconnectedError | None:
        """Why no event will come; ``None`` if the client is started, has not given up and is not being stopped."""
        with self.changed:  # so that the state is not still the one before
            if self.session is None:
                return DisconnectedError("the client is not started; call connect() first")
            return self.session.cause if self.session.stopping else None

    @property
    def running(self) -> bool:
        """Whether events may still come."""
        return self.idle is None

    @property
    def connection(self) -> Transport | None:
        """The connection, while there is one."""
        session = self.session
        return session.connection if session is not None and self.current == "connected" else None

    def event_queue(self) -> EventQueue | None:
        """Return the queue for listeners of the newest session, if there is one."""
        session = self.session
        return None if session is None else session.event_queue

    def why_idle(self, serial: int) -> DisconnectedError | None:
        """Return why a stream gets no event until the next ``connect()``, or ``None`` if it gets some.

        Without the lock, since streams ask under theirs.

        Args:
            serial: The stream's number: those that a session has ended, or will, get its last events before that.
        """
        session = self.session
        if session is None or not session.stopping or serial <= session.newest_stream:
            return None
        return session.cause

    def abandon(self, session: Session, deadline: Deadline) -> None:
        """End a session that hangs, as far as anybody else can see.

        Args:
            session: One that is being stopped, or whose supervisor thread calls this because it dies.
            deadline: When the caller wants to go on; the listeners have `LAST_WORDS` more for the last events.
        """
        with self.changed:
            previous = session.previous
        if previous is not None:
            self.abandon(previous, deadline)
        with self.changed:
            first, session.abandoned = not session.abandoned, True
            connected = session.connection is not None and session.phase is not Phase.CONNECTING
            connection = self.let_go(session)
            if connection is not None:
                session.cut = connection
            last: list[AnyEvent] = []
            if connected:
                last.append(DisconnectedEvent(timestamp_now(), session.close_code, "", will_reconnect=False))
            if not session.stopping:
                self.cancel(session, DisconnectedError("the supervisor thread died"))
            if not session.ended:
                self.advance(session, Trigger.ABANDON, *last)
        if not first:
            session.done.wait(2 * LAST_WORDS)  # set by the first, unless this is a signal handler in that very thread
            return
        try:
            if connection is not None:
                connection.cut(ended_by_user())
            session.event_queue.abandon()
            session.finish_dispatching(deadline.later(LAST_WORDS))  # so that they come before the next session's
        finally:
            self.finish(session)

    def finish(self, session: Session) -> None:
        """Note that a session has ended, give the streams what no listener took, and end them."""
        # A listener may have ended the dispatcher thread, or hang in it.
        for event in session.event_queue.give_up():
            self._streams.deliver(event, asking=False)  # whoever disconnects is not to hang in a predicate
        with self.changed:
            session.done.set()  # a later `disconnect()` ends the later streams itself
        self.end_waits(session)

    def end_waits(self, session: Session) -> None:
        """End the streams and futures that end with a session, if they have not ended."""
        self._streams.end(session.newest_stream, session.cause)

    # Under the lock.

    def advance(
        self, session: Session, trigger: Trigger, *news: AnyEvent, error: Exception | None = None
    ) -> Sequence[AnyEvent]:
        """Make a transition, and queue what it is reported by, in the one order; return that, for `report`."""
        session.move(trigger)
        old, new = self.reported, STATES[session.phase]
        self.reported, self.current = new, "disconnected" if session.left else new
        events = list(news)
        if old != new:
            events.insert(0, StateChangeEvent(old, new, timestamp_now()))
        if error is not None:
            context: Literal["connection", "send"] = "send" if isinstance(error, SendError) else "connection"
            events.insert(0, ErrorEvent(error, context, timestamp_now()))
        session.event_queue.post(*events)
        self.changed.notify_all()
        return events

    def note_failure(self, session: Session, error: ConnectError | DisconnectedError | None) -> None:
        """Note why an attempt failed or a connection was lost, or that there is one; before the transition."""
        self.last_error = session.failure = error
        if not isinstance(error, ConnectError):
            session.loss = error

    def retire(self, session: Session, cause: DisconnectedError) -> None:
        """Let a session end, and with it, for this cause, all that wait now."""
        session.cause = cause
        session.newest_stream = self._streams.newest()
        session.stopping = True  # after that: `why_idle` reads this first
        session.newest_stream = self._streams.newest()  # somebody may wait already for a stream made in between

    def cancel(self, session: Session, cause: DisconnectedError) -> None:
        """Retire a session from outside, and wake whoever waits for its attempt, which will have no result."""
        self.retire(session, cause)
        session.result.cancelled = True
        self.changed.notify_all()

    def leave(self, session: Session) -> None:
        """Let the client's state say where a session will end, though it waits for the thread that calls this."""
        session.left = True
        if self.session is session and session.stopping:
            self.current = "disconnected"

    def let_go(self, session: Session) -> Transport | None:
        """Take the connection out of a session, or the one that it has lost."""
        connection, session.connection, session.leaving = session.connection or session.leaving, None, None
        if connection is not None:
            self.counters.absorb(connection)
        return connection


def report(session: Session, events: Sequence[AnyEvent]) -> None:
    """Wake the dispatcher thread for what was queued, and log it."""
    session.event_queue.wake()
    log_report(events)


def log_report(events: Sequence[AnyEvent]) -> None:
    """Log changes and errors, never under the lock: a handler of the logger is user code."""
    for event in events:
        if isinstance(event, StateChangeEvent):
            logger.debug("state: %s -> %s", event.old_state, event.new_state)
        elif isinstance(event, ErrorEvent):
            logger.debug("%s error: %s", event.context, event.error)


def ended_by_user() -> DisconnectedError:
    """Return the error with which waits end when a client is stopped."""
    return DisconnectedError("disconnect() was called", 1000)
