"""A connection to the engine that several threads share, made when it is needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from masquerade_ws.deadline import Deadline
from masquerade_ws.relay.engine import Command, Engine, EngineError, EngineLost

__all__ = ["Line", "LineBusy"]

_T = TypeVar("_T")


class LineBusy(EngineError):  # noqa: N818 - the name says what happened
    """Other threads' calls took all the time that there was."""


class Line:
    """Calls of any thread, one at a time, on one connection, which is made anew after it was lost.

    The thread whose turn it is makes the connection, uses it, and closes it if it was lost or ended meanwhile; `end`
    shuts it down, which ends a call under way, and closes it if it is nobody's turn.

    Args:
        make: Makes a connection to the engine, not yet open.
        timeout: Seconds that a call may take.
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

    def call(self, *command: str | bytes | int) -> Any:
        """Run a command and return its reply.

        Raises:
            LineBusy: If it only waited for other threads' calls.
            EngineLost: If there is no answer in time.
            EngineRefusal: If the answer is an error.
        """
        return self._in_turn(lambda engine: engine.call(*command))

    def transaction(self, commands: Sequence[Command]) -> list[Any] | None:
        """Run commands in a ``MULTI``, as `Engine.transaction` does; raises as `call` does."""
        return self._in_turn(lambda engine: engine.transaction(commands))

    def _in_turn(self, action: Callable[[Engine], _T]) -> _T:
        deadline = Deadline(self._timeout)
        if not self._turn.acquire(timeout=self._timeout):
            raise LineBusy(f"not within {self._timeout:g} s: another thread's call came first")
        try:
            return action(self._ready(deadline))
        except EngineLost:
            self._close()
            raise
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

    def drop(self) -> None:
        """Close the connection until the next call, unless it is another thread's turn."""
        if self._turn.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._turn.release()

    def end(self) -> None:
        """End the connection, for good; from any thread."""
        with self._lock:
            self._ended = True
            if self._engine is not None:
                self._engine.shutdown()  # wakes the thread whose turn it is, which closes it
        self._close_if_ended()

    def _close_if_ended(self) -> None:
        """Close what was ended, unless it is another thread's turn, which does it then."""
        if self._ended:
            self.drop()

    def _close(self) -> None:
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def after_fork(self) -> None:
        """Close the descriptor, in a forked child."""
        self._renew_locks()
        self._ended = True
        if self._engine is not None:
            self._engine.after_fork()
