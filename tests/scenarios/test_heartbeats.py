"""Heartbeats as the server and the user of a client see them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

import pytest

from masquerade_ws import DisconnectedError, SendError, WebSocketClient
from masquerade_ws.connection import Connection
from masquerade_ws.testing import EventServer
from tests.support.messages import TIMESTAMP
from tests.support.proxies import http_proxy
from tests.support.raw_server import Peer, RawServer, close_payload, frame, tls_contexts, until
from tests.support.scenes import TIMEOUT, Record, client_of, elapsed, flood
from tests.support.scripts import deaf, mute, stay


def test_heartbeats_are_sent_on_their_interval_each_followed_by_a_ping() -> None:
    frames: list[tuple[int, bytes]] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        opcode = 0
        while opcode != 8:
            opcode, payload = peer.read_frame()
            frames.append((opcode, payload))
            if opcode == 9:
                peer.send(frame(10, payload))
        peer.send(frame(8, close_payload(1000)))

    with RawServer(script) as server, client_of(server.url, heartbeat_interval=0.1) as client:
        start = datetime.now(timezone.utc)
        client.connect()
        until(lambda: len(frames) >= 8)
        client.disconnect()
    assert [opcode for opcode, _ in frames[:8]] == [1, 9] * 4
    beats = [datetime.fromisoformat(json.loads(payload)["timestamp"][:-1] + "+00:00") for _, payload in frames[:8:2]]
    for count, at in enumerate(beats, 1):
        assert (at - start).total_seconds() > count * 0.1 - 0.01


def test_a_heartbeat_is_an_event_without_payload(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, heartbeat_interval=0.02) as client, client:
        beat = masquerade_server.expect("heartbeat")
        assert beat["payload"] == {}
        assert TIMESTAMP.fullmatch(beat["timestamp"])
        masquerade_server.expect("heartbeat")
        until(lambda: client.stats.messages_sent >= 2)


def test_no_heartbeat_is_sent_after_disconnect(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, heartbeat_interval=0.02) as client:
        with client:
            masquerade_server.expect("heartbeat")
        masquerade_server.wait_for_connections(0)
        count = len(masquerade_server.received)
        assert not any(thread.name == "masquerade-ws-heartbeat" for thread in threading.enumerate())
        assert len(masquerade_server.received) == count


def test_heartbeats_begin_again_with_the_next_connection(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, heartbeat_interval=0.05) as client:
        record = Record(client)
        client.connect()
        masquerade_server.expect("heartbeat")
        masquerade_server.drop()
        record.wait("connected", 2)
        for _ in range(3):
            masquerade_server.expect("heartbeat")


def test_the_latency_is_that_of_the_last_ping(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, heartbeat_interval=0.02) as client:
        with client:
            assert client.stats.latency is None or client.stats.latency > 0
            until(lambda: client.stats.latency is not None)
            assert 0 < (client.stats.latency or 0) < TIMEOUT
        assert client.stats.latency is None


def test_a_dead_peer_is_found_in_time_reported_once_and_replaced(masquerade_server: EventServer) -> None:
    limits = {"heartbeat_interval": 0.1, "heartbeat_timeout": 0.3, "busy_timeout": 0.3, "connect_timeout": 0.5}
    with client_of(masquerade_server.url, **limits) as client:
        record = Record(client)
        client.connect()
        masquerade_server.freeze()
        took = elapsed(lambda: record.wait("disconnected"))
        assert 0.25 < took < TIMEOUT
        first = record.of("error")[0]
        assert first.context == "connection"
        assert isinstance(first.error, DisconnectedError)
        gone = record.of("disconnected")[0]
        assert (gone.code, gone.will_reconnect) == (1006, True)
        assert record.story[3:6] == ["error", "connected > disconnected", "disconnected"]
        masquerade_server.thaw()
        assert record.wait("connected", 2).gap > 0


def test_a_dead_peer_is_found_while_the_interpreter_is_held_each_time_that_somebody_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The heartbeat thread is late each time, by what would mean a stop of the process if that had not computed."""
    looks: list[float | None] = []
    wait = Connection.wait_tcp_closed

    def look(connection: Connection, timeout: float | None) -> bool:
        closed = wait(connection, timeout)
        if threading.current_thread().name == "masquerade-ws-heartbeat" and connection.close_code is None:
            looks.append(timeout)
            free = time.monotonic() + 0.6
            while time.monotonic() < free:
                pass
        return closed

    monkeypatch.setattr(Connection, "wait_tcp_closed", look)
    limits = {"heartbeat_interval": 0.2, "heartbeat_timeout": 0.3, "busy_timeout": 0.3}
    with RawServer(mute) as server, client_of(server.url, auto_reconnect=False, **limits) as client:
        record = Record(client, "error")
        client.connect()
        assert "silent" in str(record.wait("error").error)
    assert 2 <= len(looks) <= 8, "each time it was forgiven"


def test_a_peer_that_stalls_in_the_middle_of_a_frame_is_dead() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade(glued=frame(1, b'{"type": "news"}')[:-5])
        peer.read_to_end()

    limits = {"heartbeat_interval": 0.1, "heartbeat_timeout": 0.2, "busy_timeout": 0.2}
    with RawServer(script) as server, client_of(server.url, **limits) as client:
        record = Record(client)
        client.connect()
        assert record.wait("error").context == "connection"


def test_any_byte_of_the_peer_is_a_sign_of_life() -> None:
    """A frame comes byte by byte, for longer than a silent peer may keep, and no ping is ever answered."""
    text = frame(1, b'{"type": "slow", "payload": {"text": "it takes three seconds in all"}}')

    def script(peer: Peer) -> None:
        peer.upgrade()
        for n in range(len(text)):
            peer.send(text[n : n + 1])
            threading.Event().wait(0.05)
        stay(peer)

    limits = {"heartbeat_interval": 0.1, "heartbeat_timeout": 2, "busy_timeout": 2}
    with RawServer(script) as server, client_of(server.url, **limits) as client:
        record = Record(client, "slow", "error")
        client.connect()
        record.wait("slow")
        assert record.of("error") == []
        assert client.stats.connections == 1


@pytest.mark.parametrize("sender", ["heartbeat", "user"])
def test_a_heartbeat_that_cannot_be_sent_is_an_error_of_the_connection_and_a_send_of_the_user_is_not(
    sender: str,
) -> None:
    interval = 0.02 if sender == "heartbeat" else 600
    with (
        RawServer(deaf) as server,
        client_of(server.url, heartbeat_interval=interval, auto_reconnect=False) as client,
    ):
        record = Record(client, "error", "disconnected")
        client.connect()
        connection = client._state.connection
        assert connection is not None
        assert connection._established is not None
        connection._established._sock.shutdown(socket.SHUT_WR)  # as where the system knows that TCP is dead
        if sender == "user":
            with pytest.raises(SendError):
                client.emit("news")
        record.wait("disconnected")
        (failure,) = record.of("error")
        assert failure.context == ("connection" if sender == "heartbeat" else "send")
        assert isinstance(failure.error, DisconnectedError if sender == "heartbeat" else SendError)


def test_without_a_limit_a_silent_peer_is_kept(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, heartbeat_interval=0.02, heartbeat_timeout=None) as client, client:
        record = Record(client, "error", "news")
        masquerade_server.freeze()
        until(lambda: client.stats.messages_sent >= 20)
        masquerade_server.thaw()
        masquerade_server.emit("news")
        record.wait("news")
        assert record.of("error") == []


class Busy:
    """What a server does whose handler reads nothing for a while, and then answers all that came meanwhile."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def __call__(self, peer: Peer) -> None:
        peer.upgrade()
        assert self.over.wait(2 * TIMEOUT)
        opcode = 0
        while opcode != 8:
            opcode, payload = peer.read_frame()
            peer.send(frame(10 if opcode == 9 else opcode, payload))


HASTE = {"heartbeat_interval": 0.1, "heartbeat_timeout": 0.1}
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can tell a busy peer from a dead one")


@contextmanager
def client_by(way: str, script: Busy) -> Iterator[WebSocketClient]:
    """Make a client of a server with this script, over TLS, through a proxy, or neither."""
    server_context, client_context = tls_contexts() if way == "TLS" else (None, None)
    with RawServer(script, tls=server_context) as server, RawServer(http_proxy([])) as proxy:
        proxy_url = f"http://127.0.0.1:{proxy.port}" if way == "proxy" else False
        with client_of(server.url, ssl_context=client_context, proxy=proxy_url, **HASTE) as client:
            try:
                yield client
            finally:
                script.over.set()


@linux
@pytest.mark.parametrize("way", ["plain", "TLS", "proxy"])
def test_a_server_that_is_busy_keeps_its_connection(way: str) -> None:
    busy = Busy()
    with client_by(way, busy) as client:
        record = Record(client, "heartbeat", "error", "disconnected")
        client.connect()
        until(lambda: client.stats.messages_sent >= 12)
        assert client.state == "connected"
        assert client.stats.latency is None
        busy.over.set()
        record.wait("heartbeat", 12)  # they come back
        until(lambda: client.stats.latency is not None)
        client.disconnect()
        assert [event.type for event in record.events if event.type != "heartbeat"] == ["disconnected"]
        assert client.stats.connections == 1


@linux
def test_a_server_that_is_frozen_is_dead_after_busy_timeout(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, connect_timeout=0.5, busy_timeout=0.8, **HASTE) as client:
        record = Record(client, "error", "connected")
        client.connect()
        masquerade_server.freeze()
        assert elapsed(lambda: record.wait("error")) >= 0.8 / 2  # one heartbeat may be under way already
        assert "busy_timeout ran out" in str(record.of("error")[0].error)
        masquerade_server.thaw()
        assert record.wait("connected", 2).reconnected


STOPPABLE = """
import sys
from masquerade_ws.testing import EventServer
with EventServer() as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


@linux
def test_a_server_whose_process_is_stopped_is_dead_after_busy_timeout() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STOPPABLE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        with client_of(process.stdout.readline().strip(), busy_timeout=1.0, connect_timeout=0.5, **HASTE) as client:
            record = Record(client, "error", "connected")
            client.connect()
            until(lambda: client.stats.latency is not None)
            os.kill(process.pid, signal.SIGSTOP)
            assert elapsed(lambda: record.wait("error")) >= 1.0 / 2
            assert "busy_timeout ran out" in str(record.of("error")[0].error)
            os.kill(process.pid, signal.SIGCONT)
            assert record.wait("connected", 2).reconnected


@linux
def test_a_server_that_reads_nothing_more_is_given_up_by_the_send_that_it_holds_up() -> None:
    with RawServer(deaf) as server, client_of(server.url, send_timeout=0.5, auto_reconnect=False, **HASTE) as client:
        record = Record(client, "error", "disconnected")
        client.connect()
        with pytest.raises(SendError):
            flood(client)
        record.wait("disconnected")
        assert [event.context for event in record.of("error")] == ["send"]


def test_without_the_message_a_heartbeat_is_a_ping_alone() -> None:
    opcodes: list[int] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        while 8 not in opcodes:
            opcode, payload = peer.read_frame()
            opcodes.append(opcode)
            peer.send(frame(10 if opcode == 9 else opcode, payload))

    with (
        RawServer(script) as server,
        client_of(server.url, heartbeat_interval=0.02, heartbeat_message=False) as client,
        client,
    ):
        until(lambda: len(opcodes) >= 10)
        until(lambda: client.stats.latency is not None)
        stats = client.stats
        assert (stats.messages_sent, stats.messages_received) == (0, 0)
        assert min(stats.bytes_sent, stats.bytes_received) > 0
        client.disconnect()
    assert set(opcodes) == {8, 9}


def test_our_own_pause_is_not_the_peers_silence(masquerade_server: EventServer) -> None:
    """The queue is full behind a blocked listener for many intervals; then all is delivered."""
    entered, hang = threading.Event(), threading.Event()
    limits = {"queue_size": 10, "heartbeat_interval": 0.1, "heartbeat_timeout": 1, "busy_timeout": 1}
    with client_of(masquerade_server.url, **limits) as client:
        record = Record(client, "news", "error", "disconnected")
        client.on("news", lambda _: (entered.set(), hang.wait(TIMEOUT)))
        client.connect()
        for n in range(500):
            masquerade_server.emit("news", {"n": n})
        assert entered.wait(TIMEOUT)
        sent = client.stats.messages_sent
        until(lambda: client.stats.messages_sent >= sent + 15)
        assert client.state == "connected"
        hang.set()
        record.wait("news", 500)
        assert [event.payload["n"] for event in record.of("news")] == list(range(500))
        assert len(record.events) == 500
        assert client.stats.connections == 1


@pytest.mark.parametrize("queue_size", [1, 3])
def test_a_full_queue_ends_with_a_disconnect_that_delivers_what_was_received(
    masquerade_server: EventServer, queue_size: int
) -> None:
    entered, hang = threading.Event(), threading.Event()
    with client_of(masquerade_server.url, queue_size=queue_size) as client:
        record = Record(client, "news", "disconnected")
        client.on("news", lambda _: (entered.set(), hang.wait(TIMEOUT)))
        client.connect()
        for n in range(50):
            masquerade_server.emit("news", {"n": n})
        assert entered.wait(TIMEOUT)
        threading.Timer(0.2, hang.set).start()
        client.disconnect()
        assert client.state == "disconnected"
        numbers = [event.payload["n"] for event in record.of("news")]
        assert numbers == list(range(len(numbers)))
        assert record.events[-1].type == "disconnected"
