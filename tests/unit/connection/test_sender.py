"""The send side: whole frames in order, nothing stranded, and a reader that never waits."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from masquerade_ws.connection.sender import Sender
from masquerade_ws.connection.sockets import wait
from masquerade_ws.deadline import Deadline
from masquerade_ws.errors import SendError
from masquerade_ws.protocol.deflate import Deflater
from masquerade_ws.protocol.frames import BINARY, PING, PONG, TEXT
from tests.support.raw_server import Peer, tcp_pair, until


@pytest.fixture
def ends() -> Iterator[tuple[Sender, Peer]]:
    with tcp_pair() as (near, far):
        yield Sender(near, None, None), Peer(far, threading.Event())


def fill(sender: Sender) -> None:
    """Answer pings until the kernel, and the peer's too, takes no more."""
    while not sender.stalled or wait(sender._sock, 0.3, write=True):
        sender.pong([bytes(125)])


def test_frames_are_sent_whole_and_counted(ends: tuple[Sender, Peer]) -> None:
    sender, peer = ends
    sender.send(TEXT, b"one", 10)
    sender.send(BINARY, b"two", 10)
    assert [peer.read_frame(), peer.read_frame()] == [(1, b"one"), (2, b"two")]
    sender.send(PING, b"", 10)
    assert (sender.messages_sent, sender.bytes_sent) == (2, 2 * (2 + 4 + 3) + 6)


def test_5_3_each_frame_has_a_fresh_key(ends: tuple[Sender, Peer]) -> None:
    sender, peer = ends
    keys = set()
    for _ in range(200):
        sender.send(BINARY, bytes(16), 10)
        keys.add(peer.read(2 + 4 + 16)[2:6])
    assert len(keys) == 200


def test_where_a_send_would_wait_a_frame_waits_for_room_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masquerade_ws.connection.sockets.DONTWAIT", 0)
    monkeypatch.setattr("masquerade_ws.connection.sender.DONTWAIT", 0)
    with tcp_pair() as (near, far):
        sender, peer = Sender(near, None, None), Peer(far, threading.Event())
        thread = threading.Thread(target=sender.send, args=(BINARY, bytes(2**20), 60))
        thread.start()
        assert peer.read_frame() == (2, bytes(2**20))
        thread.join()


def test_frames_of_many_threads_do_not_mix(ends: tuple[Sender, Peer]) -> None:
    sender, peer = ends

    def send(char: bytes) -> None:
        for _ in range(50):
            sender.send(BINARY, char * 10_000, 10)

    threads = [threading.Thread(target=send, args=(char,)) for char in (b"a", b"b", b"c", b"d")]
    for thread in threads:
        thread.start()
    payloads = [peer.read_frame()[1] for _ in range(200)]
    for thread in threads:
        thread.join()
    assert all(len(payload) == 10_000 and len(set(payload)) == 1 for payload in payloads)


def test_rfc7692_6_only_data_frames_are_compressed() -> None:
    with tcp_pair() as (near, far):
        sender, peer = Sender(near, None, Deflater()), Peer(far, threading.Event())
        sender.send(TEXT, b"x" * 1000, 10)
        sender.send(PING, b"ping", 10)
        assert len(peer.read_frame()[1]) < 100
        assert peer.read_frame() == (9, b"ping")


def test_5_5_2_each_ping_is_answered_as_long_as_the_kernel_takes_the_answers(ends: tuple[Sender, Peer]) -> None:
    sender, peer = ends
    pings = [b"%d" % i for i in range(1500)]
    sender.pong(pings)
    assert [peer.read_frame() for _ in pings] == [(10, ping) for ping in pings]
    sender.flush()
    sender.send(TEXT, b"next", 10)
    assert peer.read_frame() == (1, b"next")


def test_5_5_3_the_latest_ping_alone_is_answered_when_the_kernel_takes_no_more(ends: tuple[Sender, Peer]) -> None:
    sender, peer = ends
    fill(sender)
    for i in range(20_000):
        sender.pong([b"%d" % i])
    assert len(sender._unsent) < 64 * 131
    assert len(sender._owed) == 1
    while peer.read_frame() != (10, b"19999"):
        sender.flush()


def test_pings_that_come_while_another_thread_sends_are_answered_by_it_but_not_kept_without_bound(
    ends: tuple[Sender, Peer],
) -> None:
    sender, peer = ends
    thread = threading.Thread(target=sender.send, args=(BINARY, bytes(2**22), 60))
    thread.start()
    until(lambda: sender.bytes_sent > 0)
    for i in range(5000):
        sender.pong([b"%d" % i])
    assert len(sender._owed) <= 1024
    assert peer.read_frame() == (2, bytes(2**22))
    while peer.read_frame() != (10, b"4999"):
        pass
    thread.join()


def test_a_pong_waits_for_no_sender_but_is_sent_by_it(ends: tuple[Sender, Peer]) -> None:
    sender, peer = ends
    thread = threading.Thread(target=sender.send, args=(BINARY, bytes(2**22), 60))
    thread.start()
    until(lambda: sender.bytes_sent > 0)
    sender.pong([b"in time"])  # returns though the other thread holds the lock
    assert not sender.stalled
    assert peer.read_frame() == (2, bytes(2**22))
    assert peer.read_frame() == (10, b"in time")
    thread.join()


def test_a_sender_does_not_leave_a_pong_behind_that_the_reader_left_to_it() -> None:
    class Crowded(Sender):
        """Finds the kernel full, and a pong waiting, when its own frame is out."""

        def _write(self, opcode: int, payload: bytes, until: float) -> None:
            super()._write(opcode, payload, until)
            while wait(self._sock, 0.3, write=True):
                self._owed.append(bytes(125))
                self._collect()
                self._push()
            self._queue(self._frame(PONG, b"for which there is no room"))
            self._owed.append(b"the last")
            full.set()

    full = threading.Event()
    with tcp_pair() as (near, far):
        sender, peer = Crowded(near, None, None), Peer(far, threading.Event())
        thread = threading.Thread(target=sender.send, args=(TEXT, b"own", 60))
        thread.start()
        assert full.wait(10)
        until(lambda: sender.stalled and [*sender._owed] == [b"the last"])
        assert peer.read_frame() == (1, b"own")
        while peer.read_frame() != (10, b"the last"):
            pass
        thread.join()


def test_what_the_kernel_does_not_take_goes_out_before_the_next_frame(ends: tuple[Sender, Peer]) -> None:
    sender, peer = ends
    fill(sender)
    thread = threading.Thread(target=sender.send, args=(TEXT, b"next", 60))
    thread.start()
    opcode, payload = peer.read_frame()
    while opcode == 10:
        assert payload == bytes(125)
        opcode, payload = peer.read_frame()
    assert (opcode, payload) == (1, b"next")
    thread.join()
    assert not sender.stalled


def test_a_pong_that_was_interrupted_is_the_last_of_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(size: int) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.urandom", interrupt)
    with tcp_pair() as (near, _):
        sender = Sender(near, None, None)
        with pytest.raises(KeyboardInterrupt):
            sender.pong([b"ping"])
        with pytest.raises(SendError, match="closed"):
            sender.send(TEXT, b"after it", 10)
        assert not sender.close(b"", Deadline(10))


def test_what_the_kernel_does_not_take_is_flushed_later(ends: tuple[Sender, Peer]) -> None:
    sender, peer = ends
    fill(sender)
    while sender.stalled:
        peer.read_frame()
        sender.flush()
    sent = sender.bytes_sent
    sender.flush()
    assert sender.bytes_sent == sent


def test_a_ping_is_matched_by_its_pong_and_forgotten_with_those_before_it(ends: tuple[Sender, Peer]) -> None:
    sender, _ = ends
    start = time.monotonic()
    for payload in (b"1", b"2", b"3"):
        sender.send(PING, payload, 10)
    assert start <= (sender.pinged(b"2") or 0) <= time.monotonic()
    assert sender.pinged(b"1") is None
    assert sender.pinged(b"unsolicited") is None
    assert sender.pinged(b"3") is not None


def test_of_pings_alike_the_latest_is_taken_for_the_one_answered(ends: tuple[Sender, Peer]) -> None:
    sender, _ = ends
    sender.send(PING, b"", 10)
    between = time.monotonic()
    sender.send(PING, b"", 10)
    assert (sender.pinged(b"") or 0) >= between
    assert sender.pinged(b"") is None


def test_pings_that_are_never_answered_are_not_kept_for_ever(ends: tuple[Sender, Peer]) -> None:
    sender, _ = ends
    for i in range(100):
        sender.send(PING, b"%d" % i, 10)
    assert sum(sender.pinged(b"%d" % i) is not None for i in range(100)) <= 8


def test_a_send_that_times_out_half_way_is_the_last(ends: tuple[Sender, Peer]) -> None:
    sender, _ = ends
    with pytest.raises(TimeoutError):
        sender.send(BINARY, bytes(2**24), 0.1)
    assert sender.bytes_sent > 0
    with pytest.raises(SendError):
        sender.send(TEXT, b"torn otherwise", 0.1)
    assert not sender.close(b"", Deadline(1))
    sender.pong([b"not either"])


def test_5_5_1_a_close_frame_is_the_last_frame(ends: tuple[Sender, Peer]) -> None:
    sender, peer = ends
    assert sender.close(b"\x03\xe8", Deadline(1))
    assert not sender.close(b"\x03\xe9", Deadline(1))
    sender.pong([b"too late"])
    with pytest.raises(SendError):
        sender.send(TEXT, b"too late", 1)
    assert peer.read_frame() == (8, b"\x03\xe8")
    peer.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.sock.recv(1)


def test_a_close_frame_waits_for_a_sender_that_gets_on(
    ends: tuple[Sender, Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masquerade_ws.connection.sender._STALL", 60.0)  # a busy machine lets no reader seem stalled
    sender, peer = ends
    received: list[tuple[int, bytes]] = []

    def read() -> None:
        received.extend([peer.read_frame(), peer.read_frame()])

    thread = threading.Thread(target=sender.send, args=(BINARY, bytes(2**22), 60))
    thread.start()
    until(lambda: sender.bytes_sent > 0)
    reader = threading.Thread(target=read)
    reader.start()
    assert sender.close(b"", Deadline(30))
    for one in (thread, reader):
        one.join()
    assert [opcode for opcode, _ in received] == [2, 8]


def test_a_close_frame_waits_on_as_long_as_the_socket_takes_something(ends: tuple[Sender, Peer]) -> None:
    class BusyAtFirst:
        """A lock that another thread holds, the first time that it is asked for."""

        def __init__(self) -> None:
            self._lock = threading.Lock()
            self._asked = 0

        def acquire(self, timeout: float) -> bool:
            self._asked += 1
            return self._asked > 1 and self._lock.acquire(timeout=timeout)

        def release(self) -> None:
            self._lock.release()

    sender, peer = ends
    sender.lock = BusyAtFirst()  # type: ignore[assignment]
    assert sender.close(b"", Deadline(30))
    assert peer.read_frame() == (8, b"")


def test_a_close_frame_is_not_waited_for_when_a_sender_is_stalled(ends: tuple[Sender, Peer]) -> None:
    sender, peer = ends
    errors: list[BaseException] = []

    def send() -> None:
        try:
            sender.send(BINARY, bytes(2**24), 60)
        except OSError as exc:
            errors.append(exc)

    thread = threading.Thread(target=send)
    thread.start()
    until(lambda: sender.bytes_sent > 0)
    assert not sender.close(b"", Deadline(60))
    assert thread.is_alive(), "the sender's time is not up yet"
    peer.sock.close()
    thread.join()
    assert len(errors) == 1


def test_a_close_frame_is_not_waited_for_when_the_kernel_is_full(ends: tuple[Sender, Peer]) -> None:
    sender, _ = ends
    fill(sender)
    start = time.monotonic()
    assert not sender.close(b"", Deadline(60))
    assert time.monotonic() - start < 30


def test_a_close_frame_to_a_peer_that_has_gone_is_not_sent(ends: tuple[Sender, Peer]) -> None:
    sender, peer = ends
    peer.reset()
    assert not sender.close(b"", Deadline(1))


def test_a_close_frame_on_a_closed_socket_is_not_sent() -> None:
    with tcp_pair() as (near, _):
        sender = Sender(near, None, None)
        near.close()
        assert not sender.close(b"", Deadline(1))
        holder = threading.Thread(target=sender.lock.acquire)
        holder.start()
        holder.join()
        assert not sender.close(b"", Deadline(1))


def test_nothing_is_sent_within_a_frame_of_the_same_thread(
    ends: tuple[Sender, Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a signal handler uses the connection that its own thread is sending on."""
    sender, peer = ends
    push = sender._push

    def push_late() -> None:
        monkeypatch.undo()
        with pytest.raises(SendError, match="in the middle of another send"):
            sender.send(TEXT, b"second", 10)
        sender.pong([b"third"])
        assert not sender.close(b"", Deadline(10))
        push()

    monkeypatch.setattr(sender, "_push", push_late)
    sender.send(TEXT, b"first", 10)
    sender._sock.shutdown(socket.SHUT_WR)
    assert peer.read_frame() == (1, b"first")
    with pytest.raises(EOFError):
        peer.read_frame()
