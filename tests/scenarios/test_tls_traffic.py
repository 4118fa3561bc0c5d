"""Traffic both ways at once over TLS, where one OpenSSL object serves both directions."""

from __future__ import annotations

import _ssl
import ctypes
import ssl
import sys
import sysconfig
import threading

import pytest

from masquerade_ws.connection import Connection
from tests.support.raw_server import Peer, RawServer, close_payload, frame, tls_contexts

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


def ask_for_key_update(sock: ssl.SSLSocket) -> None:
    """Have OpenSSL change its own key with the next record, and demand the same of the other side."""
    library = ctypes.CDLL(_ssl.__file__)
    # After the object's head come the Python socket and OpenSSL's own object.
    address = id(sock._sslobj) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)  # type: ignore[attr-defined]
    assert library.SSL_key_update(ctypes.c_void_p.from_address(address), 1) == 1


def can_update_keys() -> bool:
    plain_build = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
    return plain_build and hasattr(_ssl, "__file__") and hasattr(ctypes.CDLL(_ssl.__file__), "SSL_key_update")


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


@pytest.mark.skipif(not can_update_keys(), reason="OpenSSL's SSL_key_update is out of reach in this build of Python")
def test_key_updates_in_the_midst_of_traffic_do_no_harm() -> None:
    count = 2000

    def script(peer: Peer) -> None:
        peer.upgrade()
        for i in range(count):
            if i % 7 == 0:
                assert isinstance(peer.sock, ssl.SSLSocket)
                ask_for_key_update(peer.sock)
            peer.send(say(i))
            assert peer.read_frame() == (1, b"client %d" % i)
        part(peer)

    server_context, client_context = tls_contexts()
    with RawServer(script, tls=server_context) as server:
        converse(Connection.open(server.url, ssl_context=client_context), count)


@pytest.mark.skipif(not can_update_keys(), reason="OpenSSL's SSL_key_update is out of reach in this build of Python")
def test_a_key_update_is_answered_though_nothing_is_sent() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        assert isinstance(peer.sock, ssl.SSLSocket)
        for i in range(100):
            ask_for_key_update(peer.sock)
            peer.send(say(i))
        part(peer)

    server_context, client_context = tls_contexts()
    with RawServer(script, tls=server_context) as server:
        connection = Connection.open(server.url, ssl_context=client_context)
        assert list(connection) == [f"server {i}" for i in range(100)]
        assert connection.bytes_sent > 2 * 22  # more than the close frame; an answer may be for many updates
