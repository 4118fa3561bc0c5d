from __future__ import annotations

import threading
from typing import Any

import pytest

from masquerade_ws.delivery.blocking import Guard
from masquerade_ws.delivery.futures import Outcome
from masquerade_ws.delivery.image_jobs import ImageJob
from masquerade_ws.delivery.stream_index import StreamIndex
from masquerade_ws.errors import ConnectError
from masquerade_ws.lifecycle import poller as poller_module
from masquerade_ws.lifecycle.poller import Poller
from tests.support.raw_server import until
from tests.support.scenes import Hang, names_of_threads


@pytest.fixture
def index() -> StreamIndex:
    return StreamIndex(Guard())


def job_of(index: StreamIndex, poller: Poller, poll: Any) -> ImageJob[Any]:
    return ImageJob(index, None, on_progress=None, poll=poll, ask_later=poller.ask_later, fail_after_gap=False)


def test_what_is_due_twice_is_asked_once_unless_it_is_being_asked(index: StreamIndex, hang: Hang) -> None:
    poller = Poller()
    asked: list[str] = []
    jobs = [job_of(index, poller, lambda job_id: asked.append(job_id) or None) for _ in range(3)]
    stuck = job_of(index, poller, hang)
    stuck.begin("stuck", 0, None)
    assert hang.entered.wait(10)
    for job in (*jobs, *jobs):
        job.begin(str(jobs.index(job)), 0, None)
    assert names_of_threads() == ["masquerade-ws-poll"]
    hang.over.set()
    until(lambda: names_of_threads() == [])
    assert asked == ["0", "1", "2"]
    jobs[1].begin("again", 0, None)
    until(lambda: names_of_threads() == [])
    assert asked == ["0", "1", "2", "again"]


def test_jobs_end_if_no_thread_can_be_had_for_their_polls(index: StreamIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    poller = Poller()
    refusal = ConnectError("no thread could be started")
    late = job_of(index, poller, lambda _: "answer")

    def refuse(*_: object) -> None:
        if not late.done():
            late.settle(Outcome("in between"))  # and so does a signal handler
            poller.ask_later(late)
        raise refusal

    job = job_of(index, poller, lambda _: "answer")
    with monkeypatch.context() as patch:
        patch.setattr(poller_module, "start", refuse)
        job.begin("mine", 0, None)
    assert (job.exception(0), late.result(0)) == (refusal, "in between")
    next_job = job_of(index, poller, lambda _: "answer")
    next_job.begin("next", 0, None)
    assert next_job.result(10) == "answer"
    until(lambda: names_of_threads() == [])


def test_an_interrupt_of_who_starts_the_thread_costs_no_job_its_poll(
    index: StreamIndex, hang: Hang, monkeypatch: pytest.MonkeyPatch
) -> None:
    poller = Poller()
    asked: list[str] = []

    def start_and_interrupt(*arguments: Any) -> Any:
        poller_module_start(*arguments)
        raise KeyboardInterrupt

    first, second = (job_of(index, poller, lambda job_id: asked.append(job_id) or hang()) for _ in range(2))
    poller_module_start = poller_module.start
    with monkeypatch.context() as patch:
        patch.setattr(poller_module, "start", start_and_interrupt)
        with poller._lock:  # so that neither thread runs before both are started: one finds nothing to do
            for job in (first, second):
                with pytest.raises(KeyboardInterrupt):
                    job.begin("mine", 0, None)
    assert hang.entered.wait(10)
    until(lambda: names_of_threads() == ["masquerade-ws-poll"])
    assert asked == ["mine"]
    hang.over.set()
    assert second.result(10) == first.result(10) == "token"
    until(lambda: names_of_threads() == [])


def test_a_forked_child_begins_anew_whoever_held_the_lock(index: StreamIndex, hang: Hang) -> None:
    poller = Poller()
    stuck = job_of(index, poller, hang)
    stuck.begin("stuck", 0, None)
    assert hang.entered.wait(10)
    threading.Thread(target=poller._lock.acquire).start()  # and it never lets go
    poller.after_fork()
    job = job_of(index, poller, lambda _: "answer")
    job.begin("mine", 0, None)
    assert job.result(10) == "answer"
    hang.over.set()
    until(lambda: names_of_threads() == [])
