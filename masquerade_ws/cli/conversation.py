"""A conversation with the gateway, which lasts as long as a command runs."""

from __future__ import annotations

__all__ = ["WAKE_INTERVAL", "Conversation", "Inbox", "open_conversation"]

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple

import click

from masquerade_ws import ClientEvent, ConnectError, Event, StateChangeEvent, WaitTimeoutError, WebSocketClient
from masquerade_ws.cli.output import check_output
from masquerade_ws.cli.target import Target
from masquerade_ws.cli.tokens import VARIABLE, TokenSource
from masquerade_ws.client import Client

# Seconds until a wait notices Ctrl-C, which interrupts no wait on Windows, and elsewhere none that is just beginning.
WAKE_INTERVAL = 0.5

_CAPACITY = 1_000  # events that may wait to be printed; then the client stops reading, and the server waits
_CLOSE_TIMEOUT = 2.0  # seconds for the server to answer our close frame


class Inbox:
    """Hands events from the dispatcher thread to the main thread, in their order, without losing any.

    Args:
        wants: Whether to take a server event; called on the dispatcher thread.
    """

    def __init__(self, wants: Callable[[Event], bool]) -> None:
        self._wants_event = wants
        self._last: object = None
        self._changed = threading.Condition()  # guards _events and _closed
        self._events: deque[Event | ClientEvent] = deque()
        self._closed = False

    def put(self, event: Event | ClientEvent) -> None:
        """Take an event, once even if several patterns match it; wait while the inbox is full."""
        if event is self._last or not self._wants(event):
            return
        self._last = event
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._events) < _CAPACITY or self._closed
            )  # woken by `get`, or by `close`
            self._events.append(event)
            self._changed.notify_all()

    def _wants(self, event: Event | ClientEvent) -> bool:
        if isinstance(event, Event):
            return self._wants_event(event)
        return not isinstance(event, StateChangeEvent) or event.new_state == "connecting"

    def get(self, timeout: float) -> Event | ClientEvent | None:
        """Return the next event, or ``None`` if there is none within ``timeout`` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._events, timeout):
                return None
            self._changed.notify_all()
            return self._events.popleft()

    def close(self) -> None:
        """Let `put` wait no more: what still arrives is never read, and must not hold up the disconnection."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Conversation(NamedTuple):
    """A connected client, what it receives, and when to stop waiting, on the monotonic clock."""

    client: Client
    inbox: Inbox
    deadline: float

    def events(self, until: float = math.inf) -> Iterator[Event | ClientEvent]:
        """Yield the events of the server and of the client until the deadline, or until an earlier moment."""
        while (left := min(self.deadline, until) - time.monotonic()) > 0:
            event = self.inbox.get(min(left, WAKE_INTERVAL))
            if event is None:
                check_output()
            else:
                yield event


@contextlib.contextmanager
def open_conversation(
    target: Target,
    types: Sequence[str] = (),
    wants: Callable[[Event], bool] = lambda event: True,
    *,
    timeout: float | None = None,
    **options: Any,
) -> Generator[Conversation]:
    """Connect, miss no event from then on, and disconnect at the end.

    Args:
        target: The gateway.
        types: Types and patterns of the server events that are wanted; all without any.
        wants: Which of them are wanted; called on the dispatcher thread.
        timeout: Seconds for the whole conversation.
        options: Further arguments of the client.

    Raises:
        click.UsageError: If the client refuses an argument.
        ConnectError: If the first attempt failed; a connection that is lost later is replaced.
        WaitTimeoutError: If there was no connection in time.
    """
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    inbox = Inbox(wants)
    try:
        client = _client_of(target, options)
        for name in (*(types or ("*",)), "connected", "disconnected", "error", "state:change"):
            client.on(name, inbox.put)
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    try:
        _connect(client, target.token, deadline)
        yield Conversation(client, inbox, deadline)
    finally:
        target.token.close()
        inbox.close()
        client.disconnect(timeout=_CLOSE_TIMEOUT)


def _client_of(target: Target, options: dict[str, Any]) -> Client:
    if not target.relayed:
        return WebSocketClient(target.url, target.token, **target.options, **options)
    from masquerade_ws.relay import RelayClient  # noqa: PLC0415 - its packages may be missing

    options.pop("heartbeat_interval", None)  # it has none
    return RelayClient(target.url, namespace=target.namespace, **options)


def _connect(client: Client, token: TokenSource, deadline: float) -> None:
    try:
        while not _is_connected(client, min(deadline - time.monotonic(), WAKE_INTERVAL)):
            if time.monotonic() >= deadline:
                raise WaitTimeoutError("could not connect in time; allow more with --timeout")
    except ConnectError as error:
        if error.status not in (401, 403) or token.named:
            raise
        hint = f"{error}; no token was given: set {VARIABLE}, or use --token-file or --token-command"
        raise ConnectError(hint, error.status) from error


def _is_connected(client: Client, timeout: float) -> bool:
    """Return whether the first attempt has succeeded within ``timeout`` seconds."""
    try:
        client.connect(timeout=max(timeout, 0))
    except WaitTimeoutError:
        return False
    return True
