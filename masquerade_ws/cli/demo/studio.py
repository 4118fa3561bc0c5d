"""The jobs of the gateway: each paints a picture step by step and announces its progress."""

from __future__ import annotations

__all__ = ["ENDS", "STAGES", "Job", "Studio"]

import hashlib
import itertools
import random
import re
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from masquerade_ws import Event
from masquerade_ws.cli.demo.picture import SIZE, paint, png

STAGES = ("composing", "sketching", "colouring", "lighting", "finishing")

ENDS = ("image.generation.completed", "image.generation.failed")

_STEPS = 10  # progress events per job
_PAINTERS = 4  # jobs at a time; the others queue
_REMEMBERED = 1_000  # jobs whose last event can still be asked for


@dataclass(frozen=True)
class Job:
    """One picture to be painted.

    Args:
        prompt: What it shows.
        fail: Whether to play a failure half way through.
        job_id: Its id; a random one by default.
    """

    prompt: str
    fail: bool = False
    job_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def file_name(self) -> str:
        """A file name that is safe on every system, whatever prompt and job id the client chose."""
        words = re.sub(r"[^a-z0-9]+", "-", self.prompt.lower()).strip("-")[:40]
        mark = hashlib.sha256(f"{self.job_id}\n{self.prompt}".encode(errors="surrogatepass")).hexdigest()[:8]
        return f"{words}-{mark}.png".lstrip("-")


class Studio:
    """Paints jobs, a few at a time.

    Args:
        output: The folder for the pictures; created when the first one is saved.
        step: About how many seconds one of the ten steps of a job takes.
        announce: Called with each event of each job, on the thread that paints it.
    """

    def __init__(self, output: Path, step: float, announce: Callable[[Event], None]) -> None:
        self._output = output.absolute()
        self._step = step
        self._announce = announce
        self._painters = ThreadPoolExecutor(_PAINTERS, thread_name_prefix="masquerade-ws-painter")
        self._closing = threading.Event()
        self._lock = threading.Lock()  # guards _running and _last
        self._running: set[str] = set()
        self._last: OrderedDict[str, Event] = OrderedDict()

    def start(self, job: Job) -> bool:
        """Start a job unless one with the same id is running; return whether it was started."""
        with self._lock:
            if job.job_id in self._running:
                return False
            self._running.add(job.job_id)
            self._last.pop(job.job_id, None)
        self._painters.submit(self._work, job)
        return True

    def last_event(self, job_id: str) -> Event | None:
        """Return the latest event of a job, or ``None`` if it has not begun or is forgotten."""
        with self._lock:
            return self._last.get(job_id)

    def close(self) -> None:
        """Give up all jobs; return when the last painter thread has ended."""
        self._closing.set()  # wakes every painter between two steps
        self._painters.shutdown(cancel_futures=True)

    def _work(self, job: Job) -> None:
        for kind, payload in self._paint(job):
            event = Event(f"image.generation.{kind}", {"job_id": job.job_id, **payload})
            with self._lock:
                self._last[job.job_id] = event
                if len(self._last) > _REMEMBERED:
                    self._last.popitem(last=False)
                if event.type in ENDS:
                    self._running.discard(job.job_id)
            self._announce(event)

    def _paint(self, job: Job) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the last part of the type and the payload of each event, up to the saved picture or the failure."""
        yield "started", {"user_id": "demo", "prompt": job.prompt}
        palette, rows = paint(job.prompt)
        painted: list[bytes] = []
        for step in range(_STEPS):
            if self._closing.wait(self._step * random.uniform(0.9, 1.1)):
                return
            if job.fail and step == _STEPS // 2:
                yield "failed", {"error": "the painter ran out of blue", "retry_allowed": True}
                return
            painted += itertools.islice(rows, -(-SIZE // _STEPS))
            stage = STAGES[step * len(STAGES) // _STEPS]
            yield "progress", {"progress": 100 * (step + 1) // _STEPS, "stage": stage}
        yield self._save(job, png(palette, painted))

    def _save(self, job: Job, data: bytes) -> tuple[str, dict[str, Any]]:
        path = self._output / job.file_name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            return "failed", {"error": f"cannot save the picture: {error.strerror}", "retry_allowed": False}
        size = {"width": SIZE, "height": SIZE, "bytes": len(data)}
        return "completed", {"image_url": path.as_uri(), "metadata": size}
