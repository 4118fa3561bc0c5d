"""Waiting on sockets, connecting under a deadline, and the byte stream of an attempt."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest

from masquerade_ws.connection.attempt import Address, Attempt, dial
from masquerade_ws.connection.channel import Channel
from masquerade_ws.connection.sockets import Cancelled, Waker, send_now, shutdown, wait
from masquerade_ws.connection.tls import TLS
from masquerade_ws.deadline import Deadline
from tests.support.raw_server import Peer, RawServer, silent_port, tls_contexts

# No address to connect to over TCP.
MULTICAST: Address = (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("ff02::1", 80, 0, 0))


@pytest.fixture(params=["the system's best", "select and a pair of sockets"])
def _either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "the system's best":
        monkeypatch.delattr(select, "poll", raising=False)
        monkeypatch.delattr(os, "eventfd", raising=False)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


@pytest.fixture
def attempt() -> Iterator[Attempt]:
    attempt = Attempt(10)
    yield attempt
    attempt.discard()
    attempt.close()


def no_descriptor_left() -> Waker:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def address(port: int, host: str = "127.0.0.1") -> Address:
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port that is taken, so that nobody else listens on it, but refuses."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture(name="silent_port")
def _silent_port() -> Iterator[int]:
    with silent_port() as port:
        yield port


# wait


@pytest.mark.usefixtures("_either_way")
def test_waiting_for_bytes_ends_with_them_or_with_the_time(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    start = time.monotonic()
    assert not wait(near, 0.1, read=True)
    assert time.monotonic() - start >= 0.09
    far.send(b"x")
    assert wait(near, 10, read=True)
    assert wait(near, None, read=True)


@pytest.mark.usefixtures("_either_way")
def test_waiting_to_write_ends_when_there_is_room(pair: tuple[socket.socket, socket.socket]) -> None:
    near, _ = pair
    assert wait(near, 10, write=True)
    while wait(near, 0, write=True):
        send_now(near, memoryview(bytes(65536)))
    assert not wait(near, 0.05, write=True)


@pytest.mark.usefixtures("_either_way")
def test_the_end_of_the_stream_ends_a_wait(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    far.close()
    assert wait(near, 10, read=True)


@pytest.mark.usefixtures("_either_way")
def test_a_wake_up_is_not_taken_for_the_socket_s_own_readiness(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    with closing(Waker()) as waker:
        assert not wait(near, 0, read=True, wake=waker)
        far.send(b"x")
        assert wait(near, 10, read=True, wake=waker)
        waker.set()
        with pytest.raises(Cancelled):
            wait(near, 10, read=True, wake=waker)


def test_waiting_on_a_closed_socket_raises(pair: tuple[socket.socket, socket.socket]) -> None:
    near, _ = pair
    near.close()
    with pytest.raises(OSError, match="file descriptor"):
        wait(near, 10, read=True)


class ClosedBehindALook(socket.socket):
    """As if another thread closed it between any two looks at its descriptor."""

    def fileno(self) -> int:
        descriptor = super().fileno()
        self.close()
        return descriptor


@pytest.mark.usefixtures("_either_way")
def test_a_socket_closed_by_another_thread_as_the_wait_begins_is_broken(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    sock = ClosedBehindALook(fileno=pair[0].detach())
    with suppress(OSError):
        assert wait(sock, 10, read=True)


# send_now and shutdown


def test_a_send_without_waiting_tells_how_much_the_kernel_took(pair: tuple[socket.socket, socket.socket]) -> None:
    near, _ = pair
    data = memoryview(bytes(2**24))
    assert 0 < send_now(near, data) < len(data)
    while wait(near, 0, write=True):
        send_now(near, data)
    near.setblocking(False)  # as if the kernel had filled up since the wait
    assert send_now(near, data) == 0


def test_where_a_send_always_waits_it_is_small(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masquerade_ws.connection.sockets.DONTWAIT", 0)
    assert send_now(pair[0], memoryview(bytes(2**20))) == 16384


def test_shutting_down_what_is_not_connected_does_nothing() -> None:
    with socket.socket() as sock:
        shutdown(sock, socket.SHUT_RDWR)


# Attempt


def test_an_attempt_s_wait_ends_at_its_deadline(pair: tuple[socket.socket, socket.socket]) -> None:
    attempt = Attempt(0.05)
    attempt.sock = pair[0]
    with pytest.raises(TimeoutError):
        attempt.wait(read=True)
    attempt.close()


def test_an_attempt_s_wait_ends_at_an_earlier_deadline(
    attempt: Attempt, pair: tuple[socket.socket, socket.socket]
) -> None:
    attempt.sock = pair[0]
    with pytest.raises(TimeoutError):
        attempt.wait(read=True, deadline=Deadline(0.05))


def test_an_attempt_s_wait_ends_at_its_deadline_though_the_peer_never_pauses(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    attempt = Attempt(0)
    attempt.sock = pair[0]
    pair[1].send(b"more")
    with pytest.raises(TimeoutError):
        attempt.wait(read=True)
    attempt.close()


@pytest.mark.usefixtures("_either_way")
def test_cancelling_ends_a_wait_at_once(
    attempt: Attempt, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel_then_wait(*arguments: Any, **options: Any) -> bool:
        attempt.cancel()
        return wait(*arguments, **options)

    monkeypatch.setattr("masquerade_ws.connection.attempt.wait", cancel_then_wait)
    attempt.sock = pair[0]
    with pytest.raises(Cancelled):
        attempt.wait(read=True)
    assert attempt.cancelled


def test_cancelling_as_a_wait_begins_ends_it_at_once(
    attempt: Attempt, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel_then_make() -> Waker:
        attempt.cancel()
        return Waker()

    monkeypatch.setattr("masquerade_ws.connection.attempt.Waker", cancel_then_make)
    attempt.sock = pair[0]
    with pytest.raises(Cancelled):
        attempt.wait(read=True)


def test_an_attempt_cancelled_before_does_not_wait(attempt: Attempt, pair: tuple[socket.socket, socket.socket]) -> None:
    attempt.sock = pair[0]
    attempt.cancel()
    with pytest.raises(Cancelled):
        attempt.wait(read=True)


def test_cancelling_again_and_again_never_blocks(attempt: Attempt, pair: tuple[socket.socket, socket.socket]) -> None:
    attempt.sock = pair[0]
    attempt.wait(write=True)
    canceller = threading.Thread(target=lambda: [attempt.cancel() for _ in range(5000)], daemon=True)
    canceller.start()
    canceller.join(10)
    assert not canceller.is_alive()


def test_discarding_an_attempt_closes_its_socket_if_there_is_one(attempt: Attempt) -> None:
    attempt.discard()
    attempt.sock = sock = socket.socket()
    attempt.discard()
    assert sock.fileno() == -1


# dial


def test_the_first_address_that_answers_is_used(attempt: Attempt, refusing_port: int) -> None:
    with RawServer(lambda peer: peer.hang()) as server:
        dial([address(refusing_port), address(server.port), address(refusing_port)], attempt)
        assert attempt.sock is not None
        assert attempt.sock.getpeername() == ("127.0.0.1", server.port)
        assert attempt.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert attempt.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_silent_address_uses_no_more_than_its_share(silent_port: int) -> None:
    attempt = Attempt(5)
    start = time.monotonic()
    with RawServer(lambda peer: peer.hang()) as server:
        dial([address(silent_port), address(silent_port), address(server.port)], attempt)
        assert 1.5 < time.monotonic() - start < 4.9
        attempt.discard()
    attempt.close()


def test_the_last_failure_is_raised(attempt: Attempt, refusing_port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        dial([MULTICAST, address(refusing_port)], attempt)
    assert attempt.sock is None


def test_without_an_address_nothing_can_be_dialled(attempt: Attempt) -> None:
    with pytest.raises(OSError, match="no address"):
        dial([], attempt)


def test_a_silent_address_ends_with_the_deadline(silent_port: int) -> None:
    attempt = Attempt(0.2)
    with pytest.raises(TimeoutError):
        dial([address(silent_port)], attempt)
    attempt.close()


def test_cancelling_ends_a_dial_without_trying_the_next(attempt: Attempt, silent_port: int) -> None:
    canceller = threading.Thread(target=attempt.cancel)
    canceller.start()
    with pytest.raises(Cancelled):
        dial([address(silent_port), address(silent_port)], attempt)
    canceller.join()


@pytest.mark.parametrize(("timeout", "cancelled", "error"), [(0, False, TimeoutError), (10, True, Cancelled)])
def test_a_dial_that_need_not_wait_ends_all_the_same_when_the_attempt_is_over(
    timeout: float, cancelled: bool, error: type[Exception]
) -> None:
    attempt = Attempt(timeout)
    if cancelled:
        attempt.cancel()
    with RawServer(lambda peer: peer.read_to_end()) as server, pytest.raises(error):
        dial([address(server.port)], attempt)
    attempt.discard()
    attempt.close()


def test_a_dial_waits_no_more_once_it_is_connected(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    class Connected(socket.socket):
        """Connects while the system says that it is about to."""

        def connect_ex(self, address: Any) -> int:
            error = super().connect_ex(address)
            assert wait(self, 10, write=True)
            return error or errno.EINPROGRESS

    monkeypatch.setattr(socket, "socket", Connected)
    monkeypatch.setattr("masquerade_ws.connection.attempt.Waker", no_descriptor_left)
    with RawServer(lambda peer: peer.read_to_end()) as server:
        dial([address(server.port)], attempt)
        attempt.discard()


def test_a_socket_that_connects_to_itself_is_refused(
    attempt: Attempt, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unlucky(socket.socket):
        """Gets the very port that it shall connect to, as the system may choose."""

        def __init__(self, *args: int) -> None:
            super().__init__(*args)
            self.bind(("127.0.0.1", free_port))

    monkeypatch.setattr(socket, "socket", Unlucky)
    with pytest.raises(ConnectionRefusedError):
        dial([address(free_port)], attempt)


def test_an_error_that_connect_reports_at_once_is_raised(attempt: Attempt) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        dial([MULTICAST], attempt)
    assert caught.value.errno not in {None, errno.EINPROGRESS}


# Channel


def connected(attempt: Attempt, server: RawServer) -> Channel:
    dial([address(server.port)], attempt)
    return Channel(attempt)


def test_a_channel_sends_and_receives(attempt: Attempt) -> None:
    with RawServer(lambda peer: peer.send(peer.read(5))) as server:
        channel = connected(attempt, server)
        channel.sendall(b"hello")
        assert channel.recv() == b"hello"
        assert channel.recv() == b""


@pytest.mark.parametrize(("timeout", "cancelled", "error"), [(0, False, TimeoutError), (10, True, Cancelled)])
def test_a_channel_receives_nothing_more_once_the_attempt_is_over_though_the_peer_never_pauses(
    timeout: float, cancelled: bool, error: type[Exception], pair: tuple[socket.socket, socket.socket]
) -> None:
    attempt = Attempt(timeout)
    attempt.sock = pair[0]
    pair[1].send(b"more")
    if cancelled:
        attempt.cancel()
    with pytest.raises(error):
        Channel(attempt).recv()
    attempt.close()


def test_a_channel_that_need_not_wait_uses_no_descriptor_but_the_socket_s(
    attempt: Attempt, pair: tuple[socket.socket, socket.socket]
) -> None:
    pair[0].setblocking(False)
    attempt.sock = pair[0]
    channel = Channel(attempt)
    pair[1].send(b"there already")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("masquerade_ws.connection.attempt.Waker", no_descriptor_left)
        assert channel.recv() == b"there already"
        with pytest.raises(OSError, match="Too many open files"):
            channel.recv()


def test_a_channel_waits_for_bytes_that_are_yet_to_come(
    attempt: Attempt, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    def send_then_wait(sock: socket.socket, timeout: float | None, **options: Any) -> bool:
        pair[1].send(b"late")
        return wait(sock, timeout, **options)

    monkeypatch.setattr("masquerade_ws.connection.attempt.wait", send_then_wait)
    pair[0].setblocking(False)
    attempt.sock = pair[0]
    assert Channel(attempt).recv() == b"late"


def test_a_channel_sends_more_than_the_kernel_takes_at_once(attempt: Attempt) -> None:
    size = 2**23
    received = []
    with RawServer(lambda peer: received.append(peer.read(size))) as server:
        connected(attempt, server).sendall(bytes(size))
    assert received == [bytes(size)]


def test_a_channel_s_send_ends_at_the_deadline() -> None:
    attempt = Attempt(0.2)
    with RawServer(lambda peer: peer.hang()) as server:
        channel = connected(attempt, server)
        with pytest.raises(TimeoutError):
            channel.sendall(bytes(2**25))
        attempt.discard()
    attempt.close()


def test_a_channel_speaks_tls(attempt: Attempt) -> None:
    server_context, client_context = tls_contexts()

    def script(peer: Peer) -> None:
        peer.send(peer.read(5))
        peer.sock.unwrap()  # type: ignore[attr-defined]

    with RawServer(script, tls=server_context) as server:
        channel = connected(attempt, server)
        channel.start_tls(TLS(client_context, "127.0.0.1"))
        channel.sendall(b"hello")
        assert channel.recv() == b"hello"
        assert channel.recv() == b""


def test_a_channel_raises_on_bytes_that_are_no_tls(attempt: Attempt) -> None:
    server_context, client_context = tls_contexts()

    def script(peer: Peer) -> None:
        with socket.socket(fileno=peer.sock.detach()) as plain:
            plain.sendall(b"this is no record of TLS")

    with RawServer(script, tls=server_context) as server:
        channel = connected(attempt, server)
        channel.start_tls(TLS(client_context, "127.0.0.1"))
        with pytest.raises(OSError, match="SSL"):
            channel.recv()
