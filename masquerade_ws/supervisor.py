"""The reconnect supervisor: it owns the state of a client, the order of its events, and its threads."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any

from . import process
from .backoff import delay_before
from .connection import Connection
from .deadline import Deadline
from .dispatcher import Delivery, dispatch
from .errors import ConnectError, DisconnectedError, SendError, StopReconnecting, WaitTimeoutError
from .events import (
    ConnectedEvent,
    ConnectionState,
    DisconnectedEvent,
    ErrorEvent,
    StateChangeEvent,
    timestamp_now,
)
from .filters import AnyEvent
from .guard import GET_TOKEN, LISTENER, Guard
from .heartbeat import beat
from .index import StreamIndex
from .lifecycle import STATES, TRANSITIONS, Attempt, Mail, Phase, Session, Signal, join
from .log import logger
from .options import Options
from .reader import Intake, read
from .stats import Counters, Stats

__all__ = ["Rooms", "Supervisor"]


LAST_WORDS = 0.5  # seconds that listeners may take for the last events of a session that hung


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the threads of a client work with."""

    delivery: Delivery
    intake: Intake
    streams: StreamIndex
    counters: Counters
    guard: Guard


class Supervisor:
    """The life cycle of one client.

    Args:
        options: The client's.
        make_connection: Makes a connection, not yet opened, that shows a token.
        rooms: What the threads work with.
    """

    def __init__(self, options: Options, make_connection: Callable[[str], Connection], rooms: Rooms) -> None:
        self._options = options
        self._make_connection = make_connection
        self._rooms = rooms
        self._reset()

    def _reset(self) -> None:
        # Guards the state and the fields of the sessions; held for moments, never while a socket or user code is used.
        self._changed = threading.Condition()
        self._state: ConnectionState = "disconnected"
        self._session: Session | None = None

    def __del__(self) -> None:
        if self._session is not None:
            self._session.mail.put(Mail.STOP)  # its supervisor thread then finds the client gone, and ends all

    # What the client calls.

    @property
    def state(self) -> ConnectionState:
        """The client's state."""
        return self._state

    @property
    def running(self) -> bool:
        """Whether events may still come: the client is started, has not given up and is not being stopped."""
        session = self._session
        return session is not None and not session.stopping

    @property
    def connection(self) -> Connection | None:
        """The connection, while there is one."""
        session = self._session
        return session.connection if session is not None and session.phase is Phase.CONNECTED else None

    def connect(self, *, block: bool, timeout: float | None) -> None:
        """Start a session, or hurry the one that runs, and wait for the outcome of its attempt."""
        if block:
            self._rooms.guard.check("a blocking connect")
        deadline = Deadline(timeout)
        with self._changed:
            session, told = self._start_or_join()
            attempt = session.attempt
        _log(told)
        if not block:
            return
        with self._changed:
            if not self._changed.wait_for(lambda: attempt.over or attempt.cancelled, deadline.remaining()):
                raise WaitTimeoutError(f"the attempt to connect is not over after {timeout} s; it goes on")
        if attempt.error is not None:  # a copy, since several threads may raise it
            raise ConnectError(str(attempt.error), attempt.error.status) from attempt.error.__cause__
        if not attempt.over:
            raise DisconnectedError(str(session.cause), session.cause.code)

    def _start_or_join(self) -> tuple[Session, Sequence[AnyEvent]]:
        session = self._session
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
        before = self._session, self._state
        supervisor = _thread("supervisor", supervise, weakref.ref(self), session)
        died = partial(session.mail.put, Mail.STOP)
        dispatcher = _thread("dispatcher", dispatch, session.dispatcher, weakref.ref(self._rooms.delivery), died)
        try:
            _start(supervisor)  # it waits for its first mail, if it is not to wait for the session before it
            session.supervisor_thread = supervisor
            _start(dispatcher)
            session.dispatcher_thread = dispatcher
            process.await_at_exit(session.done)
            self._session = session
            told = self._advance(session, Signal.START) if session.previous is None else ()
            session.mail.put(Mail.HURRY)
        except BaseException:  # no thread, or an interrupt
            self._session, self._state = before
            session.phase, session.stopping = Phase.ENDED, True
            session.dispatcher.forget()
            session.mail.put(Mail.STOP)  # wakes the supervisor thread, if it was started, which then ends both
            raise
        return told

    def stop(self, code: int, timeout: float) -> None:
        """Begin to end the session: wakes its supervisor thread, its attempt, and who waits for that."""
        attempted = None
        with self._changed:
            session, newest = self._session, self._rooms.streams.newest()
            over = session is None or session.done.is_set()
            if session is not None and session.stopping:
                session.newest_stream = newest
            elif session is not None:
                session.close_code, session.close_timeout, session.deadline = code, timeout / 2, Deadline(timeout)
                attempted = session.connection if session.phase is Phase.CONNECTING else None
                self._cancel(session, _ended_by_user())
                session.mail.put(Mail.STOP)
        if attempted is not None:
            attempted.abort(_ended_by_user())
        if over:
            self._rooms.streams.end(newest, _ended_by_user())

    def await_end(self, deadline: Deadline) -> None:
        """Wait until the session has ended; abandon it if it has not in time."""
        session, role = self._session, self._rooms.guard.role
        if session is None or session.supervisor_thread is None:
            return
        if role is None:
            over = session.done.wait(deadline.remaining())
            if not session.abandoned:
                join(session.supervisor_thread, deadline)
        elif role == LISTENER:  # the session waits for this very thread, to deliver the last events
            with self._changed:
                over = self._changed.wait_for(lambda: session.quiet, deadline.remaining())
        else:  # it waits for this thread ahead of that, for the token or for the next event
            connection = session.connection
            if connection is not None:
                connection.wait_ended(deadline.remaining())
            over = session.ended
        if not over:
            self.abandon(session, deadline.later(LAST_WORDS))

    def abandon(self, session: Session, deadline: Deadline) -> None:
        """End a session that hangs, as far as anybody else can see; listeners have until then for its last events."""
        if session.previous is not None:
            self.abandon(session.previous, deadline)
        with self._changed:
            first, session.abandoned = not session.abandoned, True
            connected = session.phase is not Phase.CONNECTING
            connection = self._let_go(session)
            gone: list[AnyEvent] = []
            if connection is not None:
                session.cut = connection
                if connected:
                    gone.append(DisconnectedEvent(timestamp_now(), session.close_code, "", will_reconnect=False))
            if not session.stopping:
                self._cancel(session, DisconnectedError("the supervisor thread died"))
            if not session.ended:
                self._advance(session, Signal.ABANDON, *gone)
        if not first:
            session.done.wait(2 * LAST_WORDS)  # set by who was, unless this is a signal handler in that very thread
            return
        try:
            if connection is not None:
                connection.cut(_ended_by_user())
            session.dispatcher.abandon()
            session.finish_dispatching(deadline)  # so that the last events come ahead of the next session's first
        finally:
            self.finish(session)

    def stats(self) -> Stats:
        """Return the counters, those of the present connection included."""
        with self._changed:
            session, connection = self._session, self.connection
            return Stats(
                **self._rooms.counters.snapshot(connection),
                events_dropped=self._rooms.streams.dropped,
                latency=connection.latency if connection else None,
                connected_since=session.connected_since if session and connection else None,
            )

    def reset_in_child(self) -> None:
        """Start anew in a forked child, which has none of the threads and may find any lock held."""
        session = self._session
        self._reset()
        if session is not None:
            session.abandon_in_child()

    # What the supervisor thread calls.

    def step(self, session: Session, mail: Mail | None) -> float | None:
        """Do what the phase and the mail ask for; return for how many seconds to wait for mail then."""
        if session.stopping or mail is Mail.STOP:
            self._close(session)
        elif session.phase is Phase.CONNECTED and mail is Mail.LOST:
            self._lose(session)
        elif session.phase is Phase.PENDING:
            self._move(session, Signal.START)
        elif session.phase is Phase.WAITING and session.retry.expired():
            self._move(session, Signal.RETRY)
        if session.phase is Phase.CONNECTING:
            self._attempt(session)
        return session.retry.remaining() if session.phase is Phase.WAITING else None

    def finish(self, session: Session) -> None:
        """End the streams, once they have what the dispatcher thread had no time for, or did not live to deliver."""
        for event in session.dispatcher.forget():
            self._rooms.streams.deliver(event, asking=False)
        with self._changed:
            session.done.set()  # a later `disconnect()` ends the later streams itself
        self._rooms.streams.end(session.newest_stream, session.cause)

    def _move(self, session: Session, signal: Signal) -> None:
        with self._changed:
            told = self._advance(session, signal) if not session.abandoned else ()
        _tell(session, told)

    def _attempt(self, session: Session) -> None:
        session.dispatcher.wake()  # `connect` does not: a signal handler would run under the lock
        logger.debug("connecting (attempt %d)", session.attempts)
        try:
            connection = self._open(session)
        except ConnectError as error:
            self._fail(session, error.with_traceback(None), retry=not _is_final(error))
        else:
            if connection is not None:
                self._welcome(session, connection)

    def _open(self, session: Session) -> Connection | None:
        """Make one attempt; return ``None`` if it is no longer wanted."""
        connection = self._make_connection(self._token())
        with self._changed:
            if session.stopping:
                return None
            session.connection = connection
        connection.connect(self._options.connect_timeout)
        return connection

    def _token(self) -> str:
        try:
            with self._rooms.guard.running(GET_TOKEN):
                token = self._options.get_token()
        except Exception as error:
            users = error.__traceback__ and error.__traceback__.tb_next  # without our frame, which keeps us alive
            raise ConnectError(f"get_token raised {type(error).__name__}") from error.with_traceback(users)
        if not isinstance(token, str):
            problem = f"get_token must return a str, not {type(token).__name__}"
            raise ConnectError(problem) from TypeError(problem)
        return token

    def _welcome(self, session: Session, connection: Connection) -> None:
        """Start the threads of a connection and announce it; no event comes ahead of `connected`."""
        announced: queue.SimpleQueue[bool] = queue.SimpleQueue()
        try:
            self._start_threads(session, connection, announced)
            announced.put(self._announce(session))
        except ConnectError as error:
            connection.abort(error)
            announced.put(False)
            session.join()
            self._fail(session, error, retry=not _is_final(error))
        finally:
            announced.put(False)

    def _start_threads(self, session: Session, connection: Connection, announced: queue.SimpleQueue[bool]) -> None:
        rooms, options = self._rooms, self._options
        lost = partial(session.mail.put, Mail.LOST)
        pace = options.heartbeat_interval, options.heartbeat_timeout
        reading = connection, session.dispatcher, weakref.ref(rooms.intake), lost
        for thread in (
            _thread("reader", _read_after, announced, *reading),
            _thread("heartbeat", beat, connection, session.dispatcher, rooms.counters, *pace),
        ):
            _start(thread)
            session.threads.append(thread)

    def _announce(self, session: Session) -> bool:
        """Tell of a new connection; ``False`` if it is no longer wanted."""
        with self._changed:
            if session.stopping:
                return False
            attempts, reconnected = session.attempts, session.connections > 0
            session.connections += 1
            session.connected_at, session.connected_since = time.monotonic(), datetime.now(timezone.utc)
            gap = session.connected_at - session.lost_at if reconnected else None
            self._rooms.counters.count_connection(reconnected)
            welcome = ConnectedEvent(timestamp_now(), reconnected, attempts, gap)
            told = self._advance(session, Signal.OPENED, welcome)
        _tell(session, told)
        self._publish(session.attempt, None)
        self._rooms.streams.mark_reconnection()
        return True

    def _publish(self, attempt: Attempt, error: ConnectError | None) -> None:
        """Tell those who wait for an attempt how it went."""
        with self._changed:
            attempt.over, attempt.error = True, error
            self._changed.notify_all()

    def _fail(self, session: Session, error: ConnectError, *, retry: bool) -> None:
        with self._changed:
            if session.stopping:
                return
            attempt = session.attempt
            cause = DisconnectedError(f"the client has given up: {error}")
            retrying = self._let_retry(session, cause, retry=retry)
            told = self._advance(session, Signal.FAILED if retrying else Signal.GAVE_UP, error=error)
        try:
            _tell(session, told)
            _log_delay(session)
        finally:
            self._publish(attempt, error)

    def _lose(self, session: Session) -> None:
        connection = session.connection
        if connection is None:  # a `disconnect()` has just abandoned the session
            return
        connection.abort(DisconnectedError("the reader thread ended before the connection"))
        session.join()
        session.lost_at = time.monotonic()
        if session.lost_at - session.connected_at >= self._options.min_uptime:
            session.retries = 0
        code, reason = connection.close_code or 1006, connection.close_reason
        with self._changed:
            if session.stopping:
                return
            why = connection.error or f"the server closed the connection with code {code}, reason {reason!r}"
            cause = DisconnectedError(f"the client has given up: {why}", code, reason)
            retrying = self._let_retry(session, cause, retry=True)
            gone = DisconnectedEvent(timestamp_now(), code, reason, will_reconnect=retrying)
            told = self._advance(session, Signal.LOST if retrying else Signal.GAVE_UP, gone, error=connection.error)
        _tell(session, told)
        _log_delay(session)

    def _close(self, session: Session) -> None:
        with self._changed:
            if session.ended:
                return
            if not session.stopping:
                self._cancel(session, DisconnectedError("a listener ended the dispatcher thread", 1000))
            connection = self._let_go(session) if session.phase is Phase.CONNECTING else session.connection
            told = self._advance(session, Signal.STOP)
        _tell(session, told)
        session.dispatcher.release()
        if connection is not None:
            connection.close(session.close_code, timeout=session.close_timeout)
        session.join()
        with self._changed:
            if session.ended:
                return
            connection = self._let_go(session)
            if connection is None:
                told = self._advance(session, Signal.CLOSED)
            else:
                code, reason = connection.close_code or 1006, connection.close_reason
                gone = DisconnectedEvent(timestamp_now(), code, reason, will_reconnect=False)
                told = self._advance(session, Signal.CLOSED, gone, error=connection.error)
        _tell(session, told)

    # Under the lock.

    def _advance(
        self, session: Session, signal: Signal, *news: AnyEvent, error: Exception | None = None
    ) -> Sequence[AnyEvent]:
        """Make a transition, and queue what is to be told of it, in the one order; return that, for `_tell`."""
        session.phase = TRANSITIONS[session.phase, signal]
        old, self._state = self._state, STATES[session.phase]
        told = list(news)
        if old != self._state:
            told.insert(0, StateChangeEvent(old, self._state, timestamp_now()))
        if error is not None:
            told.insert(0, ErrorEvent(error, "send" if isinstance(error, SendError) else "connection", timestamp_now()))
        session.dispatcher.post(*told)
        self._changed.notify_all()
        return told

    def _let_retry(self, session: Session, cause: DisconnectedError, *, retry: bool) -> bool:
        """Prepare the next attempt behind a failure or a loss, or the end; tell whether there will be one."""
        self._let_go(session)
        options = self._options
        if not (retry and options.auto_reconnect):
            self._retire(session, cause)
            return False
        session.retries += 1
        session.delay = delay_before(
            session.retries, options.initial_reconnect_delay, options.max_reconnect_delay, options.reconnect_jitter
        )
        session.retry = Deadline(session.delay)
        session.attempt = Attempt()
        return True

    def _retire(self, session: Session, cause: DisconnectedError) -> None:
        session.stopping = True
        session.cause = cause
        session.newest_stream = self._rooms.streams.newest()

    def _cancel(self, session: Session, cause: DisconnectedError) -> None:
        """Retire a session from outside, and wake who waits for its attempt, which will have no outcome."""
        self._retire(session, cause)
        session.attempt.cancelled = True
        self._changed.notify_all()

    def _let_go(self, session: Session) -> Connection | None:
        connection, session.connection = session.connection, None
        if connection is not None:
            self._rooms.counters.absorb(connection)
        return connection


def supervise(supervisor_ref: weakref.ref[Supervisor], session: Session) -> None:
    """Run the supervisor thread, which ends with its session or with its client, whose end puts mail."""
    timeout: float | None = None
    try:
        _await_previous(supervisor_ref, session)
        while not session.ended:
            mail = session.receive(timeout)
            supervisor = supervisor_ref()
            if supervisor is None:
                session.end_unsupervised()
                return
            timeout = supervisor.step(session, mail)
            del supervisor
        session.close_cut()
        session.finish_dispatching(Deadline(None))
        supervisor = supervisor_ref()
        if supervisor is not None and not session.abandoned:
            supervisor.finish(session)
    except BaseException:
        supervisor = supervisor_ref()
        if supervisor is not None:
            supervisor.abandon(session, Deadline(LAST_WORDS))  # so that nobody waits for a thread that is gone
        session.close_cut()
        raise
    finally:
        session.done.set()


def _await_previous(supervisor_ref: weakref.ref[Supervisor], session: Session) -> None:
    """Wait for the session before this one, for no longer than its `disconnect()` allowed it to take."""
    previous = session.previous
    if previous is not None and not previous.done.wait(previous.deadline.remaining()):
        supervisor = supervisor_ref()
        if supervisor is not None:
            supervisor.abandon(previous, Deadline(LAST_WORDS))
    session.previous = None


def _read_after(announced: queue.SimpleQueue[bool], *reading: Any) -> None:
    if announced.get():
        read(*reading)


def _tell(session: Session, events: Sequence[AnyEvent]) -> None:
    """Wake the dispatcher thread for what was queued, and log it."""
    session.dispatcher.wake()
    _log(events)


def _log(events: Sequence[AnyEvent]) -> None:
    """Log changes and errors, never under the lock: a handler of the logger is user code."""
    for event in events:
        if isinstance(event, StateChangeEvent):
            logger.debug("state: %s -> %s", event.old_state, event.new_state)
        elif isinstance(event, ErrorEvent):
            logger.debug("%s error: %s", event.context, event.error)


def _log_delay(session: Session) -> None:
    if not session.stopping:
        logger.info("reconnecting in %g s (attempt %d)", session.delay, session.attempts)


def _is_final(error: ConnectError) -> bool:
    """Tell whether no attempt can do better: the user says so, or the interpreter ends and refuses threads."""
    if isinstance(error.__cause__, RuntimeError):
        return not threading.main_thread().is_alive()
    return isinstance(error.__cause__, StopReconnecting)


def _start(thread: threading.Thread) -> None:
    try:
        thread.start()
    except RuntimeError as error:
        raise ConnectError(f"no thread could be started: {error}") from error


def _thread(name: str, target: Callable[..., None], *args: object) -> threading.Thread:
    return threading.Thread(target=target, args=args, name=f"masquerade-ws-{name}", daemon=True)


def _ended_by_user() -> DisconnectedError:
    return DisconnectedError("disconnect() was called", 1000)
