"""A connection as its user sees it: messages, pings, the end from either side, and from other threads."""

from __future__ import annotations

import itertools
import socket
import ssl
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from websockets.sync.server import ServerConnection, serve

import masquerade_ws
from masquerade_ws.connection import Connection
from masquerade_ws.connection.attempt import Attempt
from masquerade_ws.connection.options import ConnectionOptions
from masquerade_ws.errors import ConnectError, DisconnectedError, SendError
from masquerade_ws.protocol.uri import parse_uri
from tests.support.raw_server import Peer, RawServer, close_payload, frame, tls_contexts, until
from tests.support.scenes import PATIENCE, elapsed


@contextmanager
def websockets_server(
    handler: Callable[[ServerConnection], None], tls: ssl.SSLContext | None = None, **options: object
) -> Iterator[str]:
    """Run the threading server of another author, and yield its URL."""
    with serve(handler, "127.0.0.1", 0, ssl=tls, **options) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"{'wss' if tls else 'ws'}://127.0.0.1:{server.socket.getsockname()[1]}/ws"
        server.shutdown()
        thread.join()


def echo_messages(websocket: ServerConnection) -> None:
    for message in websocket:
        websocket.send(message)


@contextmanager
def meanwhile(action: Callable[[], object]) -> Iterator[threading.Thread]:
    """Run an action on another thread, which must end before the block does, or within ten seconds after it."""
    thread = threading.Thread(target=action)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(10)
    assert not thread.is_alive()


class Iteration:
    """A thread that iterates over a connection and keeps what it gets and how it ends."""

    def __init__(self, connection: Connection) -> None:
        self.messages: list[str | bytes] = []
        self.error: Exception | None = None
        self._connection = connection
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            for message in self._connection:
                self.messages.append(message)
        except Exception as exc:
            self.error = exc

    def join(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()


# Messages


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_of_both_kinds_come_back_as_they_were_sent(compression: str | None) -> None:
    with websockets_server(echo_messages) as url, Connection.open(url, compression=compression) as connection:
        messages = iter(connection)
        for message in ("", "text \N{SNOWMAN}", b"", b"\x00\xff", "x" * 70_000, bytes(200_000)):
            connection.send(message)
            assert next(messages) == message


def test_bytes_like_data_is_sent_as_binary() -> None:
    with websockets_server(echo_messages) as url, Connection.open(url) as connection:
        messages = iter(connection)
        connection.send(bytearray(b"one"))  # type: ignore[arg-type]
        connection.send(memoryview(b"two"))  # type: ignore[arg-type]
        assert [next(messages), next(messages)] == [b"one", b"two"]


def test_data_of_another_type_is_refused_and_harms_nothing() -> None:
    with websockets_server(echo_messages) as url, Connection.open(url) as connection:
        with pytest.raises(TypeError, match="data must be str or bytes, not int"):
            connection.send(1)  # type: ignore[arg-type]
        connection.send("still open")
        assert next(iter(connection)) == "still open"


def test_compressed_messages_go_over_the_wire_compressed() -> None:
    with websockets_server(echo_messages) as url, Connection.open(url, compression="deflate") as connection:
        connection.send("x" * 100_000)
        assert next(iter(connection)) == "x" * 100_000
        assert connection.bytes_sent < 10_000
        assert connection.bytes_received < 10_000


def test_frames_glued_to_the_handshake_are_delivered() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade(glued=frame(1, b"first") + frame(1, b"second")[:3])
        peer.send(frame(1, b"second")[3:])
        peer.send(frame(8, close_payload(1000)))
        peer.read_close()

    with RawServer(script) as server:
        connection = Connection.open(server.url)
        assert connection.readable()
        assert list(connection) == ["first", "second"]


def test_messages_that_arrive_together_are_one_batch() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade(glued=b"".join(frame(1, b"%d" % i) for i in range(5)))
        peer.hang()

    with RawServer(script) as server:
        connection = Connection.open(server.url)
        assert next(connection.batches()) == ["0", "1", "2", "3", "4"]
        connection.abort(RuntimeError("enough"))


def test_a_message_of_single_bytes_arrives() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        for byte in frame(1, b"slow") + frame(8, close_payload(1000)):
            peer.send(bytes([byte]))
        peer.read_close()

    with RawServer(script) as server:
        assert list(Connection.open(server.url)) == ["slow"]


def test_the_subprotocol_that_the_server_chose_is_reported() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade("Sec-WebSocket-Protocol: b")

    with RawServer(script) as server, Connection.open(server.url, subprotocols=["a", "b"]) as connection:
        assert connection.subprotocol == "b"


# Pings


def test_a_ping_sets_the_latency() -> None:
    with websockets_server(echo_messages) as url, Connection.open(url) as connection:
        assert connection.latency is None
        connection.ping(b"are you there")
        connection.send("after")
        next(iter(connection))
        assert connection.latency is not None
        assert 0 < connection.latency < 10


def test_a_ping_of_what_fits_no_control_frame_is_refused_and_harms_nothing() -> None:
    with websockets_server(echo_messages) as url, Connection.open(url) as connection:
        with pytest.raises(ValueError, match="125"):
            connection.ping(bytes(126))
        with pytest.raises(TypeError, match="data must be bytes, not str"):
            connection.ping("text")  # type: ignore[arg-type]
        connection.send("still open")
        assert next(iter(connection)) == "still open"


def test_bytes_and_their_time_are_counted() -> None:
    with websockets_server(echo_messages) as url, Connection.open(url) as connection:
        opened = connection.last_received
        assert (connection.bytes_received, connection.bytes_sent, connection.messages_sent) == (0, 0, 0)
        connection.send("12345")
        next(iter(connection))
        assert connection.bytes_sent == 2 + 4 + 5
        assert connection.bytes_received == 2 + 5
        assert connection.last_received >= opened


def test_readable_tells_of_bytes_that_wait() -> None:
    with websockets_server(echo_messages) as url, Connection.open(url) as connection:
        assert not connection.readable()
        connection.send("echo")
        until(connection.readable)
        next(iter(connection))
        assert not connection.readable()
    assert not connection.readable()


# The end from the peer's side


@pytest.mark.parametrize(
    ("payload", "code", "reason", "echoed"),
    [
        (close_payload(1000), 1000, "", 1000),
        (close_payload(1001, "going away"), 1001, "going away", 1001),
        (close_payload(4001, "grüß"), 4001, "grüß", 4001),
        (b"", 1005, "", 1005),
    ],
)
def test_5_5_1_a_close_frame_ends_the_iteration_and_is_echoed(
    payload: bytes, code: int, reason: str, echoed: int
) -> None:
    answers: list[int] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.send(frame(1, b"last words") + frame(8, payload) + frame(1, b"too late"))
        answers.append(peer.read_close())

    with RawServer(script) as server:
        connection = Connection.open(server.url)
        assert list(connection) == ["last words"]
    assert answers == [echoed]
    assert (connection.close_code, connection.close_reason, connection.error) == (code, reason, None)
    assert connection.tcp_closed


def test_5_5_1_messages_are_delivered_before_the_close_is_answered() -> None:
    delivered = threading.Event()
    answers: list[tuple[bool, int]] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.send(frame(1, b"one") + frame(8, close_payload(1000)))
        code = peer.read_close()
        answers.append((delivered.is_set(), code))

    with RawServer(script) as server:
        for message in Connection.open(server.url):
            assert message == "one"
            delivered.set()
    assert answers == [(True, 1000)]


def test_7_1_1_the_server_closes_tcp_first() -> None:
    ends: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.send(frame(8, close_payload(1000)))
        peer.read_close()
        peer.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            ends.append(peer.sock.recv(1))

    with RawServer(script) as server:
        assert list(Connection.open(server.url)) == []
    assert ends == []


def test_7_1_1_a_peer_that_never_closes_tcp_is_waited_for_a_short_time_only() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.send(frame(8, close_payload(1000)))
        peer.hang()

    with RawServer(script) as server:
        connection = Connection.open(server.url)
        assert elapsed(lambda: list(connection)) < PATIENCE
        assert connection.tcp_closed


def test_7_1_5_a_loss_without_a_close_frame_raises_after_the_messages() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade(glued=frame(1, b"one"))

    with RawServer(script) as server:
        connection = Connection.open(server.url)
        messages = iter(connection)
        assert next(messages) == "one"
        with pytest.raises(DisconnectedError, match="without a closing handshake") as caught:
            next(messages)
    assert caught.value.code == connection.close_code == 1006
    assert repr(connection.error) == repr(caught.value)
    assert connection.tcp_closed


def test_7_1_5_a_reset_is_a_loss_chained_from_what_the_system_said() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.reset()

    with RawServer(script) as server:
        connection = Connection.open(server.url)
        with pytest.raises(DisconnectedError) as caught:
            list(connection)
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    assert connection.close_code == 1006


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(1, b"\xff"), 1007),
        (frame(3), 1002),
        (frame(1, b"compressed", rsv=4), 1002),
        (frame(9, bytes(126)), 1002),
        (frame(0, b"no message"), 1002),
        (frame(2, bytes(2000)), 1009),
        (b"\x82\x7f" + (2**40).to_bytes(8, "big"), 1009),
        (frame(8, close_payload(1005)), 1002),
    ],
)
def test_7_1_7_a_violation_is_answered_with_its_code_after_what_came_before(data: bytes, code: int) -> None:
    answers: list[tuple[int, bytes]] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.send(frame(1, b"before") + data)
        answers.append((peer.read_close(), peer.read_to_end()))

    with RawServer(script) as server:
        connection = Connection.open(server.url, max_message_size=1000)
        messages = iter(connection)
        assert next(messages) == "before"
        with pytest.raises(DisconnectedError) as caught:
            next(messages)
    assert answers == [(code, b"")]
    assert caught.value.code == connection.close_code == code
    assert caught.value.reason == connection.close_reason != ""


def test_iterating_again_after_the_end_ends_the_same_way() -> None:
    with RawServer(lambda peer: peer.upgrade()) as server:
        connection = Connection.open(server.url)
        for _ in range(2):
            with pytest.raises(DisconnectedError) as caught:
                list(connection)
            assert caught.value.code == 1006


# The end from our side


def test_7_1_2_close_does_the_closing_handshake() -> None:
    answers: list[int] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        answers.append(peer.read_close())
        peer.send(frame(8, close_payload(1000)))

    with RawServer(script) as server:
        connection = Connection.open(server.url)
        connection.close(4000, "bye")
    assert answers == [4000]
    assert (connection.close_code, connection.close_reason, connection.error) == (4000, "bye", None)
    assert connection.tcp_closed
    assert list(connection) == []


def test_close_from_another_thread_ends_the_iteration_after_what_came_before_the_answer() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.read_close()
        peer.send(frame(1, b"on its way") + frame(8, close_payload(1000)))

    with RawServer(script) as server:
        connection = Connection.open(server.url)
        iteration = Iteration(connection)
        connection.close()
        iteration.join()
    assert iteration.messages == ["on its way"]
    assert iteration.error is None
    assert connection.close_code == 1000


def test_close_within_the_iteration_keeps_what_comes_for_it() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade(glued=frame(1, b"one"))
        peer.read_close()
        peer.send(frame(1, b"two") + frame(1, b"three"))
        peer.send(frame(8, close_payload(1000)))

    with RawServer(script) as server:
        connection = Connection.open(server.url)
        messages = []
        for message in connection:
            messages.append(message)
            connection.close()
            assert connection.tcp_closed
    assert messages == ["one", "two", "three"]


def test_close_gives_up_on_a_peer_that_does_not_answer() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.hang()

    with RawServer(script) as server:
        connection = Connection.open(server.url)
        iteration = Iteration(connection)
        assert 0.2 <= elapsed(lambda: connection.close(timeout=0.3)) < PATIENCE
        assert connection.tcp_closed
        iteration.join()
    assert (connection.close_code, iteration.error) == (1000, None)


def test_close_stops_keeping_messages_of_a_peer_that_floods() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        while True:
            peer.send(frame(2, bytes(60_000)))

    with RawServer(script) as server:
        connection = Connection.open(server.url, max_message_size=100_000)
        connection.close()
        assert connection.tcp_closed
        assert connection.bytes_received < 300_000


def test_5_5_1_close_after_a_close_frame_that_nobody_has_answered_echoes_it() -> None:
    answers: list[int] = []

    def script(peer: Peer) -> None:
        peer.upgrade(glued=frame(1, b"one") + frame(8, close_payload(4003, "yours")))
        answers.append(peer.read_close())

    with RawServer(script) as server:
        connection = Connection.open(server.url)
        assert next(iter(connection)) == "one"
        connection.close()
    assert answers == [4003]
    assert (connection.close_code, connection.close_reason) == (4003, "yours")


def test_close_is_idempotent() -> None:
    with websockets_server(echo_messages) as url:
        connection = Connection.open(url)
        connection.close()
        connection.close(4000)
        assert connection.close_code == 1000


def test_close_from_many_threads_at_once_closes_once() -> None:
    with websockets_server(echo_messages) as url:
        connection = Connection.open(url)
        threads = [threading.Thread(target=connection.close) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert connection.tcp_closed
        assert connection.error is None


@pytest.mark.parametrize(("code", "reason"), [(999, ""), (1005, ""), (1006, ""), (5000, ""), (1000, "x" * 124)])
def test_7_4_a_code_or_reason_that_may_not_be_sent_is_refused_and_harms_nothing(code: int, reason: str) -> None:
    with websockets_server(echo_messages) as url, Connection.open(url) as connection:
        with pytest.raises(ValueError, match=r"code|reason"):
            connection.close(code, reason)
        with pytest.raises(TypeError, match="code must be an int and reason a str"):
            connection.close(None)  # type: ignore[arg-type]
        connection.send("still open")
        assert next(iter(connection)) == "still open"


def test_leaving_the_block_closes() -> None:
    with websockets_server(echo_messages) as url:
        with Connection.open(url) as connection:
            pass
        assert connection.tcp_closed
        assert connection.close_code == 1000


def test_abort_wakes_the_reader_with_its_cause() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.hang()

    cause = RuntimeError("the peer is dead")
    with RawServer(script) as server:
        connection = Connection.open(server.url)
        iteration = Iteration(connection)
        connection.abort(cause)
        iteration.join()
        connection.abort(RuntimeError("too late"))
    assert isinstance(iteration.error, DisconnectedError)
    assert iteration.error.__cause__ is cause
    assert (connection.error, connection.close_code) == (cause, 1006)


def test_abort_wakes_a_sender_that_waits_for_a_peer_that_does_not_read() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.hang()

    with RawServer(script) as server:
        connection = Connection.open(server.url, send_timeout=60)
        errors: list[SendError] = []

        def send() -> None:
            with pytest.raises(SendError) as caught:
                connection.send(bytes(2**25))
            errors.append(caught.value)

        with meanwhile(send):
            until(lambda: connection.bytes_sent > 0)
            assert elapsed(lambda: connection.abort(RuntimeError("enough"))) < PATIENCE
    assert str(connection.error) == "enough"
    assert len(errors) == 1


def test_abort_wakes_a_close_that_waits_for_the_answer() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.read_close()
        closing.set()
        peer.hang()

    closing = threading.Event()
    with RawServer(script) as server:
        connection = Connection.open(server.url)
        with meanwhile(lambda: connection.close(timeout=60)):
            assert closing.wait(10)
            assert elapsed(lambda: connection.abort(RuntimeError("enough"))) < PATIENCE


def test_wait_ended_is_woken_by_the_end() -> None:
    with websockets_server(echo_messages) as url:
        connection = Connection.open(url)
        assert not connection.wait_tcp_closed(0)
        with meanwhile(connection.close):
            assert connection.wait_tcp_closed(10)


# Sending that fails


def test_a_peer_that_does_not_read_makes_a_send_fail_in_time_and_breaks_the_connection() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.hang()

    with RawServer(script) as server:
        connection = Connection.open(server.url, send_timeout=0.3)
        iteration = Iteration(connection)
        start = time.monotonic()
        with pytest.raises(SendError, match="timed out, as the peer does not read") as caught:
            connection.send(bytes(2**25))
        assert 0.2 < time.monotonic() - start < PATIENCE
        iteration.join()
    assert repr(connection.error) == repr(caught.value)
    assert connection.close_code == 1006
    assert isinstance(iteration.error, DisconnectedError)
    assert iteration.error.__cause__ is connection.error


def test_time_spent_waiting_for_another_send_fails_this_send_alone() -> None:
    reading = threading.Event()
    received: list[int] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        assert reading.wait(10)
        received.append(len(peer.read_frame()[1]))
        peer.read_close()

    with RawServer(script) as server:
        connection = Connection.open(server.url, send_timeout=60)
        with meanwhile(lambda: connection.send(bytes(2**22))):
            until(lambda: connection.bytes_sent > 0)
            connection._options = replace(connection._options, send_timeout=0.05)  # this thread is the less patient
            with pytest.raises(SendError, match="another thread"):
                connection.send("late")
            assert connection.error is None
            reading.set()
        connection.close(timeout=0.5)
    assert received == [2**22]


def test_sending_after_the_end_raises_and_adds_no_cause() -> None:
    with RawServer(lambda peer: peer.upgrade()) as server:
        connection = Connection.open(server.url)
        with pytest.raises(DisconnectedError) as loss:
            list(connection)
        with pytest.raises(SendError):
            connection.send("too late")
    assert repr(connection.error) == repr(loss.value)


def test_5_5_1_sending_while_the_connection_closes_raises() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.read_close()
        closing.set()
        assert sent.wait(10)

    closing, sent = threading.Event(), threading.Event()
    with RawServer(script) as server:
        connection = Connection.open(server.url)
        with meanwhile(connection.close):
            assert closing.wait(10)
            with pytest.raises(SendError, match="closed"):
                connection.send("too late")
            sent.set()
    assert connection.error is None


def test_close_returns_at_once_when_a_sender_is_stalled() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.hang()

    with RawServer(script) as server:
        connection = Connection.open(server.url, send_timeout=60)

        def send() -> None:
            with pytest.raises(SendError):
                connection.send(bytes(2**25))

        with meanwhile(send):
            until(lambda: connection.bytes_sent > 0)
            assert elapsed(lambda: connection.close(timeout=60)) < PATIENCE
    assert (connection.close_code, connection.error) == (1000, None)


# Opening, seen from other threads


def silent(peer: Peer) -> None:
    peer.hang()


@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_connect_under_way_is_ended_at_once(end: str) -> None:
    arrived = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        arrived.set()
        peer.hang()

    with RawServer(script) as server:
        connection = Connection(server.url)
        errors: list[ConnectError] = []

        def connect() -> None:
            with pytest.raises(ConnectError, match="closed meanwhile") as caught:
                connection.connect(60)
            errors.append(caught.value)

        with meanwhile(connect):
            assert arrived.wait(10)
            if end == "close":
                connection.close()
            else:
                connection.abort(RuntimeError("enough"))
            assert connection.wait_tcp_closed(5)
    assert len(errors) == 1


def test_a_connection_closed_before_cannot_be_opened() -> None:
    connection = Connection("ws://127.0.0.1:1/")
    connection.close()
    assert connection.tcp_closed
    with pytest.raises(ConnectError, match="closed before"):
        connection.connect(1)


def test_a_connection_that_a_finalizer_closes_as_its_thread_begins_to_connect_is_not_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = Connection("ws://127.0.0.1:1/")
    errors: list[str] = []

    def closing(timeout: float | None) -> Attempt:
        connection.close()
        return Attempt(timeout)

    def connect() -> None:
        with pytest.raises(ConnectError) as caught:
            connection.connect(10)
        errors.append(str(caught.value))

    monkeypatch.setattr("masquerade_ws.connection.connection.Attempt", closing)
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(10)
    assert [error.rpartition(": ")[2] for error in errors] == ["closed before"]


def test_a_connect_cancelled_at_the_last_moment_raises_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        ends.append(peer.read_to_end())

    def late(connection: Connection, *opened: Any) -> None:
        connection.close()
        publish(connection, *opened)

    publish = Connection._publish
    with RawServer(script) as server:
        connection = Connection(server.url)
        monkeypatch.setattr(Connection, "_publish", late)
        with pytest.raises(ConnectError, match="closed meanwhile"):
            connection.connect(10)
        assert connection.tcp_closed
    assert ends == [b""]


def closed_at_a_line_of_connect(connection: Connection, number: int) -> bool:
    """Connect, and close at the line of this number, as a signal handler may; return whether there is such a line."""
    lines = itertools.count(1)
    package = str(Path(masquerade_ws.__file__).parent)

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., object] | None:
        if event == "line" and next(lines) == number:
            sys.settrace(None)
            connection.close(timeout=0)
            return None
        return trace if frame.f_code.co_filename.startswith(package) else None

    def connect() -> None:
        sys.settrace(trace)
        with suppress(ConnectError):
            connection.connect(10)
        sys.settrace(None)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), f"hangs if closed at line {number} of its connect()"
    return next(lines) > number


@pytest.mark.parametrize(("status", "codes"), [(101, {1000}), (403, {1000, 1006})])
def test_a_signal_handler_may_close_a_connection_anywhere_in_its_thread_s_connect(status: int, codes: set[int]) -> None:
    def script(peer: Peer) -> None:
        if status == 101:
            peer.upgrade()
        else:
            peer.read_request()
            peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        peer.read_to_end()

    with RawServer(script) as server:
        for number in itertools.count(1):
            connection = Connection(server.url)
            if not closed_at_a_line_of_connect(connection, number):
                break
            assert connection.tcp_closed, f"still open if closed at line {number} of its connect()"
            assert connection.close_code in codes
        connection.close()
    assert number > 100


def test_a_connection_is_opened_once() -> None:
    with websockets_server(echo_messages) as url, Connection.open(url) as connection:
        with pytest.raises(RuntimeError):
            connection.connect(1)
        connection.send("still open")
        assert next(iter(connection)) == "still open"


def test_a_connection_that_is_not_open_neither_sends_nor_receives() -> None:
    connection = Connection("ws://127.0.0.1:1/")
    with pytest.raises(SendError):
        connection.send("x")
    with pytest.raises(SendError):
        connection.ping()
    with pytest.raises(DisconnectedError):
        list(connection)
    assert not connection.readable()
    assert (connection.latency, connection.last_received) == (None, 0.0)
    assert (connection.bytes_received, connection.bytes_sent, connection.messages_sent) == (0, 0, 0)
    connection.finish()


def test_an_attempt_that_failed_has_ended() -> None:
    with RawServer(lambda peer: peer.reset()) as server:
        connection = Connection(server.url)
        with pytest.raises(ConnectError) as caught:
            connection.connect(10)
    assert connection.tcp_closed
    assert repr(connection.error) == repr(caught.value)


# TLS


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_messages_pass_over_tls(version: ssl.TLSVersion) -> None:
    server, client = tls_contexts(version=version)
    with websockets_server(echo_messages, server) as url, Connection.open(url, ssl_context=client) as connection:
        messages = iter(connection)
        for message in ("text", b"bytes", "x" * 300_000):
            connection.send(message)
            assert next(messages) == message
        connection.close()
        assert list(messages) == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_traffic_both_ways_at_once_over_tls_is_whole_and_in_order(version: ssl.TLSVersion) -> None:
    count = 3000

    def handler(websocket: ServerConnection) -> None:
        def talk() -> None:
            for i in range(count):
                websocket.send(f"server {i}")

        with meanwhile(talk):
            for i in range(count):
                assert websocket.recv() == f"client {i}"
        websocket.close()

    server, client = tls_contexts(version=version)
    with websockets_server(handler, server) as url:
        connection = Connection.open(url, ssl_context=client)
        iteration = Iteration(connection)
        for i in range(count):
            connection.send(f"client {i}")
        iteration.join()
    assert iteration.messages == [f"server {i}" for i in range(count)]
    assert connection.close_code == 1000


def test_a_loss_over_tls_is_a_loss() -> None:
    server, client = tls_contexts()

    def script(peer: Peer) -> None:
        peer.upgrade(glued=frame(1, b"one"))
        assert isinstance(peer.sock, ssl.SSLSocket)
        peer.sock.unwrap()

    with RawServer(script, tls=server) as raw:
        connection = Connection.open(raw.url, ssl_context=client)
        messages = iter(connection)
        assert next(messages) == "one"
        with pytest.raises(DisconnectedError):
            next(messages)
    assert connection.close_code == 1006


def test_bytes_that_are_no_tls_end_the_connection_after_what_came_before() -> None:
    server, client = tls_contexts()

    def script(peer: Peer) -> None:
        peer.upgrade(glued=frame(1, b"one"))
        with socket.socket(fileno=peer.sock.detach()) as plain:
            plain.sendall(b"this is not a record of TLS")
            plain.recv(1)

    with RawServer(script, tls=server) as raw:
        connection = Connection.open(raw.url, ssl_context=client)
        messages = iter(connection)
        assert next(messages) == "one"
        with pytest.raises(DisconnectedError) as caught:
            next(messages)
    assert isinstance(caught.value.__cause__, ssl.SSLError)


# What it shows


def test_the_repr_shows_peer_and_state_and_no_secret() -> None:
    with RawServer(silent) as server:
        connection = Connection(
            f"{server.url}?token=SECRET", ConnectionOptions(headers={"Authorization": "Bearer SECRET"})
        )
        assert repr(connection) == f"<Connection {server.url} not open>"
        connection.close()
        assert repr(connection) == f"<Connection {server.url} closed with 1000>"
    with websockets_server(echo_messages) as url, Connection.open(f"{url}?token=SECRET") as connection:
        assert repr(connection) == f"<Connection {url} open>"


def test_the_repr_of_a_connection_whose_constructor_refused_is_readable() -> None:
    half_made = Connection.__new__(Connection)
    with pytest.raises(ValueError, match="url"):
        half_made.__init__("ws://SECRET|/")  # type: ignore[misc]
    assert repr(half_made) == "<Connection (refused) not open>"


def test_what_a_connection_is_made_of_shows_no_secret() -> None:
    options = ConnectionOptions(proxy="http://user:SECRET@h:1", headers={"Authorization": "SECRET"})
    assert repr(options.given_proxy) == "<Proxy http://h:1>"
    assert "SECRET" not in repr(options)
    assert repr(parse_uri("ws://h/ws?token=SECRET")) == "<WebSocketURI ws://h:80/ws>"


# Errors that are stored


def frames_of(error: BaseException) -> int:
    return len(list(traceback.walk_tb(error.__traceback__)))


def test_iterating_again_and_again_over_what_was_lost_raises_the_same_and_gathers_nothing() -> None:
    with RawServer(lambda peer: peer.upgrade()) as server:
        connection = Connection.open(server.url)
        raised = []
        for _ in range(100):
            with pytest.raises(DisconnectedError) as caught:
                list(connection)
            raised.append(caught.value)
    assert len({frames_of(error) for error in raised[1:]}) == 1
    assert len({repr(error) for error in raised}) == 1
    assert connection.error is not None
    assert frames_of(connection.error) == 0


@pytest.mark.parametrize("end", ["send", "connect"])
def test_the_error_that_is_kept_keeps_no_frames_alive(end: str) -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.hang()

    def use(connection: Connection) -> None:
        connection.connect(10)
        connection.send(bytes(2**25))

    with RawServer(script if end == "send" else lambda peer: peer.reset()) as server:
        connection = Connection(server.url, ConnectionOptions(send_timeout=0.1))
        with pytest.raises((SendError, ConnectError)) as caught:
            use(connection)
    assert connection.error is not None
    assert connection.error is not caught.value
    assert frames_of(connection.error) == 0
    assert repr(connection.error.__cause__) == repr(caught.value.__cause__)


# Signal handlers that raise


@pytest.mark.parametrize(
    ("place", "operation"),
    [
        ("receiver.Receiver._gather", list),
        ("sender.Sender.pong", list),
        ("sender.send_now", lambda connection: connection.send("x")),
        ("sender.send_now", Connection.close),
        ("established.shutdown", Connection.close),
    ],
)
def test_a_signal_handler_s_time_out_is_not_taken_for_the_socket_s_failure(
    place: str, operation: Callable[[Connection], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def alarm(*_: object) -> object:
        raise TimeoutError("from the handler")

    def script(peer: Peer) -> None:
        peer.upgrade()
        assert patched.wait(10)
        peer.send(frame(9))
        peer.read_to_end()

    patched = threading.Event()
    with RawServer(script) as server:
        connection = Connection.open(server.url)
        monkeypatch.setattr(f"masquerade_ws.connection.{place}", alarm)
        patched.set()
        with pytest.raises(TimeoutError, match="from the handler"):
            operation(connection)
        monkeypatch.undo()
        connection.abort(RuntimeError("enough"))
        assert connection.tcp_closed
        assert not isinstance(connection.error, DisconnectedError)
