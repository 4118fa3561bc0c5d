"""Waits, streams and image jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from masquerade_ws import (
    DisconnectedError,
    Event,
    EventsDroppedError,
    ImageGenerationCompletedEvent,
    ImageGenerationError,
    ImageGenerationProgressEvent,
    StopReconnecting,
    WaitTimeoutError,
    WebSocketClient,
)
from masquerade_ws.testing import EventServer
from tests.support.raw_server import until
from tests.support.scenes import TIMEOUT, Record, Worker, client_of, running


@pytest.fixture
def client(masquerade_server: EventServer) -> Iterator[WebSocketClient]:
    with client_of(masquerade_server.url) as client, client.events("connected") as connected, client:
        connected.get(TIMEOUT)
        connected.close()  # a later wait for this name gets a later event
        yield client


def waits(client: WebSocketClient, count: int = 1) -> None:
    """Wait until so many waits and streams are open."""
    until(lambda: len(client._streams._entries) == count)


def waiting(client: WebSocketClient, *types: str, **arguments: Any) -> Worker:
    """Begin a `wait_for` on a thread of its own."""
    worker = running(lambda: client.wait_for(*types, timeout=TIMEOUT, **arguments))
    waits(client)
    return worker


# wait_for


def test_a_wait_ends_with_the_next_event_of_one_of_its_types(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    worker = waiting(client, "this", "that")
    masquerade_server.emit("else")
    masquerade_server.emit("that", {"n": 1})
    masquerade_server.emit("this", {"n": 2})
    assert worker.result().payload == {"n": 1}


@pytest.mark.parametrize("types", [("*",), (), ("image.*",), ("image.generation.*", "never")])
def test_a_wait_takes_patterns_and_by_default_every_server_event(
    client: WebSocketClient, masquerade_server: EventServer, types: tuple[str, ...]
) -> None:
    worker = waiting(client, *types)
    masquerade_server.drop()  # events of the client's own follow, which no pattern covers
    masquerade_server.wait_for_connections(1)
    until(lambda: client.stats.connections == 2)
    client.connect()
    masquerade_server.emit("image.generation.started")
    assert worker.result().type == "image.generation.started"


@pytest.mark.parametrize("type", ["connected", "disconnected", "state:change", "error"])
def test_a_wait_may_be_for_an_event_of_the_clients_own(
    client: WebSocketClient, masquerade_server: EventServer, type: str
) -> None:
    worker = waiting(client, type)
    masquerade_server.drop()
    assert worker.result().type == type


def test_a_mapping_must_be_equal_in_its_fields(client: WebSocketClient, masquerade_server: EventServer) -> None:
    worker = waiting(client, "news", where={"a": 1, "b": "x"})
    for payload in ({}, {"a": 1}, {"a": 1, "b": "y"}, {"a": [1], "b": "x"}, {"a": {}, "b": "x"}):
        masquerade_server.emit("news", payload)
    masquerade_server.emit("news", {"a": 1, "b": "x", "c": 2})
    assert worker.result().payload == {"a": 1, "b": "x", "c": 2}


@pytest.mark.parametrize("value", [[1, 2], {"x": [1]}, None, True, 0.5, ""])
def test_a_mapping_may_hold_any_value(client: WebSocketClient, masquerade_server: EventServer, value: Any) -> None:
    worker = waiting(client, "news", where={"a": value, "b": 1})
    masquerade_server.emit("news", {"b": 1})
    masquerade_server.emit("news", {"a": "else", "b": 1})
    masquerade_server.emit("news", {"a": value, "b": 1})
    assert worker.result().payload == {"a": value, "b": 1}


def test_a_mapping_finds_fields_of_the_clients_own_events(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    worker = waiting(client, "state:change", where={"new_state": "connected"})
    masquerade_server.drop()
    assert worker.result().old_state == "connecting"


def test_a_predicate_runs_on_the_reader_thread(client: WebSocketClient, masquerade_server: EventServer) -> None:
    threads: set[str] = set()

    def is_late(event: Event) -> bool:
        threads.add(threading.current_thread().name)
        return event.payload["n"] == 2

    worker = waiting(client, "news", where=is_late)
    for n in range(4):
        masquerade_server.emit("news", {"n": n})
    assert worker.result().payload == {"n": 2}
    assert threads == {"masquerade-ws-reader"}


def test_a_predicate_that_raises_ends_its_wait_and_disturbs_nothing_else(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    record = Record(client, "news", "error")
    mishap = KeyError("mine")

    def fail(event: object) -> bool:
        raise mishap

    other = client.events("news")
    worker = running(lambda: client.wait_for("news", where=fail, timeout=TIMEOUT))
    waits(client, 2)
    masquerade_server.emit("news")
    with pytest.raises(KeyError) as caught:
        worker.result()
    assert caught.value is mishap
    masquerade_server.emit("news")
    record.wait("news", 2)
    assert [other.get(TIMEOUT).type for _ in range(2)] == ["news", "news"]
    assert record.of("error") == []
    assert client.stats.connections == 1


def test_a_predicate_that_exits_ends_its_wait_and_not_the_reader(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    def leave(event: object) -> bool:
        raise SystemExit(3)

    other = client.events("news")
    worker = running(lambda: client.wait_for("news", where=leave, timeout=TIMEOUT))
    waits(client, 2)
    masquerade_server.emit("news")
    with pytest.raises(SystemExit, match="3"):
        worker.result()
    assert other.get(TIMEOUT).type == "news"
    assert client.stats.connections == 1


def test_a_wait_ends_after_its_timeout(client: WebSocketClient) -> None:
    with pytest.raises(WaitTimeoutError, match="news"):
        client.wait_for("news", timeout=0.05)
    with pytest.raises(TimeoutError):
        client.wait_for("news", timeout=0)
    waits(client, 0)


def test_a_wait_takes_nothing_from_before_it(client: WebSocketClient, masquerade_server: EventServer) -> None:
    record = Record(client, "news")
    masquerade_server.emit("news")
    record.wait("news")
    with pytest.raises(WaitTimeoutError):
        client.wait_for("news", timeout=0.05)


def test_a_wait_goes_on_across_reconnections(client: WebSocketClient, masquerade_server: EventServer) -> None:
    record = Record(client)
    worker = waiting(client, "news")
    for count in (1, 2):
        masquerade_server.drop()
        record.wait("connected", count)
    masquerade_server.emit("news")
    assert worker.result().type == "news"


def test_many_waits_on_one_event_all_end(client: WebSocketClient, masquerade_server: EventServer) -> None:
    workers = [running(lambda: client.wait_for("news", timeout=TIMEOUT)) for _ in range(20)]
    waits(client, 20)
    masquerade_server.emit("news")
    assert len({id(worker.result()) for worker in workers}) == 1


def test_a_wait_on_a_client_that_is_not_started_is_refused(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url) as client:
        for action in (client.wait_for, lambda: client.run_image_job(lambda: "1")):
            with pytest.raises(DisconnectedError, match="connect"):
                action()
        with client:
            pass
        with pytest.raises(DisconnectedError, match="connect"):
            client.wait_for("news")
        waits(client, 0)


def test_a_wait_may_begin_during_an_attempt_or_a_delay(masquerade_server: EventServer) -> None:
    masquerade_server.refuse(503, times=3)
    with client_of(masquerade_server.url) as client:
        client.connect(block=False)
        assert client.wait_for("connected", timeout=TIMEOUT).attempts == 4


def test_disconnect_ends_each_wait(client: WebSocketClient) -> None:
    workers = [running(lambda: client.wait_for("news")), running(lambda: client.run_image_job(lambda: "1"))]
    workers += [running(client.events("news").get), running(lambda: client.events("news").wait_for())]
    iterating = running(lambda: list(client))
    waits(client, 5)
    client.disconnect()
    for worker in workers:
        with pytest.raises(DisconnectedError, match="disconnect"):
            worker.result()
    assert iterating.result() == []
    errors = [worker.raised for worker in workers]
    assert {getattr(error, "code", None) for error in errors} == {1000}


def test_each_of_many_waiters_gets_an_exception_of_its_own(client: WebSocketClient) -> None:
    stream = client.events("news")
    workers = [running(stream.get) for _ in range(4)]
    client.disconnect()
    for worker in workers:
        worker.join(TIMEOUT)
    assert len({id(worker.raised) for worker in workers}) == 4


def test_a_client_that_gives_up_ends_each_wait(masquerade_server: EventServer) -> None:
    tokens: list[str] = ["token"]

    def get_token() -> str:
        if not tokens:
            raise StopReconnecting
        return tokens.pop()

    with client_of(masquerade_server.url, get_token) as client, client:
        worker = waiting(client, "news")
        masquerade_server.drop()
        with pytest.raises(DisconnectedError, match="given up"):
            worker.result()


def test_a_server_that_ends_the_connection_for_good_is_named_by_its_code_and_reason(
    masquerade_server: EventServer,
) -> None:
    with client_of(masquerade_server.url, auto_reconnect=False) as client, client:
        worker = waiting(client, "news")
        masquerade_server.close(4001, "token expired")
        with pytest.raises(DisconnectedError, match=r"given up: .* with code 4001, reason 'token expired'"):
            worker.result()


def test_a_connection_lost_for_good_is_reported_with_its_cause(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, auto_reconnect=False) as client, client:
        worker = waiting(client, "news")
        masquerade_server.drop()
        with pytest.raises(DisconnectedError, match="given up: the connection was lost"):
            worker.result()


# poll


def test_poll_is_asked_when_the_wait_begins(client: WebSocketClient) -> None:
    assert client.wait_for("news", poll=lambda: "answer") == "answer"
    assert client.wait_for("news", poll=lambda: 0) == 0


def test_poll_is_asked_again_after_each_connection(client: WebSocketClient, masquerade_server: EventServer) -> None:
    answers: list[Any] = ["swallowed by the gap", None, None]
    threads: set[int | None] = set()

    def poll() -> Any:
        threads.add(threading.get_ident())
        return answers.pop()

    record = Record(client)
    worker = waiting(client, "news", poll=poll)
    until(lambda: len(answers) == 2)
    masquerade_server.drop()
    record.wait("connected", 1)
    until(lambda: len(answers) == 1)
    masquerade_server.drop()
    assert worker.result() == "swallowed by the gap"
    assert threads == {worker.ident}


def test_an_event_ends_a_wait_that_polls(client: WebSocketClient, masquerade_server: EventServer) -> None:
    worker = waiting(client, "news", poll=lambda: None)
    masquerade_server.emit("news")
    assert worker.result().type == "news"


def test_what_poll_raises_is_raised(client: WebSocketClient) -> None:
    mishap = KeyError("mine")

    def poll() -> None:
        raise mishap

    with pytest.raises(KeyError) as caught:
        client.wait_for("news", poll=poll)
    assert caught.value is mishap
    waits(client, 0)


# Streams


def test_a_stream_buffers_from_its_creation_on(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url) as client:
        stream, connected = client.events("news"), client.events("connected")
        with client:
            for n in range(3):
                masquerade_server.emit("news", {"n": n})
            assert connected.get(TIMEOUT).type == "connected"
            assert [stream.get(TIMEOUT).payload["n"] for _ in range(3)] == [0, 1, 2]
            with pytest.raises(WaitTimeoutError):
                stream.get(timeout=0.01)
            with pytest.raises(WaitTimeoutError):
                stream.get(0)


def test_a_full_stream_drops_the_oldest_and_tells_once(client: WebSocketClient, masquerade_server: EventServer) -> None:
    record = Record(client, "news")
    stream = client.events("news", maxsize=3)
    for n in range(5):
        masquerade_server.emit("news", {"n": n})
    record.wait("news", 5)
    assert stream.dropped == 2
    with pytest.raises(EventsDroppedError) as caught:
        stream.get()
    assert caught.value.count == 2
    assert [stream.get().payload["n"] for _ in range(3)] == [2, 3, 4]
    for n in range(4):
        masquerade_server.emit("news", {"n": n})
    record.wait("news", 9)
    with pytest.raises(EventsDroppedError) as caught:
        next(stream)
    assert caught.value.count == 1
    assert next(stream).payload["n"] == 1
    assert stream.dropped == client.stats.events_dropped == 3


def test_a_stream_waits_for_what_fits_and_keeps_the_rest(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    record = Record(client, "b")
    stream = client.events("a", "b")
    for n, name in enumerate(["a", "a", "b"]):
        masquerade_server.emit(name, {"n": n})
    record.wait("b")
    assert stream.wait_for("b").payload["n"] == 2
    assert stream.wait_for(where={"n": 1}).payload["n"] == 1
    with pytest.raises(WaitTimeoutError):
        stream.wait_for("b", timeout=0.01)
    worker = running(lambda: stream.wait_for("a", where=lambda event: event.payload["n"] == 4, timeout=TIMEOUT))
    for n in (3, 4):
        masquerade_server.emit("a", {"n": n})
    assert worker.result().payload["n"] == 4
    assert [stream.get().payload["n"] for _ in range(2)] == [0, 3]


def test_a_predicate_that_raises_in_a_streams_wait_leaves_the_stream(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    stream = client.events("news")
    masquerade_server.emit("news")
    with pytest.raises(ZeroDivisionError):
        stream.wait_for(where=lambda _: 1 // 0, timeout=TIMEOUT)
    assert stream.get(TIMEOUT).type == "news"


def test_a_stream_ends_when_it_is_closed(client: WebSocketClient, masquerade_server: EventServer) -> None:
    with client.events("news") as stream:
        masquerade_server.emit("news")
        stream.wait_for(timeout=TIMEOUT)
        masquerade_server.emit("news")
        until(lambda: "1 buffered" in repr(stream))
    stream.close()
    assert [event.type for event in stream] == ["news"]
    for action in (stream.get, stream.wait_for):
        with pytest.raises(DisconnectedError, match="closed"):
            action()
    waits(client, 0)


def test_a_stream_ends_with_the_first_disconnect_after_it_was_made(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url) as client:
        idle = client.events("news")
        client.disconnect()
        assert list(idle) == []
        with client:
            masquerade_server.emit("news")
            first = client.events("other")
        assert list(first) == []
        second = client.events("connected")
        with client:
            assert second.get(TIMEOUT).type == "connected"
        assert list(second) == []


def test_a_stream_made_during_a_disconnect_ends_with_the_next_one(masquerade_server: EventServer) -> None:
    """The listener keeps the first `disconnect` busy while the stream is made."""
    entered, hang = threading.Event(), threading.Event()
    with client_of(masquerade_server.url, auto_reconnect=False) as client:
        client.on("disconnected", lambda _: (entered.set(), hang.wait(TIMEOUT)))
        client.connect()
        masquerade_server.drop()
        assert entered.wait(TIMEOUT)
        stream = client.events("news")
        second = running(client.disconnect)
        hang.set()
        second.result()
        assert list(stream) == []


def test_a_stream_goes_on_across_reconnections(client: WebSocketClient, masquerade_server: EventServer) -> None:
    record = Record(client)
    stream = client.events("news")
    masquerade_server.emit("news")
    assert stream.get(TIMEOUT).type == "news"
    masquerade_server.drop()
    record.wait("connected")
    masquerade_server.emit("news")
    assert stream.get(TIMEOUT).type == "news"


def test_a_slow_listener_delays_no_waiter(client: WebSocketClient, masquerade_server: EventServer) -> None:
    entered, hang = threading.Event(), threading.Event()
    client.on("block", lambda _: (entered.set(), hang.wait(TIMEOUT)))
    client.on("news", print)
    stream = client.events("news")
    worker = waiting_for_second(client)
    masquerade_server.emit("block")
    assert entered.wait(TIMEOUT)
    masquerade_server.emit("news")
    assert worker.result().type == "news"
    assert stream.get(TIMEOUT).type == "news"
    assert not hang.is_set()
    client.off("news", print)
    hang.set()


def waiting_for_second(client: WebSocketClient) -> Worker:
    worker = running(lambda: client.wait_for("news", timeout=TIMEOUT))
    waits(client, 2)
    return worker


def test_of_two_thousand_streams_on_jobs_one_gets_the_event(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    streams = [client.events("news", where={"job_id": f"job-{n}"}) for n in range(2000)]
    for n in (77, 1999):
        masquerade_server.emit("news", {"job_id": f"job-{n}"})
        assert streams[n].get(TIMEOUT).payload["job_id"] == f"job-{n}"
    assert not any("1 buffered" in repr(stream) for stream in streams)


# Image jobs


def finish(server: EventServer, job_id: str, *, progress: int = 0) -> None:
    for step in range(progress):
        server.emit("image.generation.progress", {"job_id": job_id, "progress": step})
    server.emit("image.generation.completed", {"job_id": job_id, "image_url": f"http://{job_id}"})


def test_a_job_returns_its_completion_and_passes_its_progress(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    steps: list[float] = []
    threads: set[int] = set()

    def start() -> str:
        finish(masquerade_server, "other", progress=2)
        finish(masquerade_server, "mine", progress=3)
        return "mine"

    def note(event: ImageGenerationProgressEvent) -> None:
        steps.append(event.payload["progress"])
        threads.add(threading.get_ident())

    event = client.run_image_job(start, on_progress=note, timeout=TIMEOUT)
    assert isinstance(event, ImageGenerationCompletedEvent)
    assert event.payload["image_url"] == "http://mine"
    assert steps == [0, 1, 2]
    assert threads == {threading.get_ident()}
    waits(client, 0)


def test_no_event_slips_between_start_and_wait(client: WebSocketClient, masquerade_server: EventServer) -> None:
    """The completion, and another job's before it, have been delivered in full before `start` returns."""
    record = Record(client, "image.generation.completed")

    def start() -> str:
        finish(masquerade_server, "other")
        finish(masquerade_server, "mine")
        record.wait("image.generation.completed", 2)
        return "mine"

    assert client.run_image_job(start, timeout=TIMEOUT).payload["job_id"] == "mine"


def test_jobs_side_by_side_get_each_their_own(client: WebSocketClient, masquerade_server: EventServer) -> None:
    ready = threading.Barrier(11)

    def start(job_id: str) -> Callable[[], str]:
        def started() -> str:
            ready.wait(TIMEOUT)
            return job_id

        return started

    jobs = [f"job-{n}" for n in range(10)]
    workers = [running(lambda job=job: client.run_image_job(start(job), timeout=TIMEOUT)) for job in jobs]
    ready.wait(TIMEOUT)
    for job in reversed(jobs):
        finish(masquerade_server, job, progress=1)
    assert [worker.result().payload["image_url"] for worker in workers] == [f"http://{job}" for job in jobs]


@pytest.mark.parametrize("retry_allowed", [True, False, None])
def test_a_job_that_fails_raises(
    client: WebSocketClient, masquerade_server: EventServer, retry_allowed: bool | None
) -> None:
    payload = {"job_id": "mine", "error": "out of paint"}
    extra = {} if retry_allowed is None else {"retry_allowed": retry_allowed}

    def start() -> str:
        masquerade_server.emit("image.generation.failed", {**payload, **extra})
        return "mine"

    with pytest.raises(ImageGenerationError, match="out of paint") as caught:
        client.run_image_job(start, timeout=TIMEOUT)
    assert caught.value.job_id == "mine"
    assert caught.value.retry_allowed is bool(retry_allowed)


def test_a_failure_that_breaks_the_gateways_promises_is_reported_all_the_same(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    def start() -> str:
        masquerade_server.emit("image.generation.failed", {"job_id": "mine", "retry_allowed": "no"})
        return "mine"

    with pytest.raises(ImageGenerationError, match=r"^job mine failed: no reason given$") as caught:
        client.run_image_job(start, timeout=TIMEOUT)
    assert caught.value.retry_allowed is False


def test_a_job_is_polled_with_its_id(client: WebSocketClient, masquerade_server: EventServer) -> None:
    record = Record(client)
    asked: list[str] = []
    answer = ImageGenerationCompletedEvent({"job_id": "mine", "image_url": "u"})

    def poll(job_id: str) -> ImageGenerationCompletedEvent | None:
        asked.append(job_id)
        return answer if len(asked) == 2 else None

    worker = running(lambda: client.run_image_job(lambda: "mine", poll=poll, timeout=TIMEOUT))
    until(lambda: asked == ["mine"])
    masquerade_server.drop()
    assert worker.result() is answer
    record.wait("connected")
    assert asked == ["mine", "mine"]


def test_a_job_that_is_over_when_it_is_polled_first_is_not_waited_for(client: WebSocketClient) -> None:
    assert client.run_image_job(lambda: "mine", poll=str.upper, timeout=TIMEOUT) == "MINE"
    waits(client, 0)


def test_a_job_whose_poll_has_no_answer_is_waited_for_across_reconnections(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    asked: list[str] = []
    worker = running(lambda: client.run_image_job(lambda: "mine", poll=asked.append, timeout=TIMEOUT))
    for count in (1, 2):
        until(lambda count=count: len(asked) == count)  # type: ignore[misc]
        masquerade_server.drop()
    until(lambda: len(asked) == 3)
    masquerade_server.wait_for_connections(1)
    finish(masquerade_server, "mine")
    assert worker.result().payload["job_id"] == "mine"


@pytest.mark.parametrize("which", ["start", "on_progress", "poll"])
def test_what_a_jobs_callback_raises_is_raised(
    client: WebSocketClient, masquerade_server: EventServer, which: str
) -> None:
    mishap = KeyError("mine")

    def fail(*_: object) -> Any:
        raise mishap

    def start() -> str:
        finish(masquerade_server, "mine", progress=1)
        return "mine"

    arguments: dict[str, Any] = {"start": start, which: fail}
    with pytest.raises(KeyError) as caught:
        client.run_image_job(**arguments, timeout=TIMEOUT)
    assert caught.value is mishap
    waits(client, 0)


def test_a_job_without_an_id_is_refused(client: WebSocketClient) -> None:
    nothing: Any = lambda: None  # noqa: E731
    with pytest.raises(TypeError, match="start"):
        client.run_image_job(nothing)
    waits(client, 0)


def test_a_job_has_a_timeout(client: WebSocketClient) -> None:
    with pytest.raises(WaitTimeoutError, match=r"^job mine has not ended within 0\.05 s; no progress of it came$"):
        client.run_image_job(lambda: "mine", timeout=0.05)


@pytest.mark.parametrize(
    ("more", "shown"),
    [({}, "40 %"), ({"stage": "pain\x1bting"}, r"40 %, pain\\x1bting"), ({"progress": {}}, r"\{\} %")],
)
def test_a_job_that_takes_too_long_says_how_far_it_had_come(
    client: WebSocketClient, masquerade_server: EventServer, more: dict[str, Any], shown: str
) -> None:
    def start() -> str:
        masquerade_server.emit("image.generation.progress", {"job_id": "mine", "progress": 40, **more})
        return "mine"

    came = threading.Event()
    with pytest.raises(WaitTimeoutError, match=f"; its last progress was {shown}$"):
        client.run_image_job(start, timeout=0.5, on_progress=lambda event: came.set())
    assert came.is_set()


def test_a_disconnect_during_start_ends_the_job(client: WebSocketClient) -> None:
    def start() -> str:
        client.disconnect()
        return "mine"

    with pytest.raises(DisconnectedError):
        client.run_image_job(start)


# Where a wait would wait for itself


def blocking_calls(client: WebSocketClient) -> list[Callable[[], object]]:
    stream = client.events()
    return [
        lambda: client.wait_for("news", timeout=1),
        lambda: client.run_image_job(lambda: "1", timeout=1),
        lambda: stream.get(1),
        lambda: stream.wait_for(timeout=1),
        lambda: next(stream),
        client.connect,
    ]


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(RuntimeError) as caught:
        call()
    return str(caught.value)


def refused(client: WebSocketClient) -> list[str]:
    """Try every blocking wait, and return what it raised."""
    return [refusal(call) for call in blocking_calls(client)]


def test_every_wait_is_refused_in_a_listener(client: WebSocketClient, masquerade_server: EventServer) -> None:
    found: list[list[str]] = []
    client.on("news", lambda _: found.append(refused(client)))
    masquerade_server.emit("news")
    until(lambda: found)
    assert len(found[0]) == 6
    assert all("a listener" in text for text in found[0])


def test_every_wait_is_refused_in_get_token(masquerade_server: EventServer) -> None:
    found: list[list[str]] = []

    def get_token() -> str:
        found.append(refused(client))
        return "token"

    with client_of(masquerade_server.url, get_token) as client, client:
        assert len(found[0]) == 6
        assert all("get_token" in text for text in found[0])


def test_every_wait_is_refused_in_a_predicate(client: WebSocketClient, masquerade_server: EventServer) -> None:
    found: list[list[str]] = []
    stream = client.events("news", where=lambda _: found.append(refused(client)) or True)
    masquerade_server.emit("news")
    stream.get(TIMEOUT)
    assert len(found[0]) == 6
    assert all("a predicate" in text for text in found[0])


def test_a_wait_on_another_client_is_allowed_in_a_listener(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    outcome: list[object] = []

    def wait_elsewhere(event: object) -> None:
        other = WebSocketClient(masquerade_server.url, lambda: "token")
        with other.events("connected") as stream, other:
            outcome.append(stream.get(TIMEOUT))

    client.on("news", wait_elsewhere)
    masquerade_server.emit("news")
    until(lambda: outcome)
