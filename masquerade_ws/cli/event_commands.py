"""What ``masquerade-ws listen``, ``wait`` and ``send`` do."""

from __future__ import annotations

__all__ = ["listen", "send", "wait"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import click

from masquerade_ws import Event, WaitTimeoutError
from masquerade_ws.cli.conversation import Conversation, open_conversation
from masquerade_ws.cli.output import event_line, json_line, note, note_of, say
from masquerade_ws.cli.tokens import TokenSource
from masquerade_ws.cli.where import Wanted
from masquerade_ws.sanitize import clean


def listen(
    url: str,
    token: TokenSource,
    types: Sequence[str],
    where: Mapping[str, Wanted],
    *,
    count: int | None,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Print events as they arrive.

    Args:
        url: The URL of the gateway.
        token: Where the token comes from.
        types: Types and patterns of events; all without any.
        where: What the payload of an event must have.
        count: How many events to print; all without it.
        timeout: Seconds after which to end.
        as_json: Whether to print JSON.

    Raises:
        WaitTimeoutError: If there were fewer than ``count`` events in time.
    """
    shown = 0
    with open_conversation(url, token, types, where, timeout=timeout) as conversation:
        for event in islice(_server_events(conversation), count):
            _show(event, as_json)
            shown += 1
    if count is not None and shown < count:
        raise WaitTimeoutError(f"only {shown} of {count} events came within {timeout:g} s")


def wait(
    url: str, token: TokenSource, type: str, where: Mapping[str, Wanted], *, timeout: float | None, as_json: bool
) -> None:
    """Print the first event that matches.

    Raises:
        WaitTimeoutError: If none came in time.
    """
    with open_conversation(url, token, (type,), where, timeout=timeout) as conversation:
        for event in _server_events(conversation):
            _show(event, as_json)
            return
    raise WaitTimeoutError(f"no {type} came within {timeout:g} s")


def send(url: str, token: TokenSource, type: str, payload: Mapping[str, Any]) -> None:
    """Send one event. A server that has answered our close frame has read it."""
    with open_conversation(url, token) as conversation:
        try:
            conversation.client.emit(type, payload)
        except (TypeError, ValueError) as error:
            raise click.UsageError(str(error)) from error


def _server_events(conversation: Conversation) -> Iterator[Event]:
    """Yield the events of the server; print notes of those of the client."""
    for event in conversation.events():
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
