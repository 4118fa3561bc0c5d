from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from masquerade_ws.connection import Connection
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.errors import DisconnectedError, SendError
from masquerade_ws.events import Event
from masquerade_ws.lifecycle.heartbeat import beat
from masquerade_ws.lifecycle.options import HeartbeatOptions
from tests.support.raw_server import Peer, RawServer, frame, until
from tests.support.scripts import deaf

TEXT, PING, PONG = 1, 9, 10
LONG = 600.0


class Beating:
    """A connection with its heartbeat thread, and with a reader thread if wanted."""

    def __init__(self, url: str, *, reads: bool, send_timeout: float, **options: Any) -> None:
        self.connection = Connection.open(url, proxy=False, send_timeout=send_timeout)
        self.dispatcher = EventQueue(1)
        self.thread = self.beat(**options)
        self.reader = threading.Thread(target=self._read)
        if reads:
            self.reader.start()

    def beat(self, interval: float, timeout: float | None, **options: Any) -> threading.Thread:
        """Start a heartbeat thread; unless said otherwise, the peer's system changes nothing."""
        options.setdefault("busy_timeout", timeout)
        options.setdefault("heartbeat_message", True)
        chosen = HeartbeatOptions(heartbeat_interval=interval, heartbeat_timeout=timeout, **options)
        thread = threading.Thread(target=beat, args=(self.connection, self.dispatcher, chosen))
        thread.start()
        return thread

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
    **options: Any,
) -> Iterator[Beating]:
    with RawServer(script) as server:
        room = Beating(
            server.url, reads=reads, send_timeout=send_timeout, interval=interval, timeout=timeout, **options
        )
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


def test_a_heartbeat_may_be_a_ping_alone() -> None:
    frames: list[tuple[int, bytes]] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        while True:
            frames.append(peer.read_frame())
            peer.send(frame(PONG, frames[-1][1]))

    with beating(script, 0.02, None, heartbeat_message=False) as room:
        until(lambda: len(frames) >= 4)
        until(lambda: room.connection.latency is not None)
        assert room.sent == 0
        assert room.connection.bytes_sent >= 4 * 6
    assert set(frames) == {(PING, b"")}


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
        assert str(error).startswith("the peer was silent for 0.1 s after a heartbeat, but its system is alive")
        assert room.connection.close_code == 1006


def test_the_time_of_a_silent_peer_runs_from_the_first_heartbeat_without_an_answer() -> None:
    with beating(swallow, 0.02, 0.3) as room:
        assert room.connection.wait_tcp_closed(10)
        assert 1 <= room.sent < 20


def busy(peer: Peer) -> None:
    peer.upgrade()
    peer.hang()


linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can tell")


@linux
@pytest.mark.parametrize(("busy_timeout", "granted"), [(LONG, "until 600 s after it"), (None, "any time")])
def test_a_silent_peer_whose_system_is_alive_lives_on_which_is_logged_once(
    busy_timeout: float | None, granted: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "masquerade_ws")
    with beating(busy, 0.05, 0.1, busy_timeout=busy_timeout) as room:
        until(lambda: room.sent >= 12)
        assert not room.connection.tcp_closed
    silent = "the peer has been silent for 0.1 s after a heartbeat, but its system is alive: its program may be busy"
    logged = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert set(logged) == {("INFO", f"{silent}, and has {granted} (busy_timeout)")}
    assert len(logged) < 3  # the peer is asked anew once if this process was held up


@linux
def test_a_peer_that_is_busy_for_too_long_is_dead() -> None:
    start = time.monotonic()
    with beating(busy, 0.05, 0.1, busy_timeout=0.5) as room:
        assert room.connection.wait_tcp_closed(10)
        assert time.monotonic() - start >= 0.55
        room.thread.join(10)
        silent = "the peer was silent for 0.5 s after a heartbeat, but its system is alive"
        advice = "busy_timeout ran out, which must be longer where the server is busy for longer"
        assert str(room.connection.error) == f"{silent}: {advice}"


def test_where_the_system_cannot_tell_a_busy_peer_from_a_dead_one_both_are_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with beating(busy, 0.05, 0.1, busy_timeout=LONG) as room:
        assert room.connection.wait_tcp_closed(10)
        room.thread.join(10)
        advice = "heartbeat_timeout ran out, which must be longer where the server is busy for longer"
        assert str(room.connection.error) == (
            f"the peer was silent for 0.1 s after a heartbeat: {advice}, "
            "since this system cannot tell a busy peer from a dead one"
        )


def test_a_peer_whose_system_acknowledges_nothing_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """How a system comes to that is shown with a real cable, between two network namespaces."""
    monkeypatch.setattr(Connection, "acknowledged", lambda connection, within: within > 0.06)
    with beating(busy, 0.05, 0.1, busy_timeout=LONG) as room:
        assert room.connection.wait_tcp_closed(10)
        room.thread.join(10)
        silent = "the peer was silent for 0.1 s after a heartbeat, and so was its system"
        advice = "heartbeat_timeout ran out, which may be longer where the network fails for longer"
        assert str(room.connection.error) == f"{silent}: {advice}"


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
        with full(room.dispatcher):
            thread = room.beat(0.02, 0.1)
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
        thread = room.beat(interval, timeout)
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
