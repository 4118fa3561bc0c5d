"""Name resolution: addresses as they are written, names within the deadline."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from masquerade_ws.connection.attempt import Attempt, Cancelled, OutOfTime
from masquerade_ws.connection.resolver import resolve

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]


class SlowLookUp:
    """A look-up that takes until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = threading.Event()
        self.release = threading.Event()
        self.thread = threading.current_thread()
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, *_: object, **__: object) -> object:
        self.thread = threading.current_thread()
        self.begun.set()
        self.release.wait(10)
        return FOUND

    def finish(self) -> None:
        self.release.set()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.mark.parametrize(
    ("host", "family", "address"),
    [
        ("127.0.0.1", socket.AF_INET, ("127.0.0.1", 80)),
        ("::1", socket.AF_INET6, ("::1", 80, 0, 0)),
    ],
)
def test_a_numeric_host_needs_no_look_up(
    host: str, family: int, address: object, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "getaddrinfo")
    ((found, kind, _, _, sockaddr),) = resolve(host, 80, attempt)
    assert (found, kind, sockaddr) == (family, socket.SOCK_STREAM, address)


def test_a_name_is_looked_up_by_the_system(attempt: Attempt) -> None:
    addresses = resolve("localhost", 80, attempt)
    assert {address[4][0] for address in addresses} <= {"127.0.0.1", "::1"}
    assert addresses


def test_an_address_with_a_zone_is_left_to_the_system(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = []

    def look_up(host: str, *_: object, **__: object) -> object:
        hosts.append(host)
        return FOUND

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert resolve("fe80::1%eth0", 80, attempt) == FOUND
    assert hosts == ["fe80::1%eth0"]


def test_the_thread_is_a_daemon_with_a_name_and_ends(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowLookUp(monkeypatch)
    slow.release.set()
    assert resolve("example.test", 80, attempt) == FOUND
    assert slow.thread.name == "masquerade-ws-resolver"
    assert slow.thread.daemon
    slow.finish()


def test_a_look_up_that_fails_raises_what_the_system_said(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(socket.gaierror, match="not known"):
        resolve("example.test", 80, attempt)


def test_a_look_up_that_hangs_is_given_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowLookUp(monkeypatch)
    attempt = Attempt(0.1)
    start = time.monotonic()
    with pytest.raises(OutOfTime):
        resolve("example.test", 80, attempt)
    assert time.monotonic() - start < 5
    attempt.close()
    slow.finish()


def test_cancelling_ends_a_look_up_at_once(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowLookUp(monkeypatch)
    canceller = threading.Thread(target=lambda: (slow.begun.wait(10), attempt.cancel()))
    canceller.start()
    with pytest.raises(Cancelled):
        resolve("example.test", 80, attempt)
    canceller.join()
    slow.finish()


def test_an_attempt_cancelled_before_resolves_nothing(attempt: Attempt) -> None:
    attempt.cancel()
    with pytest.raises(Cancelled):
        resolve("localhost", 80, attempt)
