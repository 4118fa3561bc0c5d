"""The tests of relays and of their clients share an engine; each has a namespace of its own in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from masquerade_ws.relay import RelayClient
from tests.support.engines import EngineServer
from tests.support.relaying import Streams
from tests.support.relays import Leader, connected
from tests.support.scenes import TIMEOUT, names_of_threads


@pytest.fixture
def own_engine() -> Iterator[EngineServer]:
    """Give an engine that the test may stop."""
    with EngineServer() as server:
        yield server


@pytest.fixture
def streams(engine_server: EngineServer, namespace: str) -> Streams:
    """Give the streams of the test's namespace, in the shared engine."""
    return Streams(engine_server, namespace)


@pytest.fixture
def leader(engine_server: EngineServer, namespace: str) -> Iterator[Leader]:
    with Leader(engine_server, namespace=namespace) as leader:
        yield leader


@pytest.fixture
def new_client(engine_server: EngineServer, namespace: str) -> Iterator[Callable[..., RelayClient]]:
    """Give what makes clients, which are stopped in the end and leave no thread behind."""
    made: list[RelayClient] = []

    def make(url: str = engine_server.url, **options: Any) -> RelayClient:
        options = {"namespace": namespace, "initial_reconnect_delay": 0.01, "connect_timeout": TIMEOUT, **options}
        made.append(RelayClient(url, **options))
        return made[-1]

    yield make
    for client in made:
        client.disconnect(timeout=TIMEOUT)
    assert names_of_threads() == []


@pytest.fixture
def client(leader: Leader, new_client: Callable[..., RelayClient]) -> RelayClient:
    """Give a client that is connected to the leader."""
    return connected(new_client())
