"""A client for as long as a command runs, and what it receives."""

from __future__ import annotations

__all__ = ["BEAT", "Inbox", "Session", "open_session"]

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click

from masquerade_ws import ClientEvent, ConnectError, Event, StateChangeEvent, WaitTimeoutError, WebSocketClient
from masquerade_ws.cli.output import check_output
from masquerade_ws.cli.tokens import VARIABLE, TokenSource
from masquerade_ws.cli.where import Wanted

# How long Ctrl-C may go unseen: on Windows it interrupts no wait, and elsewhere none that is just about to begin.
BEAT = 0.5

_ROOM = 1_000  # events that may wait to be shown; then the client stops reading, and the server waits
_FAREWELL = 2.0  # seconds for a server to answer our close


class Inbox:
    """What the dispatcher thread hands to the main thread, in the order in which it happened, losing nothing.

    Args:
        where: What the payload of a server event must have to be taken.
    """

    def __init__(self, where: Mapping[str, Wanted]) -> None:
        self._where = dict(where)
        self._last: object = None
        self._changed = threading.Condition()  # guards _events and _closed
        self._events: deque[Event | ClientEvent] = deque()
        self._closed = False

    def put(self, event: Event | ClientEvent) -> None:
        """Take an event, once even if several patterns cover it; wait for room."""
        if event is self._last or not self._wants(event):
            return
        self._last = event
        with self._changed:
            self._changed.wait_for(lambda: len(self._events) < _ROOM or self._closed)  # woken by `get`, or by `close`
            self._events.append(event)
            self._changed.notify_all()

    def _wants(self, event: Event | ClientEvent) -> bool:
        if isinstance(event, Event):
            payload = event.payload
            return all(name in payload and wanted.is_met_by(payload[name]) for name, wanted in self._where.items())
        return not isinstance(event, StateChangeEvent) or event.new_state == "connecting"

    def get(self, timeout: float) -> Event | ClientEvent | None:
        """Return the next event, or ``None`` if there is none in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._events, timeout):
                return None
            self._changed.notify_all()
            return self._events.popleft()

    def close(self) -> None:
        """Make room for all that may still come and that nobody will look at, so that it holds up no end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Session(NamedTuple):
    """A connected client, and what it receives."""

    client: WebSocketClient
    inbox: Inbox
    deadline: float

    def events(self, until: float = math.inf) -> Iterator[Event | ClientEvent]:
        """Yield the server's events and the client's own until the deadline, or this earlier moment."""
        while (left := min(self.deadline, until) - time.monotonic()) > 0:
            event = self.inbox.get(min(left, BEAT))
            if event is None:
                check_output()
            else:
                yield event


@contextlib.contextmanager
def open_session(
    url: str,
    token: TokenSource,
    types: Sequence[str] = (),
    where: Mapping[str, Wanted] | None = None,
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
    inbox = Inbox(where or {})
    try:
        client = WebSocketClient(url, token, **options)
        for name in (*(types or ("*",)), "connected", "disconnected", "error", "state:change"):
            client.on(name, inbox.put)
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    try:
        _connect(client, token, deadline)
        yield Session(client, inbox, deadline)
    finally:
        inbox.close()
        client.disconnect(timeout=_FAREWELL)


def _connect(client: WebSocketClient, token: TokenSource, deadline: float) -> None:
    try:
        while not _is_connected(client, min(deadline - time.monotonic(), BEAT)):
            if time.monotonic() >= deadline:
                raise WaitTimeoutError("there was no connection in time")
    except ConnectError as error:
        if error.status not in (401, 403) or token.named:
            raise
        hint = f"{error}; no token was given: set {VARIABLE}, or use --token-file or --token-command"
        raise ConnectError(hint, error.status) from error


def _is_connected(client: WebSocketClient, timeout: float) -> bool:
    """Wait so long for the outcome of the first attempt."""
    try:
        client.connect(timeout=max(timeout, 0))
    except WaitTimeoutError:
        return False
    return True
