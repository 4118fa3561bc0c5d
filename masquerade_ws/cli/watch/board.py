"""What ``watch`` knows: the jobs, the last messages, and how often the connection was lost."""

from __future__ import annotations

__all__ = ["Board", "Job", "Message"]

import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from masquerade_ws import ClientEvent, ConnectedEvent, DisconnectedEvent, Event, StateChangeEvent
from masquerade_ws.cli.output import note_of
from masquerade_ws.sanitize import clean

_MANY = 200  # jobs that are remembered, and messages; a server can name any number of them
_LONG = 500  # characters of a text that are kept; no terminal shows more in a line
_NESTED: dict[type, str] = {list: "[...]", dict: "{...}"}  # of any depth, and so not for being shown
_ENDS = {"image.generation.completed": "done", "image.generation.failed": "failed"}


@dataclass
class Job:
    """How far a job has got; times are those of the monotonic clock, and texts are safe to be shown."""

    name: str
    begun: float
    percent: float = 0.0
    stage: str = ""
    end: str = ""  # "done" or "failed", once it has ended
    ended: float = math.inf

    def seconds(self) -> float:
        """Return how long it has taken so far, or took."""
        return min(time.monotonic(), self.ended) - self.begun


@dataclass(frozen=True)
class Message:
    """A line that happened at some time of the day."""

    severity: str
    text: str
    at: str = field(default_factory=lambda: time.strftime("%H:%M:%S"))


def _text(value: object) -> str:
    """Return what a stranger has sent as a text that is safe to be shown."""
    return clean((_NESTED.get(type(value)) or str(value))[:_LONG])


class Board:
    """Takes what a session receives. Used by one thread."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}  # the latest last
        self.messages: deque[Message] = deque(maxlen=_MANY)
        self.gaps = 0
        self.away = 0.0  # seconds in all those gaps
        self.attempts = 0
        self.lost_at = 0.0

    def take(self, event: Event | ClientEvent) -> None:
        """Learn from an event."""
        if not isinstance(event, Event):
            self._take_own(event)
        elif event.type.startswith("image.generation."):
            self._take_job(event.type, event.payload)
        elif event.type == "system.notification":
            link = _text(event.payload.get("action_url") or "")
            text = _text(event.payload.get("message", ""))
            self._say(_text(event.payload.get("severity")), f"{text} <{link}>" if link else text)

    def _take_own(self, event: ClientEvent) -> None:
        if isinstance(event, StateChangeEvent):
            self.attempts += 1
            return
        if isinstance(event, ConnectedEvent):
            self.attempts = 0
            self.away += event.gap or 0.0
        elif isinstance(event, DisconnectedEvent):
            self.gaps += 1
            self.lost_at = time.monotonic()
        self._say("connection", note_of(event))

    def _take_job(self, kind: str, payload: Mapping[str, Any]) -> None:
        key = _text(payload.get("job_id"))
        job = self.jobs.get(key)
        if job is None or (job.end and kind == "image.generation.started"):
            self.jobs.pop(key, None)
            job = self.jobs[key] = Job(key, time.monotonic())
            self._forget()
        if payload.get("prompt"):
            job.name = _text(payload["prompt"])
        if kind in _ENDS:
            job.end, job.ended = _ENDS[kind], time.monotonic()
            job.stage = _text(payload.get("error", "failed")) if job.end == "failed" else "done"
            job.percent = 100.0 if job.end == "done" else job.percent
        elif not job.end:
            percent = payload.get("progress")
            job.percent = min(100.0, max(0.0, percent)) if isinstance(percent, (int, float)) else job.percent
            job.stage = _text(payload.get("stage", job.stage))

    def _forget(self) -> None:
        """Make room: a job that has ended goes first, the oldest of them."""
        if len(self.jobs) > _MANY:
            del self.jobs[next((key for key, job in self.jobs.items() if job.end), next(iter(self.jobs)))]

    def _say(self, severity: str, text: str) -> None:
        self.messages.append(Message(severity, text))

    def shown_jobs(self, count: int) -> list[Job]:
        """Return as many jobs as there is room for, in their order; those under way go before those that have ended."""
        jobs = list(self.jobs.values())
        chosen = sorted(range(len(jobs)), key=lambda index: (not jobs[index].end, index))[-count:]
        return [jobs[index] for index in sorted(chosen)]
