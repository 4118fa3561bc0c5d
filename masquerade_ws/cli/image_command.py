"""What ``masquerade-ws run`` does: one image job, from its start to the image in a file."""

from __future__ import annotations

__all__ = ["run"]

import contextlib
import math
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, cast

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from masquerade_ws import ConnectedEvent, Event, ImageGenerationError, WaitTimeoutError
from masquerade_ws.cli.conversation import Conversation, open_conversation
from masquerade_ws.cli.download import check_place, download
from masquerade_ws.cli.event_commands import job_failure
from masquerade_ws.cli.output import json_line, note, note_of, say
from masquerade_ws.cli.target import Target
from masquerade_ws.cli.where import value_of
from masquerade_ws.sanitize import clean

_TYPES = ("image.generation.*", "system.notification")  # a gateway may notify of an order that it does not understand
_PATIENCE = 30.0  # seconds to wait for news of the job after the connection was lost

_Show = Callable[[float, str], None]


def run(target: Target, text: str, *, timeout: float | None, as_json: bool, save: Path | None, force: bool) -> None:
    """Start a job, show its progress, print the URL of its image.

    Args:
        target: The gateway.
        text: The prompt, or a JSON object, the whole payload.
        timeout: Seconds after which to give up.
        as_json: Whether to print the event of the completion instead.
        save: Where to save the image.
        force: Whether to overwrite a file there.

    Raises:
        click.UsageError: If there is no prompt, or the file is there already.
        ConnectError: If the gateway or the image cannot be reached.
        ImageGenerationError: If the job failed, or nothing was heard of it any more after the connection was lost.
        WaitTimeoutError: If it did not end in time.
    """
    payload = _payload_of(text)
    if save is not None:
        check_place(save, force)
    job_id = payload["job_id"]

    def wants(event: Event) -> bool:
        return bool(event.payload.get("job_id") == job_id or event.payload.get("severity") == "error")

    with open_conversation(target, _TYPES, wants, timeout=timeout) as conversation:
        conversation.client.emit("image.generate", payload)
        with _progress() as show:
            completed = _end_of_job(conversation, job_id, show)
    url = completed.payload.get("image_url")
    if not isinstance(url, str):
        raise ImageGenerationError(f"job {job_id} is said to be completed, without the URL of its image", job_id)
    say(json_line(completed) if as_json else clean(url))
    if save is not None:
        download(url, save, target)
        note(f"saved as {clean(str(save))}")


def _payload_of(text: str) -> dict[str, Any]:
    value = value_of(text)
    payload = cast("dict[str, Any]", value) if isinstance(value, dict) else {"prompt": text.strip()}
    if not payload.get("prompt"):
        raise click.UsageError("there is no prompt: give one, in quotes")
    payload.setdefault("job_id", str(uuid.uuid4()))
    if not isinstance(payload["job_id"], str):
        raise click.UsageError("job_id must be a JSON string")
    return payload


def _end_of_job(conversation: Conversation, job_id: str, show: _Show) -> Event:
    """Return the event of the completion."""
    last, patience = "nothing", math.inf
    while (event := next(conversation.events(patience), None)) is not None:
        if not isinstance(event, Event):
            note(note_of(event))
            if isinstance(event, ConnectedEvent):
                patience = time.monotonic() + _PATIENCE
            continue
        if event.type == "system.notification":
            if last == "nothing":
                note(f"notification: {clean(str(event.payload.get('message')))}")
            continue
        patience, last = math.inf, event.type
        if event.type == "image.generation.completed":
            return event
        if event.type == "image.generation.failed":
            raise job_failure(event)
        show(*_progress_of(event.payload))
    if time.monotonic() >= conversation.deadline:
        raise WaitTimeoutError(f"job {job_id} did not end in time; last seen of it: {last}")
    reason = "the connection was lost while the job ran"
    raise ImageGenerationError(f"job {job_id}: {reason}, and nothing was heard of it since", job_id, True, reason)


def _progress_of(payload: Mapping[str, Any]) -> tuple[float, str]:
    percent, stage = payload.get("progress", 0.0), payload.get("stage", "")
    return float(percent) if isinstance(percent, (int, float)) else 0.0, clean(str(stage)[:80])


@contextlib.contextmanager
def _progress() -> Generator[_Show]:
    """Yield a function that shows how far the job has got: a bar on a terminal, elsewhere a line for each stage."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Lines()
        return
    columns = BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[stage]}", markup=False)
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=100, stage="waiting")
        yield lambda percent, stage: bars.update(task, completed=percent, stage=stage)


class _Lines:
    """Prints a line for each stage."""

    def __init__(self) -> None:
        self._stage: str | None = None

    def __call__(self, percent: float, stage: str) -> None:
        if stage != self._stage:
            self._stage = stage
            note(f"{percent:.0f} % {stage}".rstrip())
