"""What holds for every test, and the fixtures of several modules."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from masquerade_ws import WebSocketClient
from masquerade_ws.testing import EventServer
from tests.support.scenes import Hang, client_of

# A shell lets what it runs in the background ignore Ctrl-C, and so would each process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def client(masquerade_server: EventServer) -> Iterator[WebSocketClient]:
    """A client that is not connected yet, and leaves no thread behind."""
    with client_of(masquerade_server.url) as client:
        yield client


@pytest.fixture
def hang() -> Iterator[Hang]:
    """User code that hangs until the end of the test."""
    hang = Hang()
    yield hang
    hang.over.set()
