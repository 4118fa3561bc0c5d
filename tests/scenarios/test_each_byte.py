"""A session that is cut, reset or struck dumb at each of its bytes, those of the server and those of the client."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from masquerade_ws import Event, NotConnectedError, SendError, WebSocketClient
from masquerade_ws.events import HeartbeatEvent
from masquerade_ws.protocol.codec import encode
from masquerade_ws.protocol.frames import CLOSE, PING, TEXT, build_frame
from tests.support.fault_proxy import FaultProxy, Faults, Kind
from tests.support.leaks import nothing_leaks
from tests.support.raw_server import HANDSHAKE, Peer, RawServer, close_payload, frame, until
from tests.support.scenes import PATIENCE, TIMEOUT, Record, client_of, elapsed, running
from tests.support.scripts import idle

CUTS: list[Kind] = ["truncate", "reset"]
SILENCES: list[Kind] = ["stall", "silence", "vanish"]
SHORT = {
    "connect_timeout": 0.3,
    "heartbeat_interval": 0.1,
    "heartbeat_timeout": 0.2,
    "busy_timeout": 0.2,
}  # how long silence is borne
NEWS = json.dumps({"type": "news", "payload": {"text": "ä" * 30}}).encode()
TOLD = Event("told", {"text": "ü" * 60})  # long enough for a length of 16 bits
GOING_AWAY = frame(8, close_payload(1001, "going away"))


def size(opcode: int, payload: bytes) -> int:
    """Return how many bytes a client's frame has."""
    return len(build_frame(opcode, payload, bytes(4)))


TOLD_FRAME = size(TEXT, encode(TOLD).encode())
HEARTBEAT_FRAMES = size(TEXT, encode(HeartbeatEvent({})).encode()) + size(PING, b"")
CLOSE_FRAME = size(CLOSE, close_payload(1000))


def token() -> str:
    """Return what every client here shows, for requests of one length."""
    return "token"


def size_of_request(server: RawServer) -> int:
    """Return how many bytes a client sends for the opening handshake; it sends nothing more here."""
    with FaultProxy(server.port) as proxy, client_of(proxy.url, token) as client:
        client.connect()
        (session,) = proxy.sessions
        until(lambda: session.passed["up"])
        return session.passed["up"]


def letters(record: Record) -> str:
    """Return what a client told: Connected, News, an Error, Lost, Gone with the server's close, Done with our own."""
    names = {"connected": "C", "news": "N", "error": "E"}
    codes = {1006: "L", 1001: "G", 1000: "D"}
    return "".join(names.get(event.type) or codes[event.code] for event in record.events)


def survive(server: RawServer, faults: Callable[[int], Faults], offsets: range, **options: Any) -> str:
    """Let a client go through all these offsets, with a session after each that is spared; return what it reported.

    Each failure and each loss was reported once, a loss after its error, and nothing else was. In the end the client
    waits for the answer to a handshake.
    """

    def script(number: int) -> Faults:
        index, spared = divmod(number, 2)
        return Faults("silence") if index >= len(offsets) else Faults() if spared else faults(offsets[index])

    def tell(_: object) -> None:
        with suppress(NotConnectedError, SendError):
            client.send(TOLD)

    with FaultProxy(server.port, script) as proxy:
        client = WebSocketClient(proxy.url, token, initial_reconnect_delay=0.001, max_reconnect_delay=0.001, **options)
        record = Record(client, "connected", "news", "error", "disconnected")
        client.on("connected", tell)
        client.connect(block=False)
        until(lambda: proxy.accepted > 2 * len(offsets), 100)
        client.disconnect(timeout=TIMEOUT)
    story = letters(record)
    assert re.fullmatch("(E|CN*EL|CN*G)*", story), story
    for event in record.of("error"):
        assert event.context == ("send" if isinstance(event.error, SendError) else "connection")
    return story


def in_shares(count: int, offsets: range, scene: Callable[[range], None]) -> None:
    """Share the offsets among some clients, for most of the time is spent waiting."""
    for worker in [running(lambda n=n: scene(offsets[n::count])) for n in range(count)]:
        worker.join(120)
        worker.result()


# What the server sends


def act(peer: Peer) -> None:
    """A session with frames of every kind, from the first byte of the handshake to the last of the close frame."""
    peer.upgrade()
    peer.send(SCENE)
    peer.read_close()


SCENE = b"".join(
    [
        frame(1, NEWS),
        frame(9, b"ping"),
        frame(1, NEWS[:20], fin=False),
        frame(10, b""),
        frame(0, NEWS[20:]),
        frame(2, NEWS),
        GOING_AWAY,
    ]
)
WHOLE = range(HANDSHAKE + len(SCENE))


@pytest.mark.slow
@pytest.mark.parametrize("kind", CUTS)
def test_a_server_cut_short_at_any_byte_is_a_loss_reported_once_and_replaced(kind: Kind) -> None:
    def scene(offsets: range) -> None:
        story = survive(server, lambda offset: Faults(kind, offset), offsets)
        assert re.fullmatch(f"((E|CN*EL)CNNNG){{{len(offsets)}}}", story), story

    with RawServer(act) as server, nothing_leaks():
        in_shares(2, WHOLE, scene)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SILENCES)
def test_a_server_silent_from_any_byte_on_is_a_loss_reported_once_and_replaced(kind: Kind) -> None:
    def scene(offsets: range) -> None:
        story = survive(server, lambda offset: Faults(kind, offset), offsets, **SHORT)
        assert story.count("E") >= len(offsets)  # a slow machine may see more
        assert "NG" in story

    with RawServer(act) as server, nothing_leaks():
        in_shares(20, WHOLE, scene)


# What the client sends


def listen(peer: Peer) -> None:
    """A session in which the client sends an event, a heartbeat and a ping; it hears no news before all have come."""
    peer.upgrade()
    awaited = {"told", PING}
    while awaited:
        opcode, payload = peer.read_frame()
        awaited.discard(json.loads(payload)["type"] if opcode == TEXT else opcode)
    peer.send(frame(1, NEWS) + GOING_AWAY)
    peer.read_close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", CUTS)
def test_a_client_cut_short_at_any_byte_tells_of_one_loss_and_comes_back(kind: Kind) -> None:
    def scene(offsets: range) -> None:
        story = survive(server, lambda at: Faults(kind, at, upwards=True), offsets, heartbeat_interval=0.02)
        assert re.fullmatch(f"((E|CEL)CNG){{{len(offsets)}}}", story), story

    with RawServer(listen) as server, nothing_leaks():
        in_shares(6, range(size_of_request(server) + TOLD_FRAME + HEARTBEAT_FRAMES), scene)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SILENCES)
def test_a_client_unheard_from_any_byte_on_tells_of_one_loss_and_comes_back(kind: Kind) -> None:
    def scene(offsets: range) -> None:
        story = survive(server, lambda at: Faults(kind, at, upwards=True), offsets, **SHORT)
        assert story.count("E") >= len(offsets)
        assert "NG" in story

    with RawServer(listen) as server, nothing_leaks():
        in_shares(20, range(size_of_request(server) + TOLD_FRAME + HEARTBEAT_FRAMES), scene)


@pytest.mark.parametrize("kind", [*CUTS, *SILENCES])
def test_a_close_of_the_server_stands_whatever_becomes_of_the_answer(kind: Kind) -> None:
    """The event goes first, so that it is the answer that the fault strikes."""

    def close(peer: Peer) -> None:
        peer.upgrade()
        peer.read_frame()
        peer.send(frame(1, NEWS) + GOING_AWAY)
        peer.read_close()

    def scene(offsets: range) -> None:
        story = survive(server, lambda at: Faults(kind, at, upwards=True), offsets)
        assert re.fullmatch(f"(CNG){{{2 * len(offsets)}}}", story), story

    with RawServer(close) as server, nothing_leaks():
        start = size_of_request(server) + TOLD_FRAME + 1
        in_shares(CLOSE_FRAME, range(start, start + CLOSE_FRAME), scene)


@pytest.mark.parametrize("kind", [*CUTS, *SILENCES])
def test_disconnect_returns_in_time_with_code_1000_whatever_becomes_of_its_close_frame(kind: Kind) -> None:
    def scene(offsets: range) -> None:
        (offset,) = offsets
        script = {0: Faults(kind, offset, upwards=True)}
        with FaultProxy(server.port, lambda number: script.get(number, Faults())) as proxy:
            client = WebSocketClient(proxy.url, token)
            record = Record(client, "connected", "error", "disconnected")
            client.connect()
            assert elapsed(lambda: client.disconnect(timeout=1)) < 1 + PATIENCE
            assert (client.state, letters(record)) == ("disconnected", "CD")
            client.connect()  # as good as new
            client.disconnect()
            assert letters(record) == "CDCD"

    with RawServer(idle) as server, nothing_leaks():
        start = size_of_request(server) + 1
        in_shares(CLOSE_FRAME, range(start, start + CLOSE_FRAME), scene)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CUTS)
def test_a_send_cut_short_half_way_fails_and_the_connection_is_replaced(kind: Kind) -> None:
    """More than the kernel takes at once, so that the loss is seen by the sender, by the reader, or by both."""

    def talk(peer: Peer) -> None:
        peer.upgrade()
        while peer.read_frame()[0] != CLOSE:
            peer.send(frame(1, NEWS))
        peer.send(frame(8, close_payload(1000)))

    script = {n: Faults(kind, 2**16 * (n + 1), upwards=True) for n in range(10)}
    with (
        RawServer(talk) as server,
        nothing_leaks(),
        FaultProxy(server.port, lambda number: script.get(number, Faults())) as proxy,
        client_of(proxy.url) as client,
    ):
        record = Record(client, "connected", "news", "error", "disconnected")
        client.connect()
        for n in range(10):
            with pytest.raises(SendError):
                client.emit("much", {"text": "x" * 2**25})
            record.wait("connected", n + 2)
        client.emit("told")
        record.wait("news")
        assert letters(record) == "CEL" * 10 + "CN"
