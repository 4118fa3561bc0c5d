"""The supervisor thread: it attempts, welcomes, loses and closes the connections of a session."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any

from masquerade_ws.connection.connection import Connection
from masquerade_ws.deadline import Deadline
from masquerade_ws.delivery.blocking import GET_TOKEN, Guard
from masquerade_ws.delivery.dispatcher import Delivery
from masquerade_ws.delivery.reader import Intake, read
from masquerade_ws.delivery.stream_index import StreamIndex
from masquerade_ws.errors import ConnectError, DisconnectedError, StopReconnecting
from masquerade_ws.events import ConnectedEvent, DisconnectedEvent, timestamp_now
from masquerade_ws.lifecycle.backoff import delay_before
from masquerade_ws.lifecycle.heartbeat import beat
from masquerade_ws.lifecycle.options import ClientOptions
from masquerade_ws.lifecycle.session import AttemptResult, Mail, Session
from masquerade_ws.lifecycle.state import ClientState, tell
from masquerade_ws.lifecycle.threads import start
from masquerade_ws.lifecycle.transitions import Phase, Trigger
from masquerade_ws.log import logger
from masquerade_ws.stats import Counters

__all__ = ["Rooms", "Supervisor", "supervise"]


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the threads of a client work with."""

    delivery: Delivery
    intake: Intake
    streams: StreamIndex
    counters: Counters
    guard: Guard


class Supervisor:
    """What the supervisor threads of one client do, a step at a time.

    Args:
        life: The client's.
        options: The client's.
        make_connection: Makes a connection, not yet opened, that shows a token.
        rooms: What the threads work with.
    """

    def __init__(
        self, life: ClientState, options: ClientOptions, make_connection: Callable[[str], Connection], rooms: Rooms
    ) -> None:
        self.life = life
        self._options = options
        self._make_connection = make_connection
        self._rooms = rooms

    def step(self, session: Session, mail: Mail | None) -> float | None:
        """Do what the phase and the mail ask for; return for how many seconds to wait for mail then."""
        if session.stopping or mail is Mail.STOP:
            self._close(session)
        elif session.phase is Phase.CONNECTED and mail is Mail.LOST:
            self._lose(session)
        elif session.phase is Phase.PENDING:
            self._move(session, Trigger.START)
        elif session.phase is Phase.WAITING and session.retry.expired():
            self._move(session, Trigger.RETRY)
        if session.phase is Phase.CONNECTING:
            self._attempt(session)
        return session.retry.remaining() if session.phase is Phase.WAITING else None

    def _move(self, session: Session, signal: Trigger) -> None:
        with self.life.changed:
            told = self.life.advance(session, signal) if not session.abandoned else ()
        tell(session, told)

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
        with self.life.changed:
            session.connection = connection  # ahead of the look: a finalizer that disconnects may run in between
            if session.stopping:
                return None
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
        wanted = False
        try:
            try:
                self._start_threads(session, connection, announced)
                wanted = self._announce(session)
            finally:
                announced.put(wanted)
        except ConnectError as error:
            connection.abort(error)
            session.join()
            self._fail(session, error, retry=not _is_final(error))

    def _start_threads(self, session: Session, connection: Connection, announced: queue.SimpleQueue[bool]) -> None:
        rooms, options = self._rooms, self._options
        lost = partial(session.mail.put, Mail.LOST)
        pace = options.heartbeat_interval, options.heartbeat_timeout
        reading = connection, session.dispatcher, weakref.ref(rooms.intake), lost
        session.threads.append(start("reader", _read_after, announced, *reading))
        session.threads.append(start("heartbeat", beat, connection, session.dispatcher, *pace))

    def _announce(self, session: Session) -> bool:
        """Tell of a new connection; ``False`` if it is no longer wanted."""
        with self.life.changed:
            if session.stopping:
                return False
            attempts, reconnected = session.attempts, session.connections > 0
            session.connections += 1
            session.connected_at, session.connected_since = time.monotonic(), datetime.now(timezone.utc)
            gap = session.connected_at - session.lost_at if reconnected else None
            self._rooms.counters.count_connection(reconnected)
            welcome = ConnectedEvent(timestamp_now(), reconnected, attempts, gap)
            told = self.life.advance(session, Trigger.OPENED, welcome)
        tell(session, told)
        self._publish(session.attempt, None)
        self._rooms.streams.mark_reconnection()
        return True

    def _publish(self, attempt: AttemptResult, error: ConnectError | None) -> None:
        """Tell those who wait for an attempt how it went."""
        with self.life.changed:
            attempt.over, attempt.error = True, error
            self.life.changed.notify_all()

    def _fail(self, session: Session, error: ConnectError, *, retry: bool) -> None:
        with self.life.changed:
            if session.stopping:
                return
            attempt = session.attempt
            cause = DisconnectedError(f"the client has given up: {error}")
            retrying = self._let_retry(session, cause, retry=retry)
            told = self.life.advance(session, Trigger.FAILED if retrying else Trigger.GAVE_UP, error=error)
        try:
            tell(session, told)
            _log_delay(session)
        finally:
            self._publish(attempt, error)

    def _lose(self, session: Session) -> None:
        connection = session.connection
        if connection is None:  # a `disconnect()` has just abandoned the session
            return
        if connection.close_code is None:
            connection.abort(DisconnectedError("the reader thread ended before the connection"))
        connection.finish()
        session.join()
        session.lost_at = time.monotonic()
        if session.lost_at - session.connected_at >= self._options.min_uptime:
            session.retries = 0
        code, reason = connection.close_code or 1006, connection.close_reason
        with self.life.changed:
            if session.stopping:
                return
            why = connection.error or f"the server closed the connection with code {code}, reason {reason!r}"
            cause = DisconnectedError(f"the client has given up: {why}", code, reason)
            retrying = self._let_retry(session, cause, retry=True)
            gone = DisconnectedEvent(timestamp_now(), code, reason, will_reconnect=retrying)
            told = self.life.advance(
                session, Trigger.LOST if retrying else Trigger.GAVE_UP, gone, error=connection.error
            )
        tell(session, told)
        _log_delay(session)

    def _close(self, session: Session) -> None:
        with self.life.changed:
            if session.ended:
                return
            if not session.stopping:
                self.life.cancel(session, DisconnectedError("a listener ended the dispatcher thread", 1000))
            connection = self.life.let_go(session) if session.phase is Phase.CONNECTING else session.connection
            told = self.life.advance(session, Trigger.STOP)
        tell(session, told)
        session.dispatcher.release()
        if connection is not None:
            connection.close(session.close_code, timeout=session.close_timeout)
        session.join()
        with self.life.changed:
            if session.ended:
                return
            connection = self.life.let_go(session)
            if connection is None:
                told = self.life.advance(session, Trigger.CLOSED)
            else:
                code, reason = connection.close_code or 1006, connection.close_reason
                gone = DisconnectedEvent(timestamp_now(), code, reason, will_reconnect=False)
                told = self.life.advance(session, Trigger.CLOSED, gone, error=connection.error)
        tell(session, told)

    def _let_retry(self, session: Session, cause: DisconnectedError, *, retry: bool) -> bool:
        """Prepare the next attempt behind a failure or a loss, or the end; tell whether there will be one."""
        self.life.let_go(session)
        options = self._options
        if not (retry and options.auto_reconnect):
            self.life.retire(session, cause)
            return False
        session.retries += 1
        session.delay = delay_before(
            session.retries, options.initial_reconnect_delay, options.max_reconnect_delay, options.reconnect_jitter
        )
        session.retry = Deadline(session.delay)
        session.attempt = AttemptResult()
        return True


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
            supervisor.life.finish(session)
    except BaseException:
        supervisor = supervisor_ref()
        if supervisor is not None:
            supervisor.life.abandon(session, Deadline(0))  # so that nobody waits for a thread that is gone
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
            supervisor.life.abandon(previous, Deadline(0))
    session.previous = None


def _read_after(announced: queue.SimpleQueue[bool], *reading: Any) -> None:
    if announced.get():
        read(*reading)


def _log_delay(session: Session) -> None:
    if not session.stopping:
        logger.info("reconnecting in %g s (attempt %d)", session.delay, session.attempts)


def _is_final(error: ConnectError) -> bool:
    """Tell whether no attempt can do better: the user says so, or the interpreter ends and refuses threads."""
    if isinstance(error.__cause__, RuntimeError):
        return not threading.main_thread().is_alive()
    return isinstance(error.__cause__, StopReconnecting)
