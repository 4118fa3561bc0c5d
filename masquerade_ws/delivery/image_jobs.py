"""Image jobs: what their events mean, and an image job as a future.

A job that is a future is fed by the reader thread, and by the supervisor thread with each connection. While its
``start`` runs, what comes is kept, since its id is not known yet; the thread that submits it then goes through that.
With an ``on_progress`` the dispatcher thread gets its progress and its end, in one order; without, whoever learns of
the end ends it. Its ``poll`` runs on the poll thread (`masquerade_ws.lifecycle.poller`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from typing_extensions import TypeVar

from masquerade_ws.delivery.event_queue import Errand, EventQueue
from masquerade_ws.delivery.filters import Filter
from masquerade_ws.delivery.futures import EventFuture, Outcome
from masquerade_ws.delivery.stream_index import Reconnection, StreamIndex
from masquerade_ws.errors import DisconnectedError, ImageGenerationError
from masquerade_ws.events import (
    ImageGenerationCompletedEvent,
    ImageGenerationFailedEvent,
    ImageGenerationProgressEvent,
)
from masquerade_ws.sanitize import excerpt

__all__ = ["JOB_EVENTS", "ImageJob", "last_progress", "lost_in_a_gap", "outcome_of", "started"]

_ResultT = TypeVar("_ResultT", default=ImageGenerationCompletedEvent)

JOB_EVENTS = ("image.generation.progress", "image.generation.completed", "image.generation.failed")
_LOST = "the connection was lost while the job ran"
_SHOWN = 100  # characters of what the server says of a job's progress


class ImageJob(EventFuture[_ResultT]):
    """An image job under way, made by `WebSocketClient.submit_image_job`: a `concurrent.futures.Future`.

    Its result is the event of its completion, or what ``poll`` returned. Its error is an `ImageGenerationError` if it
    failed, a `DisconnectedError` if the client ended first, or what ``poll`` or ``on_progress`` raised. ``cancel()``
    ends the waiting, not the job at the service.

    Attributes:
        job_id: The id of the job.
        progress: The last percentage that the server has reported; ``None`` before the first.
        stage: The stage that went with it, if any.
    """

    job_id: str
    progress: float | None
    stage: str | None

    def __init__(
        self,
        owner: StreamIndex,
        keeps: object,
        *,
        on_progress: Callable[[ImageGenerationProgressEvent], object] | None,
        poll: Callable[[str], object] | None,
        ask_later: Callable[[ImageJob[Any]], object],
        fail_after_gap: bool,
    ) -> None:
        super().__init__(owner, Filter(JOB_EVENTS, None, owner.guard), keeps)
        self.job_id = ""
        self.progress = None
        self.stage = None
        self._on_progress = on_progress
        self._poll = poll
        self._ask_later = ask_later
        self._fail_after_gap = fail_after_gap
        self._baseline = 0
        self._queue: EventQueue | None = None
        self._gap = False
        # The lock of `Future` guards these two: what came before the id was known, and the end that has been learned.
        self._early: list[Any] | None = []
        self._outcome: Outcome | None = None

    def begin(self, job_id: str, baseline: int, queue: EventQueue | None) -> None:
        """Go through what has come for a job since before it was started, and go on with what comes.

        Args:
            job_id: The id of the job.
            baseline: How many connections the client had made when the job was started.
            queue: That of its session, where the dispatcher thread gets its errands from.
        """
        self.job_id = job_id
        self._baseline = baseline
        self._queue = queue
        if self._on_progress is not None or self._poll is not None:
            self.keep()
        while early := self._take_early():
            for item in early:
                self._take(item)
        if self._poll is not None and not self.done():
            self._ask_later(self)

    def _take_early(self) -> list[Any] | None:
        with self._condition:
            early, self._early = self._early, [] if self._early else None
            return early

    def offer(self, event: Any, /) -> bool:
        """Take an event of the server or the news of a connection; nothing has to go for it."""
        with self._condition:
            if self._early is not None:
                self._early.append(event)
                return False
        self._take(event)
        return False

    def end(self, cause: DisconnectedError, /) -> None:
        """End, as the job itself did if that is known already."""
        with self._condition:
            outcome = self._outcome
        if outcome is not None:
            self.settle(outcome)
        super().end(cause)

    def ask(self) -> None:
        """Ask ``poll``, on the poll thread."""
        assert self._poll is not None
        if self.done() or self._outcome is not None:
            return
        gap = self._gap  # read first: after one that begins meanwhile it is asked again
        try:
            answer = self._poll(self.job_id)
        except BaseException as error:  # an exit too, which concerns this job alone
            self._decide(Outcome(error=error))
            return
        if answer is not None:
            self._decide(Outcome(answer))
        elif gap:
            self._decide(Outcome(error=lost_in_a_gap(self.job_id)))

    def _take(self, item: Any) -> None:
        if isinstance(item, Reconnection):
            self._note_connection(item)
        elif item.payload.get("job_id") == self.job_id:  # others came while `start` ran
            outcome = outcome_of(item, self.job_id)
            if outcome is not None:
                self._decide(outcome, item)
            else:
                self._note_progress(item)

    def _note_connection(self, connection: Reconnection) -> None:
        if connection.number <= self._baseline:
            return
        gap = self._fail_after_gap and not connection.resumed
        if self._poll is not None:
            self._gap = self._gap or gap
            self._ask_later(self)
        elif gap:
            self._decide(Outcome(error=lost_in_a_gap(self.job_id)))

    def _note_progress(self, event: ImageGenerationProgressEvent) -> None:
        """Keep what the server says, as far as it keeps to the types that it promises."""
        payload = cast("dict[str, Any]", event.payload)
        progress, stage = payload.get("progress"), payload.get("stage")
        if isinstance(progress, int | float) and not isinstance(progress, bool):
            self.progress = progress
        self.stage = stage if isinstance(stage, str) else None
        if self._on_progress is not None:
            self._hand_over(Errand(event, self._report_progress))

    def _report_progress(self, event: Any) -> None:
        """Call ``on_progress``, on the dispatcher thread."""
        assert self._on_progress is not None
        if self.done():
            return
        try:
            self._on_progress(event)
        except BaseException as error:
            self.settle(Outcome(error=error))

    def _decide(self, outcome: Outcome, event: Any = None) -> None:
        """End as soon as what came before has been handed over; the first end that is learned counts."""
        with self._condition:
            if self._outcome is not None:
                return
            self._outcome = outcome
        if self._on_progress is None or not self._hand_over(Errand(event, lambda _: self.settle(outcome))):
            self.settle(outcome)

    def _hand_over(self, errand: Errand) -> bool:
        """Give the dispatcher thread something to do; return whether it will do it."""
        return self._queue is not None and self._queue.submit(errand)

    def __repr__(self) -> str:
        shown = [self.said_state]
        if self.progress is not None:
            shown.append(f"{self.progress:g} %")
        if self.stage is not None:
            shown.append(excerpt(self.stage, _SHOWN))
        return f"<ImageJob {excerpt(self.job_id, _SHOWN)}: {', '.join(shown)}>"


def started(start: Callable[[], str]) -> str:
    """Start a job; return its id.

    Raises:
        TypeError: If ``start`` does not return one.
    """
    job_id = start()
    if not isinstance(job_id, str):
        raise TypeError(f"start must return the id of the job, a str, not {type(job_id).__name__}")
    return job_id


def outcome_of(event: Any, job_id: str) -> Outcome | None:
    """Return how a job has ended, by one of its events, or ``None`` if the event reports progress."""
    if isinstance(event, ImageGenerationCompletedEvent):
        return Outcome(event)
    if isinstance(event, ImageGenerationFailedEvent):
        reason = _text_of(event.payload.get("error", "no reason given"))
        retry_allowed = event.payload.get("retry_allowed") is True
        return Outcome(error=_failure(job_id, reason, retry_allowed=retry_allowed))
    return None


def lost_in_a_gap(job_id: str) -> ImageGenerationError:
    """Return the error of a job of whose end nothing may ever come."""
    return _failure(job_id, _LOST, retry_allowed=True)


def _failure(job_id: str, reason: str, *, retry_allowed: bool) -> ImageGenerationError:
    return ImageGenerationError(f"job {job_id} failed: {excerpt(reason)}", job_id, retry_allowed, reason)


def last_progress(progress: ImageGenerationProgressEvent | None) -> str:
    """Say how far a job had come; the fields are what the server sent, unchecked."""
    if progress is None:
        return "no progress of it came"
    stage = progress.payload.get("stage")
    shown = f"{_text_of(progress.payload.get('progress'))} %{'' if stage is None else f', {_text_of(stage)}'}"
    return f"its last progress was {excerpt(shown, _SHOWN)}"


def _text_of(value: object) -> str:
    try:
        return str(value)
    except RecursionError:
        return "(nested too deep)"
