"""What one session of a client holds: from a ``connect()`` until its end."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto

from masquerade_ws.deadline import Deadline
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.transport import Transport
from masquerade_ws.errors import ConnectError, DisconnectedError, StopReconnecting
from masquerade_ws.latch import Latch
from masquerade_ws.lifecycle.asking import Asking
from masquerade_ws.lifecycle.source import Place
from masquerade_ws.lifecycle.threads import Thread, receive
from masquerade_ws.lifecycle.transitions import TRANSITIONS, Phase, Trigger

__all__ = ["LAST_WORDS", "AttemptResult", "Mail", "Schedule", "Session"]

LAST_WORDS = 0.5  # seconds that user code may take for the last events of a session after its time has run out


class Mail(Enum):
    """What wakes a supervisor thread."""

    START = auto()  # the threads are there
    LOST = auto()  # the reader has ended
    HURRY = auto()  # a `connect()` wants the next attempt now
    STOP = auto()


@dataclass(slots=True)
class AttemptResult:
    """How one attempt went, for those who wait for it. The life cycle's lock guards it.

    Attributes:
        over: Whether it is over, be it by success or by an error.
        cancelled: Whether it will have no result, since the session was stopped.
        waiting: How many calls of ``connect()`` raise the error, if there is one.
        hurried: Whether somebody waits for it, so that it is not to wait for its time.
        error: Why it failed.
    """

    over: bool = False
    cancelled: bool = False
    waiting: int = 0
    hurried: bool = False
    error: ConnectError | None = None


@dataclass(slots=True)
class Schedule:
    """When a session's attempts are made. The supervisor thread alone uses it.

    Attributes:
        retries: Attempts since the last success, the one to come included.
        connections: Connections made.
        delay: Seconds from the last failure or loss to the next attempt.
        retry: When the next attempt is due.
        received_before: How many messages the client had received when the last connection was made.
        connected_at: When the last connection was made, by the monotonic clock.
        lost_at: When it was lost, by the monotonic clock.
    """

    retries: int = 0
    connections: int = 0
    delay: float = 0.0
    retry: Deadline = field(default_factory=lambda: Deadline(None))
    received_before: int = 0
    connected_at: float = 0.0
    lost_at: float = 0.0

    @property
    def attempts(self) -> int:
        """The number of the attempt under way, or to come, since the session started or its connection was lost."""
        return self.retries + (self.connections == 0)


class Session:
    """One session of a client: what its threads share, and all that they hold while they wait.

    Args:
        queue_size: How many events of the server may wait for listeners.
        previous: The session that has to end before this one starts.
        place: Where its connections go on, if they do.

    Attributes:
        mail: Wakes the supervisor thread; putting takes no lock that a finalizer could find held.
        done: Set once the session has ended in full, or was abandoned; wakes the session that waits for this one.
        place: As given.
        event_queue: The events on their way to the dispatcher thread.
        supervisor_thread: Set once, by whoever makes the session.
        dispatcher_thread: Likewise.
        schedule: The supervisor thread's alone.
        threads: Likewise, but for these threads themselves: the reader and the heartbeat of the present connection.
        previous: From here on the life cycle's lock guards each attribute. The session that this one waits for.
        phase: Set by `move` alone.
        result: That of the attempt under way, or of the next one.
        asking: What the attempt asks the user for, while the supervisor thread waits for that.
        connection: The connection, from before it is opened until it is lost or closed.
        leaving: The one that was lost, until TCP is closed and its threads have ended.
        cut: The connection that an abandonment cut, for the supervisor thread to close.
        connected_since: When the connection was made, in UTC.
        stopping: Whether somebody called ``disconnect()``, or the client has given up.
        unattended: Whether that was a thread for whose end the session waits, and which so cannot wait for it. The
            supervisor thread then abandons the session when its time has run out.
        left: Whether such a ``disconnect()`` has returned.
        abandoned: Whether nobody waits for it any longer.
        deadline: When the ``disconnect()`` that stops it returns; the next session waits no longer than that either.
        close_code: What to close the connection with.
        close_timeout: Seconds for the peer's answer to that.
        failure: Why the last attempt failed or the connection was lost; ``None`` while connected, and before either.
        loss: How the last connection was lost; ``None`` while there is one, and before that.
        newest_stream: The streams up to this one end with the session.
        cause: Why those end that still wait then.
    """

    def __init__(self, queue_size: int, previous: Session | None, place: Place | None = None) -> None:
        self.mail: queue.SimpleQueue[Mail] = queue.SimpleQueue()
        self.done = Latch()
        self.place = place
        self.event_queue = EventQueue(queue_size, None if place is None else place.decode)
        self.supervisor_thread: Thread | None = None
        self.dispatcher_thread: Thread | None = None
        self.schedule = Schedule()
        self.threads: list[Thread] = []
        self.previous = previous
        self.phase = Phase.PENDING
        self.result = AttemptResult()
        self.asking: Asking | None = None
        self.connection: Transport | None = None
        self.leaving: Transport | None = None
        self.cut: Transport | None = None
        self.connected_since: datetime | None = None
        self.stopping = False
        self.unattended = False
        self.left = False
        self.abandoned = False
        self.deadline = Deadline(None)
        self.close_code = 1000
        self.close_timeout = 0.0
        self.failure: ConnectError | DisconnectedError | None = None
        self.loss: DisconnectedError | None = None
        self.newest_stream = 0
        self.cause = DisconnectedError("the client has given up")

    @property
    def ended(self) -> bool:
        """Whether nothing moves the session any more."""
        return self.phase is Phase.ENDED

    @property
    def quiet(self) -> bool:
        """Whether the session has ended, or will as soon as the listener returns for which the one before it waits."""
        previous = self.previous
        never_started = self.phase is Phase.PENDING and self.stopping
        return self.ended or (never_started and previous is not None and previous.quiet)

    def waiting_for(self, thread: threading.Thread) -> Session | None:
        """Return the session of which a thread is: this one or those before it, for whose ends it waits."""
        session: Session | None = self
        while session is not None and thread not in (
            session.supervisor_thread,
            session.dispatcher_thread,
            *session.threads,
        ):
            session = session.previous
        return session

    def end_of_waits(self, message: str, code: int) -> DisconnectedError:
        """Return the error with which those end that wait when the session ends, and it has no connection.

        Args:
            message: What ends the session.
            code: The close code if no connection of the session was lost before.
        """
        if self.loss is None:
            end = DisconnectedError(message, code)
        else:
            lost = f"{message}; the connection had been lost before ({self.loss})"
            end = DisconnectedError(lost, self.loss.code, self.loss.reason)
        cause = self.failure and self.failure.__cause__
        end.__cause__ = cause if isinstance(cause, StopReconnecting) else self.failure
        return end

    def move(self, trigger: Trigger) -> None:
        """Make a transition of the table.

        Raises:
            KeyError: If the table has no such row, which is a bug.
        """
        self.phase = TRANSITIONS[self.phase, trigger]

    def receive(self, timeout: float | None) -> Mail | None:
        """Wait for mail; ``None`` if none came within ``timeout`` seconds."""
        with suppress(queue.Empty):
            return receive(self.mail, timeout)
        return None

    def join(self) -> None:
        """Wait for reader and heartbeat, which end since their connection has."""
        for thread in self.threads:
            thread.join()
        self.threads = []

    def join_in_time(self) -> bool:
        """Wait for them, if nobody else sees to it for no longer than the session may take; return whether they ended.

        User code on the reader thread may hang.
        """
        for thread in self.threads:
            thread.join(self._allowed.remaining())
        if not all(thread.over for thread in self.threads):
            return False
        self.threads = []
        return True

    @property
    def _allowed(self) -> Deadline:
        """How long the supervisor thread may wait for user code to return."""
        return self.deadline.later(LAST_WORDS) if self.unattended else Deadline(None)

    def close_cut(self) -> None:
        """Close the connection that was cut, once no thread is busy with it, and wait for its threads."""
        if self.cut is not None:
            self.cut.abort(self.cause)
            self.join()

    def finish_dispatching(self, deadline: Deadline | None = None) -> bool:
        """Let the dispatcher thread deliver what is left, and wait for its end; return whether it has ended.

        Args:
            deadline: How long to wait; ``None``: as long as `join_in_time` does.
        """
        self.event_queue.finish()
        if self.dispatcher_thread is None:
            return True
        self.dispatcher_thread.join((deadline or self._allowed).remaining())
        return self.dispatcher_thread.over

    def leave(self) -> None:
        """End what outlives the connections, after the last listener has returned."""
        if self.place is not None:
            self.place.end()

    def end_unsupervised(self) -> None:
        """End the threads of a client that nobody refers to any more, so that there is nobody to report to."""
        self.event_queue.finish()
        if self.connection is not None:
            self.connection.close(timeout=1.0)
        self.close_cut()
        self.join()
        self.leave()

    def after_fork(self) -> None:
        """End in a forked child, and leave threads and connection to the parent.

        The thread that forked may have been one of ours, and goes on in the child.
        """
        self.stopping = self.abandoned = True
        self.move(Trigger.FORKED)
        self.done = Latch()
        self.done.set()
        self.event_queue.after_fork()
        for connection in (self.connection, self.leaving, self.cut):
            if connection is not None:
                connection.after_fork()
        if self.place is not None:
            self.place.after_fork()
        if self.previous is not None:
            self.previous.after_fork()
