"""The order of the client's own events, and how the end of a connection is reported."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from masquerade_ws import DisconnectedError, SendError, WaitTimeoutError
from masquerade_ws.connection import Connection
from masquerade_ws.deadline import Deadline
from masquerade_ws.testing import EventServer
from tests.support.raw_server import Peer, RawServer, close_payload, frame, until
from tests.support.scenes import CLOSING, CONNECTING, TIMEOUT, Record, client_of, flood, names_of_threads, running
from tests.support.scripts import mute, stay

LOSING = ["connected > disconnected", "disconnected"]


def after_upgrade(action: Callable[[Peer], object]) -> Callable[[Peer], None]:
    """Upgrade each connection; do ``action`` with the first one, keep the others open."""
    served: list[Peer] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        served.append(peer)
        if len(served) == 1:
            action(peer)
        else:
            stay(peer)

    return script


def test_a_life_in_order(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url) as client:
        record = Record(client, "connected", "disconnected", "state:change", "error", "*")
        with client:
            masquerade_server.emit("first")
            masquerade_server.broadcast_raw("no event")
            masquerade_server.emit("second")
            record.wait("second")
        client.connect()
        client.disconnect()
    assert record.story == [*CONNECTING, "first", "error", "second", *CLOSING, *CONNECTING, *CLOSING]


def test_events_glued_to_the_handshake_come_after_connected() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade(glued=frame(1, b'{"type": "early"}') + frame(1, b'{"type": "bird"}'))
        stay(peer)

    with RawServer(script) as server, client_of(server.url) as client:
        record = Record(client, "connected", "state:change", "*")
        client.connect()
        record.wait("bird")
        assert record.story == [*CONNECTING, "early", "bird"]


def test_no_event_comes_of_a_connection_that_disconnect_overtook(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(peer: Peer) -> None:
        peer.upgrade(glued=frame(1, b'{"type": "early"}'))
        stay(peer)

    connect, disconnecting = Connection.connect, []

    def overtaken(connection: Connection, timeout: float) -> None:
        connect(connection, timeout)
        disconnecting.append(running(client.disconnect))
        assert connection.wait_tcp_closed(TIMEOUT)

    monkeypatch.setattr(Connection, "connect", overtaken)
    with RawServer(script) as server, client_of(server.url) as client:
        record = Record(client, "connected", "disconnected", "state:change", "*")
        client.connect(block=False)
        until(lambda: disconnecting)
        disconnecting[0].result()
        assert record.story == [
            "disconnected > connecting",
            "connecting > disconnecting",
            "disconnecting > disconnected",
        ]


def test_events_before_a_close_are_delivered_before_its_end() -> None:
    def action(peer: Peer) -> None:
        burst = b"".join(frame(1, b'{"type": "news", "payload": {"n": %d}}' % n) for n in range(500))
        peer.send(burst + frame(8, close_payload(4001, "bye")))
        assert peer.read_close() == 4001

    with RawServer(after_upgrade(action)) as server, client_of(server.url) as client:
        record = Record(client, "connected", "disconnected", "state:change", "error", "*")
        client.connect()
        gone = record.wait("disconnected")
        assert (gone.code, gone.reason) == (4001, "bye")
        assert record.story[:505] == [*CONNECTING, *["news"] * 500, *LOSING]
        assert [event.payload["n"] for event in record.of("news")] == list(range(500))


def test_a_state_is_visible_before_its_event(masquerade_server: EventServer) -> None:
    seen: list[tuple[str, str]] = []
    with client_of(masquerade_server.url, initial_reconnect_delay=60, max_reconnect_delay=60) as client:
        client.on("state:change", lambda event: seen.append((event.new_state, client.state)))
        there, gone = threading.Event(), threading.Event()

        @client.on("connected")
        def on_connected(event: object) -> None:
            seen.append(("connected", client.state))
            there.set()

        @client.on("disconnected")
        def on_disconnected(event: object) -> None:
            seen.append(("disconnected", client.state))
            gone.set()

        client.connect()
        assert there.wait(TIMEOUT)
        masquerade_server.drop()
        assert gone.wait(TIMEOUT)
    assert seen[1:5] == [("connected", "connected")] * 2 + [("disconnected", "disconnected")] * 2


def test_a_loss_is_one_error_before_the_state_and_the_end(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url) as client:
        record = Record(client)
        client.connect()
        masquerade_server.drop()
        record.wait("connected", 2)
        assert record.story == [*CONNECTING, "error", *LOSING, *CONNECTING]
        (error,) = record.of("error")
        assert error.context == "connection"
        assert isinstance(error.error, DisconnectedError)
        (gone,) = record.of("disconnected")
        assert (gone.code, gone.reason, gone.will_reconnect) == (1006, "", True)


def test_an_end_of_the_stream_without_a_closing_handshake_is_a_loss() -> None:
    with RawServer(after_upgrade(lambda peer: None)) as server, client_of(server.url) as client:
        record = Record(client)
        client.connect()
        record.wait("connected", 2)
        assert record.story == [*CONNECTING, "error", *LOSING, *CONNECTING]
        assert record.of("disconnected")[0].code == 1006


def test_a_violation_of_the_protocol_is_one_error_with_our_code() -> None:
    codes: list[int] = []

    def action(peer: Peer) -> None:
        peer.send(frame(1, b'{"type": "last"}') + frame(3))
        codes.append(peer.read_close())

    with RawServer(after_upgrade(action)) as server, client_of(server.url) as client:
        record = Record(client, "connected", "disconnected", "state:change", "error", "*")
        client.connect()
        record.wait("connected", 2)
        assert record.story == [*CONNECTING, "last", "error", *LOSING, *CONNECTING]
        assert record.of("disconnected")[0].code == 1002
        assert record.of("error")[0].context == "connection"
    assert codes == [1002]


def test_a_message_that_is_too_large_ends_the_connection_with_1009() -> None:
    def action(peer: Peer) -> None:
        peer.send(frame(1, b"x" * 1001))
        assert peer.read_close() == 1009

    with (
        RawServer(after_upgrade(action)) as server,
        client_of(server.url, max_message_size=1000) as client,
    ):
        record = Record(client)
        client.connect()
        assert record.wait("disconnected").code == 1009
        assert record.wait("error").context == "connection"


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (b"", 1005, ""),
        (close_payload(1000), 1000, ""),
        (close_payload(1001, "going"), 1001, "going"),
        (close_payload(4999, "mine"), 4999, "mine"),
    ],
)
def test_a_closing_handshake_by_the_peer_is_not_an_error(payload: bytes, code: int, reason: str) -> None:
    def action(peer: Peer) -> None:
        peer.send(frame(8, payload))
        peer.read_close()

    with RawServer(after_upgrade(action)) as server, client_of(server.url) as client:
        record = Record(client)
        client.connect()
        record.wait("connected", 2)
        assert record.story == [*CONNECTING, *LOSING, *CONNECTING]
        gone = record.of("disconnected")[0]
        assert (gone.code, gone.reason, gone.will_reconnect) == (code, reason, True)


def test_our_own_close_has_code_1000() -> None:
    codes: list[int] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        codes.append(peer.read_close())
        peer.send(frame(8, close_payload(4000, "theirs")))

    with RawServer(script) as server, client_of(server.url) as client:
        record = Record(client)
        client.connect()
        client.disconnect()
        (gone,) = record.of("disconnected")
        assert (gone.code, gone.will_reconnect) == (1000, False)
        assert record.story == [*CONNECTING, *CLOSING]
    assert codes == [1000]


def test_a_peer_that_never_answers_our_close_costs_half_the_timeout_and_no_error() -> None:
    with RawServer(mute) as server, client_of(server.url) as client:
        record = Record(client)
        client.connect()
        client.disconnect(timeout=0.4)
        assert record.story == [*CONNECTING, *CLOSING]
        assert record.of("disconnected")[0].code == 1000
        assert names_of_threads() == []


def test_what_arrives_before_the_peers_close_is_delivered() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.read_close()
        peer.send(frame(1, b'{"type": "late"}') * 50 + frame(8, close_payload(1000)))

    with RawServer(script) as server, client_of(server.url) as client:
        record = Record(client, "disconnected", "late")
        stream = client.events("late")
        client.connect()
        client.disconnect()
        assert record.story == ["late"] * 50 + ["disconnected"]
        assert len(list(stream)) == 50


def test_a_failed_attempt_is_one_error_before_its_state(masquerade_server: EventServer) -> None:
    masquerade_server.refuse(503)
    with client_of(masquerade_server.url) as client:
        record = Record(client)
        client.connect(block=False)
        record.wait("connected")
        assert record.story == ["disconnected > connecting", "error", "connecting > disconnected", *CONNECTING]


def test_streams_get_the_last_events_before_their_end(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url) as client:
        stream = client.events("state:change", "connected", "disconnected")
        waiting: list[Any] = []
        with client:
            waiting += [running(lambda: client.wait_for("disconnected", timeout=TIMEOUT)) for _ in range(3)]
            until(lambda: len(client._streams._entries) == 4)
        told = [event.new_state if event.type == "state:change" else event.type for event in stream]
        assert told == ["connecting", "connected", "connected", "disconnecting", "disconnected", "disconnected"]
        assert {worker.result().code for worker in waiting} == {1000}


def test_streams_get_the_last_events_when_the_client_gives_up(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, auto_reconnect=False) as client:
        stream = client.events("state:change", "disconnected", "error")
        client.connect()
        masquerade_server.drop()
        told = [event.new_state if event.type == "state:change" else event.type for event in stream]
        assert told == ["connecting", "connected", "error", "disconnected", "disconnected"]


def test_streams_get_the_last_events_though_a_listener_hangs(masquerade_server: EventServer) -> None:
    entered, hang = threading.Event(), threading.Event()
    with client_of(masquerade_server.url) as client:
        stream = client.events("state:change", "disconnected")
        client.on("news", lambda _: (entered.set(), hang.wait(TIMEOUT)))
        late = Record(client, "disconnected")
        client.connect()
        masquerade_server.emit("news")
        assert entered.wait(TIMEOUT)
        client.disconnect(timeout=0.3)
        assert client.state == "disconnected"
        told = [event.new_state if event.type == "state:change" else event.type for event in stream]
        assert told == ["connecting", "connected", "disconnecting", "disconnected", "disconnected"]
        hang.set()
    assert late.events == []


def test_a_send_that_fails_is_the_one_error_of_its_loss() -> None:
    """The send's time runs out since the peer does not read; the reader sees the end of the stream after that."""
    with RawServer(after_upgrade(Peer.hang)) as server, client_of(server.url, send_timeout=0.2) as client:
        record = Record(client)
        client.connect()
        with pytest.raises(SendError) as caught:
            flood(client)
        record.wait("connected", 2)
        (error,) = record.of("error")
        assert (error.context, str(error.error)) == ("send", str(caught.value))
        assert record.story == [*CONNECTING, "error", *LOSING, *CONNECTING]
        assert record.of("disconnected")[0].code == 1006


def test_what_nobody_listens_to_is_not_queued(masquerade_server: EventServer) -> None:
    """A queue of one place would stop the reader behind a blocked listener."""
    entered, hang = threading.Event(), threading.Event()
    with client_of(masquerade_server.url, queue_size=1) as client:
        client.on("block", lambda _: (entered.set(), hang.wait(TIMEOUT)))
        client.connect()
        stream = client.events("else")
        masquerade_server.emit("block")
        assert entered.wait(TIMEOUT)
        for _ in range(100):
            masquerade_server.emit("else")
        for _ in range(100):
            stream.get(TIMEOUT)
        hang.set()


def test_streams_that_come_and_go_amid_a_flood_get_a_run_of_it_each_and_the_listener_gets_it_all() -> None:
    """Who decodes changes with whether somebody waits; the order does not."""
    count = 6_000

    def flood(peer: Peer) -> None:
        for start in range(0, count, 50):
            numbers = range(start, start + 50)
            peer.send(b"".join(frame(1, b'{"type": "n", "payload": {"n": %d}}' % number) for number in numbers))
        stay(peer)

    with RawServer(after_upgrade(flood)) as server, client_of(server.url, queue_size=300) as client:
        record = Record(client, "n")
        client.connect()
        deadline = Deadline(TIMEOUT)
        while len(record.events) < count and not deadline.expired():
            with client.events("n") as stream, suppress(WaitTimeoutError):
                first = stream.get(timeout=0.01).payload["n"]
                run = [stream.get(timeout=0.01).payload["n"] for _ in range(100)]
                assert run == list(range(first + 1, first + 101))
    assert [event.payload["n"] for event in record.events] == list(range(count))
