from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError  # the built-in one from Python 3.11 on
from typing import Any

import pytest

from masquerade_ws.delivery.blocking import LISTENER, Guard
from masquerade_ws.delivery.filters import Filter
from masquerade_ws.delivery.futures import EventFuture, Outcome
from masquerade_ws.delivery.stream_index import StreamIndex
from masquerade_ws.errors import DisconnectedError
from masquerade_ws.events import Event


class Client:
    """Whatever a future keeps."""


@pytest.fixture
def index() -> StreamIndex:
    return StreamIndex(Guard())


def future_of(index: StreamIndex, name: str = "a", keeps: object = None) -> EventFuture[Event]:
    future: EventFuture[Event] = EventFuture(index, Filter([name], None, index.guard), keeps)
    index.add(future)
    return future


def test_the_first_end_counts(index: StreamIndex) -> None:
    future, first = future_of(index), Event("a")
    assert index.deliver(first)
    assert not index.deliver(Event("a"))
    future.offer(Event("a"))
    future.end(DisconnectedError("over"))
    future.fail(KeyError("mine"))
    future.settle(Outcome(error=KeyError("mine")))
    assert future.result() is first
    assert future.ended


def test_a_stop_iteration_becomes_the_cause_of_a_runtime_error(index: StreamIndex) -> None:
    future, mishap = future_of(index), StopIteration(3)
    future.fail(mishap)
    error = future.exception()
    assert isinstance(error, RuntimeError)
    assert error.__cause__ is mishap


def test_a_future_keeps_its_client_until_it_is_done(index: StreamIndex) -> None:
    client = Client()
    reference = weakref.ref(client)
    future = future_of(index, keeps=client)
    del client
    assert reference() is not None
    index.deliver(Event("a"))
    assert future.done()
    assert reference() is None


def test_a_future_that_nobody_refers_to_goes_without_the_garbage_collector(index: StreamIndex) -> None:
    gc.disable()
    try:
        reference = weakref.ref(future_of(index))
        assert reference() is None
        assert not index.deliver(Event("a"))
        assert not index
    finally:
        gc.enable()


def test_a_callback_keeps_a_future_until_it_is_done_and_a_late_one_does_not(index: StreamIndex) -> None:
    called: list[Future[Event]] = []
    future = future_of(index)
    reference = weakref.ref(future)
    future.add_done_callback(called.append)
    del future
    gc.collect()
    assert reference() is not None
    index.deliver(Event("a"))
    (future_that_is_done,) = called
    future_that_is_done.add_done_callback(called.append)
    assert len(called) == 2
    called.clear()
    del future_that_is_done
    gc.collect()
    assert reference() is None


def test_a_callback_that_hangs_holds_up_no_other_wait(index: StreamIndex) -> None:
    ended_first: list[bool] = []
    asking: EventFuture[Event] = EventFuture(index, Filter(["a"], lambda _: True, index.guard), None)
    index.add(asking)
    calling = future_of(index)
    plain = future_of(index)
    calling.add_done_callback(lambda _: ended_first.append(asking.done()))
    index.deliver(Event("a"))
    assert plain.done()
    assert ended_first == [False], "predicates come last"


def test_results_are_refused_only_where_somebody_waits_and_while_they_are_to_come(index: StreamIndex) -> None:
    future = future_of(index)
    with pytest.raises(FutureTimeoutError):
        future.exception(0.01)
    with index.guard.running(LISTENER), pytest.raises(RuntimeError, match=r"^exception would block in a listener"):
        future.exception(0.01)
    index.deliver(Event("a"))
    with index.guard.running(LISTENER):
        assert future.exception() is None


def test_only_the_thread_that_is_in_the_middle_of_it_holds_a_future_or_the_index(index: StreamIndex) -> None:
    future = future_of(index)
    assert not index.held
    with index._lock:
        assert index.held
    with future._condition:
        assert index.held
        seen: list[bool] = []
        thread = threading.Thread(target=lambda: seen.append(index.held))
        thread.start()
        thread.join()
    assert seen == [False]


def test_after_a_fork_futures_have_ended_without_their_callbacks_whoever_held_their_locks(index: StreamIndex) -> None:
    called: list[Any] = []
    pending, done = future_of(index, "a", Client()), future_of(index, "b")
    pending.add_done_callback(called.append)
    done.offer(event := Event("b"))
    for future in (pending, done):
        threading.Thread(target=future._condition.acquire).start()  # and it never lets go
    index.after_fork(DisconnectedError("forked"))
    assert done.result(0) is event
    assert pending.ended
    error = pending.exception(0)
    assert isinstance(error, DisconnectedError)
    assert str(error) == "forked"
    assert called == []
    assert not pending.cancel()
    pending.add_done_callback(called.append)
    assert called == [pending]
    assert not index
