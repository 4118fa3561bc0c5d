"""The image service of the soak: its jobs, whose outcomes are known beforehand."""

from __future__ import annotations

import heapq
import random
import threading
import time

from masquerade_ws.testing import EventServer

__all__ = ["Gateway", "expectation"]


class Gateway:
    """The image service: runs jobs, tells of them, and answers what became of one, also while its sockets are down."""

    def __init__(self, seed: int) -> None:
        self.server = EventServer()
        self.jobs: dict[str, str | None] = {}  # by id, with the outcome once there is one
        self._chance = random.Random(f"{seed}/gateway")
        self._changed = threading.Condition()  # guards the jobs, the plan, the count and the flag
        self._plan: list[tuple[float, int, str]] = []
        self.submitted = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def submit(self) -> str:
        """Start a job, which ends within seconds, and return its id."""
        with self._changed:
            number, self.submitted = self.submitted, self.submitted + 1
            job_id = f"job-{number}"
            self.jobs[job_id] = None
            heapq.heappush(self._plan, (time.monotonic() + self._chance.uniform(0, 4), number, job_id))
            self._changed.notify_all()
            return job_id

    def outcome(self, job_id: str) -> str | None:
        """Return what became of a job, ``None`` while it is under way."""
        with self._changed:
            return self.jobs[job_id]

    def forget(self, job_id: str) -> None:
        """Keep no memory of a job that nobody will ask about."""
        with self._changed:
            del self.jobs[job_id]

    def restart(self, pause: float) -> None:
        """Stop the server, and start another on its port."""
        self.server.stop()
        time.sleep(pause)
        self.server = EventServer(port=self.server.port)
        self.server.start()

    def __enter__(self) -> Gateway:
        self.server.start()
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()
        self.server.stop()

    def _work(self) -> None:
        emitted = 0
        while (job := self._next_due()) is not None:
            job_id, emitted = job, emitted + 2
            expected = expectation(job_id)
            with self._changed:
                if job_id in self.jobs:
                    self.jobs[job_id] = expected  # before the event, so that who misses that is told when he asks
            progress = {"job_id": job_id, "n": emitted - 1, "progress": 50}
            self.server.emit("image.generation.progress", progress)
            payload = {"job_id": job_id, "n": emitted}
            if expected == "failed":
                self.server.emit("image.generation.failed", {**payload, "error": "failed"})
            else:
                self.server.emit("image.generation.completed", {**payload, "image_url": expected})

    def _next_due(self) -> str | None:
        with self._changed:
            while not self._stopped:
                wait = self._plan[0][0] - time.monotonic() if self._plan else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._plan)[2]
                self._changed.wait(wait)
            return None


def expectation(job_id: str) -> str:
    """Return the outcome that a job is known to have."""
    return "failed" if int(job_id.rpartition("-")[2]) % 5 == 0 else f"https://img/{job_id}.png"
