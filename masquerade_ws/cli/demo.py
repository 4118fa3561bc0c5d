"""``masquerade-ws demo``: a gateway and its client in one process, with everything that can happen to a job."""

from __future__ import annotations

__all__ = ["run"]

import contextlib
import json
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import click

from masquerade_ws import (
    ConnectedEvent,
    DisconnectedEvent,
    ErrorEvent,
    ImageGenerationCompletedEvent,
    ImageGenerationError,
    ImageGenerationFailedEvent,
    ImageGenerationProgressEvent,
    MasqueradeError,
    StateChangeEvent,
    WebSocketClient,
)
from masquerade_ws.cli.gateway import Gateway
from masquerade_ws.cli.screens import Screen, open_screen

PROMPTS = ("a lighthouse in a storm", "a library under the sea", "a fox made of autumn leaves")

_RECONNECT_DELAY = 1.0  # seconds; long enough for a job to end meanwhile
_JOB_TIMEOUT = 60.0  # seconds; ten times what a job takes


def run(output: Path, *, step: float = 0.4) -> None:
    """Run the demo; exit with status 130 if it is interrupted."""
    begin = time.monotonic()
    try:
        with open_screen() as screen:
            paths = _Demo(screen, output, step).run()
    except KeyboardInterrupt:
        sys.exit(130)
    except (MasqueradeError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{len(paths)} pictures in {time.monotonic() - begin:.1f} s:")
    for path in paths:
        click.echo(f"  {path}")


class _Demo:
    """Three jobs side by side: the first fails once, and while it is tried again the connection breaks."""

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
        """Return where the pictures are."""
        # On an interruption the client ends first, and with it the waits of the workers, whom the pool then joins.
        with ThreadPoolExecutor(len(PROMPTS)) as workers, self._gateway, self._client:
            jobs = [workers.submit(self._generate, prompt) for prompt in PROMPTS]
            while not all(job.done() for job in jobs):
                time.sleep(0.1)  # unlike the wait for a result, interruptible on Windows too
            return [job.result() for job in jobs]

    def _generate(self, prompt: str) -> Path:
        """Have one picture made, again if the service allows it after a failure."""
        troubled = prompt == PROMPTS[0]
        try:
            event = self._attempt(prompt, fail=troubled)
        except ImageGenerationError as error:
            if not error.retry_allowed:
                raise
            self._screen.note(f"{prompt}: {error}; the service allows another attempt")
            event = self._attempt(prompt, break_connection=True)
        self._screen.job(prompt, 100, "done")
        return Path(url2pathname(urlsplit(event.payload["image_url"]).path))

    def _attempt(
        self, prompt: str, *, fail: bool = False, break_connection: bool = False
    ) -> ImageGenerationCompletedEvent:
        breaks = [40] if break_connection else []  # per cent

        def start() -> str:
            job_id = str(uuid.uuid4())
            self._client.emit("image.generate", {"prompt": prompt, "job_id": job_id, "fail": fail})
            return job_id

        def show(event: ImageGenerationProgressEvent) -> None:
            percent = event.payload["progress"]
            self._screen.job(prompt, percent, event.payload.get("stage", ""))
            if breaks and percent >= breaks[0]:
                breaks.clear()
                self._gateway.drop()

        self._screen.job(prompt, 0, "waiting")
        return self._client.run_image_job(start, timeout=_JOB_TIMEOUT, on_progress=show, poll=self._ask)

    def _ask(self, job_id: str) -> ImageGenerationCompletedEvent | ImageGenerationFailedEvent | None:
        """Ask over HTTP how a job has ended: its last events may have come while there was no connection."""
        with contextlib.closing(HTTPConnection(urlsplit(self._gateway.url).netloc, timeout=5)) as http:
            http.request("GET", f"/jobs/{job_id}")
            answer = json.load(response) if (response := http.getresponse()).status == HTTPStatus.OK else {}
        if answer.get("type") == "image.generation.completed":
            self._screen.note(f"job {job_id[:8]} ended meanwhile: found by asking")
            return ImageGenerationCompletedEvent(answer["payload"], answer["timestamp"])
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
