"""Traffic both ways at once over TLS, where one OpenSSL object serves both directions."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from masquerade_ws.connection import Connection
from masquerade_ws.errors import SendError
from tests.support.openssl import can_call_openssl, renegotiate, update_keys
from tests.support.raw_server import Peer, RawServer, close_payload, frame, tls_contexts, until

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def converse(connection: Connection, count: int) -> None:
    """Send so many messages while as many are received, and check that all came, in order, and nothing else."""
    received: list[str | bytes] = []
    errors: list[Exception] = []

    def receive() -> None:
        try:
            received.extend(connection)
        except Exception as exc:
            errors.append(exc)

    thread = threading.Thread(target=receive)
    thread.start()
    for i in range(count):
        connection.send(f"client {i}")
    thread.join(60)
    assert not thread.is_alive()
    assert errors == []
    assert received == [f"server {i}" for i in range(count)]
    assert connection.close_code == 1000


def say(i: int) -> bytes:
    return frame(1, b"server %d" % i)


def hear(peer: Peer, count: int) -> None:
    for i in range(count):
        assert peer.read_frame() == (1, b"client %d" % i)


def part(peer: Peer) -> None:
    peer.send(frame(8, close_payload(1000)))
    peer.read_close()


needs_openssl = pytest.mark.skipif(not can_call_openssl(), reason="OpenSSL is out of reach in this build of Python")


@pytest.mark.parametrize("version", VERSIONS)
def test_connections_with_traffic_both_ways_from_the_first_byte_are_sound(version: ssl.TLSVersion) -> None:
    count = 20

    def script(peer: Peer) -> None:
        peer.upgrade(glued=say(0))
        for i in range(1, count):
            peer.send(say(i))
        hear(peer, count)
        part(peer)

    server_context, client_context = tls_contexts(version=version)
    with RawServer(script, tls=server_context) as server:
        for _ in range(150):
            converse(Connection.open(server.url, ssl_context=client_context), count)


@pytest.mark.parametrize("version", VERSIONS)
def test_20000_messages_each_way_at_once_arrive_in_order(version: ssl.TLSVersion) -> None:
    count, block = 20_000, 100

    def script(peer: Peer) -> None:
        peer.upgrade()
        for start in range(0, count, block):
            for i in range(start, start + block):
                peer.send(say(i))
            for i in range(start, start + block):
                assert peer.read_frame() == (1, b"client %d" % i)
        part(peer)

    server_context, client_context = tls_contexts(version=version)
    with RawServer(script, tls=server_context) as server:
        converse(Connection.open(server.url, ssl_context=client_context), count)


@needs_openssl
def test_key_updates_in_the_midst_of_traffic_do_no_harm() -> None:
    count = 2000

    def script(peer: Peer) -> None:
        peer.upgrade()
        for i in range(count):
            if i % 7 == 0:
                update_keys(peer.sock)
            peer.send(say(i))
            assert peer.read_frame() == (1, b"client %d" % i)
        part(peer)

    server_context, client_context = tls_contexts()
    with RawServer(script, tls=server_context) as server:
        converse(Connection.open(server.url, ssl_context=client_context), count)


@needs_openssl
def test_a_key_update_is_answered_though_nothing_is_sent() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        for i in range(100):
            update_keys(peer.sock)
            peer.send(say(i))
        part(peer)

    server_context, client_context = tls_contexts()
    with RawServer(script, tls=server_context) as server:
        connection = Connection.open(server.url, ssl_context=client_context)
        assert list(connection) == [f"server {i}" for i in range(100)]
        assert connection.bytes_sent > 2 * 22  # more than the close frame; an answer may be for many updates


# A new handshake in the midst of a connection, which TLS 1.2 knows (RFC 5246, 7.4.1.1)


@contextlib.contextmanager
def renegotiating(script: Callable[[Peer], object], **options: Any) -> Iterator[Connection]:
    """Connect with TLS 1.2 to a server that follows a script once it is open."""

    def open_first(peer: Peer) -> None:
        peer.upgrade()
        script(peer)

    server_context, client_context = tls_contexts(version=ssl.TLSVersion.TLSv1_2)
    with RawServer(open_first, tls=server_context) as server:
        yield Connection.open(server.url, ssl_context=client_context, **options)


@needs_openssl
def test_renegotiations_in_the_midst_of_traffic_fail_no_send() -> None:
    count = 600

    def script(peer: Peer) -> None:
        for i in range(count):
            if i % 7 == 0:
                renegotiate(peer.sock)
            peer.send(say(i))
            assert peer.read_frame() == (1, b"client %d" % i)
        part(peer)

    with renegotiating(script) as connection:
        converse(connection, count)


@needs_openssl
def test_a_thread_that_sends_while_it_is_the_only_one_reads_on_for_the_handshake() -> None:
    def script(peer: Peer) -> None:
        for i in range(20):
            renegotiate(peer.sock)
            peer.send(frame(1, b"first %d" % i))
            received = peer.read_frame()[1]  # the handshake's messages are read on the way
            peer.send(frame(1, b"second %d" % i) + frame(1, received))
        part(peer)

    with renegotiating(script) as connection:
        messages = iter(connection)
        for i in range(20):
            assert next(messages) == f"first {i}"
            connection.send(f"{i}" * 50_000)
            assert next(messages) == f"second {i}"
            assert next(messages) == f"{i}" * 50_000
        assert list(messages) == []
    assert connection.close_code == 1000


@needs_openssl
def test_many_threads_that_send_during_a_handshake_all_get_through() -> None:
    def script(peer: Peer) -> None:
        renegotiate(peer.sock)
        peer.send(frame(1, b"now"))
        assert sending.wait(10)
        received.extend(sorted(peer.read_frame()[1] for _ in range(8)))
        part(peer)

    sending = threading.Event()
    received: list[bytes] = []
    with renegotiating(script) as connection:
        assert next(iter(connection)) == "now"  # and the HelloRequest before it
        threads = [threading.Thread(target=connection.send, args=(str(i) * 20_000,)) for i in range(8)]
        for thread in threads:
            thread.start()
        established = connection._established
        assert established is not None
        until(lambda: established.sender.messages_sent == 8)
        sending.set()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        assert list(connection) == []
    assert received == [str(i).encode() * 20_000 for i in range(8)]


@needs_openssl
def test_a_send_fails_in_time_if_the_handshake_does_not_go_on() -> None:
    def script(peer: Peer) -> None:
        renegotiate(peer.sock)
        peer.send(frame(1, b"now"))
        peer.hang()

    with renegotiating(script, send_timeout=0.2) as connection:
        assert next(iter(connection)) == "now"
        with pytest.raises(SendError, match="does not go on with its TLS handshake"):
            connection.send("held up")
        assert connection.tcp_closed


@needs_openssl
def test_a_send_that_is_held_up_ends_with_the_connection() -> None:
    def script(peer: Peer) -> None:
        renegotiate(peer.sock)
        peer.send(frame(1, b"now"))
        peer.hang()

    with renegotiating(script, send_timeout=60) as connection:
        assert next(iter(connection)) == "now"
        errors: list[SendError] = []

        def send() -> None:
            with pytest.raises(SendError) as caught:
                connection.send("held up")
            errors.append(caught.value)

        threads = [threading.Thread(target=send) for _ in range(3)]  # one of them reads, two wait for that
        for thread in threads:
            thread.start()
        established = connection._established
        assert established is not None
        until(lambda: established.receiver._waiting == 3)
        connection.abort(RuntimeError("enough"))
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
    assert len(errors) == 3
    assert str(connection.error) == "enough"


@needs_openssl
def test_pings_and_the_close_frame_of_a_handshake_s_time_are_answered_after_it() -> None:
    received: list[tuple[int, bytes]] = []

    def script(peer: Peer) -> None:
        renegotiate(peer.sock)
        peer.send(frame(9, b"1") + frame(9, b"2"))
        received.extend(peer.read_frame() for _ in range(2))
        renegotiate(peer.sock)
        peer.send(frame(8, close_payload(1001)))
        received.append(peer.read_frame())

    with renegotiating(script) as connection:
        assert list(connection) == []
    assert received == [(10, b"1"), (10, b"2"), (8, close_payload(1001))]
    assert connection.close_code == 1001


@needs_openssl
def test_a_connection_closed_during_a_handshake_is_closed_in_order() -> None:
    received: list[int] = []

    def script(peer: Peer) -> None:
        renegotiate(peer.sock)
        peer.send(frame(1, b"now"))
        received.append(peer.read_close())
        peer.send(frame(8, close_payload(1000)))
        assert isinstance(peer.sock, ssl.SSLSocket)
        peer.sock.suppress_ragged_eofs = False
        assert peer.read_to_end() == b""

    with renegotiating(script) as connection:
        assert next(iter(connection)) == "now"
        connection.close(timeout=30)
    assert received == [1000]


@needs_openssl
def test_what_a_signal_handler_sends_within_a_read_of_its_thread_goes_out_after_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    received: list[tuple[int, bytes]] = []

    def script(peer: Peer) -> None:
        assert patched.wait(10)
        renegotiate(peer.sock)
        peer.send(frame(1, b"now"))
        received.append(peer.read_frame())
        part(peer)

    patched = threading.Event()
    with renegotiating(script) as connection:
        established = connection._established
        assert established is not None
        feed = established.receiver.frames.feed

        def interrupted(data: bytes) -> list[str | bytes]:
            monkeypatch.undo()
            connection.send("from the handler")
            assert established.sender.held
            return feed(data)

        monkeypatch.setattr(established.receiver.frames, "feed", interrupted)
        patched.set()
        assert list(connection) == ["now"]
    assert received == [(1, b"from the handler")]


class OpenSSLServer:
    """``openssl s_server``, which sends what is written to it, and takes a first letter for a command."""

    def __init__(self, directory: Path, version: str) -> None:
        authority = trustme.CA()
        authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(directory / "pem")
        self.client_context = ssl.create_default_context()
        authority.configure_trust(self.client_context)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        command = ["openssl", "s_server", "-accept", f"127.0.0.1:{self.port}", "-cert", str(directory / "pem"), version]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        self.output = b""
        self._reading = threading.Thread(target=self._read)
        self._reading.start()
        until(lambda: b"ACCEPT" in self.output)

    def _read(self) -> None:
        assert self.process.stdout is not None
        while data := self.process.stdout.read(65536):
            self.output += data

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def upgrade(self) -> None:
        until(lambda: b"\r\n\r\n" in self.output)
        match = re.search(rb"Sec-WebSocket-Key: (\S+)", self.output)
        assert match is not None
        accept = base64.b64encode(hashlib.sha1(match[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        head = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        self.write(head + accept + b"\r\n\r\n")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reading.join()  # its output has ended
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl")
@pytest.mark.parametrize(("version", "command"), [("-tls1_2", b"r\n"), ("-tls1_3", b"K\n"), ("-tls1_3", b"k\n")])
def test_openssl_s_server_renegotiates_and_updates_keys_while_the_client_sends(
    version: str, command: bytes, tmp_path: Path
) -> None:
    with contextlib.closing(OpenSSLServer(tmp_path, version)) as server:
        opener = threading.Thread(target=server.upgrade)
        opener.start()
        connection = Connection.open(f"wss://127.0.0.1:{server.port}/", ssl_context=server.client_context)
        opener.join()
        received: list[str | bytes] = []
        reader = threading.Thread(target=lambda: received.extend(connection))
        reader.start()
        for i in range(10):
            sent = connection.bytes_sent
            server.write(command)
            for _ in range(100):
                connection.send("x" * 1000)
            until(lambda: server.output.count(b"SSL_do_handshake -> 1") == i + 1)  # noqa: B023 - called at once
            server.write(frame(1, b"%d" % i))
            until(lambda: len(received) == i + 1)  # noqa: B023 - called at once
            assert connection.bytes_sent - sent > 100_000
        assert connection.close_code is None
        connection.close(timeout=0.1)
        reader.join(10)
    assert received == [str(i) for i in range(10)]
