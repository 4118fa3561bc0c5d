from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from masquerade_ws.delivery.blocking import Guard
from masquerade_ws.delivery.dispatcher import Delivery
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import Filter
from masquerade_ws.delivery.image_jobs import JOB_EVENTS, ImageJob, last_progress, outcome_of
from masquerade_ws.delivery.listeners import Listeners
from masquerade_ws.delivery.stream_index import Reconnection, StreamIndex
from masquerade_ws.delivery.takers import Takers
from masquerade_ws.errors import DisconnectedError, ImageGenerationError
from masquerade_ws.events import (
    ImageGenerationCompletedEvent,
    ImageGenerationFailedEvent,
    ImageGenerationProgressEvent,
)
from masquerade_ws.stats import Counters


def progress(percentage: float, job_id: str = "mine") -> ImageGenerationProgressEvent:
    return ImageGenerationProgressEvent({"job_id": job_id, "progress": percentage})


def completed(job_id: str = "mine") -> ImageGenerationCompletedEvent:
    return ImageGenerationCompletedEvent({"job_id": job_id, "image_url": "https://images.example/1"})


class Room:
    """An index, a queue, and the jobs whose polls are due."""

    def __init__(self) -> None:
        self.index = StreamIndex(Guard())
        self.queue = EventQueue(100)
        self.due: list[ImageJob[Any]] = []

    def job(
        self,
        *,
        on_progress: Callable[[Any], object] | None = None,
        poll: Callable[[str], object] | None = None,
        fail_after_gap: bool = False,
    ) -> ImageJob[Any]:
        job: ImageJob[Any] = ImageJob(
            self.index,
            None,
            on_progress=on_progress,
            poll=poll,
            ask_later=self.due.append,
            fail_after_gap=fail_after_gap,
        )
        self.index.add(job, polls=True)
        return job


@pytest.fixture
def room() -> Room:
    return Room()


def test_what_came_before_the_id_was_known_is_gone_through_in_order(room: Room) -> None:
    job = room.job()
    for event in (progress(1), progress(2, "other"), completed("other"), progress(3)):
        room.index.deliver(event)
    assert job.progress is None
    job.begin("mine", 0, room.queue)
    assert (job.progress, job.done()) == (3, False)
    room.index.narrow(job, Filter(JOB_EVENTS, {"job_id": "mine"}, room.index.guard))
    room.index.deliver(progress(4))
    assert job.progress == 4


def test_events_that_come_while_earlier_ones_are_gone_through_follow_them(room: Room) -> None:
    job = room.job()
    steps: list[float] = []
    take = job._take

    def take_slowly(item: Any) -> None:
        if len(steps) < 2:  # the reader thread brings another one
            thread = threading.Thread(target=job.offer, args=(progress(item.payload["progress"] + 10),))
            thread.start()
            thread.join()
        take(item)
        steps.append(item.payload["progress"])

    job._take = take_slowly  # type: ignore[method-assign]
    job.offer(progress(1))
    job.offer(progress(2))
    job.begin("mine", 0, room.queue)
    assert steps == [1, 2, 11, 12]
    job.offer(progress(5))
    assert steps[-1] == 5


def test_the_first_end_that_is_learned_counts(room: Room) -> None:
    job = room.job(on_progress=lambda _: None)
    job.begin("mine", 0, room.queue)
    job.offer(event := completed())
    job.offer(ImageGenerationFailedEvent({"job_id": "mine", "error": "late"}))
    assert not job.done(), "it is to end behind its progress"
    assert room.queue.length == 1
    job.end(DisconnectedError("over"))
    assert job.result(0) is event


def test_a_job_ends_at_once_where_no_dispatcher_thread_takes_anything_more(room: Room) -> None:
    steps: list[Any] = []
    room.queue.finish()
    assert room.queue.close()
    late, early = room.job(on_progress=steps.append), room.job(on_progress=steps.append)
    late.begin("mine", 0, room.queue)
    late.offer(progress(1))
    late.offer(event := completed())
    assert late.result(0) is event
    early.begin("mine", 0, None)
    early.offer(event)
    assert early.result(0) is event
    assert steps == []


def test_a_job_is_asked_about_once_it_has_begun_and_after_each_connection_since(room: Room) -> None:
    job = room.job(poll=lambda _: None)
    job.offer(Reconnection(2, resumed=False))
    assert room.due == []
    job.begin("mine", 2, room.queue)
    assert room.due == [job]
    job.offer(Reconnection(3, resumed=True))
    assert room.due == [job] * 2
    job.ask()
    assert not job.done()


def test_a_job_that_has_ended_is_not_asked_about(room: Room) -> None:
    asked: list[str] = []
    ended, ending = room.job(poll=asked.append), room.job(poll=asked.append, on_progress=lambda _: None)
    ended.offer(completed())
    ended.begin("mine", 0, room.queue)
    assert room.due == []
    ended.ask()
    ending.begin("mine", 0, room.queue)
    ending.offer(completed())
    ending.ask()
    assert asked == []


@pytest.mark.parametrize("polls", [True, False])
def test_a_connection_that_has_resumed_is_no_gap(room: Room, polls: bool) -> None:
    job = room.job(fail_after_gap=True, poll=(lambda _: None) if polls else None)
    job.begin("mine", 1, room.queue)
    job.offer(Reconnection(2, resumed=True))
    for due in room.due:
        due.ask()
    assert not job.done()
    job.offer(Reconnection(3, resumed=False))
    for due in room.due:
        due.ask()
    assert isinstance(job.exception(0), ImageGenerationError)


def test_after_a_gap_that_begins_while_it_is_asked_a_poll_is_asked_again(room: Room) -> None:
    answers = [None, "found"]

    def poll(job_id: str) -> str | None:
        if len(room.due) == 1:
            job.offer(Reconnection(2, resumed=False))
        return answers.pop(0)

    job = room.job(fail_after_gap=True, poll=poll)
    job.begin("mine", 1, room.queue)
    job.ask()
    assert not job.done()
    assert room.due == [job] * 2
    job.ask()
    assert job.result(0) == "found"


def test_progress_that_waits_when_a_job_ends_is_not_handed_over(room: Room) -> None:
    steps: list[float] = []

    def fail(event: ImageGenerationProgressEvent) -> None:
        steps.append(event.payload["progress"])
        raise KeyError("mine")

    job = room.job(on_progress=fail)
    job.begin("mine", 0, room.queue)
    for event in (progress(1), progress(2), completed()):
        job.offer(event)
    assert room.queue.length == 3
    Delivery(Takers(Listeners(), room.index), None, Counters()).drain(room.queue)
    assert steps == [1]
    assert isinstance(job.exception(0), KeyError)


def test_a_failure_may_say_anything() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    outcome = outcome_of(ImageGenerationFailedEvent({"job_id": "mine", "error": nested}), "mine")
    assert outcome is not None
    assert str(outcome.error) == "job mine failed: (nested too deep)"
    assert last_progress(None) == "no progress of it came"
    while nested:  # in small steps, since freeing it is recursive
        nested = nested[0]
