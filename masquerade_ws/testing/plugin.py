"""The pytest plugin of the extra ``testing``."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import masquerade_ws
from masquerade_ws import ErrorEvent, MasqueradeError, WebSocketClient, testing
from masquerade_ws.client import watch_unheard_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["masquerade_client", "masquerade_server", "pytest_runtest_makereport"]

_PACKAGE = str(Path(masquerade_ws.__file__).parent)


@pytest.fixture
def masquerade_server() -> Iterator[testing.EventServer]:
    """Run an `EventServer` for one test."""
    with testing.EventServer() as server:
        yield server


@pytest.fixture
def masquerade_client(masquerade_server: testing.EventServer) -> Iterator[WebSocketClient]:
    """Connect a client to ``masquerade_server`` for one test; its token is ``"token"``.

    It reconnects within a tenth of a second and ignores proxies of the environment. The test fails at its end if a
    listener raised and nothing listened to errors.
    """
    client = WebSocketClient(
        masquerade_server.url, lambda: "token", initial_reconnect_delay=0.01, max_reconnect_delay=0.1, proxy=False
    )
    unheard: list[ErrorEvent] = []
    watch_unheard_errors(client, unheard.append)
    with client.events("connected") as events:
        client.connect()
        events.get()  # so that the test sees no event of the first connection
    yield client
    client.disconnect(timeout=1.0)  # half of it for the closing handshake, which a frozen server does not answer
    raised = [_describe(event.error) for event in unheard if event.context == "handler"]
    if raised:
        pytest.fail("\n".join(["a listener raised, and nothing listened to errors:", *raised]), pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> None:
    """Show the lines of the test where an error of the library fails it, unless ``--full-trace`` is given."""
    if call.excinfo is not None and not item.config.getoption("fulltrace", False):
        error = call.excinfo.value
        if isinstance(error, MasqueradeError):
            _hide_library(error)


def _describe(error: BaseException) -> str:
    """Return the traceback of an exception as text, without the lines of the library."""
    _hide_library(error)
    return "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()


def _hide_library(error: BaseException) -> None:
    """Take the lines of the library out of the traceback of an exception and out of those of its causes."""
    seen: set[int] = set()
    part: BaseException | None = error
    while part is not None and id(part) not in seen:
        seen.add(id(part))
        part.__traceback__ = entry = _next_elsewhere(part.__traceback__)
        while entry is not None:
            entry.tb_next = following = _next_elsewhere(entry.tb_next)
            entry = following
        part = part.__cause__ or part.__context__


def _next_elsewhere(entry: TracebackType | None) -> TracebackType | None:
    """Return an entry of a traceback, or the first one after it that is not in the library."""
    while entry is not None and entry.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        entry = entry.tb_next
    return entry
