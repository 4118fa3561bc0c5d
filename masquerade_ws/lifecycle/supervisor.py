"""The supervisor thread: it attempts, welcomes, loses and closes the connections of a session."""

from __future__ import annotations

import logging
import queue
import threading
import time
import weakref
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any

from masquerade_ws.deadline import Deadline
from masquerade_ws.delivery.blocking import Guard
from masquerade_ws.delivery.dispatcher import Delivery
from masquerade_ws.delivery.listeners import Listeners
from masquerade_ws.delivery.reader import Intake, read
from masquerade_ws.delivery.stream_index import Reconnection, StreamIndex
from masquerade_ws.delivery.transport import Transport
from masquerade_ws.errors import ConnectError, DisconnectedError, StopReconnecting, copy_of
from masquerade_ws.events import ConnectedEvent, DisconnectedEvent, timestamp_now
from masquerade_ws.lifecycle.asking import Asking
from masquerade_ws.lifecycle.backoff import delay_before
from masquerade_ws.lifecycle.options import ClientOptions
from masquerade_ws.lifecycle.poller import Poller
from masquerade_ws.lifecycle.session import AttemptResult, Mail, Session
from masquerade_ws.lifecycle.source import Source
from masquerade_ws.lifecycle.state import ClientState, report
from masquerade_ws.lifecycle.threads import start
from masquerade_ws.lifecycle.transitions import Phase, Trigger
from masquerade_ws.log import logger
from masquerade_ws.sanitize import excerpt
from masquerade_ws.stats import Counters
from masquerade_ws.user_code import ends_program

__all__ = ["Rooms", "Supervisor", "supervise"]

_BUSY = {429, 503}  # the statuses that Retry-After goes with (RFC 9110, 10.2.3, and RFC 6585, 4)
_MOST_DELAYS = 10  # times ``max_reconnect_delay`` that a server may ask for
_USUAL = {1000, 1001, 1012}  # the close codes of a server that is done, goes, or restarts (RFC 6455, 7.4.1)
_POLICY = 1008  # a close code that refuses the client, as those from 3000 on may, which are not the protocol's
_PRIVATE = 3000


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the threads of a client work with."""

    delivery: Delivery
    intake: Intake
    listeners: Listeners
    streams: StreamIndex
    counters: Counters
    guard: Guard
    poller: Poller


class Supervisor:
    """What the supervisor threads of one client do, a step at a time.

    Args:
        state: The client's.
        options: The client's.
        source: Makes the connections.
        rooms: What the threads work with.
    """

    def __init__(self, state: ClientState, options: ClientOptions, source: Source, rooms: Rooms) -> None:
        self.state = state
        self._options = options
        self.source = source
        self._rooms = rooms
        self._asking: set[Asking] = set()  # whose threads have not ended; adding and removing one takes no lock

    def after_fork(self) -> None:
        """Forget the threads that hang, in a forked child, which does not have them."""
        self._asking = set()

    def step(self, session: Session, mail: Mail | None) -> float | None:
        """Do what the phase and the mail ask for; return for how many seconds to wait for mail then."""
        if session.stopping or mail is Mail.STOP:
            self._close(session)
        elif session.phase is Phase.CONNECTED and mail is Mail.LOST:
            self._lose(session)
        elif session.phase is Phase.PENDING:
            self._move(session, Trigger.START)
        elif session.phase is Phase.WAITING and (session.result.hurried or session.schedule.retry.expired()):
            self._move(session, Trigger.RETRY)
        if session.phase is Phase.CONNECTING:
            self._attempt(session)
        return session.schedule.retry.remaining() if session.phase is Phase.WAITING else None

    def _move(self, session: Session, trigger: Trigger) -> None:
        with self.state.changed:
            events = self.state.advance(session, trigger) if not session.abandoned else ()
        report(session, events)

    def _attempt(self, session: Session) -> None:
        session.event_queue.wake()  # `connect` does not: a signal handler would run under the lock
        logger.debug("connecting (attempt %d)", session.schedule.attempts)
        try:
            connection = self._open(session)
            if connection is not None:
                self._welcome(session, connection)
        except BaseException as error:  # whatever it is, the next attempt follows, unless it asks for the end
            failure = _as_connect_error(error)
        else:
            return
        self._fail(session, failure)

    def _open(self, session: Session) -> Transport | None:
        """Make one attempt; return ``None`` if it is no longer wanted."""
        asking = Asking(partial(self.source.prepare, session.place))
        with self.state.changed:
            session.asking = asking  # set before the look: a finalizer that disconnects may run in between
            if session.stopping:
                return None
        try:
            connection = asking.ask(self._options.token_timeout, self._asking)
        finally:
            session.asking = None  # which may refer to the client, so that nobody could forget it
        if connection is None:
            return None
        with self.state.changed:
            session.connection = connection  # likewise
            if session.stopping:
                return None
        connection.connect(self._options.connect_timeout)
        return connection

    def _welcome(self, session: Session, connection: Transport) -> None:
        """Start the threads of a connection and announce it; no event comes before `connected`."""
        announced: queue.SimpleQueue[bool] = queue.SimpleQueue()
        wanted = False
        try:
            self._start_threads(session, connection, announced)
            wanted = self._announce(session, connection)
        finally:
            announced.put(wanted)

    def _start_threads(self, session: Session, connection: Transport, announced: queue.SimpleQueue[bool]) -> None:
        lost = partial(session.mail.put, Mail.LOST)
        reading = connection, session.event_queue, weakref.ref(self._rooms.intake), lost
        session.threads.append(start("reader", _read_after, announced, *reading))
        session.threads.append(start("heartbeat", self.source.beat, connection, session.event_queue))

    def _announce(self, session: Session, connection: Transport) -> bool:
        """Report a new connection; return ``False`` if it is no longer wanted."""
        with self.state.changed:
            if session.stopping:
                return False
            schedule = session.schedule
            attempts, reconnected = schedule.attempts, schedule.connections > 0
            schedule.connections += 1
            schedule.connected_at, session.connected_since = time.monotonic(), datetime.now(timezone.utc)
            gap = connection.gap_since(schedule.lost_at) if reconnected else None
            resumed = reconnected and gap is None
            schedule.received_before = self._rooms.counters.messages_received
            self._rooms.counters.count_connection(gap, reconnected=reconnected)
            self.state.note_failure(session, None)
            welcome = ConnectedEvent(timestamp_now(), reconnected, attempts, gap, resumed)
            made = Reconnection(self._rooms.counters.connections, resumed)
            events = self.state.advance(session, Trigger.OPENED, welcome)
        report(session, events)
        _log_welcome(welcome)
        self._publish(session.result, None)
        self._rooms.streams.mark_connection(made)
        return True

    def _publish(self, result: AttemptResult, error: ConnectError | None) -> None:
        """Wake those who wait for an attempt, and let them know how it went."""
        with self.state.changed:
            result.over, result.error = True, error
            self.state.changed.notify_all()

    def _fail(self, session: Session, error: ConnectError) -> None:
        connection = session.connection
        if connection is not None:
            connection.abort(error)  # for the threads that were started, if it was open
            session.join()
        if session.phase is Phase.CONNECTED:  # it was announced before it failed
            self._lose(session)
            return
        with self.state.changed:
            if session.stopping:
                return
            result = session.result
            self._rooms.counters.attempts_failed += 1
            self.state.let_go(session)
            self.state.note_failure(session, error)
            cause = session.end_of_waits(f"the client has given up: {error}", 1006)
            awaits = connection is not None and connection.awaits
            retrying = self._let_retry(
                session, cause, retry=not _is_final(error), least=self._asked_delay(error), steady=awaits
            )
            if result.waiting:
                session.event_queue.raised = error
            events = self.state.advance(session, Trigger.FAILED if retrying else Trigger.GAVE_UP, error=error)
        try:
            report(session, events)
            _log_delay(session)
        finally:
            self._publish(result, error)

    def _lose(self, session: Session) -> None:
        connection = session.connection
        if connection is None:  # a `disconnect()` has just abandoned the session
            return
        if connection.close_code is None:
            connection.abort(DisconnectedError("the reader thread ended before the connection"))
        loss = _loss_of(connection)
        self._judge(session, connection, loss)
        with self.state.changed:
            if session.stopping:
                return
            self.state.note_failure(session, loss)
            cause = DisconnectedError(f"the client has given up: {loss}", loss.code, loss.reason)
            cause.__cause__ = loss
            session.connection, session.leaving = None, connection
            final = connection.error is None and loss.code in self._options.final_close_codes
            retrying = self._let_retry(session, cause, retry=not final)
            lost = DisconnectedEvent(timestamp_now(), loss.code, loss.reason, will_reconnect=retrying)
            trigger = Trigger.LOST if retrying else Trigger.GAVE_UP
            events = self.state.advance(session, trigger, lost, error=connection.error)
        _log_loss(loss, closed_by_server=connection.error is None)
        report(session, events)
        _log_delay(session)
        connection.finish()  # a peer that is slow to close its side delays the next attempt, not the news
        session.join()
        with self.state.changed:
            self.state.let_go(session)

    def _judge(self, session: Session, connection: Transport, loss: DisconnectedError) -> None:
        """Begin to count attempts anew, if the connection that was lost was a success."""
        schedule = session.schedule
        schedule.lost_at = time.monotonic()
        unheard = self._rooms.counters.messages_received == schedule.received_before
        refused = connection.error is None and unheard and (loss.code == _POLICY or loss.code >= _PRIVATE)
        if not refused and schedule.lost_at - schedule.connected_at >= self._options.min_uptime:
            schedule.retries = 0

    def _asked_delay(self, error: ConnectError) -> float:
        """Return the least seconds before the next attempt that the server asks for, within reason."""
        if error.status not in _BUSY or error.retry_after is None:
            return 0.0
        return min(error.retry_after, _MOST_DELAYS * self._options.max_reconnect_delay)

    def _close(self, session: Session) -> None:
        with self.state.changed:
            if session.ended:
                return
            if not session.stopping:
                self.state.cancel(session, DisconnectedError("a listener ended the dispatcher thread", 1000))
            connection = self.state.let_go(session) if session.phase is Phase.CONNECTING else session.connection
            events = self.state.advance(session, Trigger.STOP)
        report(session, events)
        session.event_queue.release()
        if connection is not None:
            connection.close(session.close_code, timeout=session.close_timeout)
        if not session.join_in_time():
            self.state.abandon(session, Deadline(0))
        with self.state.changed:
            if session.ended:
                return
            connection = self.state.let_go(session)
            if connection is None:
                events = self.state.advance(session, Trigger.CLOSED)
            else:
                code, reason = connection.close_code or 1006, connection.close_reason
                closed = DisconnectedEvent(timestamp_now(), code, reason, will_reconnect=False)
                events = self.state.advance(session, Trigger.CLOSED, closed, error=connection.error)
        report(session, events)
        if connection is not None:
            logger.info("disconnected, code %d", connection.close_code or 1006)

    def _let_retry(
        self, session: Session, cause: DisconnectedError, *, retry: bool, least: float = 0.0, steady: bool = False
    ) -> bool:
        """Prepare the next attempt after a failure or a loss, or the end; return whether there will be one."""
        options = self._options
        if not (retry and options.auto_reconnect):
            self.state.retire(session, cause)
            return False
        schedule = session.schedule
        schedule.retries += 1
        number = 1 if steady else schedule.retries
        delay = delay_before(
            number,
            options.initial_reconnect_delay,
            options.max_reconnect_delay,
            options.reconnect_jitter,
        )
        schedule.delay = max(delay, least)
        schedule.retry = Deadline(schedule.delay)
        session.result = AttemptResult()
        return True


def supervise(supervisor_ref: weakref.ref[Supervisor], session: Session) -> None:
    """Run the supervisor thread, which ends with its session or with its client, whose finalizer puts mail."""
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
        over = session.finish_dispatching()
        session.leave()
        supervisor = supervisor_ref()
        if supervisor is not None and not session.abandoned:
            if over:
                supervisor.state.finish(session)
            else:
                supervisor.state.abandon(session, Deadline(0))
    except BaseException:
        supervisor = supervisor_ref()
        if supervisor is not None:
            supervisor.state.abandon(session, Deadline(0))  # so that nobody waits for a thread that is gone
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
            supervisor.state.abandon(previous, Deadline(0))
    session.previous = None  # in one step, so that no lock is needed: others read it once


def _read_after(announced: queue.SimpleQueue[bool], *reading: Any) -> None:
    if announced.get():
        read(*reading)


def _loss_of(connection: Transport) -> DisconnectedError:
    """Return how a connection was lost, also if the peer closed it properly."""
    code, reason, error = connection.close_code or 1006, connection.close_reason, connection.error
    if error is None:
        said = f", reason {excerpt(reason)!r}" if reason else ""
        return DisconnectedError(f"the server closed the connection with code {code}{said}", code, reason)
    if isinstance(error, DisconnectedError):
        return copy_of(error)
    loss = DisconnectedError(f"the connection was lost ({error})", code, reason)
    loss.__cause__ = error
    return loss


def _log_welcome(welcome: ConnectedEvent) -> None:
    if welcome.gap is not None:
        logger.info("connected again after %.1f s without a connection (attempt %d)", welcome.gap, welcome.attempts)
    elif welcome.resumed:
        logger.info("connected again, and nothing was missed (attempt %d)", welcome.attempts)
    else:
        logger.info("connected (attempt %d)", welcome.attempts)


def _log_loss(loss: DisconnectedError, *, closed_by_server: bool) -> None:
    level = logging.WARNING if closed_by_server and loss.code not in _USUAL else logging.INFO
    logger.log(level, "connection lost, code %d: %s", loss.code, loss)


def _log_delay(session: Session) -> None:
    if not session.stopping:
        logger.info("reconnecting in %g s (attempt %d)", session.schedule.delay, session.schedule.attempts)


def _as_connect_error(error: BaseException) -> ConnectError:
    """Return what an attempt ran into as the error that it failed with, without the frames that hold us."""
    bare = error.with_traceback(None)
    if isinstance(bare, ConnectError):
        return bare
    failure = ConnectError(f"the attempt to connect failed with {type(error).__name__}")
    failure.__cause__ = bare
    return failure


def _is_final(error: ConnectError) -> bool:
    """Return whether no attempt can do better: the user's code asks for the end, or the interpreter refuses threads."""
    cause = error.__cause__
    if isinstance(cause, RuntimeError):
        return not threading.main_thread().is_alive()
    return cause is not None and (isinstance(cause, StopReconnecting) or ends_program(cause))
