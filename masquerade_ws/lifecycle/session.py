"""What one life of a client holds."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from masquerade_ws.connection.connection import Connection
from masquerade_ws.deadline import Deadline
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.errors import ConnectError, DisconnectedError
from masquerade_ws.lifecycle.threads import Thread
from masquerade_ws.lifecycle.transitions import Phase

__all__ = ["AttemptResult", "Mail", "Session"]


class Mail(Enum):
    """What wakes a supervisor thread."""

    STOP = auto()
    LOST = auto()
    HURRY = auto()


@dataclass
class AttemptResult:
    """One attempt to connect, for those who wait for its outcome."""

    over: bool = False
    cancelled: bool = False
    error: ConnectError | None = None


class Session:
    """One life of a client: what its threads share, and all that they hold while they wait.

    Attributes:
        mail: Wakes the supervisor thread; putting takes no lock that a finalizer could find held.
        done: Set once the session has ended in full, or was abandoned; wakes the session that waits for this one.
        cut: The connection that an abandonment cut, for the supervisor thread to close.
        stopping: Somebody called ``disconnect()``, or the client has given up.
        deadline: When the ``disconnect()`` that stops it returns; the session after it waits no longer either.
        newest_stream: The streams up to this one end with the session.
        cause: What those who still wait then are told.
    """

    def __init__(self, queue_size: int, previous: Session | None) -> None:
        self.previous = previous
        self.phase = Phase.PENDING
        self.mail: queue.SimpleQueue[Mail] = queue.SimpleQueue()
        self.done = threading.Event()
        self.dispatcher = EventQueue(queue_size)
        self.supervisor_thread: Thread | None = None
        self.dispatcher_thread: Thread | None = None
        self.threads: list[Thread] = []  # reader and heartbeat
        self.attempt = AttemptResult()
        self.delay = 0.0
        self.retry = Deadline(None)
        self.retries = 0
        self.connection: Connection | None = None
        self.cut: Connection | None = None
        self.connections = 0
        self.connected_at = 0.0
        self.connected_since: datetime | None = None
        self.lost_at = 0.0
        self.stopping = False
        self.abandoned = False
        self.deadline = Deadline(None)
        self.close_code = 1000
        self.close_timeout = 0.0
        self.newest_stream = 0
        self.cause = DisconnectedError("the client has given up")

    @property
    def ended(self) -> bool:
        """Whether nothing moves the session any more."""
        return self.phase is Phase.ENDED

    @property
    def quiet(self) -> bool:
        """Whether the session has ended, or will as soon as the listener returns for which the one before it waits."""
        stopped_ahead = self.phase is Phase.PENDING and self.stopping
        return self.ended or (stopped_ahead and self.previous is not None and self.previous.quiet)

    @property
    def attempts(self) -> int:
        """The number of the attempt under way, or to come, since the session started or its connection was lost."""
        return self.retries + (self.connections == 0)

    def receive(self, timeout: float | None) -> Mail | None:
        """Wait for mail; ``None`` if none came within ``timeout`` seconds."""
        # The first look leaves the queue's lock held, as a wait with a time needs it: CPython before 3.13 otherwise
        # takes that lock first, and waits for ever if the time runs out meanwhile.
        with suppress(queue.Empty):
            return self.mail.get_nowait()
        with suppress(queue.Empty):
            return self.mail.get(timeout=timeout)
        return None

    def join(self) -> None:
        """Wait for reader and heartbeat, which end since their connection has."""
        for thread in self.threads:
            thread.join()
        self.threads = []

    def close_cut(self) -> None:
        """Close the connection that was cut, once no thread is busy with it, and wait for its threads."""
        if self.cut is not None:
            self.cut.abort(self.cause)
            self.join()

    def finish_dispatching(self, deadline: Deadline) -> None:
        """Let the dispatcher thread deliver what is left, and wait for its end."""
        self.dispatcher.finish()
        if self.dispatcher_thread is not None:
            self.dispatcher_thread.join(deadline.remaining())

    def end_unsupervised(self) -> None:
        """End the threads of a client that nobody refers to any more, so that there is nobody to tell."""
        self.dispatcher.finish()
        if self.connection is not None:
            self.connection.close(timeout=1.0)
        self.close_cut()
        self.join()

    def after_fork(self) -> None:
        """Forget, in a forked child, what belongs to the parent; the thread that forked may have been one of ours."""
        self.stopping = self.abandoned = True
        self.phase = Phase.ENDED
        self.done = threading.Event()
        self.done.set()
        self.dispatcher.after_fork()
        for connection in (self.connection, self.cut):
            if connection is not None:
                connection.after_fork()
        if self.previous is not None:
            self.previous.after_fork()
