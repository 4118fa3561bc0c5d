"""The receive side: pongs without waiting, latency, and bytes that come in pieces."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from masquerade_ws.connection import Connection
from masquerade_ws.connection.closure import Closure
from masquerade_ws.connection.receiver import Receiver
from masquerade_ws.connection.sender import Sender
from masquerade_ws.connection.sockets import RECV_SIZE
from masquerade_ws.deadline import Deadline
from masquerade_ws.errors import DisconnectedError
from masquerade_ws.protocol.frames import PING, FrameReceiver
from tests.support.raw_server import Peer, RawServer, close_payload, frame, held, tcp_pair, tls_contexts, until


class Ends(NamedTuple):
    receiver: Receiver
    sender: Sender
    closure: Closure
    peer: Peer
    sock: socket.socket


@pytest.fixture
def ends() -> Iterator[Ends]:
    with tcp_pair() as (near, far):
        closure = Closure()
        sender = Sender(near, None, None)
        receiver = Receiver(near, None, FrameReceiver(max_message_size=2**20), sender, closure)
        yield Ends(receiver, sender, closure, Peer(far, threading.Event()), near)


def test_5_5_2_a_ping_is_answered_with_its_payload(ends: Ends) -> None:
    ends.peer.send(frame(9, b"payload"))
    assert ends.receiver.receive() == []
    assert ends.peer.read_frame() == (10, b"payload")


def test_5_5_2_a_ping_between_fragments_is_answered(ends: Ends) -> None:
    ends.peer.send(frame(1, b"a", fin=False) + frame(9, b"ping") + frame(0, b"b"))
    assert ends.receiver.receive() == ["ab"]
    assert ends.peer.read_frame() == (10, b"ping")


def test_5_5_2_pings_that_came_together_are_all_answered(ends: Ends) -> None:
    ends.peer.send(b"".join(frame(9, b"%d" % i) for i in range(10)) + frame(1, b"x"))
    assert ends.receiver.receive() == ["x"]
    assert [ends.peer.read_frame() for _ in range(10)] == [(10, b"%d" % i) for i in range(10)]


def test_5_5_3_a_pong_that_nobody_asked_for_is_ignored(ends: Ends) -> None:
    ends.peer.send(frame(10, b"unsolicited") + frame(1, b"x"))
    assert ends.receiver.receive() == ["x"]
    assert ends.receiver.latency is None


def test_the_latency_is_that_of_the_ping_answered(ends: Ends) -> None:
    ends.sender.send(PING, b"1", 10)
    ends.sender.send(PING, b"2", 10)
    ends.peer.send(frame(10, b"2"))
    ends.receiver.receive()
    assert ends.receiver.latency is not None
    ends.receiver.latency = None
    ends.peer.send(frame(10, b"1"))
    ends.receiver.receive()
    assert ends.receiver.latency is None


def test_a_reader_goes_on_while_pongs_cannot_be_sent(ends: Ends) -> None:
    """A peer that sends without reading fills both directions if the reader waits for its pongs to go out."""
    while not ends.sender.stalled:
        ends.peer.send(frame(9, bytes(125)) + frame(1, b"x"))
        assert ends.receiver.receive() == ["x"]
    for i in range(100):
        ends.peer.send(frame(9, b"%d" % i) + frame(1, b"%d" % i))
        assert ends.receiver.receive() == [str(i)]
    received = threading.Thread(target=ends.receiver.receive)
    received.start()
    while ends.peer.read_frame() != (10, b"99"):  # sent by the reader, which now waits for both directions
        pass
    until(lambda: not held(ends.sender.lock))
    ends.peer.send(frame(1, b"last"))
    received.join(10)
    assert not received.is_alive()


def test_a_socket_that_breaks_under_a_pong_ends_the_connection(ends: Ends) -> None:
    ends.peer.send(frame(9) + frame(1, b"x"))
    ends.sock.shutdown(socket.SHUT_WR)
    assert ends.receiver.receive() == ["x"]
    assert ends.receiver.receive() is None
    assert ends.closure.code == 1006


def test_5_5_1_nothing_is_read_after_a_close_frame(ends: Ends) -> None:
    ends.peer.send(frame(1, b"x") + frame(8, close_payload(1001)) + frame(1, b"y"))
    assert ends.receiver.receive() == ["x"]
    assert ends.receiver.receive() is None
    assert ends.closure.code == 1001


@pytest.mark.parametrize(("length", "size"), [(8, RECV_SIZE), (98, 200_000), (2**14, 8 * RECV_SIZE)])
def test_in_a_flood_reads_are_as_large_as_2000_messages_but_not_larger_than_half_a_mebibyte(
    ends: Ends, length: int, size: int
) -> None:
    flood = frame(2, bytes(length))
    flood *= max(1, 1000 // len(flood))
    ends.receiver._size = len(flood)
    ends.peer.send(flood)
    until(lambda: len(ends.sock.recv(len(flood), socket.MSG_PEEK)) == len(flood))
    assert set(ends.receiver.receive() or ()) == {bytes(length)}
    assert ends.receiver._size == size


def test_after_a_flood_reads_are_small_again(ends: Ends) -> None:
    ends.receiver._size = 2**20
    ends.peer.send(frame(1, b"x"))
    assert ends.receiver.receive() == ["x"]
    assert ends.receiver._size == RECV_SIZE


def test_waiting_for_the_close_frame_keeps_the_messages(ends: Ends) -> None:
    ends.peer.send(frame(1, b"a"))
    ends.peer.send(frame(1, b"b") + frame(8, close_payload(1000)))
    ends.receiver.await_close(Deadline(10), 2**20)
    assert ends.receiver.recv_closed
    assert ends.receiver.receive() == ["a", "b"]
    assert ends.receiver.receive() is None


def test_waiting_for_the_close_frame_ends_with_the_stream(ends: Ends) -> None:
    ends.peer.sock.close()
    ends.receiver.await_close(Deadline(10), 2**20)
    assert ends.receiver.recv_closed


def test_waiting_for_the_close_frame_ends_when_another_thread_has_read_it(ends: Ends) -> None:
    thread = threading.Thread(target=ends.receiver.receive)
    thread.start()
    until(lambda: held(ends.receiver.lock))
    waiter = threading.Thread(target=ends.receiver.await_close, args=(Deadline(60), 2**20))
    waiter.start()
    ends.peer.send(frame(8, close_payload(1000)))
    for one in (thread, waiter):
        one.join(10)
        assert not one.is_alive()


def test_a_read_in_the_middle_of_another_comes_after_it(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a signal handler closes the connection that its own thread iterates over."""
    feed = ends.receiver.frames.feed

    def feed_late(data: bytes) -> list[str | bytes]:
        monkeypatch.undo()
        ends.peer.send(b"ter" + frame(1, b"third") + frame(8, close_payload(1000)))
        ends.peer.sock.shutdown(socket.SHUT_WR)
        ends.receiver.await_close(Deadline(10), 2**20)
        return feed(data)

    ends.peer.send(frame(1, b"first") + frame(1, b"later")[:-3])
    monkeypatch.setattr(ends.receiver.frames, "feed", feed_late)
    assert ends.receiver.receive() == ["first", "later", "third"]
    assert ends.receiver.receive() is None
    assert ends.closure.code == 1000
    assert ends.receiver.bytes_received == len(frame(1, b"first") * 3 + frame(8, close_payload(1000)))


def test_a_reset_in_the_middle_of_a_read_ends_the_one_within(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = ends.receiver.frames.feed

    def feed_late(data: bytes) -> list[str | bytes]:
        monkeypatch.undo()
        ends.sock.close()
        ends.receiver.await_close(Deadline(10), 2**20)
        return feed(data)

    ends.peer.send(frame(1, b"first"))
    monkeypatch.setattr(ends.receiver.frames, "feed", feed_late)
    assert ends.receiver.receive() == ["first"]


def test_draining_reads_up_to_the_end(ends: Ends) -> None:
    ends.peer.send(bytes(1000))
    ends.peer.sock.close()
    ends.receiver.drain(Deadline(10))
    assert ends.sock.recv(1) == b""


def test_draining_ends_in_time_even_if_the_peer_floods(ends: Ends) -> None:
    def flood() -> None:
        try:
            while True:
                ends.peer.send(bytes(65536))
        except OSError:
            pass

    thread = threading.Thread(target=flood)
    thread.start()
    start = time.monotonic()
    ends.receiver.drain(Deadline(0.2))
    assert time.monotonic() - start < 5
    ends.peer.sock.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_draining_waits_for_no_thread_that_is_reading_beyond_its_time(ends: Ends) -> None:
    thread = threading.Thread(target=ends.receiver.receive)
    thread.start()
    until(lambda: held(ends.receiver.lock))
    ends.receiver.drain(Deadline(0.05))
    assert thread.is_alive()
    ends.peer.sock.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_draining_a_closed_socket_ends(ends: Ends) -> None:
    ends.sock.close()
    ends.receiver.drain(Deadline(10))


def test_a_forked_child_reads_nothing_more_though_the_lock_is_held(ends: Ends) -> None:
    holder = threading.Thread(target=ends.receiver.lock.acquire)
    holder.start()
    holder.join()
    ends.receiver.after_fork()
    assert ends.receiver.receive() is None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_records_in_pieces_make_whole_messages(version: ssl.TLSVersion) -> None:
    server_context, client_context = tls_contexts(version=version)

    def script(peer: Peer) -> None:
        peer.upgrade()
        for i in range(100):
            for byte in frame(1, b"%d" % i):
                peer.send(bytes([byte]))
        peer.send(frame(8, close_payload(1000)))
        peer.read_close()

    with RawServer(script, tls=server_context) as server:
        assert list(Connection.open(server.url, ssl_context=client_context)) == [str(i) for i in range(100)]


def test_frames_glued_to_the_handshake_over_tls_are_delivered() -> None:
    server_context, client_context = tls_contexts()
    with RawServer(lambda peer: peer.upgrade(glued=frame(1, b"one")), tls=server_context) as server:
        connection = Connection.open(server.url, ssl_context=client_context)
        messages = iter(connection)
        assert next(messages) == "one"
        with pytest.raises(DisconnectedError):
            next(messages)
