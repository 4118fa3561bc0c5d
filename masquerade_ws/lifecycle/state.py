"""The state of a client: who may change it, and what is told of each change, in the one order.

The client's threads and the supervisor thread share it. Each change of the state queues its events under the same
lock, so that their order is that of the changes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from masquerade_ws.connection.connection import Connection
from masquerade_ws.deadline import Deadline
from masquerade_ws.delivery.filters import AnyEvent
from masquerade_ws.delivery.stream_index import StreamIndex
from masquerade_ws.errors import DisconnectedError, SendError
from masquerade_ws.events import ConnectionState, DisconnectedEvent, ErrorEvent, StateChangeEvent, timestamp_now
from masquerade_ws.lifecycle.session import Mail, Session
from masquerade_ws.lifecycle.transitions import STATES, TRANSITIONS, Phase, Trigger
from masquerade_ws.log import logger
from masquerade_ws.stats import Counters

__all__ = ["LAST_WORDS", "ClientState", "ended_by_user", "log_told", "tell"]


LAST_WORDS = 0.5  # seconds that listeners may take for the last events of a session that hung


class ClientState:
    """The state of one client, and its newest session.

    Args:
        streams: Who waits; they end with their session.
        counters: What a connection that has ended did is added to them.

    Attributes:
        state: The client's.
        session: The newest one.
    """

    def __init__(self, streams: StreamIndex, counters: Counters) -> None:
        self._streams = streams
        self._counters = counters
        self._reset()

    def _reset(self) -> None:
        vars(self).pop("_changed", None)
        self.state: ConnectionState = "disconnected"
        self.session: Session | None = None

    def after_fork(self) -> None:
        """Start anew in a forked child, which has none of the threads and may find any lock held."""
        session = self.session
        self._reset()
        if session is not None:
            if session.connection is not None:
                self._counters.absorb(session.connection)
            session.after_fork()

    def __del__(self) -> None:
        if self.session is not None:
            self.session.mail.put(Mail.STOP)  # its supervisor thread then finds the client gone, and ends all

    @property
    def changed(self) -> threading.Condition:
        """Guards the rest and the fields of the sessions; held for moments, never while a socket or user code is used.

        Made by whichever thread needs it first, not with the client: gevent may replace it after that, or after a fork.
        """
        made: threading.Condition | None = vars(self).get("_changed")
        return made or vars(self).setdefault("_changed", threading.Condition())

    @property
    def running(self) -> bool:
        """Whether events may still come: the client is started, has not given up and is not being stopped."""
        with self.changed:  # so that the state is not still the one before
            return self.session is not None and not self.session.stopping

    @property
    def connection(self) -> Connection | None:
        """The connection, while there is one."""
        session = self.session
        return session.connection if session is not None and self.state == "connected" else None

    @property
    def changing(self) -> bool:
        """Whether this very thread holds the lock, perhaps amid a change."""
        return bool(self.changed._is_owned())  # type: ignore[attr-defined]

    def abandon(self, session: Session, deadline: Deadline) -> None:
        """End a session that hangs, as far as anybody else can see.

        Its listeners have until `LAST_WORDS` behind the deadline for the last events.
        """
        if session.previous is not None:
            self.abandon(session.previous, deadline)
        with self.changed:
            first, session.abandoned = not session.abandoned, True
            connected = session.phase is not Phase.CONNECTING
            connection = self.let_go(session)
            gone: list[AnyEvent] = []
            if connection is not None:
                session.cut = connection
                if connected:
                    gone.append(DisconnectedEvent(timestamp_now(), session.close_code, "", will_reconnect=False))
            if not session.stopping:
                self.cancel(session, DisconnectedError("the supervisor thread died"))
            if not session.ended:
                self.advance(session, Trigger.ABANDON, *gone)
        if not first:
            session.done.wait(2 * LAST_WORDS)  # set by who was, unless this is a signal handler in that very thread
            return
        try:
            if connection is not None:
                connection.cut(ended_by_user())
            session.dispatcher.abandon()
            session.finish_dispatching(deadline.later(LAST_WORDS))  # so that they come ahead of the next session's
        finally:
            self.finish(session)

    def finish(self, session: Session) -> None:
        """End the streams, once they have what the dispatcher thread had no time for, or did not live to deliver."""
        for event in session.dispatcher.give_up():
            self._streams.deliver(event, asking=False)
        with self.changed:
            session.done.set()  # a later `disconnect()` ends the later streams itself
        self._streams.end(session.newest_stream, session.cause)

    # Under the lock.

    def advance(
        self, session: Session, signal: Trigger, *news: AnyEvent, error: Exception | None = None
    ) -> Sequence[AnyEvent]:
        """Make a transition, and queue what is to be told of it, in the one order; return that, for `tell`."""
        session.phase = TRANSITIONS[session.phase, signal]
        old, self.state = self.state, STATES[session.phase]
        told = list(news)
        if old != self.state:
            told.insert(0, StateChangeEvent(old, self.state, timestamp_now()))
        if error is not None:
            told.insert(0, ErrorEvent(error, "send" if isinstance(error, SendError) else "connection", timestamp_now()))
        session.dispatcher.post(*told)
        self.changed.notify_all()
        return told

    def retire(self, session: Session, cause: DisconnectedError) -> None:
        """Let a session end, with all that wait now, who are told the cause."""
        session.stopping = True
        session.cause = cause
        session.newest_stream = self._streams.newest()

    def cancel(self, session: Session, cause: DisconnectedError) -> None:
        """Retire a session from outside, and wake who waits for its attempt, which will have no outcome."""
        self.retire(session, cause)
        session.attempt.cancelled = True
        self.changed.notify_all()

    def let_go(self, session: Session) -> Connection | None:
        """Take the connection out of a session."""
        connection, session.connection = session.connection, None
        if connection is not None:
            self._counters.absorb(connection)
        return connection


def tell(session: Session, events: Sequence[AnyEvent]) -> None:
    """Wake the dispatcher thread for what was queued, and log it."""
    session.dispatcher.wake()
    log_told(events)


def log_told(events: Sequence[AnyEvent]) -> None:
    """Log changes and errors, never under the lock: a handler of the logger is user code."""
    for event in events:
        if isinstance(event, StateChangeEvent):
            logger.debug("state: %s -> %s", event.old_state, event.new_state)
        elif isinstance(event, ErrorEvent):
            logger.debug("%s error: %s", event.context, event.error)


def ended_by_user() -> DisconnectedError:
    """Return what those are told who wait when a client is stopped."""
    return DisconnectedError("disconnect() was called", 1000)
