"""The faults of networks and servers, each made for real: what the client tells, and that it comes back."""

from __future__ import annotations

import gc
import json
import socket
import threading
import time
from contextlib import ExitStack, suppress

import pytest

from masquerade_ws import ConnectError, NotConnectedError, SendError, WebSocketClient
from masquerade_ws.lifecycle.backoff import delay_before
from masquerade_ws.testing import EventServer
from tests.support.fault_proxy import FaultProxy, Faults, Kind
from tests.support.leaks import descriptors, memory, nothing_leaks
from tests.support.raw_server import HANDSHAKE, Peer, RawServer, close_payload, frame, until
from tests.support.scenes import PATIENCE, TIMEOUT, Record, client_of, elapsed, names_of_threads, running
from tests.support.scripts import stay

THREADS = [f"masquerade-ws-{name}" for name in ("dispatcher", "heartbeat", "reader", "supervisor")]


# A dead peer


@pytest.mark.parametrize("kind", ["silence", "stall", "vanish"])
@pytest.mark.parametrize("place", ["between two frames", "in a frame's header", "in a frame's payload"])
def test_a_dead_peer_is_found_in_time_reported_once_and_replaced(kind: Kind, place: str) -> None:
    """The header is of four bytes; the peer dies with the first event, and the cable of one is pulled without a FIN."""
    news = frame(1, json.dumps({"type": "news", "payload": {"text": "n" * 200}}).encode())
    passed = {"between two frames": 0, "in a frame's header": 3, "in a frame's payload": 100}[place]

    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.read_frame()  # the first heartbeat
        peer.send(news)
        stay(peer)

    faults = [Faults(kind, HANDSHAKE + passed)]
    with (
        RawServer(script) as server,
        FaultProxy(server.port, lambda number: faults[number] if number < 1 else Faults()) as proxy,
        client_of(proxy.url, heartbeat_interval=0.2, heartbeat_timeout=0.4, busy_timeout=0.4) as client,
    ):
        record = Record(client)
        client.connect()
        took = elapsed(lambda: record.wait("disconnected"))
        assert took < 0.2 + 0.4 + PATIENCE
        assert record.story[:6] == [
            "disconnected > connecting",
            "connecting > connected",
            "connected",
            "error",
            "connected > disconnected",
            "disconnected",
        ]
        error = record.of("error")[0]
        assert error.context == "connection"
        assert "silent" in str(error.error)
        assert record.of("disconnected")[0].code == 1006
        assert record.wait("connected", 2).gap < PATIENCE
        assert client.wait_for("news", timeout=TIMEOUT)


def test_a_peer_that_dies_while_a_message_is_being_sent_is_found_in_time(masquerade_server: EventServer) -> None:
    """The heartbeat waits for the send to end, and the send for the peer: longer than a dead one may be kept."""
    with client_of(
        masquerade_server.url,
        heartbeat_interval=0.2,
        heartbeat_timeout=0.4,
        busy_timeout=0.4,
        send_timeout=60,
        connect_timeout=1,
    ) as client:
        record = Record(client)
        client.connect()
        masquerade_server.freeze()
        sender = running(lambda: client.emit("much", {"text": "x" * 2**25}))
        took = elapsed(lambda: record.wait("disconnected"))
        assert took < 0.2 + 0.4 + PATIENCE
        with pytest.raises((SendError, NotConnectedError)):
            sender.result()
        masquerade_server.thaw()
        record.wait("connected", 2)


def test_a_long_upload_to_a_peer_that_takes_it_slowly_is_not_a_death() -> None:
    """It takes longer than a silent peer is kept, and nothing comes back meanwhile; what goes out is a sign of life."""
    over = threading.Event()

    def script(peer: Peer) -> None:
        peer.upgrade()
        while (length := peer.read(2)[1] & 0x7F) < 127:  # heartbeats, before the frame with a length of 64 bits
            peer.read(4 + length)
            peer.send(frame(10))
        left = int.from_bytes(peer.read(12)[:8], "big")
        while left:
            left -= len(peer.read(min(left, 2**16)))
            time.sleep(0.012)  # how slow it is
        over.set()
        stay(peer)

    with (
        RawServer(script) as server,
        client_of(
            server.url, heartbeat_interval=0.5, heartbeat_timeout=1.5, busy_timeout=1.5, send_timeout=60
        ) as client,
    ):
        record = Record(client, "error")
        client.connect()
        client.emit("much", {"text": "x" * 2**24})
        assert over.wait(60)
        assert record.events == []


# Flapping


def test_a_server_that_accepts_and_drops_or_refuses_wins_nothing(masquerade_server: EventServer) -> None:
    statuses = [401, 403, 429, 500, 503]
    with nothing_leaks(), client_of(masquerade_server.url) as client:
        record = Record(client)
        client.connect()
        for n in range(10):
            masquerade_server.refuse(statuses[n % 5])
            masquerade_server.drop()
            record.wait("connected", n + 2)
        assert names_of_threads() == THREADS
        errors = [event.error for event in record.of("error")]
        refusals = [error.status for error in errors if isinstance(error, ConnectError)]
        assert refusals == statuses * 2
        assert len(errors) == 20
        assert [event.attempts for event in record.of("connected")] == [1] + [2] * 10
        assert client.stats.reconnects == 10


def test_a_proxy_that_drops_each_connection_at_once_is_borne() -> None:
    """Accepted, then reset or ended before the first byte, thirty times; then it lives."""
    with EventServer() as server, nothing_leaks():
        kinds: list[Kind] = ["reset", "truncate"]
        for kind in kinds:
            with (
                FaultProxy(server.port, lambda number, kind=kind: Faults(kind if number < 30 else "none")) as proxy,
                client_of(proxy.url) as client,
            ):
                record = Record(client)
                client.connect(block=False)
                assert record.wait("connected").attempts == 31
                assert len(record.of("error")) == 30
                assert names_of_threads() == THREADS


@pytest.mark.slow
def test_a_hundred_clients_find_a_restarted_server_again() -> None:
    count = 100
    with EventServer() as server, nothing_leaks(), ExitStack() as stack:
        clients = [
            WebSocketClient(
                server.url, lambda: "token", initial_reconnect_delay=0.05, max_reconnect_delay=0.5, reconnect_jitter=0.5
            )
            for _ in range(count)
        ]
        for client in clients:
            stack.callback(client.disconnect)
            client.on("error", lambda _: None)
            client.connect(block=False)
        server.wait_for_connections(count, 60)
        server.stop()
        server.start()
        server.wait_for_connections(count, 60)
        until(lambda: all(client.state == "connected" for client in clients), 60)
        assert names_of_threads() == sorted(THREADS * count)
        assert all(client.stats.reconnects >= 1 for client in clients)
        waits = [running(lambda client=client: client.wait_for("back", timeout=60)) for client in clients]
        until(lambda: all(client._streams for client in clients), 60)
        server.emit("back")
        for wait in waits:
            wait.join(60)
            assert wait.result().type == "back"


@pytest.mark.slow
@pytest.mark.parametrize("outage", ["nobody listens", "accepted and reset", "refused"])
def test_a_long_outage_changes_neither_memory_nor_threads_nor_descriptors(outage: str) -> None:
    attempts = 300
    with ExitStack() as stack:
        server = stack.enter_context(EventServer())
        if outage == "refused":
            url = server.url
            server.refuse(503, times=3 * attempts)
        elif outage == "accepted and reset":
            url = stack.enter_context(FaultProxy(server.port, lambda _: Faults("reset"))).url
        else:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                url = f"ws://127.0.0.1:{listener.getsockname()[1]}/ws"
        tokens = iter(range(10**9))
        made: list[int] = []
        with client_of(
            url, lambda: str(made.append(next(tokens))), initial_reconnect_delay=1e-9, max_reconnect_delay=1e-9
        ) as client:
            client.on("error", lambda _: None)
            client.connect(block=False)
            until(lambda: len(made) > attempts // 3, 60)
            gc.collect()
            before, files = memory(), descriptors()
            until(lambda: len(made) > attempts, 60)
            gc.collect()
            assert memory() - before < 4 * 2**20
            assert len(names_of_threads()) <= 3  # supervisor, dispatcher, and the token of the attempt under way
            until(lambda: descriptors() <= files + 8)  # those of an attempt under way, and the server lags behind


def test_the_schedule_of_years_does_not_overflow() -> None:
    delays = {delay_before(retry, 1e-9, 2e-9, 0.0) for retry in (10, 1025, 10**6, 10**18)}
    assert delays == {2e-9}


# A peer that stops reading


def test_senders_fail_in_time_when_the_peer_stops_reading_and_the_connection_is_replaced() -> None:
    """The proxy stalls after the handshake; eight threads send until the kernel takes no more."""
    script = {0: Faults("stall", 1000, upwards=True)}.get
    with (
        EventServer() as server,
        FaultProxy(server.port, lambda number: script(number, Faults())) as proxy,
        client_of(proxy.url, send_timeout=0.5, heartbeat_interval=60) as client,
    ):
        record = Record(client)
        client.connect()
        senders = [running(lambda: client.emit("much", {"text": "x" * 2**24})) for _ in range(8)]
        took = elapsed(lambda: record.wait("connected", 2))
        assert took < 0.5 + PATIENCE
        for sender in senders:
            with pytest.raises((SendError, NotConnectedError)):
                sender.result()
        assert [event.context for event in record.of("error")] == ["send"]
        assert record.of("disconnected")[0].code == 1006
        client.emit("after")
        server.expect("after")


def test_disconnect_returns_at_once_while_the_peer_reads_nothing(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, send_timeout=60, heartbeat_interval=0.1) as client:
        record = Record(client)
        client.connect()
        masquerade_server.freeze()
        senders = [running(lambda: client.emit("much", {"text": "x" * 2**24})) for _ in range(4)]
        until(lambda: client.stats.bytes_sent > 2**16)
        assert elapsed(lambda: client.disconnect(timeout=30)) < PATIENCE
        for sender in senders:
            with pytest.raises((SendError, NotConnectedError)):
                sender.result()
        assert record.of("error") == []
        assert record.story[-1] == "disconnected"


# A flood into a slow listener


def test_a_flood_waits_for_a_slow_listener_without_loss() -> None:
    """40 MB are held back by TCP while the listener hangs, and heartbeats go out; then all comes, in order."""
    count, sent, beats, lock, hang = 20_000, [0], [0], threading.Lock(), threading.Event()
    body = "x" * 2000

    def answer(peer: Peer) -> None:
        opcode = 0
        with suppress(EOFError, OSError):
            while opcode != 8:
                opcode, payload = peer.read_frame()
                beats[0] += opcode == 1
                with lock:
                    peer.send(frame(8, close_payload(1000)) if opcode == 8 else frame(10, payload) * (opcode == 9))

    def flood(peer: Peer) -> None:
        peer.upgrade()
        answers = running(lambda: answer(peer))
        for n in range(count):
            with lock:
                peer.send(frame(1, json.dumps({"type": "news", "payload": {"n": n, "body": body}}).encode()))
            sent[0] = n
        answers.result()

    with (
        RawServer(flood) as server,
        client_of(server.url, queue_size=100, heartbeat_interval=0.2, heartbeat_timeout=2, busy_timeout=2) as client,
        ExitStack() as at_the_end,
    ):
        at_the_end.callback(hang.set)
        numbers: list[int] = []
        client.on("news", lambda _: hang.wait(60))
        client.on("news", lambda event: numbers.append(event.payload["n"]))
        record = Record(client, "error", "disconnected")
        before = memory()
        client.connect()
        until(lambda: sent[0] > 100 and beats[0] > 0)
        told = client.stats.messages_sent
        until(lambda: client.stats.messages_sent >= told + 12)  # for longer than a silent peer is kept
        assert sent[0] < count * 0.8
        assert (client.state, numbers) == ("connected", [])
        assert memory() - before < 20 * 2**20
        hang.set()
        until(lambda: len(numbers) == count, 60)
        assert numbers == list(range(count))
        assert memory() - before < 20 * 2**20
        assert record.events == []
        assert client.stats.connections == 1


# Gaps


def test_what_happens_in_a_gap_is_asked_for_and_ends_the_wait(masquerade_server: EventServer) -> None:
    finished: dict[str, str] = {}
    polls: list[str] = []

    def poll(job_id: str) -> str | None:
        polls.append(job_id)
        return finished.get(job_id)

    with FaultProxy(masquerade_server.port) as proxy, client_of(proxy.url) as client:
        record = Record(client)
        client.connect()
        job = running(lambda: client.run_image_job(lambda: "7", poll=poll, timeout=TIMEOUT))
        until(lambda: polls == ["7"])
        masquerade_server.freeze()
        proxy.cut()
        record.wait("disconnected")
        finished["7"] = "done"
        masquerade_server.emit("image.generation.completed", {"job_id": "7", "image_url": "x"})
        until(lambda: client.state == "connecting")
        masquerade_server.thaw()
        assert job.result() == "done"
        assert polls == ["7", "7"]
        assert record.wait("connected", 2).gap > 0
