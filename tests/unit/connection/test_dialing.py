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

from masquerade_ws.connection import sockets
from masquerade_ws.connection.attempt import Attempt, Cancelled, OutOfTime
from masquerade_ws.connection.dialing import _in_turns, dial
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


def test_a_silent_address_holds_the_next_one_up_for_a_while_alone(attempt: Attempt, silent_port: int) -> None:
    start = time.monotonic()
    with RawServer(lambda peer: peer.hang()) as server:
        dial([loopback(silent_port), loopback(silent_port), loopback(server.port)], attempt)
        assert 0.4 < time.monotonic() - start < 9
        assert attempt.sock is not None
        assert attempt.racing == []
        attempt.close()


def test_rfc8305_5_an_address_that_fails_does_not_hold_the_next_one_up(
    attempt: Attempt, refusing_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masquerade_ws.connection.dialing._PACE", 60.0)
    with RawServer(lambda peer: peer.hang()) as server:
        dial([MULTICAST, loopback(refusing_port), loopback(server.port)], attempt)
        attempt.close()


def test_rfc8305_5_an_address_that_answers_late_still_wins(
    attempt: Attempt, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one stays silent for ever; the first one's answer comes after that was tried."""
    late = []
    is_ready = sockets.ready

    def first_later(readers: list[int], writers: list[int], timeout: float | None) -> set[int]:
        if len(writers) < 2:
            return is_ready(readers, [], timeout)  # as if the answer were on its way
        late.append(len(writers))
        return is_ready(readers, writers, timeout)

    monkeypatch.setattr("masquerade_ws.connection.attempt.ready", first_later)
    with RawServer(lambda peer: peer.hang()) as server:
        dial([loopback(server.port), loopback(silent_port)], attempt)
        assert attempt.sock is not None
        assert attempt.sock.getpeername()[1] == server.port
        assert late
        attempt.close()


def test_a_silent_address_is_waited_for_though_all_others_have_failed(silent_port: int, refusing_port: int) -> None:
    attempt = Attempt(0.6)
    with pytest.raises(OutOfTime):
        dial([loopback(silent_port), loopback(refusing_port)], attempt)
    assert len(attempt.racing) == 1
    attempt.close()


def test_rfc8305_4_the_families_take_turns() -> None:
    v4 = [(socket.AF_INET, 1, 6, "", (str(i), 1)) for i in range(3)]
    v6 = [(socket.AF_INET6, 1, 6, "", (str(i), 1)) for i in range(2)]
    assert _in_turns([*v6, *v4]) == [v6[0], v4[0], v6[1], v4[1], v4[2]]
    assert _in_turns([v4[0], *v6]) == [v4[0], v6[0], v6[1]]
    assert _in_turns([]) == []


def test_a_process_out_of_descriptors_has_no_address_that_answers(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_: no_descriptor_left())
    with pytest.raises(OSError, match="Too many open files"):
        dial([loopback(1), loopback(2)], attempt)


class Reset(socket.socket):
    """As if the peer had reset the connection between the answer and the look at it."""

    def getpeername(self) -> Any:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))


def test_a_connection_that_is_reset_at_once_is_an_address_s_failure(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(lambda peer: peer.read_to_end()) as server:
        monkeypatch.setattr(socket, "socket", Reset)
        with pytest.raises(OSError, match="not connected"):
            dial([loopback(server.port), loopback(server.port)], attempt)
    assert attempt.racing == []


@pytest.mark.parametrize("place", ["socket.socket", "socket.socket.getpeername", "select.poll"])
def test_a_signal_handler_s_time_out_is_not_taken_for_an_address_s_failure(
    place: str, attempt: Attempt, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def alarm(*_: object) -> object:
        raise TimeoutError("from the handler")

    class Alarmed(socket.socket):
        getpeername = alarm

    with RawServer(lambda peer: peer.read_to_end()) as server:
        port = server.port if place.endswith("getpeername") else silent_port
        if port == silent_port:
            monkeypatch.setattr(place, alarm)
        else:
            monkeypatch.setattr(socket, "socket", Alarmed)
        with pytest.raises(TimeoutError, match="from the handler") as caught:
            dial([loopback(port), loopback(port)], attempt)
        monkeypatch.undo()
        attempt.close()
    assert not isinstance(caught.value, OutOfTime)


def test_the_last_failure_is_raised(attempt: Attempt, refusing_port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        dial([MULTICAST, loopback(refusing_port)], attempt)
    assert attempt.sock is None


def test_without_an_address_nothing_can_be_dialled(attempt: Attempt) -> None:
    with pytest.raises(OSError, match="no address"):
        dial([], attempt)


def test_a_silent_address_ends_with_the_deadline(silent_port: int) -> None:
    attempt = Attempt(0.2)
    with pytest.raises(OutOfTime):
        dial([loopback(silent_port)], attempt)
    attempt.close()


def test_cancelling_ends_a_dial_without_trying_the_next(attempt: Attempt, silent_port: int) -> None:
    canceller = threading.Thread(target=attempt.cancel)
    canceller.start()
    with pytest.raises(Cancelled):
        dial([loopback(silent_port), loopback(silent_port)], attempt)
    canceller.join()


@pytest.mark.parametrize(("timeout", "cancelled", "error"), [(0, False, OutOfTime), (10, True, Cancelled)])
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
