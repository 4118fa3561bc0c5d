"""Makes and starts the client of a framework, whose first use starts it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any

from masquerade_ws import ConnectError, DisconnectedError, WaitTimeoutError, WebSocketClient
from masquerade_ws.client import is_running, may_block
from masquerade_ws.contrib.settings import ARGUMENTS

__all__ = ["CONNECT_TIMEOUT", "make", "start"]

CONNECT_TIMEOUT: float = ARGUMENTS["connect_timeout"].default


def make(
    around: Callable[[], AbstractContextManager[object]],
    *,
    get_token: Callable[[], str],
    around_event: Callable[[Any], AbstractContextManager[object]] | None = None,
    **arguments: Any,
) -> WebSocketClient:
    """Make a client whose listeners and ``get_token`` run in a context of the framework, as a request would.

    Args:
        around: Returns that context.
        get_token: As for `WebSocketClient`.
        around_event: As for `WebSocketClient`; its context is entered within that of the framework.
        arguments: The other arguments of `WebSocketClient`.
    """

    def token() -> str:
        with around():
            return get_token()

    @contextlib.contextmanager
    def around_listeners(event: Any) -> Generator[None, None, None]:
        with around(), around_event(event) if around_event else contextlib.nullcontext():
            yield

    return WebSocketClient(**arguments, get_token=token, around_event=around_listeners)


def start(client: WebSocketClient, timeout: float) -> None:
    """Start a client unless it is running, and wait for the outcome of an attempt to connect that is under way.

    A failed attempt raises nothing here: a wait goes on until there is a connection, a send reports that there is
    none, and the ``error`` event says why. A client in a retry delay is left alone, so that many users do not hurry
    its attempts. Where blocking is not allowed, in a listener for example, this does nothing: that code runs because
    the client has been started.

    Args:
        client: The client.
        timeout: Seconds to wait for the attempt.
    """
    if not may_block(client):
        return
    # In this order: a client that another thread starts between the two questions is running, and not disconnected.
    if is_running(client) and client.state in ("connected", "disconnected"):
        return
    with contextlib.suppress(ConnectError, DisconnectedError, WaitTimeoutError):
        client.connect(timeout=timeout)
