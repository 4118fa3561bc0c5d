"""One attempt: its deadline, its cancellation, and what it leaves open."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from masquerade_ws.connection.attempt import Attempt, Cancelled, OutOfTime
from masquerade_ws.connection.sockets import Waker, ready


def test_an_attempt_s_wait_ends_at_its_deadline(pair: tuple[socket.socket, socket.socket]) -> None:
    attempt = Attempt(0.05)
    attempt.sock = pair[0]
    with pytest.raises(OutOfTime):
        attempt.wait(read=True)
    attempt.close()


def test_an_attempt_s_wait_ends_at_its_deadline_though_the_peer_never_pauses(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    attempt = Attempt(0)
    attempt.sock = pair[0]
    pair[1].send(b"more")
    with pytest.raises(OutOfTime):
        attempt.wait(read=True)
    attempt.close()


@pytest.mark.usefixtures("_either_way")
def test_cancelling_ends_a_wait_at_once(
    attempt: Attempt, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel_then_wait(*arguments: Any) -> set[int]:
        attempt.cancel()
        return ready(*arguments)

    monkeypatch.setattr("masquerade_ws.connection.attempt.ready", cancel_then_wait)
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


def test_closing_an_attempt_closes_its_sockets_if_there_are_any(attempt: Attempt) -> None:
    attempt.close()
    attempt.sock = sock = socket.socket()
    attempt.racing = racing = [socket.socket(), socket.socket()]
    attempt.close()
    assert [one.fileno() for one in (sock, *racing)] == [-1, -1, -1]
    assert (attempt.sock, attempt.racing) == (None, [])
