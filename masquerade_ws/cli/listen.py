"""``masquerade-ws listen``, ``wait`` and ``send``: a line for each event, one event, and none."""

from __future__ import annotations

__all__ = ["listen", "send", "wait"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import click

from masquerade_ws import Event, WaitTimeoutError
from masquerade_ws.cli.output import event_line, json_line, note, note_of, say
from masquerade_ws.cli.session import Session, open_session
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
    """Print events as they come; all of them, or as many as are asked for."""
    shown = 0
    with open_session(url, token, types, where, timeout=timeout) as session:
        for event in islice(_server_events(session), count):
            _show(event, as_json)
            shown += 1
    if count is not None and shown < count:
        raise WaitTimeoutError(f"{shown} of {count} events within {timeout:g} s")


def wait(
    url: str, token: TokenSource, type: str, where: Mapping[str, Wanted], *, timeout: float | None, as_json: bool
) -> None:
    """Print the first event that matches."""
    with open_session(url, token, (type,), where, timeout=timeout) as session:
        for event in _server_events(session):
            _show(event, as_json)
            return
    raise WaitTimeoutError(f"no {type} within {timeout:g} s")


def send(url: str, token: TokenSource, type: str, payload: Mapping[str, Any]) -> None:
    """Send one event; once the server has answered our close it has read it."""
    with open_session(url, token) as session:
        try:
            session.client.emit(type, payload)
        except (TypeError, ValueError) as error:
            raise click.UsageError(str(error)) from error


def _server_events(session: Session) -> Iterator[Event]:
    """Yield the server's events, and tell of the client's own in between."""
    for event in session.events():
        if isinstance(event, Event):
            yield event
        else:
            note(note_of(event))


def _show(event: Event, as_json: bool) -> None:
    line: Callable[[Event], str] = json_line if as_json else event_line
    try:
        text = line(event)
    except RecursionError:
        note(f"an event is nested too deeply to be shown: {clean(event.type)}")
    else:
        say(text)
