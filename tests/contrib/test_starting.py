"""What the integrations share."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from masquerade_ws import Event, MasqueradeError, WebSocketClient
from masquerade_ws.contrib.starting import make, start
from masquerade_ws.testing import EventServer


@pytest.fixture
def client(server: EventServer) -> Iterator[WebSocketClient]:
    client = WebSocketClient(server.url, lambda: "t")
    yield client
    client.disconnect()


def test_a_start_waits_until_the_client_is_connected_and_a_second_one_does_nothing(
    client: WebSocketClient, server: EventServer
) -> None:
    start(client, 10)
    assert client.state == "connected"
    start(client, 10)
    assert len(server.tokens) == 1


def test_threads_that_start_at_once_share_one_attempt(server: EventServer) -> None:
    asked, go, states = threading.Barrier(2), threading.Event(), []

    def get_token() -> str:
        asked.wait(10)
        assert go.wait(10)
        return "t"

    client = WebSocketClient(server.url, get_token)

    def use() -> None:
        start(client, 10)
        states.append(client.state)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    asked.wait(10)
    go.set()
    for thread in threads:
        thread.join()
    client.disconnect()
    assert states == ["connected"] * 8
    assert len(server.tokens) == 1


def test_a_start_that_fails_raises_nothing_and_later_ones_do_not_hurry_the_next_attempt(
    client: WebSocketClient, server: EventServer
) -> None:
    errors: list[Any] = []
    client.on("error", errors.append)
    server.refuse(503)
    start(client, 10)
    start(client, 10)
    assert client.state == "disconnected"
    assert len(server.tokens) == 1
    assert client.wait_for("connected", timeout=10).attempts == 2
    assert [event.error.status for event in errors] == [503]


def test_a_start_waits_no_longer_than_it_may(server: EventServer) -> None:
    go = threading.Event()
    client = WebSocketClient(server.url, lambda: str(go.wait(10)))
    start(client, 0.01)
    assert client.state == "connecting"
    go.set()
    client.connect()
    client.disconnect()


def test_a_client_that_gave_up_is_started_again(server: EventServer) -> None:
    client = WebSocketClient(server.url, lambda: "t", auto_reconnect=False)
    client.on("error", lambda event: None)
    server.refuse(503)
    start(client, 10)
    with pytest.raises(MasqueradeError):
        client.wait_for("connected", timeout=0)
    start(client, 10)
    assert client.state == "connected"
    client.disconnect()


def test_in_a_listener_nothing_is_waited_for(server: EventServer) -> None:
    client = WebSocketClient(server.url, lambda: "t", initial_reconnect_delay=0.3)
    client.on("error", lambda event: None)
    seen: list[str] = []

    @client.on("state:change")
    def use(event: Any) -> None:
        start(client, 10)
        seen.append(event.new_state)

    client.connect()
    server.refuse(503)
    server.drop()
    assert client.wait_for("connected", where={"reconnected": True}, timeout=10).attempts == 2
    client.disconnect()
    assert seen[:2] == ["connecting", "connected"]
    assert seen[-2:] == ["disconnecting", "disconnected"]
    assert client.stats.connections == 2


def test_a_failure_to_start_that_is_not_the_connections_is_raised(server: EventServer) -> None:
    class Client(WebSocketClient):
        def connect(self, **_: Any) -> None:
            raise RuntimeError("can't start new thread")

    with pytest.raises(RuntimeError, match="can't start new thread"):
        start(Client(server.url, str), 10)


@pytest.mark.parametrize("place", ["listener", "get_token", "predicate"])
def test_where_nothing_may_block_nothing_is_started(server: EventServer, place: str) -> None:
    def use(_: object = None) -> str:
        start(client, 10)
        used.set()
        return "t"

    used = threading.Event()
    client = WebSocketClient(server.url, use if place == "get_token" else str)
    if place == "listener":
        client.on("x", use)
    with client, client.events("x", where=use if place == "predicate" else None):
        server.emit("x")
        assert used.wait(10)
    assert len(server.tokens) == 1


def test_listeners_and_get_token_run_in_the_context_of_the_framework_and_the_users_own_is_within_it(
    server: EventServer,
) -> None:
    entered: list[str] = []

    @contextlib.contextmanager
    def named(name: str) -> Iterator[None]:
        entered.append(f"{name} entered")
        yield
        entered.append(f"{name} left")

    def get_token() -> str:
        entered.append("get_token")
        return "t"

    client = make(
        lambda: named("outer"), url=server.url, get_token=get_token, around_event=lambda event: named(event.type)
    )
    heard = threading.Event()

    @client.on("x")
    def hear(event: Event) -> None:
        entered.append("listener")
        heard.set()

    with client:
        assert server.tokens == ["t"]
        assert entered == ["outer entered", "get_token", "outer left"]
        server.emit("x")
        assert heard.wait(10)
    assert entered[3:] == ["outer entered", "x entered", "listener", "x left", "outer left"]
