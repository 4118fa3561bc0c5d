"""Futures: what is waited for without a thread, and what their callbacks may do."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, as_completed
from concurrent.futures import TimeoutError as FutureTimeoutError  # the built-in one from Python 3.11 on
from concurrent.futures import wait as wait_for_futures
from typing import Any

import pytest

from masquerade_ws import ConnectError, DisconnectedError, Event, MasqueradeError, StopReconnecting, WebSocketClient
from masquerade_ws.testing import EventServer
from tests.support.raw_server import until
from tests.support.scenes import FOUR, PATIENCE, TIMEOUT, Hang, Record, client_of, elapsed, names_of_threads, running


@pytest.fixture
def client(masquerade_server: EventServer) -> Iterator[WebSocketClient]:
    with client_of(masquerade_server.url) as client, client.events("connected") as connected, client:
        connected.get(TIMEOUT)
        connected.close()
        yield client


def result_of(future: Future[Any]) -> Any:
    return future.result(TIMEOUT)


def done_with(future: Future[Any]) -> list[str]:
    """Return where the name of the thread goes that runs a callback of a future."""
    threads: list[str] = []
    future.add_done_callback(lambda _: threads.append(threading.current_thread().name))
    return threads


# How one ends.


def test_a_future_ends_with_the_first_event_that_matches(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    future = client.future("this", "that", where={"n": 1})
    assert not future.done()
    for name, number in (("else", 1), ("that", 2), ("that", 1), ("this", 1)):
        masquerade_server.emit(name, {"n": number})
    event = result_of(future)
    assert (event.type, event.payload) == ("that", {"n": 1})
    assert future.exception() is None
    assert len(client._streams._entries) == 0


@pytest.mark.parametrize("types", [(), ("*",), ("image.*",), ("image.generation.*", "never")])
def test_a_future_takes_patterns_and_by_default_every_event_of_the_server(
    client: WebSocketClient, masquerade_server: EventServer, types: tuple[str, ...]
) -> None:
    future = client.future(*types)
    masquerade_server.drop()  # events of the client's own follow, which no pattern covers
    until(lambda: client.stats.connections == 2)
    masquerade_server.wait_for_connections(1)
    masquerade_server.emit("image.generation.started")
    assert result_of(future).type == "image.generation.started"


def test_a_future_may_be_for_an_event_of_the_clients_own(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    future = client.future("state:change", where={"new_state": "connected"})
    threads = done_with(future)
    masquerade_server.drop()
    assert result_of(future).old_state == "connecting"
    until(lambda: threads == ["masquerade-ws-dispatcher"])


@pytest.mark.parametrize("error", [KeyError("mine"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_a_predicate_that_raises_ends_its_future_and_disturbs_nothing_else(
    client: WebSocketClient, masquerade_server: EventServer, error: BaseException
) -> None:
    def fail(event: Event) -> bool:
        raise error

    record = Record(client, "error")
    broken, whole = client.future("news", where=fail), client.future("news")
    masquerade_server.emit("news")
    assert broken.exception(TIMEOUT) is error
    assert result_of(whole).type == "news"
    assert (record.events, client.state) == ([], "connected")


def test_a_stop_iteration_of_a_predicate_comes_through_an_await(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    def fail(event: Event) -> bool:
        raise StopIteration

    async def view() -> None:
        future = asyncio.wrap_future(client.future("news", where=fail))
        masquerade_server.emit("news")
        with pytest.raises(RuntimeError, match="StopIteration") as caught:
            await asyncio.wait_for(future, TIMEOUT)
        assert isinstance(caught.value.__cause__, StopIteration)

    asyncio.run(view())


def test_a_future_goes_on_across_reconnections(client: WebSocketClient, masquerade_server: EventServer) -> None:
    future = client.future("news")
    masquerade_server.drop()
    until(lambda: client.stats.connections == 2)
    masquerade_server.wait_for_connections(1)
    masquerade_server.emit("news")
    assert result_of(future).type == "news"


def test_a_future_on_a_client_that_is_not_running_is_done_at_once(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url) as client:
        early = client.future("news")
        assert early.done()
        assert "connect()" in str(early.exception())
        with client:
            pass
        late = client.future("news")
        assert late.done()
        with pytest.raises(DisconnectedError, match=r"disconnect\(\) was called"):
            late.result()
        assert len(client._streams._entries) == 0


def test_disconnect_ends_each_future_with_an_error_of_its_own(client: WebSocketClient) -> None:
    futures = [client.future("news") for _ in range(3)]
    client.disconnect()
    errors = [future.exception(0) for future in futures]
    assert [(type(error), getattr(error, "code", None)) for error in errors] == [(DisconnectedError, 1000)] * 3
    assert len({id(error) for error in errors}) == 3


def test_a_client_that_gives_up_ends_its_futures_with_the_reason(masquerade_server: EventServer) -> None:
    reason = StopReconnecting("no seat left")
    asked: list[str] = []

    def get_token() -> str:
        if asked:
            raise reason
        asked.append("once")
        return "token"

    with client_of(masquerade_server.url, get_token) as client, client:
        future = client.future("news")
        masquerade_server.drop()
        error = future.exception(TIMEOUT)
        assert isinstance(error, DisconnectedError)
        assert error.__cause__ is reason
        late = client.future("news").exception(0)
        assert isinstance(late, DisconnectedError)
        assert late.__cause__ is reason


def test_a_future_may_be_made_during_a_delay(masquerade_server: EventServer) -> None:
    masquerade_server.refuse(503, times=3)
    with client_of(masquerade_server.url) as client:
        with pytest.raises(ConnectError):
            client.connect()
        assert result_of(client.future("connected")).attempts > 1


def test_a_future_is_legal_in_a_listener(client: WebSocketClient, masquerade_server: EventServer) -> None:
    futures: list[Future[Event]] = []
    client.on("news", lambda _: futures.append(client.future("more")))
    masquerade_server.emit("news")
    until(lambda: futures)
    masquerade_server.emit("more")
    assert result_of(futures[0]).type == "more"


# Cancelling.


def test_a_cancelled_future_counts_at_once_and_takes_nothing(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    futures = [client.future("news") for _ in range(3)]
    waiting = running(lambda: wait_for_futures(futures[:1], TIMEOUT))
    completing = running(lambda: list(as_completed(futures[:2], TIMEOUT)))
    until(lambda: all(len(future._waiters) for future in futures[:2]))
    threads = done_with(futures[0])
    assert futures[0].cancel()
    assert waiting.result().done == {futures[0]}
    assert futures[1].cancel()
    assert completing.result() == futures[:2]
    assert threads == [threading.current_thread().name]
    assert futures[0].cancel(), "once more"
    masquerade_server.emit("news")
    assert result_of(futures[2]).type == "news"
    assert not futures[2].cancel()
    for future in futures[:2]:
        assert future.cancelled()
        with pytest.raises(CancelledError):
            future.result()


def test_of_an_event_and_threads_that_cancel_one_wins(client: WebSocketClient, masquerade_server: EventServer) -> None:
    for number in range(50):
        future = client.future("news", where={"n": number})
        count: list[Future[Event]] = []
        future.add_done_callback(count.append)
        workers = [running(future.cancel) for _ in range(3)]
        masquerade_server.emit("news", {"n": number})
        cancelled = [worker.result() for worker in workers]
        wait_for_futures([future], TIMEOUT)
        assert future.cancelled() or result_of(future).payload == {"n": number}
        assert set(cancelled) == {future.cancelled()}
        until(lambda count=count: count)  # who waits for a future may be woken before its callbacks
        assert count == [future]


# Many of them.


def test_a_thousand_futures_cost_no_thread_and_end_as_completed(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    futures = {client.future("news", where={"n": number}): number for number in range(1000)}
    until(lambda: names_of_threads() == FOUR)
    for number in reversed(range(1000)):
        masquerade_server.emit("news", {"n": number})
    ended = [(futures[future], future.result().payload["n"]) for future in as_completed(futures, TIMEOUT)]
    assert sorted(ended) == [(number, number) for number in range(1000)]
    assert len(client._streams._entries) == 0


def test_an_async_view_awaits_a_future(client: WebSocketClient, masquerade_server: EventServer) -> None:
    async def view() -> tuple[list[Event], bool]:
        with pytest.raises(FutureTimeoutError):
            client.future("never").result(0)  # which holds up nothing, so that there is no warning
        awaited = [asyncio.wrap_future(client.future("news", where={"n": number})) for number in range(3)]
        given_up = client.future("never")
        waiting = asyncio.wrap_future(given_up)
        for number in range(3):
            masquerade_server.emit("news", {"n": number})
        events = await asyncio.wait_for(asyncio.gather(*awaited), TIMEOUT)
        waiting.cancel()
        await asyncio.wait([waiting], timeout=TIMEOUT)
        return events, given_up.cancelled()

    events, cancelled = asyncio.run(view())
    assert [event.payload for event in events] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert cancelled
    assert len(client._streams._entries) == 0


# Callbacks.


def test_callbacks_run_on_the_thread_that_ends_a_future_or_at_once(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    future = client.future("news")
    threads = done_with(future)
    masquerade_server.emit("news")
    until(lambda: threads == ["masquerade-ws-reader"])
    assert done_with(future) == [threading.current_thread().name]


@pytest.mark.parametrize("fn", [None, "news", 3])
def test_what_cannot_be_called_is_no_callback(client: WebSocketClient, fn: Any) -> None:
    with pytest.raises(TypeError, match=r"^fn must be callable"):
        client.future("news").add_done_callback(fn)


def test_a_coroutine_function_is_no_callback(client: WebSocketClient) -> None:
    async def callback(future: object) -> None: ...

    with pytest.raises(TypeError, match="plain function"):
        client.future("news").add_done_callback(callback)


ERRORS = [KeyError("mine"), asyncio.CancelledError(), StopIteration(), SystemExit(1), KeyboardInterrupt()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_what_a_callback_raises_is_reported_as_a_listeners_and_ends_nothing(
    client: WebSocketClient, masquerade_server: EventServer, error: BaseException
) -> None:
    def fail(future: object) -> None:
        raise error

    record = Record(client)
    future = client.future("news")
    future.add_done_callback(fail)
    others = done_with(future)
    masquerade_server.emit("news")
    told = record.wait("error")
    assert error in (told.error, told.error.__cause__)
    assert isinstance(told.error, Exception)
    assert told.error is error or isinstance(told.error, MasqueradeError)
    assert told.context == "handler"
    until(lambda: client.stats.handler_errors == 1)
    until(lambda: others == ["masquerade-ws-reader"])
    masquerade_server.emit("news")
    assert client.wait_for("news", timeout=TIMEOUT, poll=lambda: masquerade_server.emit("news")).type == "news"
    assert (client.state, record.of("disconnected")) == ("connected", [])


def test_what_a_callback_raises_at_the_end_of_its_client_is_still_reported(client: WebSocketClient) -> None:
    record = Record(client)
    client.future("news").add_done_callback(lambda future: future.result())
    client.disconnect()
    assert record.story[-2:] == ["disconnected", "error"]
    assert isinstance(record.wait("error").error, DisconnectedError)


def test_what_a_callback_raises_when_nobody_is_left_to_listen_is_logged(
    client: WebSocketClient, caplog: pytest.LogCaptureFixture
) -> None:
    record = Record(client, "error")
    client.disconnect()
    with caplog.at_level(logging.ERROR, "masquerade_ws"):
        client.future("news").add_done_callback(lambda _: 1 // 0)
    (logged,) = caplog.records
    assert logged.getMessage() == "a done-callback raised, and nobody listens to errors any more"
    assert logged.exc_info is not None
    assert logged.exc_info[0] is ZeroDivisionError
    assert record.events == []


def test_a_callback_of_a_future_whose_client_was_never_started_is_logged_as_well(
    masquerade_server: EventServer, caplog: pytest.LogCaptureFixture
) -> None:
    with client_of(masquerade_server.url) as client, caplog.at_level(logging.ERROR, "masquerade_ws"):
        client.future("news").add_done_callback(lambda _: 1 // 0)
    assert len(caplog.records) == 1


def test_ctrl_c_in_a_callback_on_the_main_thread_reaches_the_program(client: WebSocketClient) -> None:
    def interrupt(future: object) -> None:
        raise KeyboardInterrupt

    record = Record(client, "error")
    future = client.future("news")
    future.cancel()
    with pytest.raises(KeyboardInterrupt):
        future.add_done_callback(interrupt)
    assert record.events == []


def test_a_callback_that_a_disconnect_gave_up_on_comes_back_to_nothing(
    client: WebSocketClient, masquerade_server: EventServer, hang: Hang, caplog: pytest.LogCaptureFixture
) -> None:
    over = threading.Event()

    def fail_late(future: object) -> None:
        hang()
        over.set()
        raise KeyError("late")

    record = Record(client, "error")
    other, stream = client.future("news"), client.events("news")
    client.future("news").add_done_callback(fail_late)
    masquerade_server.emit("news")
    assert hang.entered.wait(TIMEOUT)
    assert result_of(other).type == stream.get(TIMEOUT).type == "news", "it holds up no wait without a callback"
    assert elapsed(lambda: client.disconnect(timeout=0.05)) < PATIENCE
    with caplog.at_level(logging.ERROR, "masquerade_ws"):
        hang.over.set()
        assert over.wait(TIMEOUT)
        until(lambda: names_of_threads() == [])
    assert (record.events, caplog.records) == ([], [])


# Where a wait would wait for itself.


def blocking_calls(client: WebSocketClient) -> list[Callable[[], object]]:
    pending, stream = client.future("never"), client.events("never")
    return [
        pending.result,
        lambda: pending.result(0),
        pending.exception,
        lambda: client.wait_for("news", timeout=1),
        lambda: client.run_image_job(lambda: "1", timeout=1),
        lambda: stream.get(1),
        lambda: next(stream),
        client.connect,
    ]


def refusals(client: WebSocketClient, place: str) -> int:
    """Try every blocking call, and return how many were refused in the name of a place."""
    refused = 0
    for call in blocking_calls(client):
        with pytest.raises(RuntimeError, match=f"would block in {place}, and so hold up"):
            call()
        refused += 1
    return refused


def test_every_wait_is_refused_in_a_callback(client: WebSocketClient, masquerade_server: EventServer) -> None:
    counts: list[int] = []
    future = client.future("news")
    future.add_done_callback(lambda _: counts.append(refusals(client, "a done-callback")))
    masquerade_server.emit("news")
    until(lambda: counts)
    future.add_done_callback(lambda _: counts.append(refusals(client, "a done-callback")))
    assert counts == [8, 8]
    seen: list[Event] = []
    future.add_done_callback(lambda done: seen.append(done.result()))
    assert seen == [future.result()], "a future that is done may be asked"


def test_the_result_of_a_future_that_is_not_done_is_refused_in_a_listener_and_a_predicate(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    counts: list[int] = []
    client.on("news", lambda _: counts.append(refusals(client, "a listener")))
    asking = client.future("news", where=lambda _: counts.append(refusals(client, "a predicate")) or True)
    masquerade_server.emit("news")
    result_of(asking)
    until(lambda: counts == [8, 8])


@pytest.mark.parametrize("type", ["news", "connected"])
def test_a_callback_may_disconnect(client: WebSocketClient, masquerade_server: EventServer, type: str) -> None:
    """On the reader thread, and on the dispatcher thread."""
    record, heard = Record(client), Record(client, "news")
    times: list[float] = []
    future = client.future(type)
    future.add_done_callback(lambda _: times.append(elapsed(client.disconnect)))
    if type == "news":
        masquerade_server.emit("news")
    else:
        masquerade_server.drop()
    record.wait("disconnected", 1 if type == "news" else 2)
    until(lambda: names_of_threads() == [])
    assert times[0] < PATIENCE
    assert client.state == "disconnected"
    assert len(heard.events) == (type == "news"), "what was received before that is delivered"


def test_a_callback_on_a_thread_of_the_program_waits_for_the_whole_disconnect(client: WebSocketClient) -> None:
    record = Record(client)
    future = client.future("news")
    future.add_done_callback(lambda _: client.disconnect())
    future.cancel()
    assert client.state == "disconnected"
    assert names_of_threads() == []
    assert record.story[-1] == "disconnected"


def test_a_callback_may_use_the_client_as_a_listener_may(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    futures: list[Future[Event]] = []

    def go_on(future: Future[Event]) -> None:
        client.emit("answer", {"to": future.result().type})
        futures.append(client.future("more"))
        futures[0].add_done_callback(lambda _: client.emit("done"))

    client.future("news").add_done_callback(go_on)
    masquerade_server.emit("news")
    assert masquerade_server.expect("answer", TIMEOUT)["payload"] == {"to": "news"}
    masquerade_server.emit("more")
    masquerade_server.expect("done", TIMEOUT)


# Who keeps one.


def test_a_future_that_nobody_refers_to_costs_nothing(client: WebSocketClient, masquerade_server: EventServer) -> None:
    references = [weakref.ref(client.future("news", where={"n": number})) for number in range(1000)]
    gc.collect()
    assert not any(reference() for reference in references)
    masquerade_server.emit("news", {"n": 1})
    client.wait_for("news", timeout=TIMEOUT, poll=lambda: masquerade_server.emit("news"))
    assert len(client._streams._entries) == 0
    assert not any(isinstance(recipient, Future) for recipient in client._streams._all)


def test_a_future_with_a_callback_is_kept_until_it_is_done(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    threads: list[list[str]] = []
    references = []
    for number in range(3):
        future = client.future("news", where={"n": number})
        threads.append(done_with(future))
        references.append(weakref.ref(future))
    future.cancel()
    del future
    gc.collect()
    assert [reference() is not None for reference in references] == [True, True, False]
    masquerade_server.emit("news", {"n": 0})
    until(lambda: threads[0])
    client.disconnect()
    assert threads[1] == ["masquerade-ws-dispatcher"]
    until(lambda: gc.collect() is not None and not any(reference() for reference in references))


# How one looks.


def test_a_future_says_what_it_is_for_and_how_it_stands(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    futures = [client.future("news", "more"), client.future("never"), client.future()]
    assert [repr(future) for future in futures] == [
        "<Future of news, more, pending>",
        "<Future of never, pending>",
        "<Future of *, pending>",
    ]
    masquerade_server.emit("news")
    result_of(futures[0])
    futures[2].cancel()
    client.disconnect()
    assert [repr(future).split(", ")[-1] for future in futures[:2]] == ["finished>", "failed>"]
    with pytest.warns(UserWarning, match="did you mean"):
        client.future("conected")


@pytest.mark.parametrize(
    ("types", "where", "error"),
    [
        ((1,), None, TypeError),
        (("",), None, ValueError),
        (("a*",), None, ValueError),
        (("a",), 3, TypeError),
        (("a",), {1: 2}, TypeError),
    ],
)
def test_bad_arguments_are_refused(
    client: WebSocketClient, types: tuple[Any, ...], where: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        client.future(*types, where=where)


def test_a_coroutine_function_is_no_predicate(client: WebSocketClient) -> None:
    async def is_wanted(event: object) -> bool:
        return True

    with pytest.raises(TypeError, match=r"^where must be a plain function"):
        client.future("news", where=is_wanted)
