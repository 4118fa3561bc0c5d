"""What a worker gives to the relay: appended to the stream ``out`` on a connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from masquerade_ws.deadline import Deadline
from masquerade_ws.errors import SendError
from masquerade_ws.relay.engine import Command, Engine, EngineError

__all__ = ["Sending"]


class Sending:
    """A connection to the engine for the sends of any thread, made by the first of them.

    The thread whose turn it is makes the connection, uses it, and closes it if it was ended meanwhile; `end` shuts it
    down, which ends a call under way, and closes it if it is nobody's turn.

    Args:
        make: Makes a connection to the engine, not yet open.
        timeout: Seconds that a send may take.
    """

    def __init__(self, make: Callable[[], Engine], timeout: float) -> None:
        self._make = make
        self._timeout = timeout
        self._engine: Engine | None = None
        self._ended = False
        self._renew_locks()

    def _renew_locks(self) -> None:
        self._turn = threading.Lock()  # guards the connection: one thread at a time calls
        # Guards `_engine` and `_ended` together, so that none is made after the end. Reentrant, since a signal handler
        # may end it at any line.
        self._lock = threading.RLock()

    def send(self, command: Command) -> None:
        """Run a command.

        Raises:
            SendError: If the engine did not take it in time, or refused it; caused by the `EngineError`, unless it only
                waited for another thread's send.
        """
        deadline = Deadline(self._timeout)
        if not self._turn.acquire(timeout=self._timeout):
            raise SendError(f"the message was not sent within {self._timeout:g} s: another thread's send came first")
        try:
            self._ready(deadline).call(*command)
        except EngineError as error:
            raise SendError(f"the message was not given to the relay: {error}") from error
        finally:
            self._turn.release()
            self._close_if_ended()

    def _ready(self, deadline: Deadline) -> Engine:
        """Return the connection, open."""
        with self._lock:
            if self._engine is not None:
                return self._engine
            engine = self._make()
            if self._ended:
                return engine  # never opened, so that the call fails
            self._engine = engine
        try:
            engine.connect(deadline.remaining())
        except BaseException:
            self._engine = None
            raise
        return engine

    def end(self) -> None:
        """End the connection, for good; from any thread."""
        with self._lock:
            self._ended = True
            if self._engine is not None:
                self._engine.shutdown()  # wakes the thread whose turn it is, which closes it
        self._close_if_ended()

    def _close_if_ended(self) -> None:
        """Close what was ended, unless it is another thread's turn, which does it then."""
        if self._ended and self._turn.acquire(blocking=False):
            try:
                if self._engine is not None:
                    self._engine.close()
            finally:
                self._turn.release()

    def after_fork(self) -> None:
        """Close the descriptor, in a forked child."""
        self._renew_locks()
        self._ended = True
        if self._engine is not None:
            self._engine.after_fork()
