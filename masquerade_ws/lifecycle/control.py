"""What a client asks of its life: to start, to stop, to wait for either, and to tell how it goes."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial

from masquerade_ws.deadline import Deadline
from masquerade_ws.delivery.blocking import LISTENER
from masquerade_ws.delivery.dispatcher import dispatch
from masquerade_ws.delivery.filters import AnyEvent
from masquerade_ws.errors import ConnectError, DisconnectedError, WaitTimeoutError
from masquerade_ws.lifecycle import process_hooks
from masquerade_ws.lifecycle.options import ClientOptions
from masquerade_ws.lifecycle.session import Mail, Session
from masquerade_ws.lifecycle.state import LAST_WORDS, ClientState, ended_by_user, log_told
from masquerade_ws.lifecycle.supervisor import Rooms, Supervisor, supervise
from masquerade_ws.lifecycle.threads import start
from masquerade_ws.lifecycle.transitions import Phase, Trigger
from masquerade_ws.stats import Stats

__all__ = ["Control"]


class Control:
    """Starts and stops the sessions of one client.

    Args:
        life: The client's.
        supervisor: What the supervisor threads work with.
        options: The client's.
        rooms: What the threads work with.
    """

    def __init__(self, life: ClientState, supervisor: Supervisor, options: ClientOptions, rooms: Rooms) -> None:
        self._life = life
        self._supervisor = supervisor
        self._options = options
        self._rooms = rooms

    def connect(self, *, block: bool, timeout: float | None) -> None:
        """Start a session, or hurry the one that runs, and wait for the outcome of its attempt."""
        if block:
            self._rooms.guard.check("a blocking connect")
        deadline = Deadline(timeout)
        with self._life.changed:
            session, told = self._start_or_join()
            attempt = session.attempt
        log_told(told)
        if not block:
            return
        with self._life.changed:
            if not self._life.changed.wait_for(lambda: attempt.over or attempt.cancelled, deadline.remaining()):
                raise WaitTimeoutError(f"the attempt to connect is not over after {timeout} s; it goes on")
        if attempt.error is not None:  # a copy, since several threads may raise it
            raise ConnectError(str(attempt.error), attempt.error.status) from attempt.error.__cause__
        if not attempt.over:
            raise DisconnectedError(str(session.cause), session.cause.code)

    def _start_or_join(self) -> tuple[Session, Sequence[AnyEvent]]:
        session = self._life.session
        told: Sequence[AnyEvent] = ()
        if session is None or session.stopping:
            previous = None if session is None or session.done.is_set() else session
            session = Session(self._options.queue_size, previous)
            told = self._start(session)
        elif session.phase is Phase.WAITING:
            session.retry = Deadline(0)
            session.mail.put(Mail.HURRY)
        return session, told

    def _start(self, session: Session) -> Sequence[AnyEvent]:
        before = self._life.session, self._life.state
        died = partial(session.mail.put, Mail.STOP)
        delivery, guard = weakref.ref(self._rooms.delivery), self._rooms.guard
        try:
            # It waits for its first mail, if it is not to wait for the session before it.
            session.supervisor_thread = start("supervisor", supervise, weakref.ref(self._supervisor), session)
            session.dispatcher_thread = start("dispatcher", dispatch, session.dispatcher, delivery, guard, died)
            process_hooks.await_at_exit(session.done)
            self._life.session = session
            told = self._life.advance(session, Trigger.START) if session.previous is None else ()
            session.mail.put(Mail.HURRY)
        except BaseException:  # no thread, or an interrupt
            self._life.session, self._life.state = before
            session.phase, session.stopping = Phase.ENDED, True
            session.dispatcher.give_up()
            session.mail.put(Mail.STOP)  # wakes the supervisor thread, if it was started, which then ends both
            raise
        return told

    def stop(self, code: int, timeout: float) -> None:
        """Begin to end the session: wakes its supervisor thread, its attempt, and who waits for that."""
        attempted = None
        with self._life.changed:
            session, newest = self._life.session, self._rooms.streams.newest()
            over = session is None or session.done.is_set()
            if session is not None and session.stopping:
                session.newest_stream = newest
            elif session is not None:
                session.close_code, session.close_timeout, session.deadline = code, timeout / 2, Deadline(timeout)
                attempted = session.connection if session.phase is Phase.CONNECTING else None
                self._life.cancel(session, ended_by_user())
                session.mail.put(Mail.STOP)
        if attempted is not None:
            attempted.abort(ended_by_user())
        if over:
            self._rooms.streams.end(newest, ended_by_user())

    def await_end(self, deadline: Deadline) -> None:
        """Wait until the session has ended; abandon it if it has not in time."""
        session, role = self._life.session, self._rooms.guard.role
        if session is None or session.supervisor_thread is None:
            return
        if self._life.changing:  # nothing moves until the code that a signal handler or a finalizer cut goes on
            return
        if role is None:
            over = session.done.wait(deadline.remaining())
            if not session.abandoned:
                session.supervisor_thread.join(deadline.remaining())
        elif role == LISTENER:  # the session waits for this very thread, to deliver the last events
            with self._life.changed:
                over = self._life.changed.wait_for(lambda: session.quiet, deadline.later(LAST_WORDS).remaining())
        else:  # it waits for this thread ahead of that, for the token or for the next event
            connection = session.connection
            if connection is not None:
                connection.wait_tcp_closed(deadline.remaining())
            over = session.ended
        if not over:
            self._life.abandon(session, deadline)

    def stats(self) -> Stats:
        """Return the counters, those of the present connection included."""
        with self._life.changed:
            session, connection = self._life.session, self._life.connection
            return Stats(
                **self._rooms.counters.snapshot(session.connection if session else None),  # also while it is closed
                events_dropped=self._rooms.streams.dropped,
                latency=connection.latency if connection else None,
                connected_since=session.connected_since if session and connection else None,
            )
