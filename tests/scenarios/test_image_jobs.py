"""Image jobs as futures, and what a gap means to an image job."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from masquerade_ws import (
    DisconnectedError,
    Event,
    ImageGenerationCompletedEvent,
    ImageGenerationError,
    ImageJob,
    WebSocketClient,
)
from masquerade_ws.testing import EventServer
from tests.support.raw_server import until
from tests.support.scenes import FOUR, PATIENCE, TIMEOUT, Hang, Record, client_of, elapsed, names_of_threads, running

LOST = "the connection was lost while the job ran"


@pytest.fixture
def client(masquerade_server: EventServer) -> Iterator[WebSocketClient]:
    with client_of(masquerade_server.url) as client, client.events("connected") as connected, client:
        connected.get(TIMEOUT)
        connected.close()
        yield client


def ordered(client: WebSocketClient, job_id: str, **payload: Any) -> Callable[[], str]:
    """Return a function that orders an image of a server that paints."""

    def start() -> str:
        client.emit("image.generate", {"job_id": job_id, **payload})
        return job_id

    return start


def progress(server: EventServer, job_id: str, percentage: object = 50, **more: object) -> None:
    server.emit("image.generation.progress", {"job_id": job_id, "progress": percentage, **more})


def complete(server: EventServer, job_id: str) -> None:
    server.emit("image.generation.completed", {"job_id": job_id, "image_url": f"https://images.example/{job_id}"})


def passed(client: WebSocketClient, server: EventServer) -> None:
    """Wait until the client has taken all that the server has sent so far."""
    future = client.future("passed")
    server.emit("passed")
    future.result(TIMEOUT)


def reconnect(client: WebSocketClient, server: EventServer) -> None:
    """Lose the connection, and wait for the next one."""
    back = client.future("connected")
    server.drop()
    back.result(TIMEOUT)
    server.wait_for_connections(1)


# How one ends.


def test_a_job_ends_with_its_completion_and_knows_how_far_it_is(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    job = client.submit_image_job(lambda: "mine")
    assert (job.job_id, job.progress, job.stage, job.done()) == ("mine", None, None, False)
    progress(masquerade_server, "other", 90)
    progress(masquerade_server, "mine", 40, stage="painting")
    until(lambda: job.progress == 40)
    assert job.stage == "painting"
    progress(masquerade_server, "mine", 60.5)
    until(lambda: job.progress == 60.5)
    assert job.stage is None
    complete(masquerade_server, "other")
    complete(masquerade_server, "mine")
    event = job.result(TIMEOUT)
    assert isinstance(event, ImageGenerationCompletedEvent)
    assert event.payload["image_url"] == "https://images.example/mine"
    assert len(client._streams._entries) == 0


def test_what_comes_while_a_job_is_started_is_not_missed(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    def start() -> str:
        progress(masquerade_server, "mine", 10)
        complete(masquerade_server, "other")
        complete(masquerade_server, "mine")
        passed(client, masquerade_server)
        return "mine"

    steps: list[float] = []
    job = client.submit_image_job(start, on_progress=lambda event: steps.append(event.payload["progress"]))
    assert job.result(TIMEOUT).payload["job_id"] == "mine"
    assert (job.progress, steps) == (10, [10])
    assert client.submit_image_job(start).done()


def test_a_job_that_fails_ends_with_the_servers_words(client: WebSocketClient, masquerade_server: EventServer) -> None:
    masquerade_server.paint(steps=2)
    error = client.submit_image_job(ordered(client, "mine", fail=True)).exception(TIMEOUT)
    assert isinstance(error, ImageGenerationError)
    assert (error.job_id, error.reason, error.retry_allowed) == ("mine", "the painter ran out of blue", True)


@pytest.mark.parametrize("wrong", ["half", None, True, [1]])
def test_progress_that_breaks_the_gateways_promises_changes_nothing(
    client: WebSocketClient, masquerade_server: EventServer, wrong: object
) -> None:
    job = client.submit_image_job(lambda: "mine")
    progress(masquerade_server, "mine", 40)
    progress(masquerade_server, "mine", wrong, stage=wrong if wrong != "half" else 3)
    passed(client, masquerade_server)
    assert (job.progress, job.stage, job.done()) == (40, None, False)


def test_a_thousand_jobs_cost_no_more_threads_than_one(client: WebSocketClient, masquerade_server: EventServer) -> None:
    masquerade_server.paint(steps=1)
    steps: list[float] = []
    jobs = [
        client.submit_image_job(
            ordered(client, f"job-{number}"),
            on_progress=lambda event: steps.append(event.payload["progress"]),
            poll=lambda job_id: None,
        )
        for number in range(1000)
    ]
    assert {*names_of_threads()} <= {*FOUR, "masquerade-ws-poll"}
    ended = {job.result().payload["job_id"] for job in as_completed(jobs, TIMEOUT)}
    assert ended == {f"job-{number}" for number in range(1000)}
    assert len(steps) == 1000
    until(lambda: names_of_threads() == FOUR)
    assert len(client._streams._entries) == 0


def test_an_async_view_awaits_its_jobs(client: WebSocketClient, masquerade_server: EventServer) -> None:
    masquerade_server.paint(steps=1)

    async def view() -> list[ImageGenerationCompletedEvent]:
        jobs = [client.submit_image_job(ordered(client, f"job-{number}")) for number in range(5)]
        return await asyncio.wait_for(asyncio.gather(*map(asyncio.wrap_future, jobs)), TIMEOUT)

    assert [event.payload["job_id"] for event in asyncio.run(view())] == [f"job-{number}" for number in range(5)]


def test_a_job_is_submitted_in_a_listener(client: WebSocketClient, masquerade_server: EventServer) -> None:
    masquerade_server.paint(steps=1)
    jobs: list[ImageJob] = []
    client.on("order", lambda event: jobs.append(client.submit_image_job(ordered(client, event.payload["job_id"]))))
    masquerade_server.emit("order", {"job_id": "mine"})
    until(lambda: jobs)
    assert jobs[0].result(TIMEOUT).payload["job_id"] == "mine"


def test_disconnect_ends_a_job_after_its_progress(client: WebSocketClient, masquerade_server: EventServer) -> None:
    told: list[object] = []
    job = client.submit_image_job(lambda: "mine", on_progress=lambda event: told.append(event.payload["progress"]))
    job.add_done_callback(told.append)
    progress(masquerade_server, "mine", 1)
    progress(masquerade_server, "mine", 2)
    passed(client, masquerade_server)
    client.disconnect()
    assert told == [1, 2, job]
    with pytest.raises(DisconnectedError, match=r"disconnect\(\) was called"):
        job.result()


def test_a_job_whose_client_is_disconnected_by_its_start_has_ended(client: WebSocketClient) -> None:
    def start() -> str:
        client.disconnect()
        return "mine"

    job = client.submit_image_job(start, poll=lambda job_id: None, on_progress=lambda event: None)
    assert isinstance(job.exception(0), DisconnectedError)
    assert names_of_threads() == []


def test_what_is_wrong_before_a_job_runs_is_raised(client: WebSocketClient, masquerade_server: EventServer) -> None:
    def fail() -> str:
        raise SystemExit(3)

    nothing: Any = lambda: None  # noqa: E731
    with pytest.raises(SystemExit, match="3"):
        client.submit_image_job(fail, poll=lambda job_id: None)
    with pytest.raises(TypeError, match=r"^start must return the id"):
        client.submit_image_job(nothing)
    client.disconnect()
    with pytest.raises(DisconnectedError, match=r"disconnect\(\) was called"):
        client.submit_image_job(lambda: "mine")
    assert len(client._streams._entries) == 0
    with client_of(masquerade_server.url) as other, pytest.raises(DisconnectedError, match=r"call connect\(\) first"):
        other.submit_image_job(lambda: "mine")


@pytest.mark.parametrize("member", ["submit_image_job", "run_image_job"])
@pytest.mark.parametrize("argument", ["start", "on_progress", "poll", "fail_after_gap"])
def test_bad_arguments_are_refused_by_name(client: WebSocketClient, member: str, argument: str) -> None:
    async def coroutine(*_: object) -> str:
        return "mine"

    call: Any = getattr(client, member)
    for value in (3, coroutine):
        with pytest.raises(TypeError, match=f"^{argument} must be"):
            call(**{"start": lambda: "mine", argument: value})


# Progress on the dispatcher thread.


def test_progress_and_the_end_come_on_the_dispatcher_thread_in_one_order(
    masquerade_server: EventServer,
) -> None:
    story: list[tuple[str, str]] = []

    def note(what: str) -> None:
        story.append((what, threading.current_thread().name.removeprefix("masquerade-ws-")))

    @contextmanager
    def around(event: Any) -> Iterator[None]:
        if event.type.startswith("image"):
            note(f"enter {event.type.rpartition('.')[2]}")
        yield
        if event.type.startswith("image"):
            note("leave")

    with client_of(masquerade_server.url, around_event=around) as client, client:
        job = client.submit_image_job(lambda: "mine", on_progress=lambda event: note(str(event.payload["progress"])))
        job.add_done_callback(lambda _: note("done"))
        for step in (1, 2):
            progress(masquerade_server, "mine", step)
        complete(masquerade_server, "mine")
        job.result(TIMEOUT)
        passed(client, masquerade_server)
        until(lambda: len(story) == 9)
    told = ["enter progress", "1", "leave", "enter progress", "2", "leave", "enter completed", "done", "leave"]
    assert story == [(what, "dispatcher") for what in told]


def test_without_progress_the_reader_thread_ends_a_job_however_busy_the_listeners_are(
    client: WebSocketClient, masquerade_server: EventServer, hang: Hang
) -> None:
    client.on("busy", hang)
    threads: list[str] = []
    plain = client.submit_image_job(lambda: "plain")
    plain.add_done_callback(lambda _: threads.append(threading.current_thread().name))
    watched = client.submit_image_job(lambda: "watched", on_progress=lambda event: None)
    masquerade_server.emit("busy")
    assert hang.entered.wait(TIMEOUT)
    progress(masquerade_server, "watched", 7)
    complete(masquerade_server, "watched")
    complete(masquerade_server, "plain")
    plain.result(TIMEOUT)
    until(lambda: threads)
    assert threads == ["masquerade-ws-reader"]
    assert (watched.done(), watched.progress) == (False, 7)
    hang.over.set()
    assert watched.result(TIMEOUT).payload["job_id"] == "watched"


@pytest.mark.parametrize("error", [KeyError("mine"), SystemExit(1), asyncio.CancelledError()], ids=repr)
def test_an_on_progress_that_raises_ends_its_job_with_that_alone(
    client: WebSocketClient, masquerade_server: EventServer, error: BaseException
) -> None:
    calls: list[Event] = []

    def fail(event: Event) -> None:
        calls.append(event)
        raise error

    record = Record(client, "error", "disconnected")
    job = client.submit_image_job(lambda: "mine", on_progress=fail)
    progress(masquerade_server, "mine", 1)
    progress(masquerade_server, "mine", 2)
    complete(masquerade_server, "mine")
    assert job.exception(TIMEOUT) is error
    passed(client, masquerade_server)
    assert (len(calls), record.events, client.state) == (1, [], "connected")


def test_an_around_event_that_raises_is_reported_and_the_progress_comes(masquerade_server: EventServer) -> None:
    def around(event: Any) -> AbstractContextManager[None]:
        raise KeyError(event.type)

    with client_of(masquerade_server.url, around_event=around) as client:
        record = Record(client, "error")
        steps: list[float] = []
        with client:
            job = client.submit_image_job(
                lambda: "mine", on_progress=lambda event: steps.append(event.payload["progress"])
            )
            progress(masquerade_server, "mine", 1)
            complete(masquerade_server, "mine")
            job.result(TIMEOUT)
            until(lambda: "image.generation.completed" in str([event.error for event in record.events]))
        assert steps == [1]


def test_a_wait_in_on_progress_is_refused(client: WebSocketClient, masquerade_server: EventServer) -> None:
    job = client.submit_image_job(lambda: "mine", on_progress=lambda event: client.wait_for("news"))
    progress(masquerade_server, "mine")
    assert isinstance(job.exception(TIMEOUT), RuntimeError)


def test_reading_pauses_while_progress_waits_for_a_slow_on_progress(masquerade_server: EventServer, hang: Hang) -> None:
    with client_of(masquerade_server.url, queue_size=10) as client, client:
        job = client.submit_image_job(lambda: "mine", on_progress=hang)
        other = client.submit_image_job(lambda: "other")
        progress(masquerade_server, "mine", 0)
        assert hang.entered.wait(TIMEOUT)
        for step in range(1, 100):
            progress(masquerade_server, "mine", step)
            until(lambda step=step: job.progress == step or client._state.session.event_queue.full)  # type: ignore[misc,union-attr]
        progress(masquerade_server, "other", 1)
        assert job.progress is not None
        assert job.progress < 99
        assert other.progress is None
        hang.over.set()
        until(lambda: other.progress == 1)
        assert job.progress == 99


def test_a_cancelled_job_hears_of_nothing_more(client: WebSocketClient, masquerade_server: EventServer) -> None:
    asked: list[str] = []
    steps: list[Event] = []
    job = client.submit_image_job(lambda: "mine", on_progress=steps.append, poll=asked.append)
    until(lambda: asked == ["mine"])
    assert job.cancel()
    progress(masquerade_server, "mine")
    complete(masquerade_server, "mine")
    reconnect(client, masquerade_server)
    passed(client, masquerade_server)
    assert (asked, steps, job.cancelled()) == (["mine"], [], True)


def test_a_disconnect_that_gives_up_on_a_listener_ends_a_job_as_it_had_ended(
    client: WebSocketClient, masquerade_server: EventServer, hang: Hang
) -> None:
    client.on("busy", hang)
    steps: list[Event] = []
    ended = client.submit_image_job(lambda: "ended", on_progress=steps.append)
    open_job = client.submit_image_job(lambda: "open", on_progress=steps.append)
    masquerade_server.emit("busy")
    assert hang.entered.wait(TIMEOUT)
    progress(masquerade_server, "ended")
    complete(masquerade_server, "ended")
    passed(client, masquerade_server)
    assert not ended.done()
    client.disconnect(timeout=0.05)
    assert ended.result(0).payload["job_id"] == "ended"
    assert isinstance(open_job.exception(0), DisconnectedError)
    assert steps == []
    hang.over.set()


# Asking for what a gap may have swallowed.


def test_poll_is_asked_on_a_thread_of_its_own_which_then_ends(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    asked: list[tuple[str, str]] = []
    answer = ImageGenerationCompletedEvent({"job_id": "mine", "image_url": "u"})

    def poll(job_id: str) -> ImageGenerationCompletedEvent | None:
        asked.append((job_id, threading.current_thread().name))
        return answer if len(asked) == 2 else None

    job = client.submit_image_job(lambda: "mine", poll=poll)
    until(lambda: len(asked) == 1 and names_of_threads() == FOUR)
    reconnect(client, masquerade_server)
    assert job.result(TIMEOUT) is answer
    assert asked == [("mine", "masquerade-ws-poll")] * 2
    until(lambda: names_of_threads() == FOUR)


def test_polls_come_one_after_the_other_in_the_order_of_submission(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    asked: list[int] = []
    under_way: list[int] = []
    answers: dict[int, str] = {}

    def poll(number: int) -> str | None:
        under_way.append(number)
        assert under_way == [number]
        asked.append(number)
        under_way.remove(number)
        return answers.get(number)

    jobs = [client.submit_image_job(lambda: "mine", poll=lambda _, n=number: poll(n)) for number in range(50)]  # type: ignore[misc]
    until(lambda: len(asked) == 50)
    answers.update({number: f"answer {number}" for number in range(50)})
    reconnect(client, masquerade_server)
    assert [job.result(TIMEOUT) for job in jobs] == [f"answer {number}" for number in range(50)]
    assert asked == [*range(50)] * 2


@pytest.mark.parametrize("error", [KeyError("mine"), SystemExit(1), KeyboardInterrupt()], ids=repr)
def test_a_poll_that_raises_ends_its_job_with_that_alone(
    client: WebSocketClient, masquerade_server: EventServer, error: BaseException
) -> None:
    def fail(job_id: str) -> None:
        raise error

    record = Record(client, "error", "disconnected")
    jobs = [client.submit_image_job(lambda: "mine", poll=fail), client.submit_image_job(lambda: "x", poll=lambda _: 5)]
    assert jobs[0].exception(TIMEOUT) is error
    assert jobs[1].result(TIMEOUT) == 5
    passed(client, masquerade_server)
    assert (record.events, client.state) == ([], "connected")


def test_a_poll_that_hangs_holds_up_other_polls_and_nothing_else(
    client: WebSocketClient, masquerade_server: EventServer, hang: Hang
) -> None:
    masquerade_server.paint(steps=1)
    stuck = client.submit_image_job(lambda: "stuck", poll=hang)
    assert hang.entered.wait(TIMEOUT)
    asked: list[str] = []
    jobs = [client.submit_image_job(ordered(client, f"job-{n}"), poll=asked.append) for n in range(3)]
    for job in jobs:
        job.result(TIMEOUT)
    assert asked == []
    assert elapsed(client.disconnect) < PATIENCE
    assert names_of_threads() == ["masquerade-ws-poll"]
    assert isinstance(stuck.exception(0), DisconnectedError)
    hang.over.set()
    until(lambda: names_of_threads() == [])
    assert asked == [], "they have ended"
    assert isinstance(stuck.exception(0), DisconnectedError), "what comes late has no effect"


def test_the_answer_of_a_poll_comes_after_the_progress_before_it(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    told: list[object] = []
    job = client.submit_image_job(
        lambda: "mine",
        on_progress=lambda event: told.append(event.payload["progress"]),
        poll=lambda _: "answer" if client.stats.connections == 2 else None,
    )
    job.add_done_callback(lambda done: told.append((done.result(), threading.current_thread().name)))
    progress(masquerade_server, "mine", 1)
    until(lambda: told == [1])
    reconnect(client, masquerade_server)
    until(lambda: len(told) == 2)
    assert told == [1, ("answer", "masquerade-ws-dispatcher")]


def test_a_poll_may_disconnect_its_client(client: WebSocketClient) -> None:
    states: list[str] = []

    def poll(job_id: str) -> None:
        client.disconnect()
        states.append(client.state)

    job = client.submit_image_job(lambda: "mine", poll=poll)
    assert isinstance(job.exception(TIMEOUT), DisconnectedError)
    until(lambda: states == ["disconnected"])


def test_an_answer_that_comes_beside_the_completion_changes_nothing(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    entered, answers = threading.Event(), queue.SimpleQueue[str | None]()

    def poll(job_id: str) -> str | None:
        entered.set()
        return answers.get(timeout=TIMEOUT)

    job = client.submit_image_job(lambda: "mine", poll=poll)
    assert entered.wait(TIMEOUT)
    complete(masquerade_server, "mine")
    event = job.result(TIMEOUT)
    answers.put("late")
    until(lambda: names_of_threads() == FOUR)
    assert job.result() is event


# A gateway that forgets.


class Waiting:
    """A job under way, as a future or as a thread that waits."""

    def __init__(self, client: WebSocketClient, member: str, start: Callable[[], str], **arguments: Any) -> None:
        self.began = threading.Event()

        def started() -> str:
            job_id = start()
            self.began.set()
            return job_id

        if member == "run_image_job":
            worker = running(lambda: client.run_image_job(started, timeout=TIMEOUT, **arguments))
            self.result: Callable[[], Any] = worker.result
        else:
            job = client.submit_image_job(started, **arguments)
            self.result = lambda: job.result(TIMEOUT)
        assert self.began.wait(TIMEOUT)


MEMBERS = pytest.mark.parametrize("member", ["run_image_job", "submit_image_job"])


@MEMBERS
def test_a_job_fails_after_a_gap_if_asked_to(
    client: WebSocketClient, masquerade_server: EventServer, member: str
) -> None:
    patient = Waiting(client, member, lambda: "patient")
    job = Waiting(client, member, lambda: "mine", fail_after_gap=True)
    reconnect(client, masquerade_server)
    with pytest.raises(ImageGenerationError, match=rf"^job mine failed: {LOST}$") as caught:
        job.result()
    assert (caught.value.job_id, caught.value.reason, caught.value.retry_allowed) == ("mine", LOST, True)
    complete(masquerade_server, "patient")
    assert patient.result().payload["job_id"] == "patient"


@MEMBERS
def test_what_has_come_before_a_gap_counts(
    client: WebSocketClient, masquerade_server: EventServer, member: str
) -> None:
    def start() -> str:
        complete(masquerade_server, "mine")
        passed(client, masquerade_server)
        reconnect(client, masquerade_server)
        return "mine"

    assert Waiting(client, member, start, fail_after_gap=True).result().payload["job_id"] == "mine"


@MEMBERS
def test_a_gap_while_a_job_is_started_counts(
    client: WebSocketClient, masquerade_server: EventServer, member: str
) -> None:
    def start() -> str:
        reconnect(client, masquerade_server)
        return "mine"

    with pytest.raises(ImageGenerationError, match=LOST):
        Waiting(client, member, start, fail_after_gap=True).result()


@MEMBERS
def test_a_poll_with_an_answer_saves_a_job_from_a_gap(
    client: WebSocketClient, masquerade_server: EventServer, member: str
) -> None:
    answers: list[str | None] = ["found", None]
    job = Waiting(client, member, lambda: "mine", fail_after_gap=True, poll=lambda _: answers.pop())
    until(lambda: len(answers) == 1)
    reconnect(client, masquerade_server)
    assert job.result() == "found"


@MEMBERS
def test_a_poll_without_an_answer_does_not_save_a_job_from_a_gap(
    client: WebSocketClient, masquerade_server: EventServer, member: str
) -> None:
    asked: list[str] = []
    job = Waiting(client, member, lambda: "mine", fail_after_gap=True, poll=asked.append)
    until(lambda: asked == ["mine"])
    reconnect(client, masquerade_server)
    with pytest.raises(ImageGenerationError, match=LOST):
        job.result()
    assert asked == ["mine"] * 2


@MEMBERS
@pytest.mark.parametrize("polls", [True, False])
def test_the_connection_that_was_there_when_a_job_began_is_no_gap(
    masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch, member: str, polls: bool
) -> None:
    """Its news may reach the job after somebody has seen it, and begun."""
    with client_of(masquerade_server.url) as client:
        begun, marked = threading.Event(), threading.Event()
        mark = client._streams.mark_connection

        def mark_late(*connection: Any) -> None:
            assert begun.wait(TIMEOUT)
            mark(*connection)
            marked.set()

        monkeypatch.setattr(client._streams, "mark_connection", mark_late)
        asked: list[str] = []
        with client:
            more: dict[str, Any] = {"poll": asked.append} if polls else {}
            job = Waiting(client, member, lambda: "mine", fail_after_gap=True, **more)
            begun.set()
            assert marked.wait(TIMEOUT)
            passed(client, masquerade_server)
            until(lambda: len(asked) == polls)  # by a thread of its own
            complete(masquerade_server, "mine")
            assert job.result().payload["job_id"] == "mine"
        assert asked == ["mine"] * polls


def test_a_wait_asks_once_for_the_connection_that_was_there_when_it_began(
    masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client_of(masquerade_server.url) as client:
        mark = client._streams.mark_connection
        begun, marked = threading.Event(), threading.Event()

        def mark_late(*connection: Any) -> None:
            assert begun.wait(TIMEOUT)
            mark(*connection)
            marked.set()

        monkeypatch.setattr(client._streams, "mark_connection", mark_late)
        asked: list[bool] = []

        def poll() -> None:
            asked.append(True)
            begun.set()

        with client:
            worker = running(lambda: client.wait_for("news", poll=poll, timeout=TIMEOUT))
            assert marked.wait(TIMEOUT)
            masquerade_server.emit("news")
            assert worker.result().type == "news"
        assert asked == [True]


# Who keeps one.


@pytest.mark.parametrize("argument", ["on_progress", "poll", None])
def test_a_job_with_a_callable_is_kept_until_it_ends(
    client: WebSocketClient, masquerade_server: EventServer, argument: str | None
) -> None:
    asked: list[object] = []
    arguments: dict[str, Any] = {} if argument is None else {argument: asked.append}
    reference = weakref.ref(client.submit_image_job(lambda: "mine", **arguments))
    until(lambda: asked or argument != "poll")
    gc.collect()
    assert (reference() is not None) is (argument is not None)
    progress(masquerade_server, "mine")
    complete(masquerade_server, "mine")
    passed(client, masquerade_server)
    until(lambda: gc.collect() is not None and reference() is None)
    assert bool(asked) is (argument is not None)


# How one looks.


def test_a_job_says_how_far_it_is(client: WebSocketClient, masquerade_server: EventServer) -> None:
    job = client.submit_image_job(lambda: "job\n1")
    assert repr(job) == r"<ImageJob job\n1: pending>"
    progress(masquerade_server, "job\n1", 40.0, stage="pain\x1bting")
    until(lambda: job.progress is not None and job.stage)
    assert repr(job) == r"<ImageJob job\n1: pending, 40 %, pain\x1bting>"
    job.cancel()
    assert repr(job) == r"<ImageJob job\n1: cancelled, 40 %, pain\x1bting>"
