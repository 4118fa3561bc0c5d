"""A server for the clients of the frameworks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from masquerade_ws.testing import EventServer


@pytest.fixture
def server() -> Iterator[EventServer]:
    with EventServer() as server:
        yield server
