"""What ``watch`` knows: the jobs, the latest messages, and the losses of the connection."""

from __future__ import annotations

__all__ = ["Board", "Job", "Message"]

import math
import re
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from masquerade_ws import ClientEvent, ConnectedEvent, DisconnectedEvent, Event, StateChangeEvent
from masquerade_ws.cli.output import note_of
from masquerade_ws.sanitize import clean

_CAPACITY = 200  # jobs and messages that are kept; a server can name any number of them
_MAX_TEXT = 500  # characters of a text that are kept; no terminal shows more on a line
_NESTED: dict[type, str] = {list: "[...]", dict: "{...}"}  # not printed in full: they may be nested to any depth
_ENDS = {"image.generation.completed": "done", "image.generation.failed": "failed"}


@dataclass
class Job:
    """The progress of a job; times are on the monotonic clock, and texts are safe to print."""

    name: str
    begun: float
    percent: float = 0.0
    stage: str = ""
    end: str = ""  # "done" or "failed", once it has ended
    url: str = ""  # of the image, if it has one that a terminal may link to
    unknown: bool = False  # whether its end may have been missed, in a gap
    ended: float = math.inf

    def seconds(self) -> float:
        """Return how many seconds it has taken so far, or took."""
        return min(time.monotonic(), self.ended) - self.begun


@dataclass(frozen=True)
class Message:
    """A line with the time of day at which it appeared."""

    severity: str
    text: str
    at: str = field(default_factory=lambda: time.strftime("%H:%M:%S"))


def _text(value: object) -> str:
    """Return a value from the network as text that is safe to print."""
    return clean((_NESTED.get(type(value)) or str(value))[:_MAX_TEXT])


def _link(url: object) -> str:
    """Return a URL that is one, and cannot end the escape sequence of a link (OSC 8); otherwise nothing."""
    if not isinstance(url, str) or not re.fullmatch(r"(https?|file)://[\x21-\x7e]{1,2000}", url):
        return ""
    try:
        urlsplit(url)
    except ValueError:
        return ""
    return url


class Board:
    """Collects what a conversation receives. Used by one thread."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}  # the latest last
        self.messages: deque[Message] = deque(maxlen=_CAPACITY)
        self.gaps = 0
        self.gap_seconds = 0.0  # of all gaps that have ended
        self.attempts = 0
        self.lost_at = 0.0
        self.done = 0  # jobs, also those that are no longer kept; likewise the next
        self.failed = 0

    def take(self, event: Event | ClientEvent) -> None:
        """Record an event."""
        if not isinstance(event, Event):
            self._take_client_event(event)
        elif event.type.startswith("image.generation."):
            self._take_job(event.type, event.payload)
        elif event.type == "system.notification":
            link = _text(event.payload.get("action_url") or "")
            text = _text(event.payload.get("message", ""))
            self._say(_text(event.payload.get("severity")), f"{text} <{link}>" if link else text)

    def _take_client_event(self, event: ClientEvent) -> None:
        if isinstance(event, StateChangeEvent):
            self.attempts += 1
            return
        if isinstance(event, ConnectedEvent):
            self.attempts = 0
            self.gap_seconds += event.gap or 0.0
            for job in self.jobs.values():
                job.unknown = event.reconnected and not job.end
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
        job.unknown = False
        if payload.get("prompt"):
            job.name = _text(payload["prompt"])
        if kind in _ENDS:
            if not job.end:
                self._count(_ENDS[kind])
            job.end, job.ended, job.url = _ENDS[kind], time.monotonic(), _link(payload.get("image_url"))
            job.stage = _text(payload.get("error", "failed")) if job.end == "failed" else "done"
            job.percent = 100.0 if job.end == "done" else job.percent
        elif not job.end:
            percent = payload.get("progress")
            job.percent = min(100.0, max(0.0, percent)) if isinstance(percent, (int, float)) else job.percent
            job.stage = _text(payload.get("stage", job.stage))

    def _count(self, end: str) -> None:
        if end == "done":
            self.done += 1
        else:
            self.failed += 1

    def summary(self) -> str:
        """Return in a line what has happened, safe to print."""
        unknown = sum(job.unknown for job in self.jobs.values())
        running = sum(not job.end for job in self.jobs.values()) - unknown
        jobs = {"done": self.done, "failed": self.failed, "running": running, "unknown since a gap": unknown}
        counts = ", ".join(f"{count} {how}" for how, count in jobs.items() if count) or "none"
        gaps = f"{self.gaps} ({self.gap_seconds:.1f} s)" if self.gaps else "none"
        return f"jobs: {counts}; gaps in the connection: {gaps}"

    def _forget(self) -> None:
        """Make room: remove the oldest job that has ended, or else the oldest job."""
        if len(self.jobs) > _CAPACITY:
            del self.jobs[next((key for key, job in self.jobs.items() if job.end), next(iter(self.jobs)))]

    def _say(self, severity: str, text: str) -> None:
        self.messages.append(Message(severity, text))

    def shown_jobs(self, count: int) -> list[Job]:
        """Return at most ``count`` jobs in their order; running ones are preferred to those that have ended."""
        jobs = list(self.jobs.values())
        chosen = sorted(range(len(jobs)), key=lambda index: (not jobs[index].end, index))[-count:]
        return [jobs[index] for index in sorted(chosen)]
