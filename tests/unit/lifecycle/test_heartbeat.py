from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from masquerade_ws.connection import Connection
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.errors import DisconnectedError, SendError
from masquerade_ws.events import Event
from masquerade_ws.lifecycle.heartbeat import beat
from tests.support.raw_server import Peer, RawServer, frame, until
from tests.support.scripts import deaf

TEXT, PING, PONG = 1, 9, 10
LONG = 600.0


class Beating:
    """A connection with its heartbeat thread, and with a reader thread if wanted."""

    def __init__(self, url: str, interval: float, timeout: float | None, *, reads: bool, send_timeout: float) -> None:
        self.connection = Connection.open(url, proxy=False, send_timeout=send_timeout)
        self.dispatcher = EventQueue(1)
        beats = (self.connection, self.dispatcher, interval, timeout)
        self.thread = threading.Thread(target=beat, args=beats)
        self.reader = threading.Thread(target=self._read)
        self.thread.start()
        if reads:
            self.reader.start()

    def _read(self) -> None:
        try:
            for _ in self.connection:
                pass
        except DisconnectedError:
            pass

    @property
    def sent(self) -> int:
        return self.connection.messages_sent

    def end(self) -> None:
        self.connection.abort(DisconnectedError("the test is over"))
        for thread in (self.thread, self.reader):
            if thread.ident is not None:
                thread.join(10)
                assert not thread.is_alive()


@contextmanager
def beating(
    script: Callable[[Peer], object],
    interval: float,
    timeout: float | None,
    *,
    reads: bool = True,
    send_timeout: float = 10.0,
) -> Iterator[Beating]:
    with RawServer(script) as server:
        room = Beating(server.url, interval, timeout, reads=reads, send_timeout=send_timeout)
        try:
            yield room
        finally:
            room.end()


def answer_pings(peer: Peer) -> None:
    peer.upgrade()
    while True:
        opcode, payload = peer.read_frame()
        if opcode == PING:
            peer.send(frame(PONG, payload))


def swallow(peer: Peer) -> None:
    peer.upgrade()
    while True:
        peer.read_frame()


def test_a_heartbeat_is_an_event_and_then_a_ping() -> None:
    frames: list[tuple[int, bytes]] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        while True:
            frames.append(peer.read_frame())

    with beating(script, 0.02, None) as room:
        until(lambda: len(frames) >= 4)
        assert room.sent >= 1
    assert [opcode for opcode, _ in frames[:4]] == [TEXT, PING, TEXT, PING]
    message = json.loads(frames[0][1])
    assert (message["type"], message["payload"]) == ("heartbeat", {})
    assert message["timestamp"].endswith("Z")


def test_the_first_heartbeat_waits_for_its_time() -> None:
    with beating(answer_pings, LONG, 10) as room:
        assert not room.connection.wait_tcp_closed(0.05)
        assert room.sent == 0


def test_a_peer_that_answers_pings_lives_on() -> None:
    with beating(answer_pings, 0.02, 5) as room:
        until(lambda: room.sent >= 10)
        assert not room.connection.tcp_closed
        until(lambda: room.connection.latency is not None)


def test_any_byte_of_the_peer_is_a_sign_of_life() -> None:
    def drip(peer: Peer) -> None:
        peer.upgrade(glued=frame(TEXT, b"x" * 60_000)[:4])
        while True:
            if peer.read_frame()[0] == PING:
                peer.send(b"x")

    with beating(drip, 0.05, 2.0) as room:
        start = time.monotonic()
        until(lambda: time.monotonic() - start > 2.4 and room.sent > 5)
        assert not room.connection.tcp_closed


def test_a_silent_peer_is_dead_after_the_time_that_it_was_given() -> None:
    start = time.monotonic()
    with beating(swallow, 0.05, 0.1) as room:
        assert room.connection.wait_tcp_closed(10)
        assert time.monotonic() - start >= 0.15
        room.thread.join(10)
        error = room.connection.error
        assert isinstance(error, DisconnectedError)
        assert str(error) == "the peer was silent for 0.1 s after a heartbeat"
        assert room.connection.close_code == 1006


def test_the_time_of_a_silent_peer_runs_from_the_first_heartbeat_without_an_answer() -> None:
    with beating(swallow, 0.02, 0.3) as room:
        assert room.connection.wait_tcp_closed(10)
        assert 1 <= room.sent < 20


def test_without_a_limit_a_silent_peer_is_never_dead() -> None:
    with beating(swallow, 0.01, None) as room:
        until(lambda: room.sent >= 10)
        assert not room.connection.tcp_closed


@contextmanager
def full(dispatcher: EventQueue) -> Iterator[None]:
    """Keep a reader waiting for room, as a slow listener does."""
    thread = threading.Thread(target=dispatcher.put, args=([Event("a"), Event("b")],))
    thread.start()
    until(lambda: dispatcher.full)
    yield
    dispatcher.release()
    thread.join(10)
    assert not thread.is_alive()


def test_a_peer_is_not_dead_while_we_do_not_read_but_may_be_after_that() -> None:
    with beating(swallow, LONG, LONG, reads=False) as room:
        beats = (room.connection, room.dispatcher, 0.02, 0.1)
        thread = threading.Thread(target=beat, args=beats)
        with full(room.dispatcher):
            thread.start()
            until(lambda: room.sent >= 15)
            assert not room.connection.tcp_closed
        assert room.connection.wait_tcp_closed(10)
        assert str(room.connection.error).startswith("the peer was silent")
        thread.join(10)
        assert not thread.is_alive()


def greet(peer: Peer) -> None:
    peer.upgrade()
    peer.send(frame(TEXT, b"hello"))
    while True:
        peer.read_frame()


@pytest.mark.parametrize(("interval", "timeout"), [(0.02, 0.1), (0.1, 0.02)])
def test_what_waits_to_be_read_is_a_sign_of_life(interval: float, timeout: float) -> None:
    with beating(greet, LONG, LONG, reads=False) as room:
        until(room.connection.readable)
        beats = (room.connection, room.dispatcher, interval, timeout)
        thread = threading.Thread(target=beat, args=beats)
        thread.start()
        until(lambda: room.sent >= 8)
        assert not room.connection.tcp_closed
        room.end()
        thread.join(10)
        assert not thread.is_alive()


def test_a_heartbeat_that_cannot_be_sent_ends_the_connection_as_a_send_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "masquerade_ws")
    with beating(deaf, 0.01, None, send_timeout=0.1) as room:
        stuffing = threading.Thread(target=stuff, args=(room.connection,))
        stuffing.start()
        stuffing.join(20)
        assert room.connection.wait_tcp_closed(10)
        room.thread.join(10)
        assert not room.thread.is_alive()


def test_a_heartbeat_that_waits_for_another_send_in_vain_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "masquerade_ws")
    with beating(answer_pings, 0.01, 10, send_timeout=0.02) as room:
        established = room.connection._established
        assert established is not None
        with established.sender.lock:  # as a long send holds it
            until(lambda: "a heartbeat was not sent" in caplog.text)
        assert not room.connection.tcp_closed
        before = room.sent
        until(lambda: room.sent > before)


def stuff(connection: Connection) -> None:
    """Send until the peer, which does not read, takes no more."""
    try:
        while True:
            connection.send(b"x" * 2**20)
    except SendError:
        pass


def test_the_thread_ends_with_the_connection() -> None:
    with beating(answer_pings, LONG, 10) as room:
        room.connection.close(timeout=0)
        room.thread.join(10)
        assert not room.thread.is_alive()
        assert room.sent == 0
