"""What a client asks of its life cycle: to start, to stop, to wait for either, and to say how it goes."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial

from masquerade_ws import process_hooks
from masquerade_ws.deadline import Deadline
from masquerade_ws.delivery.dispatcher import dispatch
from masquerade_ws.delivery.filters import AnyEvent
from masquerade_ws.errors import DisconnectedError, WaitTimeoutError, copy_of
from masquerade_ws.lifecycle.options import ClientOptions
from masquerade_ws.lifecycle.session import LAST_WORDS, Mail, Session
from masquerade_ws.lifecycle.state import ClientState, ended_by_user, log_report
from masquerade_ws.lifecycle.supervisor import Rooms, Supervisor, supervise
from masquerade_ws.lifecycle.threads import start
from masquerade_ws.lifecycle.transitions import Phase, Trigger
from masquerade_ws.stats import Stats

__all__ = ["Control"]


class Control:
    """Starts and stops the sessions of one client.

    Args:
        state: The client's.
        supervisor: What the supervisor threads work with.
        options: The client's.
        rooms: What the threads work with.
    """

    def __init__(self, state: ClientState, supervisor: Supervisor, options: ClientOptions, rooms: Rooms) -> None:
        self._state = state
        self._supervisor = supervisor
        self._options = options
        self._rooms = rooms
        process_hooks.watch(self)

    def connect(self, *, block: bool, timeout: float | None) -> None:
        """Start a session, or hurry the one that runs, and wait for the result of its attempt."""
        if block:
            self._rooms.guard.check("a blocking connect")
        deadline = Deadline(timeout)
        with self._state.changed:
            session, events = self._start_or_join()
            result = session.result
            result.waiting += block
        log_report(events)
        if not block:
            return
        with self._state.changed:
            try:
                if not self._state.changed.wait_for(lambda: result.over or result.cancelled, deadline.remaining()):
                    raise WaitTimeoutError(f"the attempt to connect is not over after {timeout} s; it goes on")
            finally:
                result.waiting -= 1
        if result.error is not None:
            raise copy_of(result.error)
        if not result.over:
            raise copy_of(session.cause)

    def _start_or_join(self) -> tuple[Session, Sequence[AnyEvent]]:
        session = self._state.session
        if session is None or session.stopping:
            previous = None if session is None or session.done.is_set() else session
            session = Session(self._options.queue_size, previous, self._supervisor.source.begin())
            return session, self._start(session)
        if session.phase is Phase.WAITING and not session.result.hurried:
            session.result.hurried = True
            session.mail.put(Mail.HURRY)
        return session, ()

    def _start(self, session: Session) -> Sequence[AnyEvent]:
        before = self._state.session, self._state.current, self._state.reported
        try:
            self._start_threads(session)
            process_hooks.await_at_exit(session.done)
            self._state.session = session
            events = self._state.advance(session, Trigger.START) if session.previous is None else ()
            session.mail.put(Mail.START)
        except BaseException:  # no thread, or an interrupt
            session.move(Trigger.START_FAILED)
            session.stopping = True
            self._state.session, self._state.current, self._state.reported = before
            session.event_queue.give_up()
            session.mail.put(Mail.STOP)  # wakes the supervisor thread, if it was started, which then ends both
            raise
        return events

    def _start_threads(self, session: Session) -> None:
        """Start the two threads of a session, each of which waits for what this thread does next.

        The supervisor thread waits for its first mail, or for the end of the session before.
        """
        died = partial(session.mail.put, Mail.STOP)
        delivery, guard = weakref.ref(self._rooms.delivery), self._rooms.guard
        session.supervisor_thread = start("supervisor", supervise, weakref.ref(self._supervisor), session)
        end_waits = partial(_end_waits, weakref.ref(self._state), session)
        session.dispatcher_thread = start("dispatcher", dispatch, session.event_queue, delivery, guard, died, end_waits)

    def disconnect(self, timeout: float) -> None:
        """Stop the session that runs, and wait for its end, for at most ``timeout`` seconds."""
        deadline = Deadline(timeout)
        session = self._stop(1000, timeout)
        if session is not None:
            self._await_end(session, deadline)

    def close_at_exit(self, timeout: float) -> Callable[[Deadline], None]:
        """Begin to close with code 1001, as the interpreter exits; return what waits until that is done."""
        session = self._stop(1001, timeout)
        return (lambda _: None) if session is None else partial(self._await_end, session)

    def _stop(self, code: int, timeout: float) -> Session | None:
        """Begin to end the session: wakes its supervisor thread, its attempt, and whoever waits for that.

        Returns:
            The session that ends, for `_await_end`: by the time of that call another one may be the newest.
        """
        attempted = None
        with self._state.changed:
            session, newest = self._state.session, self._rooms.streams.newest()
            over = session is None or session.done.is_set()
            if session is not None and session.stopping:
                session.newest_stream = newest
            elif session is not None:
                session.close_code, session.close_timeout, session.deadline = code, timeout / 2, Deadline(timeout)
                thread = threading.current_thread()
                waiting = session.waiting_for(thread)
                session.unattended = waiting is not None and thread is not waiting.dispatcher_thread
                attempted = session.connection if session.phase is Phase.CONNECTING else None
                connected = session.phase is Phase.CONNECTED
                cause = ended_by_user() if connected else session.end_of_waits(str(ended_by_user()), 1000)
                self._state.cancel(session, cause)
                session.mail.put(Mail.STOP)
                if session.asking is not None:
                    session.asking.cancel()
        if attempted is not None:
            attempted.abort(ended_by_user())
        if over:
            self._rooms.streams.end(newest, ended_by_user())
        return session

    def _await_end(self, session: Session, deadline: Deadline) -> None:
        """Wait until a session that was stopped has ended; abandon it if it has not in time.

        A thread for whose own end the session waits cannot wait for that: user code runs there, or a finalizer. In a
        listener all but the last events is over on return. On other threads of the library nothing is waited for: the
        rest follows once the user's code has returned, which may hold a lock (a log handler's) that the end needs.
        """
        # Nothing moves until the code that a signal handler or a finalizer cut goes on.
        if self._state.changing or self._rooms.streams.held or self._rooms.listeners.held:
            return
        thread = threading.current_thread()
        waiting = session.waiting_for(thread)
        if waiting is None:
            over = session.done.wait(deadline.remaining())
            if session.supervisor_thread is not None and not session.abandoned:
                session.supervisor_thread.join(deadline.remaining())
        elif thread is waiting.dispatcher_thread:
            with self._state.changed:
                over = self._state.changed.wait_for(lambda: session.quiet, deadline.later(LAST_WORDS).remaining())
        else:
            with self._state.changed:
                self._state.leave(session)
            return
        if not over:
            self._state.abandon(session, deadline)

    def after_fork(self) -> None:
        """Start the client anew in a forked child, and leave the connection and the threads to the parent."""
        self._rooms.guard.after_fork()
        self._rooms.poller.after_fork()
        self._supervisor.after_fork()
        self._rooms.listeners.after_fork()
        self._state.after_fork()
        self._rooms.streams.after_fork(DisconnectedError("the process forked; call connect() in the child"))

    def stats(self) -> Stats:
        """Return the counters, those of the present connection included."""
        with self._state.changed:
            session, connection = self._state.session, self._state.connection
            counting = None if session is None else session.connection or session.leaving  # also while it is closed
            return Stats(
                **self._rooms.counters.snapshot(counting),
                events_dropped=self._rooms.streams.dropped,
                latency=connection.latency if connection else None,
                connected_since=session.connected_since if session and connection else None,
                events_waiting=session.event_queue.length if session else 0,
            )


def _end_waits(state_ref: weakref.ref[ClientState], session: Session) -> None:
    state = state_ref()
    if state is not None:
        state.end_waits(session)
