"""What the integrations share: a client that lives with a framework, made and started by its first use."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any

from masquerade_ws import DisconnectedError, MasqueradeError, WaitTimeoutError, WebSocketClient
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
    """Make a client that calls the user's code, listeners and ``get_token``, on threads where no request is served.

    Args:
        around: Returns the context that the framework gives such code; the user's own ``around_event`` is within it.
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
    """Start a client unless it runs, and let an attempt that is under way come to its end.

    An attempt that fails raises nothing here: a wait goes on until the connection comes about, a send says that there
    is none, and the client's ``error`` event says why. A client in a retry delay is left alone, so that many users
    do not hurry its attempts.

    Args:
        client: The client.
        timeout: Seconds to wait for the attempt.
    """
    # In this order: a client that another thread has just started is neither.
    if client.state == "connected" or (_runs(client) and client.state == "disconnected"):
        return
    with contextlib.suppress(MasqueradeError, RuntimeError):  # the second: listeners must not wait
        client.connect(timeout=timeout)


def _runs(client: WebSocketClient) -> bool:
    """Tell whether a client that is not connected goes on trying, which one that was forked or gave up does not."""
    try:
        client.wait_for("connected", timeout=0)
    except DisconnectedError:
        return False
    except (WaitTimeoutError, RuntimeError):  # the second: in a listener, which runs because the client does
        return True
    return True  # it has just connected
