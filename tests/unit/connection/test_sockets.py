"""Waiting on sockets, and sending what fits."""

from __future__ import annotations

import socket
import time
from contextlib import closing, suppress

import pytest

from masquerade_ws.connection.sockets import Waker, ready, send_now, shutdown, wait


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
def test_a_wake_up_is_told_from_the_socket_s_own_readiness(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    with closing(Waker()) as waker:
        readers = [near.fileno(), waker.fileno()]
        assert ready(readers, [near.fileno()], 10) == {near.fileno()}
        assert ready(readers, [], 0) == set()
        far.send(b"x")
        assert ready(readers, [], 10) == {near.fileno()}
        waker.set()
        assert ready(readers, [], 10) == {*readers}


def test_waiting_on_a_closed_socket_raises(pair: tuple[socket.socket, socket.socket]) -> None:
    near, _ = pair
    near.close()
    with pytest.raises(OSError, match="file descriptor"):
        wait(near, 10, read=True)


class ClosedAfterALook(socket.socket):
    """As if another thread closed it between any two looks at its descriptor."""

    def fileno(self) -> int:
        descriptor = super().fileno()
        self.close()
        return descriptor


@pytest.mark.usefixtures("_either_way")
def test_a_socket_closed_by_another_thread_as_the_wait_begins_is_broken(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    sock = ClosedAfterALook(fileno=pair[0].detach())
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
