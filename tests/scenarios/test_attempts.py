"""What an attempt is asked, what it knows of the one before, and what those learn who wait."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from masquerade_ws import (
    ConnectError,
    DisconnectedError,
    StopReconnecting,
    WebSocketClient,
)
from masquerade_ws.testing import EventServer
from tests.support.raw_server import Peer, RawServer, close_payload, frame, until
from tests.support.scenes import TIMEOUT, Hang, Record, client_of, closed_port_url, elapsed, names_of_threads
from tests.support.scripts import stay

NEVER = 600.0  # seconds

# Callables


def test_url_and_headers_are_asked_for_each_attempt() -> None:
    seen: list[tuple[str, str | None]] = []
    count = iter(range(10))

    def script(peer: Peer) -> None:
        peer.upgrade()
        seen.append((peer.request.split()[1], peer.header("X-Signature")))
        peer.read_frame()

    with (
        RawServer(script) as server,
        client_of(lambda: f"{server.url}?n={next(count)}", headers=lambda: {"X-Signature": str(len(seen))}) as client,
    ):
        record = Record(client, "connected")
        client.connect()
        client.emit("go")  # the server then ends the connection
        record.wait("connected", 2)
        assert repr(client).startswith(f"<WebSocketClient {server.url} ")
    assert seen == [("/ws?n=0&token=token", "0"), ("/ws?n=1&token=token", "1")]


@pytest.mark.parametrize("name", ["url", "get_token", "headers"])
def test_each_callable_may_end_the_attempts(masquerade_server: EventServer, name: str) -> None:
    def stop() -> Any:
        raise StopReconnecting("banned")

    callables: dict[str, Any] = {"url": masquerade_server.url, "get_token": lambda: "token", name: stop}
    with client_of(**callables) as client:
        record = Record(client)
        with pytest.raises(ConnectError, match=f"^{name} raised StopReconnecting$"):
            client.connect()
        until(lambda: names_of_threads() == [])
        assert record.story == ["disconnected > connecting", "error", "connecting > disconnected"]


def test_a_get_token_that_hangs_fails_its_attempt_and_the_next_one_follows(
    masquerade_server: EventServer, hang: Hang
) -> None:
    answers: list[Callable[[], str]] = [hang, lambda: "second"]
    with client_of(masquerade_server.url, lambda: answers.pop(0)(), token_timeout=0.05) as client:
        record = Record(client)
        with pytest.raises(ConnectError, match="token_timeout"):
            client.connect()
        record.wait("connected")
        hang.over.set()
    assert masquerade_server.tokens == ["second"]


def test_a_get_token_may_disconnect_and_wait_for_that(masquerade_server: EventServer) -> None:
    took: list[float] = []

    def get_token() -> str:
        took.append(elapsed(lambda: client.disconnect(timeout=TIMEOUT)))
        return "token"

    with client_of(masquerade_server.url, get_token) as client:
        with pytest.raises(DisconnectedError):
            client.connect()
        until(lambda: took)
        assert took[0] < TIMEOUT / 2


def test_nothing_thread_local_lasts_between_attempts(masquerade_server: EventServer) -> None:
    local = threading.local()
    known: list[bool] = []

    def get_token() -> str:
        known.append(hasattr(local, "token"))
        local.token = "token"
        return "token"

    masquerade_server.refuse(503)
    with client_of(masquerade_server.url, get_token) as client:
        record = Record(client, "connected")
        client.connect(block=False)
        record.wait("connected")
    assert known == [False, False]


# last_error


def test_the_last_error_is_known_to_the_next_attempt_and_changes_with_the_state(masquerade_server: EventServer) -> None:
    seen: list[Any] = []

    def get_token() -> str:
        seen.append(client.last_error)
        return "token"

    masquerade_server.refuse(503)
    with client_of(masquerade_server.url, get_token) as client:
        record = Record(client, "connected", "disconnected")
        states: list[Any] = []
        client.on("state:change", lambda event: states.append((client.state, client.last_error)))
        assert client.last_error is None
        client.connect(block=False)
        record.wait("connected")
        assert client.last_error is None
        masquerade_server.close(4000, "enough")
        record.wait("connected", 2)
        assert client.last_error is None
        client.disconnect()
        assert client.last_error is None
    assert seen[0] is None
    assert (type(seen[1]), seen[1].status) == (ConnectError, 503)
    assert (type(seen[2]), seen[2].code, seen[2].reason) == (DisconnectedError, 4000, "enough")


def test_a_disconnect_leaves_the_last_error_of_which_each_reader_gets_a_copy(masquerade_server: EventServer) -> None:
    masquerade_server.refuse(401, times=100)
    with client_of(masquerade_server.url) as client:
        with pytest.raises(ConnectError):
            client.connect()
        client.disconnect()
        first, second = client.last_error, client.last_error
        assert first is not second
        assert isinstance(first, ConnectError)
        assert first.status == 401
        assert str(first) == str(second)


def fill(client: WebSocketClient) -> None:
    """Send until the peer, which does not read, takes no more."""
    while True:
        client.emit("news", {"data": "x" * 2**20})


def test_a_loss_by_a_failed_send_is_a_disconnected_error_as_well() -> None:
    with (
        RawServer(lambda peer: [peer.upgrade(), peer.hang()]) as server,
        client_of(server.url, send_timeout=0.1) as client,
    ):
        record = Record(client, "disconnected")
        client.connect()
        with pytest.raises(ConnectionError):
            fill(client)
        record.wait("disconnected")
        client.disconnect()
        error = client.last_error
        assert isinstance(error, DisconnectedError)
        assert error.code == 1006


# Refusals


def test_a_final_close_code_ends_the_client_and_reaches_who_waits(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, final_close_codes=[4401]) as client:
        record = Record(client, "connected", "disconnected")
        stream = client.events("news")
        client.connect()
        masquerade_server.close(4000, "not that one")
        record.wait("connected", 2)
        masquerade_server.close(4401, "token expired")
        with pytest.raises(DisconnectedError, match="token expired") as caught:
            stream.get(TIMEOUT)
        assert (caught.value.code, caught.value.reason) == (4401, "token expired")
        assert isinstance(caught.value.__cause__, DisconnectedError)
        until(lambda: names_of_threads() == [])
        assert [event.will_reconnect for event in record.of("disconnected")] == [True, False]


@pytest.mark.parametrize(
    ("code", "says", "retries"),
    [
        (1008, None, 2),
        (3000, None, 2),
        (4999, None, 2),
        (1008, b'{"type": "news"}', 1),
        (4401, b"not an event", 1),
        (1011, None, 1),
    ],
)
def test_a_connection_that_is_refused_before_its_first_message_was_no_success(
    code: int, says: bytes | None, retries: int
) -> None:
    accepted: list[Peer] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        accepted.append(peer)
        if len(accepted) > 2:
            stay(peer)
            return
        if says is not None:
            peer.send(frame(1, says))
        peer.send(frame(8, close_payload(code)))
        peer.read_close()

    with RawServer(script) as server, client_of(server.url) as client:
        client.on("error", lambda event: None)
        record = Record(client, "connected")
        client.connect(block=False)
        record.wait("connected", 3)
        session = client._state.session
        assert session is not None
        assert session.schedule.retries == retries
        assert [event.attempts for event in record.of("connected")] == ([1, 1, 2] if retries == 2 else [1, 1, 1])


@pytest.mark.parametrize(
    ("status", "retry_after", "longest", "delay"),
    [
        (503, "1", 30.0, "1"),
        (429, "1", 30.0, "1"),
        (503, "100", 0.05, "0.5"),
        (403, "1", 30.0, "0.01"),
        (503, "soon", 30.0, "0.01"),
    ],
)
def test_a_busy_server_says_when_to_come_again(
    caplog: pytest.LogCaptureFixture, status: int, retry_after: str, longest: float, delay: str
) -> None:
    caplog.set_level(logging.INFO, "masquerade_ws")

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(f"HTTP/1.1 {status} No\r\nRetry-After: {retry_after}\r\nContent-Length: 0\r\n\r\n".encode())

    with RawServer(script) as server, client_of(server.url, max_reconnect_delay=longest) as client:
        with pytest.raises(ConnectError):
            client.connect()
        until(lambda: "reconnecting" in caplog.text)
        client.disconnect()
    (first, *_) = [record.getMessage() for record in caplog.records if "reconnecting" in record.getMessage()]
    assert first == f"reconnecting in {delay} s (attempt 2)"


# Reasons


def wait_on(client: WebSocketClient) -> Callable[[], DisconnectedError]:
    """Begin to wait for an event that never comes; return what tells how that ended."""
    stream = client.events("never")

    def end() -> DisconnectedError:
        with pytest.raises(DisconnectedError) as caught:
            stream.get(TIMEOUT)
        return caught.value

    return end


def test_a_stop_without_a_connection_has_the_code_and_reason_of_the_last_loss(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, initial_reconnect_delay=NEVER, max_reconnect_delay=NEVER) as client:
        record = Record(client, "disconnected")
        client.connect()
        end = wait_on(client)
        masquerade_server.close(4000, "enough")
        record.wait("disconnected")
        client.disconnect()
        error = end()
        assert (error.code, error.reason) == (4000, "enough")
        assert str(error).startswith("disconnect() was called; the connection had been lost before (")
        assert isinstance(error.__cause__, DisconnectedError)
        assert error.__cause__.code == 4000


def test_a_stop_before_any_connection_has_code_1000_and_the_error_of_the_last_attempt() -> None:
    with client_of(closed_port_url(), initial_reconnect_delay=NEVER, max_reconnect_delay=NEVER) as client:
        with pytest.raises(ConnectError):
            client.connect()
        end = wait_on(client)
        client.disconnect()
        error = end()
        assert (error.code, error.reason, str(error)) == (1000, "", "disconnect() was called")
        assert isinstance(error.__cause__, ConnectError)


def test_a_stop_with_a_connection_has_code_1000_and_no_cause(client: WebSocketClient) -> None:
    client.connect()
    end = wait_on(client)
    client.disconnect()
    error = end()
    assert (error.code, error.reason, error.__cause__) == (1000, "", None)


@pytest.mark.parametrize("lost", [True, False])
def test_a_client_that_gives_up_says_why_in_the_users_own_words(masquerade_server: EventServer, lost: bool) -> None:
    tokens = iter(["token"] if lost else [])

    def get_token() -> str:
        for token in tokens:
            return token
        raise StopReconnecting("the account is banned")

    with client_of(masquerade_server.url, get_token) as client:
        end = wait_on(client)
        client.connect(block=False)
        if lost:
            masquerade_server.wait_for_connections(1)
            masquerade_server.close(4000, "enough")
        error = end()
        assert isinstance(error.__cause__, StopReconnecting)
        assert str(error.__cause__) == "the account is banned"
        assert (error.code, error.reason) == ((4000, "enough") if lost else (1006, ""))
        assert ("enough" in str(error)) is lost


def test_a_client_that_gives_up_at_a_refusal_has_the_status(masquerade_server: EventServer) -> None:
    masquerade_server.refuse(403)
    with client_of(masquerade_server.url, auto_reconnect=False) as client:
        end = wait_on(client)
        with pytest.raises(ConnectError):
            client.connect()
        error = end()
        assert isinstance(error.__cause__, ConnectError)
        assert (error.code, error.__cause__.status) == (1006, 403)


def test_a_wait_on_a_client_that_has_ended_says_what_ended_it(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, auto_reconnect=False) as client:
        with pytest.raises(DisconnectedError, match="the client is not started"):
            client.wait_for("news")
        record = Record(client, "disconnected")
        client.connect()
        masquerade_server.close(4401, "token expired")
        record.wait("disconnected")
        for wait in (lambda: client.wait_for("news"), lambda: client.run_image_job(lambda: "j"), lambda: iter(client)):
            with pytest.raises(DisconnectedError, match="token expired") as caught:
                wait()
            assert (caught.value.code, caught.value.reason) == (4401, "token expired")


# Logs


def lines_of(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


def test_a_days_life_reads_well_at_info(masquerade_server: EventServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "masquerade_ws")
    masquerade_server.refuse(503)
    with client_of(masquerade_server.url) as client:
        record = Record(client, "connected")
        with pytest.raises(ConnectError):
            client.connect()
        record.wait("connected")
        masquerade_server.close(1001, "restart")
        record.wait("connected", 2)
        client.disconnect()
    lines = lines_of(caplog, logging.INFO)
    assert lines[:2] == ["reconnecting in 0.01 s (attempt 2)", "connected (attempt 2)"]
    assert lines[2] == ("connection lost, code 1001: the server closed the connection with code 1001, reason 'restart'")
    assert lines[3] == "reconnecting in 0.01 s (attempt 1)"
    assert lines[4].startswith("connected again after ")
    assert lines[5:] == ["disconnected, code 1000"]
    assert lines_of(caplog, logging.WARNING) == []


@pytest.mark.parametrize(("code", "level"), [(1000, "INFO"), (1001, "INFO"), (1012, "INFO"), (1011, "WARNING")])
def test_a_closing_by_the_server_is_a_warning_unless_it_is_usual(
    masquerade_server: EventServer, caplog: pytest.LogCaptureFixture, code: int, level: str
) -> None:
    caplog.set_level(logging.INFO, "masquerade_ws")
    with client_of(masquerade_server.url, auto_reconnect=False) as client:
        record = Record(client, "disconnected")
        client.connect()
        masquerade_server.close(code, "why")
        record.wait("disconnected")
    (line,) = [record for record in caplog.records if record.getMessage().startswith("connection lost")]
    assert line.levelname == level


def test_an_error_that_a_blocking_connect_raises_is_not_logged_but_the_next_one_is(
    masquerade_server: EventServer, caplog: pytest.LogCaptureFixture
) -> None:
    masquerade_server.refuse(503, times=2)
    with client_of(masquerade_server.url) as client:
        with pytest.raises(ConnectError):
            client.connect()
        client.wait_for("connected", poll=lambda: client.state == "connected" or None, timeout=TIMEOUT)
    (line,) = lines_of(caplog, logging.WARNING)
    assert line.startswith("connection error, and nobody listens to errors")


def test_an_error_that_no_connect_waits_for_is_logged(
    masquerade_server: EventServer, caplog: pytest.LogCaptureFixture, hang: Hang
) -> None:
    masquerade_server.refuse(503)

    def get_token() -> str:
        hang()
        return "token"

    with client_of(masquerade_server.url, get_token) as client:
        with pytest.raises(TimeoutError):
            client.connect(timeout=0.05)
        hang.over.set()
        client.wait_for("connected", poll=lambda: client.state == "connected" or None, timeout=TIMEOUT)
    assert len(lines_of(caplog, logging.WARNING)) == 1
