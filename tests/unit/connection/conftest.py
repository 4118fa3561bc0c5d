"""What the tests of one connection's parts share."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator

import pytest

from masquerade_ws.connection.attempt import Attempt
from tests.support import raw_server


@pytest.fixture(name="_either_way", params=["the system's best", "select and a pair of sockets"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait in the way that this system does best, and in the way that every system knows."""
    if request.param != "the system's best":
        monkeypatch.delattr(select, "poll", raising=False)
        monkeypatch.delattr(os, "eventfd", raising=False)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two sockets, connected to each other."""
    near, far = socket.socketpair()
    with near, far:
        yield near, far


@pytest.fixture
def attempt() -> Iterator[Attempt]:
    """An attempt with ten seconds, closed after the test."""
    attempt = Attempt(10)
    yield attempt
    attempt.close()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where a connection is neither accepted nor refused."""
    with raw_server.silent_port() as port:
        yield port
