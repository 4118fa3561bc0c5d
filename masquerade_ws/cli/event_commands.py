"""What ``masquerade-ws listen``, ``wait`` and ``send`` do."""

from __future__ import annotations

__all__ = ["job_failure", "listen", "send", "wait"]

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import click

from masquerade_ws import Event, ImageGenerationError, WaitTimeoutError
from masquerade_ws.cli.conversation import Conversation, open_conversation
from masquerade_ws.cli.output import event_line, json_line, note, note_of, say
from masquerade_ws.cli.target import Target
from masquerade_ws.cli.where import Wanted, is_met
from masquerade_ws.sanitize import clean

_JOBS = "image.generation."
_FAILED = "image.generation.failed"


def listen(
    target: Target,
    types: Sequence[str],
    where: Mapping[str, Wanted],
    *,
    count: int | None,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Print events as they arrive.

    Args:
        target: The gateway.
        types: Types and patterns of events; all without any.
        where: What the payload of an event must have.
        count: How many events to print; all without it.
        timeout: Seconds after which to end.
        as_json: Whether to print JSON.

    Raises:
        WaitTimeoutError: If there were fewer than ``count`` events in time.
    """
    shown = 0
    with open_conversation(target, types, lambda event: is_met(where, event.payload), timeout=timeout) as conversation:
        for event in islice(_server_events(conversation), count):
            _show(event, as_json)
            shown += 1
    if count is not None and shown < count:
        raise WaitTimeoutError(f"only {shown} of {count} events came within {timeout:g} s")


def wait(
    target: Target, types: Sequence[str], where: Mapping[str, Wanted], *, timeout: float | None, as_json: bool
) -> None:
    """Print the first event that matches.

    Args:
        target: The gateway.
        types: Types and patterns of events.
        where: What the payload of the event must have.
        timeout: Seconds after which to give up.
        as_json: Whether to print JSON.

    Raises:
        ImageGenerationError: If the job whose events are waited for has failed.
        WaitTimeoutError: If none came in time.
    """
    job = _awaited_job(types, where)
    failure = () if job is None else (_FAILED,)

    def is_failure(event: Event) -> bool:
        return job is not None and event.type == _FAILED and is_met({"job_id": job}, event.payload)

    def wants(event: Event) -> bool:
        return is_failure(event) or is_met(where, event.payload)

    with open_conversation(target, (*types, *failure), wants, timeout=timeout) as conversation:
        for event in _server_events(conversation):
            if is_failure(event):
                raise job_failure(event)
            _show(event, as_json)
            return
    raise WaitTimeoutError(f"no {' or '.join(types)} came within {timeout:g} s")


def _awaited_job(types: Sequence[str], where: Mapping[str, Wanted]) -> Wanted | None:
    """Return the id of the job that the events are about, unless its failure is one of them."""
    failure_is_wanted = any(_FAILED.startswith(each[:-1]) if each[-1:] == "*" else each == _FAILED for each in types)
    about_jobs = all(each.startswith(_JOBS) for each in types)
    return None if failure_is_wanted or not about_jobs else where.get("job_id")


def job_failure(event: Event) -> ImageGenerationError:
    """Return the error that a failure of a job is."""
    payload = event.payload
    job_id, reason = str(payload.get("job_id")), str(payload.get("error", "no reason given"))
    retry = payload.get("retry_allowed") is True
    hint = " (it may be tried again)" if retry else ""
    return ImageGenerationError(f"job {job_id} failed: {reason}{hint}", job_id, retry, reason)


def send(target: Target, type: str, payload: Mapping[str, Any], *, seconds: float | None, as_json: bool) -> None:
    """Send one event. A server that has answered our close frame has read it.

    Args:
        target: The gateway.
        type: The type of the event.
        payload: Its payload.
        seconds: How long to print what comes back; ``None`` prints nothing.
        as_json: Whether to print JSON.
    """
    with open_conversation(target) as conversation:
        try:
            conversation.client.emit(type, payload)
        except (TypeError, ValueError) as error:
            raise click.UsageError(str(error)) from error
        if seconds is not None:
            for event in _server_events(conversation, time.monotonic() + seconds):
                _show(event, as_json)


def _server_events(conversation: Conversation, until: float = math.inf) -> Iterator[Event]:
    """Yield the events of the server; print notes of those of the client."""
    for event in conversation.events(until):
        if isinstance(event, Event):
            yield event
        else:
            note(note_of(event))


def _show(event: Event, as_json: bool) -> None:
    line: Callable[[Event], str] = json_line if as_json else event_line
    try:
        text = line(event)
    except RecursionError:
        note(f"an event is nested too deeply to be printed: {clean(event.type)}")
    else:
        say(text)
