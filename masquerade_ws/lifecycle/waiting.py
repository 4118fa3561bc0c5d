"""What a client that runs is waited on for: an event, or the end of an image job; by a thread, or by a future."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from masquerade_ws.deadline import Deadline
from masquerade_ws.delivery.blocking import Guard
from masquerade_ws.delivery.filters import Filter, Where
from masquerade_ws.delivery.futures import EventFuture
from masquerade_ws.delivery.image_jobs import JOB_EVENTS, ImageJob, last_progress, lost_in_a_gap, outcome_of, started
from masquerade_ws.delivery.stream_index import Reconnection, StreamIndex
from masquerade_ws.delivery.streams import EventStream
from masquerade_ws.errors import DisconnectedError, WaitTimeoutError, copy_of
from masquerade_ws.events import ImageGenerationCompletedEvent, ImageGenerationProgressEvent
from masquerade_ws.lifecycle.poller import Poller
from masquerade_ws.lifecycle.state import ClientState
from masquerade_ws.process_hooks import notice_fork

__all__ = ["Waiting"]

_PolledT = TypeVar("_PolledT")


class Waiting:
    """The waits on one client.

    A wait that asks after each connection counts those made since it was opened, or since its job was started: the news
    of a connection may come after somebody has seen that it is there, and begun to wait.

    Args:
        state: The client's.
        streams: Where a wait gets its events from.
        guard: Knows where a wait would hold up what it waits for.
        poller: Asks the ``poll`` of jobs for which no thread waits.
    """

    def __init__(self, state: ClientState, streams: StreamIndex, guard: Guard, poller: Poller) -> None:
        self._state = state
        self._streams = streams
        self._guard = guard
        self._poller = poller

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
            baseline = self._state.counters.connections
            if poll is not None and (answer := poll()) is not None:
                return answer
            while isinstance(item := stream.take(deadline), Reconnection):
                if poll is not None and item.number > baseline and (answer := poll()) is not None:
                    return answer
            return item

    def run_image_job(
        self,
        start: Callable[[], str],
        *,
        timeout: float | None,
        on_progress: Callable[[ImageGenerationProgressEvent], object] | None,
        poll: Callable[[str], _PolledT | None] | None,
        fail_after_gap: bool,
        keeps: object,
    ) -> ImageGenerationCompletedEvent | _PolledT:
        """Start an image job and wait for its end; `WebSocketClient.run_image_job` says more.

        Args:
            start: Starts the job and returns its id.
            timeout: Seconds to wait, the time that ``start`` takes included.
            on_progress: Called with each progress event of the job.
            poll: Called with the job's id when the wait begins and after each connection made during it.
            fail_after_gap: Whether the job counts as failed if a connection is made during it.
            keeps: The client, which lives on while somebody waits.
        """
        deadline = Deadline(timeout)
        polls = poll is not None or fail_after_gap
        with self._open("run_image_job", JOB_EVENTS, None, keeps, polls=polls) as stream:
            baseline = self._state.counters.connections
            job_id = started(start)
            self._streams.narrow(stream, Filter(JOB_EVENTS, {"job_id": job_id}, self._guard))
            if poll is not None and (answer := poll(job_id)) is not None:
                return answer
            progress: ImageGenerationProgressEvent | None = None
            while True:
                try:
                    item = stream.take(deadline)
                except WaitTimeoutError:
                    raise WaitTimeoutError(
                        f"job {job_id} has not ended within {timeout:g} s; {last_progress(progress)}"
                    ) from None
                if isinstance(item, Reconnection):
                    if item.number <= baseline:
                        continue
                    if poll is not None and (answer := poll(job_id)) is not None:
                        return answer
                    if fail_after_gap and not item.resumed:
                        raise lost_in_a_gap(job_id)
                elif item.payload.get("job_id") != job_id:
                    continue  # came while `start` ran
                elif (outcome := outcome_of(item, job_id)) is None:
                    progress = item
                    if on_progress is not None:
                        on_progress(item)
                elif outcome.error is not None:
                    raise outcome.error
                else:
                    completed: ImageGenerationCompletedEvent = outcome.result
                    return completed

    def future(self, types: Iterable[str], where: Where, keeps: object) -> EventFuture[Any]:
        """Return the next event that matches, to come; `WebSocketClient.future` says more.

        Args:
            types: Types, patterns and names of the client's own events.
            where: What else must hold.
            keeps: The client.
        """
        notice_fork()
        future: EventFuture[Any] = EventFuture(self._streams, Filter(types, where, self._guard), keeps)
        self._streams.add(future)
        idle = self._state.idle
        if idle is not None:
            future.end(idle)
        return future

    def submit_image_job(
        self,
        start: Callable[[], str],
        *,
        on_progress: Callable[[ImageGenerationProgressEvent], object] | None,
        poll: Callable[[str], object] | None,
        fail_after_gap: bool,
        keeps: object,
    ) -> ImageJob[Any]:
        """Start an image job and return it; `WebSocketClient.submit_image_job` says more.

        Args:
            start: Starts the job and returns its id.
            on_progress: Called with each progress event of the job, on the dispatcher thread.
            poll: Called with the job's id once it has started and after each connection made since, on the poll thread.
            fail_after_gap: Whether the job counts as failed if a connection is made during it.
            keeps: The client.
        """
        notice_fork()
        job: ImageJob[Any] = ImageJob(
            self._streams,
            keeps,
            on_progress=on_progress,
            poll=poll,
            ask_later=self._poller.ask_later,
            fail_after_gap=fail_after_gap,
        )
        self._streams.add(job, polls=poll is not None or fail_after_gap)
        try:
            self.check_running()
            baseline, queue = self._state.counters.connections, self._state.event_queue()
            job_id = started(start)
        except BaseException:
            job.cancel()
            raise
        self._streams.narrow(job, Filter(JOB_EVENTS, {"job_id": job_id}, self._guard))
        job.begin(job_id, baseline, queue)
        return job

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
