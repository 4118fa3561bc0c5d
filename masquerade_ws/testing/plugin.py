"""The pytest plugin of the extra ``testing``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from masquerade_ws import WebSocketClient, testing

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["masquerade_client", "masquerade_server"]


@pytest.fixture
def masquerade_server() -> Iterator[testing.EventServer]:
    """Run an `EventServer` for one test."""
    with testing.EventServer() as server:
        yield server


@pytest.fixture
def masquerade_client(masquerade_server: testing.EventServer) -> Iterator[WebSocketClient]:
    """Connect a client to ``masquerade_server`` for one test; its token is ``"token"``.

    It reconnects within a tenth of a second and ignores proxies of the environment.
    """
    client = WebSocketClient(
        masquerade_server.url, lambda: "token", initial_reconnect_delay=0.01, max_reconnect_delay=0.1, proxy=False
    )
    with client.events("connected") as events:
        client.connect()
        events.get()  # so that the test sees no event of the first connection
    yield client
    client.disconnect(timeout=1.0)  # half of it for the closing handshake, which a frozen server does not answer
