"""A client for as long as a command runs, and what it receives."""

from __future__ import annotations

__all__ = ["BEAT", "Session", "open_session"]

import contextlib
import math
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import click

from masquerade_ws import (
    ClientEvent,
    ConnectError,
    Event,
    EventsDroppedError,
    EventStream,
    StateChangeEvent,
    WaitTimeoutError,
    WebSocketClient,
)
from masquerade_ws.cli.tokens import VARIABLE, TokenSource

# On Windows a wait cannot be interrupted; this is how long Ctrl-C may go unseen there.
BEAT = 0.2 if sys.platform == "win32" else threading.TIMEOUT_MAX

_FAREWELL = 2.0  # seconds for a server to answer our close


class Session(NamedTuple):
    """A connected client, and a stream of the server's events and of the client's own."""

    client: WebSocketClient
    stream: EventStream[Any]
    deadline: float

    def events(self, until: float = math.inf) -> Iterator[Event | ClientEvent | EventsDroppedError]:
        """Yield events until the deadline, or this earlier moment, and a word on those that had to be dropped."""
        while (left := min(self.deadline, until) - time.monotonic()) > 0:
            try:
                yield self.stream.get(min(left, BEAT))
            except WaitTimeoutError:
                pass
            except EventsDroppedError as error:
                yield error


@contextlib.contextmanager
def open_session(
    url: str,
    token: TokenSource,
    types: Iterable[str] = (),
    where: Mapping[str, Any] | None = None,
    *,
    timeout: float | None = None,
    **options: Any,
) -> Generator[Session]:
    """Connect, with nothing missed from then on; disconnect at the end.

    Args:
        types: The events of the server that are wanted; all if there are none.
        where: What their payloads must have.
        timeout: Seconds for everything that is waited for.

    Raises:
        click.UsageError: The client refuses an argument.
        ConnectError: The first attempt failed; a connection that is lost later is replaced.
    """
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    conditions = dict(where or {})

    def wanted(event: Event | ClientEvent) -> bool:
        if isinstance(event, Event):
            return all(name in event.payload and event.payload[name] == value for name, value in conditions.items())
        return not isinstance(event, StateChangeEvent) or event.new_state == "connecting"

    try:
        client = WebSocketClient(url, token, **options)
        names = [*(types or ("*",)), "connected", "disconnected", "error", "state:change"]
        stream = cast("EventStream[Any]", client.events(*names, where=wanted))
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    try:
        _connect(client, token, timeout)
        yield Session(client, stream, deadline)
    finally:
        client.disconnect(timeout=_FAREWELL)


def _connect(client: WebSocketClient, token: TokenSource, timeout: float | None) -> None:
    try:
        client.connect(timeout=timeout)
    except ConnectError as error:
        if error.status not in (401, 403) or token.named:
            raise
        hint = f"{error}; no token was given: set {VARIABLE}, or use --token-file or --token-command"
        raise ConnectError(hint, error.status) from error
