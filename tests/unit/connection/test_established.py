"""The end of an open connection: interrupts, forks, and a descriptor that is closed once."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable

import pytest

from masquerade_ws.connection import Connection
from masquerade_ws.connection import channel as channel_module
from masquerade_ws.connection import established as established_module
from masquerade_ws.connection import sender as sender_module
from masquerade_ws.connection.options import ConnectionOptions
from masquerade_ws.connection.sockets import send_now
from masquerade_ws.deadline import Deadline
from masquerade_ws.errors import ConnectError, DisconnectedError, SendError
from tests.support.raw_server import Peer, RawServer, close_payload, frame, held, tls_contexts, until


def test_an_interrupted_send_leaves_no_torn_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        received.append(peer.read_to_end())

    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    with RawServer(script) as server:
        connection = Connection.open(server.url)
        monkeypatch.setattr(sender_module, "send_now", interrupt)
        with pytest.raises(KeyboardInterrupt):
            connection.send("interrupted")
        assert connection.tcp_closed
        with pytest.raises(SendError):
            connection.send("after")
    assert received == [b""]
    assert isinstance(connection.error, SendError)


CLOSED = frame(8, close_payload(4001, "enough"))


@pytest.fixture(params=["ws", "wss"], scope="module")
def contexts(request: pytest.FixtureRequest) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """The TLS contexts of a server and of a client, or none."""
    return tls_contexts() if request.param == "wss" else (None, None)


def send_on(connection: Connection) -> None:
    """Send until that fails."""
    while True:
        connection.send("x" * 1000)


Contexts = tuple[ssl.SSLContext | None, ssl.SSLContext | None]


def test_the_peer_s_close_that_waits_to_be_read_is_the_end_though_a_send_fails_meanwhile(contexts: Contexts) -> None:
    server_context, client_context = contexts

    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.read_frame()
        peer.send(frame(1, b"last") + CLOSED)
        peer.reset()

    with RawServer(script, tls=server_context) as server:
        connection = Connection.open(server.url, ssl_context=client_context)
        connection.send("go")
        with pytest.raises(SendError, match="sending failed"):
            send_on(connection)
        assert (connection.tcp_closed, connection.close_code, connection.close_reason) == (True, 4001, "enough")
        assert connection.error is None
        assert list(connection) == ["last"]


def test_the_peer_s_close_is_the_end_though_a_pong_fails_before_that(contexts: Contexts) -> None:
    server_context, client_context = contexts
    gone = threading.Event()

    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.read_frame()
        peer.send(frame(9, bytes(30)))
        peer.send(frame(1, b"last") + CLOSED)
        peer.reset()
        gone.set()

    with RawServer(script, tls=server_context) as server:
        connection = Connection.open(server.url, ssl_context=client_context)
        connection.send("go")
        assert gone.wait(10)
        established = connection._established
        assert established is not None
        established.receiver._size = 32 if client_context is None else 32 + 22  # the ping and its record of TLS alone
        assert list(connection) == ["last"]
        assert established.sender.send_closed, "the pong did not fail"
        assert (connection.close_code, connection.error) == (4001, None)


def test_the_peer_s_close_that_waits_to_be_read_is_the_end_though_a_send_runs_out_of_time() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.read_frame()
        peer.send(CLOSED)
        peer.hang()

    with RawServer(script) as server:
        connection = Connection.open(server.url, send_timeout=0.2)
        connection.send("go")
        until(connection.readable)
        with pytest.raises(SendError, match="timed out"):
            connection.send("x" * 50_000_000)
        assert (connection.close_code, connection.error) == (4001, None)
        assert list(connection) == []


def test_a_send_that_fails_is_the_cause_of_an_end_without_a_close_and_what_came_before_is_read(
    contexts: Contexts,
) -> None:
    server_context, client_context = contexts

    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.read_frame()
        peer.send(frame(1, b"last"))
        peer.reset()

    with RawServer(script, tls=server_context) as server:
        connection = Connection.open(server.url, ssl_context=client_context)
        connection.send("go")
        with pytest.raises(SendError):
            send_on(connection)
        messages = iter(connection)
        assert next(messages) == "last"
        with pytest.raises(DisconnectedError, match="sending failed"):
            next(messages)
        assert connection.close_code == 1006
        assert isinstance(connection.error, SendError)


def test_a_thread_that_would_read_on_while_another_closes_tcp_learns_that() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.read_to_end()

    with RawServer(script) as server, Connection.open(server.url) as connection:
        established = connection._established
        assert established is not None
        receiver = established.receiver
        raised: list[OSError] = []

        def read_on() -> None:
            assert receiver.read_on(Deadline(60))
            with pytest.raises(OSError, match="ended the connection") as caught:
                receiver.read_on(Deadline(60))
            raised.append(caught.value)

        with established.sender.lock:  # so that the other thread has the receiver's lock, and keeps it
            closing = threading.Thread(target=connection.abort, args=(RuntimeError("enough"),))
            closing.start()
            until(lambda: held(receiver.lock))
            reading = threading.Thread(target=read_on)
            reading.start()
            until(lambda: receiver._waiting == 1)
        closing.join(10)
        reading.join(10)
        assert not reading.is_alive()
    assert len(raised) == 1


def test_the_descriptor_is_closed_once_and_not_before_its_users_have_left() -> None:
    """Threads end the connection in every way at once; a number closed twice would be another socket's by then."""

    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.send(frame(1, b"x") * 100)
        peer.read_to_end()

    def iterate(connection: Connection) -> None:
        with contextlib.suppress(DisconnectedError):
            for _ in connection:
                pass

    def send(connection: Connection) -> None:
        with contextlib.suppress(SendError):
            while True:
                connection.send("x" * 1000)

    with RawServer(script) as server:
        for _ in range(20):
            connection = Connection.open(server.url)
            ends: list[Callable[[Connection], object]] = [
                iterate,
                send,
                lambda one: one.close(timeout=0.05),
                lambda one: one.abort(RuntimeError("enough")),
            ]
            threads = [threading.Thread(target=end, args=(connection,)) for end in ends]
            for thread in threads:
                thread.start()
            with socket.socket() as innocent:
                for thread in threads:
                    thread.join(10)
                    assert not thread.is_alive()
                assert os.fstat(innocent.fileno())
            assert connection.tcp_closed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_leaves_the_parent_s_connection_untouched() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.send(frame(1, peer.read_frame()[1]))
        peer.send(frame(8, close_payload(1000)))
        peer.read_close()

    with RawServer(script) as server:
        connection = Connection.open(server.url)
        received: list[str | bytes] = []
        reader = threading.Thread(target=lambda: received.extend(connection))
        reader.start()
        assert connection._established is not None
        lock = connection._established.receiver.lock
        until(lambda: held(lock))  # the reader is in recv, and so it is for ever in the child
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(BaseException):
                status = _child(connection)
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        connection.send("from the parent")
        reader.join(10)
    assert received == ["from the parent"]
    assert connection.close_code == 1000


def _child(connection: Connection) -> int:
    """Check in the child that nothing blocks and nothing is sent."""
    connection.after_fork()
    assert connection.tcp_closed
    assert connection.wait_tcp_closed(0)
    assert not connection.readable()
    assert list(connection) == []
    connection.close()
    connection.abort(RuntimeError("nothing to abort"))
    with pytest.raises(SendError):
        connection.send("x")
    return 0


def test_a_forked_child_takes_no_lock() -> None:
    with RawServer(lambda peer: (peer.upgrade(), peer.read_to_end())) as server:
        connection = Connection.open(server.url)
        established = connection._established
        assert established is not None
        locks = established.receiver.lock, established.sender.lock, established._lock
        for lock in (*locks, connection._lock, connection._closure._changed):
            holder = threading.Thread(target=lock.acquire)  # as in a child, where the threads that hold them are not
            holder.start()
            holder.join()
        assert _child(connection) == 0


def test_a_forked_child_closes_the_socket_of_an_attempt() -> None:
    connection = Connection("ws://127.0.0.1:1/")
    attempt = connection._begin(10)  # which in the child no thread is busy with
    attempt.sock = sock = socket.socket()
    connection.after_fork()
    assert connection.tcp_closed
    assert sock.fileno() == -1


def test_a_forked_child_ends_what_was_never_opened() -> None:
    connection = Connection("ws://127.0.0.1:1/")
    connection.after_fork()
    assert connection.tcp_closed


def test_a_violation_of_a_peer_that_takes_no_answer_is_bounded() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        until(lambda: len(threads) == 1)
        peer.send(frame(3))
        peer.hang()

    threads: list[threading.Thread] = []
    with RawServer(script) as server:
        connection = Connection.open(server.url, send_timeout=60)

        def send() -> None:
            with pytest.raises(SendError):
                connection.send(bytes(2**25))

        thread = threading.Thread(target=send)
        thread.start()
        until(lambda: connection.bytes_sent > 0)
        threads.append(thread)
        with pytest.raises(DisconnectedError) as caught:
            list(connection)
        thread.join(10)
        assert not thread.is_alive()
    assert caught.value.code == 1002


def test_a_close_of_a_peer_that_takes_no_answer_is_bounded() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade(glued=frame(8, close_payload(1000)))
        peer.hang()

    with RawServer(script) as server:
        assert list(Connection.open(server.url)) == []


def test_a_signal_handler_may_close_the_connection_that_its_thread_is_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    shutdown = established_module.shutdown

    def shutdown_late(sock: socket.socket, how: int) -> None:
        monkeypatch.undo()
        connection.abort(OSError("from the handler"))
        shutdown(sock, how)

    with RawServer(lambda peer: peer.upgrade()) as raw:
        connection = Connection.open(raw.url)
        monkeypatch.setattr(established_module, "shutdown", shutdown_late)
        closing = threading.Thread(target=connection.abort, args=(OSError("first"),), daemon=True)
        closing.start()
        closing.join(10)
        assert connection.tcp_closed
        assert str(connection.error) == "first"


# The end of TLS (RFC 8446, 6.1)


def end_seen_by_the_server(peer: Peer) -> bytes:
    """Return what comes until the client's close_notify; an end of TCP without one raises."""
    assert isinstance(peer.sock, ssl.SSLSocket)
    peer.sock.suppress_ragged_eofs = False
    try:
        return peer.read_to_end()
    except ssl.SSLZeroReturnError:  # it came after the server's own
        return b""


def close_by_client(peer: Peer) -> None:
    peer.upgrade()
    peer.send(frame(8, close_payload(peer.read_close())))


def close_by_server(peer: Peer) -> None:
    peer.upgrade(glued=frame(8, close_payload(1000)))
    peer.read_close()


def violate(peer: Peer) -> None:
    peer.upgrade(glued=frame(3))
    peer.read_close()


def end_tls_alone(peer: Peer) -> None:
    peer.upgrade()
    assert isinstance(peer.sock, ssl.SSLSocket)
    peer.sock.setblocking(False)
    with contextlib.suppress(ssl.SSLWantReadError):
        peer.sock.unwrap()
    peer.sock.setblocking(True)


def never_answer(peer: Peer) -> None:
    peer.upgrade()
    peer.read_close()


def refuse(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 403 Forbidden\r\n\r\n")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("ended", [close_by_client, close_by_server, violate, end_tls_alone, never_answer, refuse])
def test_tls_ends_with_a_close_notify(ended: Callable[[Peer], None], version: ssl.TLSVersion) -> None:
    ends: list[bytes] = []

    def script(peer: Peer) -> None:
        ended(peer)
        ends.append(end_seen_by_the_server(peer))

    server_context, client_context = tls_contexts(version=version)
    with RawServer(script, tls=server_context) as server:
        with contextlib.suppress(ConnectError, DisconnectedError):
            connection = Connection.open(server.url, ssl_context=client_context)
            if ended in {close_by_client, never_answer}:
                connection.close(timeout=0.2 if ended is never_answer else 30)
            list(connection)
        until(lambda: ends)
    assert ends == [b""]


def first_record(data: bytes | memoryview) -> bytes | memoryview:
    """Return the first record of TLS; what followed it, the peer would read as another record."""
    return data[: 5 + int.from_bytes(data[3:5], "big")]


def contexts_without_tickets() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return contexts of TLS; a ticket that the client has not read would turn the end of TCP into a reset."""
    server_context, client_context = tls_contexts()
    server_context.num_tickets = 0
    return server_context, client_context


def test_a_frame_sent_in_part_is_not_followed_by_a_close_notify(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[type[Exception]] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        try:
            end_seen_by_the_server(peer)
        except ssl.SSLError as error:
            ends.append(type(error))

    def send_and_interrupt(sock: socket.socket, data: bytes | memoryview) -> int:
        sock.sendall(first_record(data))
        raise KeyboardInterrupt

    server_context, client_context = contexts_without_tickets()
    with RawServer(script, tls=server_context) as server:
        connection = Connection.open(server.url, ssl_context=client_context)
        monkeypatch.setattr(sender_module, "send_now", send_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            connection.send(bytes(20_000))
    assert ends == [ssl.SSLEOFError]


def test_a_request_sent_in_part_is_not_followed_by_a_close_notify(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[type[Exception]] = []

    def script(peer: Peer) -> None:
        try:
            end_seen_by_the_server(peer)
        except ssl.SSLError as error:
            ends.append(type(error))

    def send_in_part(sock: socket.socket, data: bytes | memoryview) -> int:
        if len(data) < 20_000:
            return send_now(sock, data)  # the handshake of TLS
        connection.abort(OSError("enough"))
        return send_now(sock, first_record(data))

    server_context, client_context = contexts_without_tickets()
    with RawServer(script, tls=server_context) as server:
        options = ConnectionOptions(ssl_context=client_context)
        connection = Connection(f"{server.url}?{'x' * 20_000}", options)
        monkeypatch.setattr(channel_module, "send_now", send_in_part)
        with pytest.raises(ConnectError, match="closed meanwhile"):
            connection.connect(60)
    assert ends == [ssl.SSLEOFError]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_server_s_close_notify_is_enough_though_it_keeps_tcp_open(
    version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masquerade_ws.connection.established.LINGER", 60.0)
    monkeypatch.setattr("masquerade_ws.connection.connection.LINGER", 60.0)
    over = threading.Event()

    def script(peer: Peer) -> None:
        close_by_client(peer)
        assert isinstance(peer.sock, ssl.SSLSocket)
        peer.sock = peer.sock.unwrap()
        assert over.wait(10), "the client waited for TCP"

    server_context, client_context = tls_contexts(version=version)
    with RawServer(script, tls=server_context) as server:
        Connection.open(server.url, ssl_context=client_context).close(timeout=60)
        over.set()


def test_a_server_that_ends_neither_tls_nor_tcp_is_waited_for_a_second() -> None:
    over = threading.Event()

    def script(peer: Peer) -> None:
        close_by_client(peer)
        over.wait(10)

    server_context, client_context = tls_contexts()
    with RawServer(script, tls=server_context) as server:
        connection = Connection.open(server.url, ssl_context=client_context)
        start = time.monotonic()
        connection.close(timeout=60)
        assert 0.9 < time.monotonic() - start < 9
        over.set()


def test_the_messages_end_before_the_server_has_closed_tcp() -> None:
    over = threading.Event()

    def script(peer: Peer) -> None:
        peer.upgrade(glued=frame(1, b"x") + frame(8, close_payload(1001)))
        assert over.wait(10)
        peer.read_close()

    with RawServer(script) as server:
        connection = Connection.open(server.url)
        assert list(connection.batches()) == [["x"]]
        assert (connection.close_code, connection.tcp_closed) == (1001, False)
        over.set()
        connection.finish()
        assert connection.tcp_closed
