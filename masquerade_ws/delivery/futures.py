"""Futures: what a client is waited on for, without a thread that waits.

Who ends a future: the reader thread, with an event of the server; the dispatcher thread, with one of the client's own;
whoever ends its session (mostly the supervisor thread); or its user, who cancels it. Whatever comes first counts, and
the others are ignored. The callbacks run on the thread that ends it, after its state has changed and outside all locks.

The index holds a future weakly, and so does everything here, until it has a callback. From then on until its end
something has to happen whoever has forgotten it, so it is kept, and it keeps its client.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from masquerade_ws.checks import check_callable
from masquerade_ws.delivery.blocking import DONE_CALLBACK, Guard, holds
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import Filter
from masquerade_ws.errors import DisconnectedError, copy_of
from masquerade_ws.events import ErrorEvent, timestamp_now
from masquerade_ws.log import logger
from masquerade_ws.process_hooks import notice_fork
from masquerade_ws.user_code import as_exception

__all__ = ["EventFuture", "Outcome"]

_T = TypeVar("_T")

_kept: set[EventFuture[Any]] = set()  # those that must not be forgotten; adding and removing one takes no lock


class _Owner(Protocol):
    """What keeps the futures of a client: the index."""

    guard: Guard

    def discard(self, recipient: Any, /) -> None:
        """Offer nothing to a future any more."""
        ...

    def event_queue(self) -> EventQueue | None:
        """Return the queue for listeners of the newest session, if there is one."""
        ...


class Outcome(NamedTuple):
    """How a future ends: with a result, or with an error."""

    result: Any = None
    error: BaseException | None = None


class EventFuture(Future[_T]):
    """The first event that matches, to come.

    Args:
        owner: The index.
        taken: What matches.
        keeps: The client, which lives on while somebody waits.

    Attributes:
        filter: What matches.
        serial: Set by the index.
        ended: Whether it is done; known without a lock, which another thread may have held when the process forked.
    """

    def __init__(self, owner: _Owner, taken: Filter, keeps: object) -> None:
        super().__init__()
        self.filter = taken
        self.serial = 0
        self.ended = False
        self._owner = owner
        self._keeps = keeps
        super().add_done_callback(EventFuture._leave)  # the first, before all others; bound, it would make a cycle

    @property
    def held(self) -> bool:
        """Whether this very thread is in the middle of using the future."""
        return holds(self._condition)

    def offer(self, event: Any, /) -> bool:
        """End with an event, unless it has ended; nothing has to go for it."""
        self.settle(Outcome(event))
        return False

    def end(self, cause: DisconnectedError, /) -> None:
        """End without an event, for this cause, unless it has ended."""
        self.settle(Outcome(error=copy_of(cause)))
        self._let_go()

    def fail(self, failure: BaseException, /) -> None:
        """End with what the predicate raised, unless it has ended."""
        self.settle(Outcome(error=failure))

    def settle(self, outcome: Outcome) -> None:
        """End, unless it has ended, and run the callbacks."""
        with suppress(InvalidStateError):
            if outcome.error is None:
                self.set_result(outcome.result)
            else:
                self.set_exception(_that_can_be_awaited(outcome.error))

    def keep(self) -> None:
        """Let nobody forget the future before it is done."""
        notice_fork()
        _kept.add(self)
        if self.done():  # `_leave` may have been here before
            _kept.discard(self)

    def _let_go(self) -> None:
        """Keep nothing any more, and be kept by nothing."""
        self._keeps = None
        _kept.discard(self)

    def after_fork(self, cause: DisconnectedError, /) -> None:
        """End in a forked child without the callbacks, which are for the parent; replace the lock in any case."""
        if self.ended:
            self._condition = threading.Condition()
        else:
            super().__init__()
            self.ended = True
            self.set_exception(copy_of(cause))
        self._let_go()

    def cancel(self) -> bool:
        """End the future; return whether it is cancelled, as one that is done otherwise cannot be."""
        notice_fork()
        return super().cancel()

    def done(self) -> bool:
        """Return whether the future has ended: with a result, with an error, or cancelled."""
        notice_fork()
        return super().done()

    def result(self, timeout: float | None = None) -> _T:
        """Return the result, waiting for it, or raise the error.

        Raises:
            RuntimeError: If it would block in a listener, a callable of an attempt, ``decode``, a predicate or a
                done-callback.
            TimeoutError: If it is not done after ``timeout`` seconds.
            CancelledError: If it was cancelled.
        """
        self._check_waiting("result", timeout)
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the error, waiting for the end, or ``None`` if there is a result; raises as `result` does."""
        self._check_waiting("exception", timeout)
        return super().exception(timeout)

    def _check_waiting(self, member: str, timeout: float | None) -> None:
        if not self.done():
            self._owner.guard.check(member, waits=timeout != 0)

    def add_done_callback(self, fn: Callable[[Future[_T]], object]) -> None:
        """Call ``fn`` with the future once it is done, or now if it is; it must not block.

        It runs on the thread that ends the future, mostly one of the client's. What it raises is reported as what a
        listener raises.

        Raises:
            TypeError: If ``fn`` cannot be called, or is a coroutine function.
        """
        check_callable("fn", fn)
        self.keep()
        super().add_done_callback(partial(EventFuture._call, fn=fn))

    @staticmethod
    def _leave(future: Future[Any]) -> None:
        """Take a future that is done out of the index, and let go of its client."""
        assert isinstance(future, EventFuture)
        if future.cancelled():
            future.set_running_or_notify_cancel()  # `wait` and `as_completed` count it only then
        future.ended = True
        future._let_go()
        future._owner.discard(
            future
        )  # the last, since `end` finds what is in the index if an interrupt cuts this short

    @staticmethod
    def _call(future: Future[Any], fn: Callable[[Future[Any]], object]) -> None:
        """Call a callback, and report what it raises as what a listener raises."""
        assert isinstance(future, EventFuture)
        queue = future._owner.event_queue()
        abandoned = queue is not None and queue.abandoned
        try:
            with future._owner.guard.running(DONE_CALLBACK):
                fn(future)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise  # Ctrl-C, which the program is to get
            if queue is None or not queue.abandoned or abandoned:  # otherwise a `disconnect()` has given up on it
                _report(error, queue)

    def __repr__(self) -> str:
        return f"<Future of {self.filter}, {self.said_state}>"

    @property
    def said_state(self) -> str:
        """How it stands, in a word."""
        if not self.done():
            return "pending"
        return "cancelled" if self.cancelled() else "finished" if self.exception() is None else "failed"


def _report(error: BaseException, queue: EventQueue | None) -> None:
    event = ErrorEvent(as_exception(error, DONE_CALLBACK), "handler", timestamp_now())
    if queue is None or not queue.submit(event):
        logger.error("%s raised, and nobody listens to errors any more", DONE_CALLBACK, exc_info=error)


def _that_can_be_awaited(error: BaseException) -> BaseException:
    """Return what to raise for an error: a RuntimeError for a StopIteration, which no ``await`` raises (PEP 479)."""
    if not isinstance(error, StopIteration):
        return error
    wrapper = RuntimeError("user code raised StopIteration")
    wrapper.__cause__ = error
    return wrapper
