"""What a thread waits for on a client that runs: an event, or the end of an image job."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from masquerade_ws.deadline import Deadline
from masquerade_ws.delivery.blocking import Guard
from masquerade_ws.delivery.filters import Filter, Where
from masquerade_ws.delivery.stream_index import RECONNECTED, StreamIndex
from masquerade_ws.delivery.streams import EventStream
from masquerade_ws.errors import DisconnectedError, ImageGenerationError, WaitTimeoutError, copy_of
from masquerade_ws.events import (
    ImageGenerationCompletedEvent,
    ImageGenerationFailedEvent,
    ImageGenerationProgressEvent,
)
from masquerade_ws.lifecycle.state import ClientState
from masquerade_ws.sanitize import excerpt

__all__ = ["Waiting"]

_PolledT = TypeVar("_PolledT")

_SHOWN = 100  # characters of what the server says of a job's progress
_JOB_EVENTS = ("image.generation.progress", "image.generation.completed", "image.generation.failed")


class Waiting:
    """The waits on one client.

    Args:
        state: The client's.
        streams: Where a wait gets its events from.
        guard: Knows where a wait would hold up what it waits for.
    """

    def __init__(self, state: ClientState, streams: StreamIndex, guard: Guard) -> None:
        self._state = state
        self._streams = streams
        self._guard = guard

    def wait_for(
        self, types: Iterable[str], where: Where, timeout: float | None, poll: Callable[[], Any] | None, keeps: object
    ) -> Any:
        """Wait for the next event that matches, or for an answer of ``poll``; `WebSocketClient.wait_for` says more.

        Args:
            types: Types, patterns and names of the client's own events.
            where: What else must hold.
            timeout: Seconds to wait; ``None`` waits until the client ends.
            poll: Asked when the wait begins, and after each connection made during it.
            keeps: The client, which lives on while somebody waits.
        """
        deadline = Deadline(timeout)
        with self._open("wait_for", types, where, keeps, polls=poll is not None) as stream:
            while (event := stream.take(deadline)) is RECONNECTED:
                if poll is not None and (answer := poll()) is not None:
                    return answer
            return event

    def run_image_job(
        self,
        start: Callable[[], str],
        timeout: float | None,
        on_progress: Callable[[ImageGenerationProgressEvent], object] | None,
        poll: Callable[[str], _PolledT | None] | None,
        keeps: object,
    ) -> ImageGenerationCompletedEvent | _PolledT:
        """Start an image job and wait for its end; `WebSocketClient.run_image_job` says more.

        Args:
            start: Starts the job and returns its id.
            timeout: Seconds to wait, the time that ``start`` takes included.
            on_progress: Called with each progress event of the job.
            poll: Called with the job's id when the wait begins and after each connection made during it.
            keeps: The client, which lives on while somebody waits.
        """
        deadline = Deadline(timeout)
        with self._open("run_image_job", _JOB_EVENTS, None, keeps, polls=poll is not None) as stream:
            job_id = start()
            if not isinstance(job_id, str):
                raise TypeError(f"start must return the id of the job, a str, not {type(job_id).__name__}")
            self._streams.narrow(stream, Filter(_JOB_EVENTS, {"job_id": job_id}, self._guard))
            progress: ImageGenerationProgressEvent | None = None
            while True:
                try:
                    event = stream.take(deadline)
                except WaitTimeoutError:
                    raise WaitTimeoutError(
                        f"job {job_id} has not ended within {timeout:g} s; {_last(progress)}"
                    ) from None
                if event is RECONNECTED:
                    if poll is not None and (answer := poll(job_id)) is not None:
                        return answer
                elif event.payload.get("job_id") != job_id:
                    continue  # came while `start` ran
                elif isinstance(event, ImageGenerationCompletedEvent):
                    return event
                elif isinstance(event, ImageGenerationFailedEvent):
                    raise _job_failed(job_id, event)
                else:
                    progress = event
                    if on_progress is not None:
                        on_progress(event)

    def _open(self, member: str, types: Iterable[str], where: Where, keeps: object, *, polls: bool) -> EventStream[Any]:
        """Return a stream that drops nothing, on a client that runs."""
        self._guard.check(member)
        stream: EventStream[Any] = EventStream(self._streams, Filter(types, where, self._guard), math.inf, keeps)
        self._streams.add(stream, polls=polls)
        try:
            self.check_running()
        except DisconnectedError:
            stream.close()
            raise
        return stream

    def check_running(self) -> None:
        """Refuse to wait for what cannot come.

        Raises:
            DisconnectedError: If the client is not started, or has ended.
        """
        idle = self._state.idle
        if idle is not None:
            raise copy_of(idle)


def _last(progress: ImageGenerationProgressEvent | None) -> str:
    """Say how far a job had come; the fields are what the server sent, unchecked."""
    if progress is None:
        return "no progress of it came"
    stage = progress.payload.get("stage")
    shown = f"{_text_of(progress.payload.get('progress'))} %{'' if stage is None else f', {_text_of(stage)}'}"
    return f"its last progress was {excerpt(shown, _SHOWN)}"


def _job_failed(job_id: str, event: ImageGenerationFailedEvent) -> ImageGenerationError:
    reason = _text_of(event.payload.get("error", "no reason given"))
    retry_allowed = event.payload.get("retry_allowed") is True
    return ImageGenerationError(f"job {job_id} failed: {excerpt(reason)}", job_id, retry_allowed, reason)


def _text_of(value: object) -> str:
    try:
        return str(value)
    except RecursionError:
        return "(nested too deep)"
