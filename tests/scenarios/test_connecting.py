"""From `connect` to its outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from masquerade_ws import ConnectError, DisconnectedError, StopReconnecting, WaitTimeoutError, WebSocketClient
from masquerade_ws.testing import EventServer
from tests.support.raw_server import Peer, RawServer, close_payload, frame, until
from tests.support.scenes import (
    FOUR,
    TIMEOUT,
    Record,
    Worker,
    client_of,
    closed_port_url,
    elapsed,
    names_of_threads,
    running,
)


class Gate:
    """A `get_token` that waits until it is opened, for longer than anything that may not wait for it."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self) -> str:
        self.entered.set()
        assert self.opened.wait(2 * TIMEOUT)
        return "token"


def in_turn(*outcomes: str | Exception) -> Callable[[], str]:
    """Return a ``get_token`` that returns or raises these, one after the other."""
    left = iter(outcomes)

    def get_token() -> str:
        outcome = next(left)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return get_token


def raiser(error: BaseException) -> Callable[[], str]:
    def get_token() -> str:
        raise error

    return get_token


# The outcome


def test_a_blocking_connect_returns_connected_with_exactly_four_threads(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url) as client:
        assert client.state == "disconnected"
        client.connect()
        assert client.state == "connected"
        assert names_of_threads() == FOUR
        assert all(thread.daemon for thread in threading.enumerate() if thread.name in FOUR)
        client.connect()
        assert client.stats.connections == 1
        client.disconnect()
        assert names_of_threads() == []


def test_a_connect_that_does_not_block_returns_at_once(masquerade_server: EventServer) -> None:
    gate = Gate()
    with client_of(masquerade_server.url, gate) as client:
        client.connect(block=False)
        assert client.state == "connecting"
        assert gate.entered.wait(TIMEOUT)
        client.connect(block=False)
        gate.opened.set()
        client.connect()
        assert client.state == "connected"
        assert masquerade_server.tokens == ["token"]


def test_concurrent_callers_share_one_attempt(masquerade_server: EventServer) -> None:
    gate = Gate()
    with client_of(masquerade_server.url, gate) as client:
        callers = [running(client.connect) for _ in range(8)]
        assert gate.entered.wait(TIMEOUT)
        gate.opened.set()
        for caller in callers:
            caller.result()
        assert client.stats.connections == 1
    assert len(masquerade_server.tokens) == 1


def test_concurrent_callers_share_a_failure(masquerade_server: EventServer) -> None:
    masquerade_server.refuse(403)
    gate = Gate()
    with client_of(masquerade_server.url, gate, initial_reconnect_delay=60, max_reconnect_delay=60) as client:
        callers = [running(client.connect)]
        assert gate.entered.wait(TIMEOUT)
        callers += [running(client.connect) for _ in range(3)]
        until(lambda: all_wait(client, len(callers)))
        gate.opened.set()
        errors = [failure_of(caller) for caller in callers]
        assert {error.status for error in errors} == {403}
        assert len({id(error) for error in errors}) == len(errors)
    assert len(masquerade_server.tokens) == 1


def all_wait(client: WebSocketClient, callers: int) -> bool:
    """Return whether so many callers have come to their wait for the attempt; nothing else announces that."""
    return len(client._state.changed._waiters) == callers  # type: ignore[attr-defined]


def failure_of(caller: Worker) -> ConnectError:
    with pytest.raises(ConnectError) as caught:
        caller.result()
    return caught.value


@pytest.mark.parametrize("status", [301, 401, 403, 429, 500, 503])
def test_a_refusal_raises_with_its_status_and_is_retried(masquerade_server: EventServer, status: int) -> None:
    masquerade_server.refuse(status)
    with client_of(masquerade_server.url) as client:
        record = Record(client)
        with pytest.raises(ConnectError) as caught:
            client.connect()
        assert caught.value.status == status
        assert isinstance(caught.value, ConnectionError)
        connected = record.wait("connected")
        assert (connected.reconnected, connected.attempts, connected.gap) == (False, 2, None)
        (error,) = record.of("error")
        assert (error.context, error.error.status) == ("connection", status)


def test_an_unreachable_server_raises_without_a_status() -> None:
    with client_of(closed_port_url(), initial_reconnect_delay=60, max_reconnect_delay=60) as client:
        with pytest.raises(ConnectError) as caught:
            client.connect()
        assert caught.value.status is None
        assert client.state == "disconnected"
        assert names_of_threads() == ["masquerade-ws-dispatcher", "masquerade-ws-supervisor"]


def test_a_server_that_comes_later_is_found() -> None:
    server = EventServer()
    with server:
        url = server.url
    with client_of(url) as client:
        with pytest.raises(ConnectError):
            client.connect()
        with server:
            until(lambda: client.state == "connected")
            client.disconnect()


def test_an_attempt_has_one_deadline() -> None:
    with RawServer(Peer.hang) as server, client_of(server.url, connect_timeout=0.2, auto_reconnect=False) as client:
        with pytest.raises(ConnectError, match="timed out"):
            client.connect()
        assert client.state == "disconnected"


# The token


def test_the_token_is_fetched_anew_before_every_attempt(masquerade_server: EventServer) -> None:
    tokens = iter(["one", "two", "three", "four"])
    masquerade_server.refuse(401, times=2)
    with client_of(masquerade_server.url, lambda: next(tokens)) as client:
        record = Record(client)
        client.connect(block=False)
        record.wait("connected")
        masquerade_server.drop()
        record.wait("connected", 2)
    assert masquerade_server.tokens == ["one", "two", "three", "four"]


@pytest.mark.parametrize("token", ["", "plain", "a b&c=d/e?f#g%h+i", "ünï→", "x" * 5000])
def test_the_token_goes_percent_encoded_into_the_query(token: str) -> None:
    requests: list[str] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        requests.append(peer.request)
        peer.read_close()

    with RawServer(script) as server:
        with client_of(server.url, lambda: token) as client, client:
            pass
        with client_of(f"{server.url}?room=a%20b&x=1", lambda: token) as client, client:
            pass
    first, second = (request.split("\r\n")[0] for request in requests)
    assert first == f"GET /ws?token={quote(token, safe='')} HTTP/1.1"
    assert second == f"GET /ws?room=a%20b&x=1&token={quote(token, safe='')} HTTP/1.1"
    assert "Authorization" not in "".join(requests)


@pytest.mark.parametrize("token", ["", "plain", "a b&c=d"])
def test_the_token_goes_into_a_header_instead(token: str) -> None:
    seen: list[tuple[str, str | None, str | None]] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        seen.append((peer.request.split("\r\n")[0], peer.header("Authorization"), peer.header("X-Mine")))
        peer.read_close()

    with (
        RawServer(script) as server,
        client_of(f"{server.url}?a=1", lambda: token, token_in="header", headers={"X-Mine": "5"}) as client,
        client,
    ):
        pass
    assert seen == [("GET /ws?a=1 HTTP/1.1", f"Bearer {token}".strip(), "5")]


@pytest.mark.parametrize(
    ("token_in", "token"),
    [("header", "a\r\nEvil: 1"), ("header", "ünï"), ("header", "a\0"), ("query", "\ud800")],
)
def test_a_token_that_cannot_be_carried_is_a_failed_attempt(
    masquerade_server: EventServer, token_in: str, token: str
) -> None:
    with client_of(masquerade_server.url, lambda: token, token_in=token_in, auto_reconnect=False) as client:
        with pytest.raises(ConnectError) as caught:
            client.connect()
        assert token not in str(caught.value)
    assert masquerade_server.tokens == []


@pytest.mark.parametrize("result", [5, None, b"token"])
def test_a_token_that_is_not_a_str_counts_as_a_type_error(masquerade_server: EventServer, result: Any) -> None:
    with client_of(masquerade_server.url, lambda: result, auto_reconnect=False) as client:
        record = Record(client)
        with pytest.raises(ConnectError, match=f"^get_token must return a str, not {type(result).__name__}$") as caught:
            client.connect()
        assert isinstance(caught.value.__cause__, TypeError)
        error = record.wait("error")
        assert isinstance(error.error.__cause__, TypeError)
        assert error.context == "connection"


def test_a_get_token_that_raises_is_a_failed_attempt_and_tried_again(masquerade_server: EventServer) -> None:
    mishap = KeyError("mine")
    with client_of(masquerade_server.url, in_turn(mishap, mishap, "token")) as client:
        record = Record(client)
        with pytest.raises(ConnectError) as caught:
            client.connect()
        assert caught.value.__cause__ is mishap
        assert record.wait("connected").attempts == 3
        errors = record.of("error")
        assert [(type(event.error), event.error.__cause__, event.context) for event in errors] == [
            (ConnectError, mishap, "connection")
        ] * 2


def test_stop_reconnecting_ends_the_attempts(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, raiser(StopReconnecting("enough"))) as client:
        record = Record(client)
        with pytest.raises(ConnectError) as caught:
            client.connect()
        assert isinstance(caught.value.__cause__, StopReconnecting)
        assert client.state == "disconnected"
        until(lambda: names_of_threads() == [])
        assert record.story == ["disconnected > connecting", "error", "connecting > disconnected"]
        with pytest.raises(DisconnectedError, match="connect"):
            client.wait_for("news")
    assert masquerade_server.tokens == []


def test_stop_reconnecting_ends_a_reconnection_and_connect_starts_again(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, in_turn("one", StopReconnecting(), "two")) as client:
        record = Record(client)
        client.connect()
        waiting = running(lambda: client.wait_for("news"))
        masquerade_server.drop()
        record.wait("state:change", 5)
        with pytest.raises(DisconnectedError):
            waiting.result()
        until(lambda: names_of_threads() == [])
        client.connect()
        assert client.state == "connected"
    assert masquerade_server.tokens == ["one", "two"]


def test_a_get_token_that_exits_holds_up_nobody(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, raiser(SystemExit())) as client:
        with pytest.raises(ConnectError, match="get_token raised SystemExit"):
            client.connect()
        assert client.state == "disconnected"
        until(lambda: names_of_threads() == [])


# Without retries


def test_without_auto_reconnect_a_failure_ends_all_and_connect_starts_again(masquerade_server: EventServer) -> None:
    masquerade_server.refuse(503)
    with client_of(masquerade_server.url, auto_reconnect=False) as client:
        record = Record(client)
        with pytest.raises(ConnectError):
            client.connect()
        assert client.state == "disconnected"
        until(lambda: names_of_threads() == [])
        assert record.story == ["disconnected > connecting", "error", "connecting > disconnected"]
        client.connect()
        assert client.state == "connected"
        assert names_of_threads() == FOUR


def test_without_auto_reconnect_a_loss_ends_all_and_connect_starts_again(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, auto_reconnect=False) as client:
        record = Record(client)
        client.connect()
        stream = client.events()
        masquerade_server.drop()
        assert record.wait("disconnected").will_reconnect is False
        assert list(stream) == []
        until(lambda: names_of_threads() == [])
        assert client.state == "disconnected"
        client.connect()
        assert (client.stats.connections, client.stats.reconnects) == (2, 0)
        assert record.wait("connected", 2).reconnected is False


# During a delay


def test_connect_in_a_delay_starts_the_attempt_at_once(masquerade_server: EventServer) -> None:
    masquerade_server.refuse(503, times=2)
    with client_of(masquerade_server.url, initial_reconnect_delay=60, max_reconnect_delay=60) as client:
        for _ in range(2):
            with pytest.raises(ConnectError):
                client.connect()
            assert client.state == "disconnected"
        client.connect()
        assert client.state == "connected"


def test_connect_without_blocking_hurries_a_delay_as_well(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, initial_reconnect_delay=60, max_reconnect_delay=60) as client:
        record = Record(client)
        client.connect()
        masquerade_server.drop()
        record.wait("disconnected")
        assert client.state == "disconnected"
        client.connect(block=False)
        assert record.wait("connected", 2).reconnected is True


# Limits and ends of the wait


def test_the_timeout_bounds_the_wait_alone(masquerade_server: EventServer) -> None:
    gate = Gate()
    with client_of(masquerade_server.url, gate) as client:
        with pytest.raises(WaitTimeoutError):
            client.connect(timeout=0.05)
        assert client.state == "connecting"
        with pytest.raises(WaitTimeoutError):
            client.connect(timeout=0)
        gate.opened.set()
        client.connect(timeout=TIMEOUT)
        assert client.state == "connected"
    assert masquerade_server.tokens == ["token"]


@pytest.mark.parametrize("stage", ["silent", "no listener"])
def test_disconnect_ends_a_connect(stage: str) -> None:
    arrived = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        arrived.set()
        peer.read_to_end()

    with RawServer(script) as server:
        url = server.url if stage == "silent" else closed_port_url()
        with client_of(url, initial_reconnect_delay=60, max_reconnect_delay=60) as client:
            if stage == "silent":
                connecting = running(client.connect)
                assert arrived.wait(TIMEOUT)
                assert elapsed(client.disconnect) < TIMEOUT
                with pytest.raises(DisconnectedError, match="disconnect"):
                    connecting.result()
            else:
                with pytest.raises(ConnectError):
                    client.connect()
                assert elapsed(client.disconnect) < TIMEOUT
            assert client.state == "disconnected"
            assert names_of_threads() == []


def test_disconnect_ends_a_connect_whose_token_hangs(masquerade_server: EventServer) -> None:
    gate = Gate()
    with client_of(masquerade_server.url, gate) as client:
        connecting = running(client.connect)
        assert gate.entered.wait(TIMEOUT)
        assert elapsed(lambda: client.disconnect(timeout=TIMEOUT)) < TIMEOUT / 2
        with pytest.raises(DisconnectedError, match="disconnect"):
            connecting.result()
        assert client.state == "disconnected"
        gate.opened.set()
    assert masquerade_server.tokens == []


def test_connect_waits_while_another_thread_disconnects() -> None:
    """The peer answers the first close late; the second session starts after that."""
    closing, answer = threading.Event(), threading.Event()
    upgraded: list[Peer] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        upgraded.append(peer)
        peer.read_close()
        if len(upgraded) == 1:
            closing.set()
            assert answer.wait(TIMEOUT)
        peer.send(frame(8, close_payload(1000)))

    with RawServer(script) as server, client_of(server.url) as client:
        record = Record(client)
        client.connect()
        disconnecting = running(lambda: client.disconnect(timeout=2 * TIMEOUT))
        assert closing.wait(TIMEOUT)
        assert client.state == "disconnecting"
        connecting = running(client.connect)
        until(lambda: all_wait(client, 1))
        assert client.state == "disconnecting"
        with pytest.raises(WaitTimeoutError):
            client.connect(timeout=0)
        assert len(upgraded) == 1
        answer.set()
        disconnecting.result()
        connecting.result()
        assert client.state == "connected"
        assert record.wait("connected", 2).reconnected is False
        assert record.story == [
            "disconnected > connecting",
            "connecting > connected",
            "connected",
            "connected > disconnecting",
            "disconnecting > disconnected",
            "disconnected",
            "disconnected > connecting",
            "connecting > connected",
            "connected",
        ]


def test_disconnect_ends_a_connect_that_waits_for_another_disconnect() -> None:
    closing = threading.Event()

    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.read_close()
        closing.set()
        peer.read_to_end()

    with RawServer(script) as server, client_of(server.url) as client:
        client.connect()
        disconnecting = running(lambda: client.disconnect(timeout=1))
        assert closing.wait(TIMEOUT)
        connecting = running(client.connect)
        until(lambda: all_wait(client, 1))
        client.disconnect()
        with pytest.raises(DisconnectedError):
            connecting.result()
        disconnecting.result()
        assert client.state == "disconnected"
        assert client.stats.connections == 1


def test_connect_that_cannot_start_a_thread_raises_and_changes_nothing(
    masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client: WebSocketClient
    with client_of(masquerade_server.url) as client:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse_to_start)
            with pytest.raises(ConnectError, match="no thread"):
                client.connect()
        assert client.state == "disconnected"
        client.connect()
        assert client.state == "connected"


def refuse_to_start(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
