"""What `send` and `emit` take, and how they fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from masquerade_ws import Event, ImageGenerationStartedEvent, NotConnectedError, SendError, WebSocketClient
from masquerade_ws.testing import EventServer
from tests.support.messages import TIMESTAMP
from tests.support.raw_server import Peer, RawServer, close_payload, frame, until
from tests.support.scenes import TIMEOUT, Hang, Record, client_of, elapsed, flood, running
from tests.support.scripts import stay


@pytest.fixture
def client(masquerade_server: EventServer) -> Iterator[WebSocketClient]:
    with client_of(masquerade_server.url) as client, client.events("connected") as connected, client:
        connected.get(10)
        connected.close()  # a later wait for this name gets a later event
        yield client


def test_emit_sends_type_payload_and_the_time(client: WebSocketClient, masquerade_server: EventServer) -> None:
    client.emit("hello", {"to": ["the", "wörld"]})
    event = masquerade_server.expect("hello")
    assert event.keys() == {"type", "payload", "timestamp"}
    assert event["payload"] == {"to": ["the", "wörld"]}
    assert TIMESTAMP.fullmatch(event["timestamp"])
    client.emit("bare")
    assert masquerade_server.expect("bare")["payload"] == {}


@pytest.mark.parametrize(
    "event",
    [
        Event("hello", {"a": 1}, "then"),
        {"type": "hello", "payload": {"a": 1}, "timestamp": "then"},
    ],
)
def test_send_takes_an_event_or_a_mapping(client: WebSocketClient, masquerade_server: EventServer, event: Any) -> None:
    client.send(event)
    assert masquerade_server.expect("hello") == {"type": "hello", "payload": {"a": 1}, "timestamp": "then"}


def test_a_mapping_without_a_timestamp_gets_one(client: WebSocketClient, masquerade_server: EventServer) -> None:
    client.send({"type": "hello", "payload": {}})
    assert TIMESTAMP.fullmatch(masquerade_server.expect("hello")["timestamp"])


def test_a_known_event_can_be_sent(client: WebSocketClient, masquerade_server: EventServer) -> None:
    client.send(ImageGenerationStartedEvent({"job_id": "1", "user_id": "2"}))
    assert masquerade_server.expect("image.generation.started")["payload"] == {"job_id": "1", "user_id": "2"}


@pytest.mark.parametrize(
    "event",
    [
        None,
        5,
        "hello",
        [("type", "hello")],
        {},
        {"payload": {}},
        {"type": ""},
        {"type": 5},
        {"type": "hello", "payload": [1]},
        {"type": "hello", "payload": "x"},
        {"type": "hello", "timestamp": 5},
        {"type": "hello", "payload": {"a": object()}},
        {"type": "hello", "payload": {"a": {1, 2}}},
        {"type": "hello", "payload": {"a": b"x"}},
        {"type": "hello", "payload": {(1, 2): 3}},
        {"type": "hello", "payload": {"a": float("nan")}},
        {"type": "hello", "payload": {"a": float("inf")}},
        {"type": "hello", "payload": {"a": [-float("inf")]}},
    ],
)
def test_what_is_not_an_event_is_refused_and_harms_nothing(
    client: WebSocketClient, masquerade_server: EventServer, event: Any
) -> None:
    with pytest.raises((TypeError, ValueError)):
        client.send(event)
    client.emit("after")
    masquerade_server.expect("after")
    assert client.stats.connections == 1
    assert client.stats.messages_sent == 1


def circle() -> dict[str, Any]:
    payload: dict[str, Any] = {}
    payload["self"] = payload
    return payload


def deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


def test_a_payload_without_an_end_is_refused_and_harms_nothing(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    for payload in (circle(), {"a": deep()}):
        with pytest.raises(ValueError, match=r"deep|[Cc]ircular"):
            client.emit("hello", payload)
    client.emit("after")
    masquerade_server.expect("after")


def test_emit_refuses_a_type_or_a_payload_that_is_none(client: WebSocketClient) -> None:
    bad: Any = 5
    with pytest.raises(ValueError, match="type"):
        client.emit("")
    with pytest.raises(TypeError, match="type"):
        client.emit(bad)
    with pytest.raises(TypeError, match="payload"):
        client.emit("hello", bad)


def test_a_client_without_a_connection_refuses_to_send(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, initial_reconnect_delay=60, max_reconnect_delay=60) as client:
        record = Record(client)
        refuses(client, "WebSocket is not connected; call connect() first")
        client.connect()
        masquerade_server.drop()
        record.wait("disconnected")
        refuses(client, "WebSocket is not connected")  # it reconnects by itself
        client.connect()
        client.disconnect()
        refuses(client, "WebSocket is not connected; call connect() first")
        assert [event.context for event in record.of("error")] == ["connection"]


def refuses(client: WebSocketClient, message: str) -> None:
    for action in (lambda: client.emit("hello"), lambda: client.send({"type": "hello", "payload": {}})):
        with pytest.raises(NotConnectedError) as caught:
            action()
        assert str(caught.value) == message
        assert isinstance(caught.value, ConnectionError)


def test_many_threads_send_whole_messages(client: WebSocketClient, masquerade_server: EventServer) -> None:
    def send(sender: int) -> None:
        for n in range(50):
            client.emit("hello", {"sender": sender, "n": n, "filler": "x" * 100 * sender})

    workers = [running(lambda sender=sender: send(sender)) for sender in range(8)]  # type: ignore[misc]
    for worker in workers:
        worker.result()
    got = [masquerade_server.expect("hello")["payload"] for _ in range(400)]
    for sender in range(8):
        assert [payload["n"] for payload in got if payload["sender"] == sender] == list(range(50))
    assert client.stats.messages_sent == 400


def test_a_listener_may_send(client: WebSocketClient, masquerade_server: EventServer) -> None:
    client.on("ask", lambda event: client.emit("answer", event.payload))
    masquerade_server.emit("ask", {"n": 5})
    assert masquerade_server.expect("answer")["payload"] == {"n": 5}


class Unreading:
    """The script of a server that reads nothing from its first connection."""

    def __init__(self) -> None:
        self.served = 0

    def __call__(self, peer: Peer) -> None:
        peer.upgrade()
        self.served += 1
        if self.served == 1:
            peer.hang()
        else:
            stay(peer)


def test_a_send_to_a_peer_that_does_not_read_fails_in_time_and_the_connection_is_replaced() -> None:
    with RawServer(Unreading()) as server, client_of(server.url, send_timeout=0.3) as client:
        record = Record(client)
        client.connect()
        with pytest.raises(SendError) as caught:
            flood(client)
        assert isinstance(caught.value, ConnectionError)
        record.wait("connected", 2)
        client.emit("after")
        (error,) = record.of("error")
        assert error.context == "send"
        assert repr(error.error) == repr(caught.value)


def test_all_who_send_at_once_fail_and_there_is_one_error() -> None:
    with RawServer(Unreading()) as server, client_of(server.url, send_timeout=0.3) as client:
        record = Record(client)
        client.connect()
        workers = [running(lambda: flood(client)) for _ in range(4)]
        record.wait("disconnected")
        client.disconnect()
        for worker in workers:
            with pytest.raises((SendError, NotConnectedError)):
                worker.result()
        assert [event.context for event in record.of("error")] == ["send"]


def test_disconnect_ends_a_send_that_waits_for_its_peer() -> None:
    with RawServer(Unreading()) as server, client_of(server.url, send_timeout=60) as client:
        client.connect()
        worker = running(lambda: flood(client))
        until(lambda: client.stats.bytes_sent > 100_000)
        assert elapsed(lambda: client.disconnect(timeout=1)) < TIMEOUT
        with pytest.raises((SendError, NotConnectedError)):
            worker.result()


def test_a_send_after_the_loss_adds_no_error(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, initial_reconnect_delay=60, max_reconnect_delay=60) as client:
        record = Record(client)
        client.connect()
        masquerade_server.drop()
        until(lambda: isinstance(failure(client), NotConnectedError))
        record.wait("disconnected")
        assert len(record.of("error")) == 1


def failure(client: WebSocketClient) -> Exception | None:
    """Send, and return what that raised."""
    try:
        client.emit("hello")
    except (SendError, NotConnectedError) as error:
        return error
    return None


@pytest.mark.parametrize("who", ["the user", "the heartbeat"])
def test_a_final_close_that_waits_behind_a_full_queue_ends_the_client_though_a_send_fails(who: str, hang: Hang) -> None:
    news = [f"news.{number}" for number in range(10)]

    def script(peer: Peer) -> None:
        peer.upgrade()
        while peer.read_frame()[0] != 1:
            pass
        peer.send(b"".join(frame(1, b'{"type": "%s"}' % name.encode()) for name in news))
        peer.read_frame()
        peer.send(frame(1, b'{"type": "last"}') + frame(8, close_payload(4001, "enough")))
        peer.reset()

    interval = 0.05 if who == "the heartbeat" else 60
    with (
        RawServer(script) as server,
        client_of(server.url, queue_size=2, final_close_codes=[4001], heartbeat_interval=interval) as client,
    ):
        record = Record(client, "*", "error", "disconnected")
        client.once("news.0", hang)
        client.connect()
        client.emit("go")
        assert hang.entered.wait(TIMEOUT)
        session = client._state.session
        assert session is not None
        until(lambda: session.event_queue.full)
        if who == "the user":
            with pytest.raises(SendError):
                flood(client)
        connection = session.connection
        assert connection is not None
        until(lambda: connection.close_code)
        hang.over.set()
        end = record.wait("disconnected")
        assert (end.code, end.reason, end.will_reconnect) == (4001, "enough", False)
        assert record.story == [*news, "last", "disconnected"]
