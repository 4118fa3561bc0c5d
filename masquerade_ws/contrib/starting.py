"""What the integrations share: a client made from settings, and started by its first use."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from masquerade_ws import DisconnectedError, MasqueradeError, WaitTimeoutError, WebSocketClient

__all__ = ["ARGUMENTS", "CONNECT_TIMEOUT", "DOTTED", "Around", "nested", "start"]

Around = Callable[[Any], AbstractContextManager[object]]

ARGUMENTS: Mapping[str, inspect.Parameter] = inspect.signature(WebSocketClient).parameters
CONNECT_TIMEOUT: float = ARGUMENTS["connect_timeout"].default
DOTTED = ("get_token", "around_event")  # callables, which settings may name by a dotted path


def nested(outer: Around, inner: Around | None) -> Around:
    """Return an ``around_event`` that enters ``outer``, and in it the user's own, if there is one."""
    if inner is None:
        return outer

    @contextlib.contextmanager
    def around(event: Any) -> Generator[None, None, None]:
        with outer(event), inner(event):
            yield

    return around


def start(client: WebSocketClient, timeout: float) -> None:
    """Start a client unless it runs, and let an attempt that is under way come to its end.

    An attempt that fails raises nothing here: a wait goes on until the connection comes about, a send says that there
    is none, and the client's ``error`` event says why. A client in a retry delay is left alone, so that many users
    do not hurry its attempts.

    Args:
        client: The client.
        timeout: Seconds to wait for the attempt.
    """
    if client.state == "connected" or (client.state == "disconnected" and _runs(client)):
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
