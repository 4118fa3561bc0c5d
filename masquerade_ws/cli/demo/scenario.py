"""``masquerade-ws demo``: a gateway and its client in one process, and everything that can happen to a job."""

from __future__ import annotations

__all__ = ["PROMPTS", "run"]

import contextlib
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

import click

from masquerade_ws import (
    ConnectedEvent,
    DisconnectedEvent,
    ErrorEvent,
    Event,
    ImageGenerationCompletedEvent,
    ImageGenerationCompletedPayload,
    ImageGenerationError,
    ImageGenerationProgressEvent,
    MasqueradeError,
    StateChangeEvent,
    WebSocketClient,
)
from masquerade_ws.cli.demo.gateway import Gateway
from masquerade_ws.cli.demo.screens import Screen, open_screen

PROMPTS = ("a lighthouse in a storm", "a library under the sea", "a fox made of autumn leaves")

_RECONNECT_DELAY = 1.0  # seconds; long enough for a job to end in the meantime
_LOSS_AT = 20  # per cent of the second attempt; the job then ends while there is no connection
_JOB_TIMEOUT = 60.0  # seconds; ten times what a job takes


def run(output: Path, *, step: float = 0.4) -> None:
    """Run the demo; exit with status 130 if it is interrupted.

    Args:
        output: The folder for the pictures.
        step: About how many seconds one of the ten steps of a job takes.

    Raises:
        click.ClickException: If something fails that is not part of the demo.
    """
    begin = time.monotonic()
    try:
        with open_screen() as screen:
            paths = _Demo(screen, output, step).run()
        screen.gallery(paths)
    except KeyboardInterrupt:
        sys.exit(130)
    except (MasqueradeError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{len(paths)} pictures in {time.monotonic() - begin:.1f} s:")
    for path in paths:
        click.echo(f"  {path}")


class _Demo:
    """Three jobs side by side: the first fails once, and during its second attempt the connection breaks."""

    def __init__(self, screen: Screen, output: Path, step: float) -> None:
        self._screen = screen
        self._gateway = Gateway(output, step=step)
        self._client = WebSocketClient(
            self._gateway.url, lambda: "demo", initial_reconnect_delay=_RECONNECT_DELAY, proxy=False
        )
        self._client.on("state:change", self._show_state)
        self._client.on("connected", self._show_return)
        self._client.on("disconnected", self._show_loss)
        self._client.on("error", self._show_error)

    def run(self) -> list[Path]:
        """Return the paths of the pictures."""
        # On an interruption the client ends first, and so the waits of the workers, which the pool then joins.
        with ThreadPoolExecutor(len(PROMPTS)) as workers, self._gateway, self._client:
            jobs = [workers.submit(self._generate, prompt) for prompt in PROMPTS]
            while not all(job.done() for job in jobs):
                time.sleep(0.1)  # unlike the wait for a result, interruptible on Windows too
            return [job.result() for job in jobs]

    def _generate(self, prompt: str) -> Path:
        """Run one job, and once more if it fails and the service allows that."""
        name = prompt.split()[1]
        try:
            event = self._attempt(prompt, f"{name}-1", fail=prompt == PROMPTS[0])
        except ImageGenerationError as error:
            if not error.retry_allowed:
                raise
            self._screen.note(f"{error}; the service allows another attempt")
            event = self._attempt(prompt, f"{name}-2", lose_connection=True)
        self._screen.job(prompt, 100, "done")
        return Path(url2pathname(urlsplit(event.payload["image_url"]).path))

    def _attempt(
        self, prompt: str, job_id: str, *, fail: bool = False, lose_connection: bool = False
    ) -> ImageGenerationCompletedEvent:
        def start() -> str:
            self._client.emit("image.generate", {"prompt": prompt, "job_id": job_id, "fail": fail})
            return job_id

        def show(event: ImageGenerationProgressEvent) -> None:
            nonlocal lose_connection
            percent = event.payload["progress"]
            self._screen.job(prompt, percent, event.payload.get("stage", ""))
            if lose_connection and percent >= _LOSS_AT:
                lose_connection = False
                self._gateway.drop()

        self._screen.job(prompt, 0, "waiting")
        return self._client.run_image_job(start, timeout=_JOB_TIMEOUT, on_progress=show, poll=self._ask)

    def _ask(self, job_id: str) -> ImageGenerationCompletedEvent | None:
        """Ask over HTTP how a job has ended: its last events may have been sent while there was no connection."""
        with contextlib.closing(HTTPConnection(urlsplit(self._gateway.url).netloc, timeout=5)) as http:
            http.request("GET", f"/jobs/{job_id}")
            response = http.getresponse()
            last = Event(**json.load(response)) if response.status == HTTPStatus.OK else None
        if last and last.type == "image.generation.failed":
            raise ImageGenerationError(last.payload["error"], job_id, last.payload["retry_allowed"])
        if last and last.type == "image.generation.completed":
            self._screen.note(f"job {job_id} ended in the meantime, the service answers when asked")
            return ImageGenerationCompletedEvent(cast("ImageGenerationCompletedPayload", last.payload), last.timestamp)
        return None

    def _show_state(self, event: StateChangeEvent) -> None:
        if event.new_state != "disconnected":
            self._screen.connection(event.new_state)

    def _show_return(self, event: ConnectedEvent) -> None:
        if event.gap is not None:
            self._screen.note(f"connected again after {event.gap:.1f} s")

    def _show_loss(self, event: DisconnectedEvent) -> None:
        if event.will_reconnect:
            self._screen.connection(f"disconnected (code {event.code}), next attempt in {_RECONNECT_DELAY:g} s")
        else:
            self._screen.connection("disconnected")

    def _show_error(self, event: ErrorEvent) -> None:
        self._screen.note(f"{event.context} error: {event.error}")
