"""The byte stream of an attempt, with TLS and without."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Any

import pytest

from masquerade_ws.connection.attempt import Attempt, Cancelled, OutOfTime
from masquerade_ws.connection.channel import Channel
from masquerade_ws.connection.dialing import dial
from masquerade_ws.connection.sockets import Waker, ready
from masquerade_ws.connection.tls import TLS
from tests.support.raw_server import Peer, RawServer, loopback, tls_contexts


def no_descriptor_left() -> Waker:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def connected(attempt: Attempt, server: RawServer) -> Channel:
    dial([loopback(server.port)], attempt)
    return Channel(attempt)


def test_a_channel_sends_and_receives(attempt: Attempt) -> None:
    with RawServer(lambda peer: peer.send(peer.read(5))) as server:
        channel = connected(attempt, server)
        channel.sendall(b"hello")
        assert channel.recv() == b"hello"
        assert channel.recv() == b""


@pytest.mark.parametrize(("timeout", "cancelled", "error"), [(0, False, OutOfTime), (10, True, Cancelled)])
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
    def send_then_wait(*arguments: Any) -> set[int]:
        pair[1].send(b"late")
        return ready(*arguments)

    monkeypatch.setattr("masquerade_ws.connection.attempt.ready", send_then_wait)
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
        with pytest.raises(OutOfTime):
            channel.sendall(bytes(2**25))
    attempt.close()


def test_a_channel_speaks_tls(attempt: Attempt) -> None:
    server_context, client_context = tls_contexts()

    def script(peer: Peer) -> None:
        peer.send(peer.read(5))
        peer.sock.unwrap()  # type: ignore[attr-defined]

    with RawServer(script, tls=server_context) as server:
        channel = connected(attempt, server)
        channel.start_tls(TLS(client_context, "127.0.0.1"), "")
        channel.sendall(b"hello")
        assert channel.recv() == b"hello"
        assert channel.recv() == b""


def test_a_channel_raises_on_bytes_that_are_no_tls(attempt: Attempt) -> None:
    server_context, client_context = tls_contexts()

    def script(peer: Peer) -> None:
        with socket.socket(fileno=peer.sock.detach()) as plain:
            plain.sendall(b"this is not a record of TLS")

    with RawServer(script, tls=server_context) as server:
        channel = connected(attempt, server)
        channel.start_tls(TLS(client_context, "127.0.0.1"), "")
        with pytest.raises(OSError, match="SSL"):
            channel.recv()


def test_a_channel_receives_what_came_with_the_last_record_of_the_tls_handshake(attempt: Attempt) -> None:
    """In TLS 1.2 the server has the last word, and may go on in the same segment."""
    server_context, client_context = tls_contexts(version=ssl.TLSVersion.TLSv1_2)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = server_context.wrap_bio(incoming, outgoing, server_side=True)

    def script(peer: Peer) -> None:
        while True:
            try:
                server_side.do_handshake()
            except ssl.SSLWantReadError:
                peer.send(outgoing.read())
                incoming.write(peer.sock.recv(65536))
            else:
                break
        server_side.write(b"at once")
        peer.send(outgoing.read())

    with RawServer(script) as server:
        channel = connected(attempt, server)
        channel.start_tls(TLS(client_context, "127.0.0.1"), "ask it")
        assert channel.recv() == b"at once"
        assert channel.recv() == b""
