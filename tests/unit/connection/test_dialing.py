"""Connecting over TCP under a deadline."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from masquerade_ws.connection.attempt import Attempt, Cancelled
from masquerade_ws.connection.dialing import dial
from masquerade_ws.connection.resolver import Address
from masquerade_ws.connection.sockets import Waker, wait
from tests.support.raw_server import RawServer, loopback

# Not an address to connect to over TCP.
MULTICAST: Address = (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("ff02::1", 80, 0, 0))


def no_descriptor_left() -> Waker:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


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


def test_the_first_address_that_answers_is_used(attempt: Attempt, refusing_port: int) -> None:
    with RawServer(lambda peer: peer.hang()) as server:
        dial([loopback(refusing_port), loopback(server.port), loopback(refusing_port)], attempt)
        assert attempt.sock is not None
        assert attempt.sock.getpeername() == ("127.0.0.1", server.port)
        assert attempt.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert attempt.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_silent_address_uses_no_more_than_its_share(silent_port: int) -> None:
    attempt = Attempt(5)
    start = time.monotonic()
    with RawServer(lambda peer: peer.hang()) as server:
        dial([loopback(silent_port), loopback(silent_port), loopback(server.port)], attempt)
        assert 1.5 < time.monotonic() - start < 4.9
    attempt.close()


def test_the_last_failure_is_raised(attempt: Attempt, refusing_port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        dial([MULTICAST, loopback(refusing_port)], attempt)
    assert attempt.sock is None


def test_without_an_address_nothing_can_be_dialled(attempt: Attempt) -> None:
    with pytest.raises(OSError, match="no address"):
        dial([], attempt)


def test_a_silent_address_ends_with_the_deadline(silent_port: int) -> None:
    attempt = Attempt(0.2)
    with pytest.raises(TimeoutError):
        dial([loopback(silent_port)], attempt)
    attempt.close()


def test_cancelling_ends_a_dial_without_trying_the_next(attempt: Attempt, silent_port: int) -> None:
    canceller = threading.Thread(target=attempt.cancel)
    canceller.start()
    with pytest.raises(Cancelled):
        dial([loopback(silent_port), loopback(silent_port)], attempt)
    canceller.join()


@pytest.mark.parametrize(("timeout", "cancelled", "error"), [(0, False, TimeoutError), (10, True, Cancelled)])
def test_a_dial_that_need_not_wait_ends_all_the_same_when_the_attempt_is_over(
    timeout: float, cancelled: bool, error: type[Exception]
) -> None:
    attempt = Attempt(timeout)
    if cancelled:
        attempt.cancel()
    with RawServer(lambda peer: peer.read_to_end()) as server, pytest.raises(error):
        dial([loopback(server.port)], attempt)
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
        dial([loopback(server.port)], attempt)


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
        dial([loopback(free_port)], attempt)


def test_an_error_that_connect_reports_at_once_is_raised(attempt: Attempt) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        dial([MULTICAST], attempt)
    assert caught.value.errno not in {None, errno.EINPROGRESS}
