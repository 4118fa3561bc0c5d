"""The poll thread: it asks the ``poll`` of each image job that is a future, one after the other.

It is started when something is due, and ends when nothing is. Nobody waits for it, so that a ``poll`` that hangs holds
up other polls and nothing else; what it returns for a job that has ended has no effect.
"""

from __future__ import annotations

import threading
from typing import Any

from masquerade_ws.delivery.futures import Outcome
from masquerade_ws.delivery.image_jobs import ImageJob
from masquerade_ws.errors import ConnectError
from masquerade_ws.lifecycle.threads import start

__all__ = ["Poller"]


class Poller:
    """The polls of one client that are due."""

    def __init__(self) -> None:
        self.after_fork()

    def after_fork(self) -> None:
        """Forget what is due, in a forked child, which has no poll thread and may find the lock held."""
        self._lock = threading.RLock()  # guards the rest; reentrant, since a signal handler may submit a job
        self._due: dict[ImageJob[Any], None] = {}
        self._turn: object = None  # that of the thread which will look at what is due once more, if there is one

    def ask_later(self, job: ImageJob[Any]) -> None:
        """Have a job's ``poll`` asked, after those that are due already."""
        try:
            with self._lock:
                self._due[job] = None
                if self._turn is None:
                    turn = object()
                    start("poll", self._run, turn)
                    self._turn = turn
        except ConnectError as error:  # no thread can be had
            while (due := self._next()) is not None:
                due.settle(Outcome(error=error))

    def _run(self, turn: object) -> None:
        with self._lock:  # an interrupt may have cut short who started this one, and another may have been started
            self._turn = self._turn or turn
            if self._turn is not turn:
                return
        while (job := self._next()) is not None:
            job.ask()

    def _next(self) -> ImageJob[Any] | None:
        """Take the next job out; without one the thread ends."""
        with self._lock:
            job = next(iter(self._due), None)
            if job is None:
                self._turn = None
            else:
                del self._due[job]
            return job
