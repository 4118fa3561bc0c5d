"""A test server, and a client of it that is not ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from websockets.sync.client import ClientConnection, connect

from masquerade_ws.testing import EventServer


@pytest.fixture
def client(server: EventServer) -> Iterator[ClientConnection]:
    with connect(server.url) as client:
        yield client
