"""The phases of an attempt under one deadline, their failures, and the arguments of a connection."""

from __future__ import annotations

import math
import socket
import ssl
import threading
import time
from contextlib import closing

import pytest

from masquerade_ws.connection import Connection
from masquerade_ws.connection.attempt import Attempt
from masquerade_ws.connection.opening import open_channel
from masquerade_ws.connection.options import ConnectionOptions
from masquerade_ws.errors import ConnectError
from masquerade_ws.protocol.uri import parse_uri
from tests.support.raw_server import Peer, RawServer, shown, silent_port, tls_contexts, until


def failure(url: str, timeout: float = 10, **options: object) -> ConnectError:
    """Return what opening a connection raises, which shows no secret."""
    with pytest.raises(ConnectError) as caught:
        Connection.open(
            f"{url}?token=SECRET",
            headers={"Authorization": "Bearer SECRET"},
            timeout=timeout,
            **options,  # type: ignore[arg-type]
        )
    assert "SECRET" not in shown(caught.value)
    return caught.value


def test_a_connection_s_socket_blocks_though_the_process_has_a_default_time_out() -> None:
    socket.setdefaulttimeout(5)
    try:
        with RawServer(Peer.upgrade) as server, closing(Attempt(10)) as attempt:
            channel, _ = open_channel(parse_uri(server.url), ConnectionOptions(), attempt)
            assert channel.sock.gettimeout() is None
    finally:
        socket.setdefaulttimeout(None)


# Each phase ends with the deadline


def test_a_silent_server_is_given_up_at_the_deadline() -> None:
    with RawServer(lambda peer: peer.hang()) as server:
        start = time.monotonic()
        failure(server.url, 0.3)
        assert 0.2 < time.monotonic() - start < 10


def test_a_stalled_tls_handshake_is_given_up_at_the_deadline() -> None:
    with RawServer(lambda peer: peer.hang()) as server:
        error = failure(server.url.replace("ws:", "wss:"), 0.3)
    assert "timed out during the TLS handshake" in str(error)


def test_a_hanging_look_up_is_given_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(10) and [])
    error = failure("ws://example.test/", 0.2)
    release.set()
    assert "timed out during name resolution" in str(error)


def test_no_time_at_all_is_a_time_out() -> None:
    with RawServer(lambda peer: peer.hang()) as server:
        assert "timed out" in str(failure(server.url, 0))


def test_without_a_deadline_an_attempt_takes_its_time() -> None:
    with RawServer(lambda peer: peer.upgrade()) as server:
        connection = Connection(server.url)
        connection.connect(None)
        connection.close()


def test_a_silent_address_is_given_up_at_the_deadline() -> None:
    with silent_port() as port:
        assert "timed out during connecting" in str(failure(f"ws://127.0.0.1:{port}/", 0.3))


def test_every_address_of_a_name_is_tried_with_its_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(lambda peer: peer.upgrade()) as server, silent_port() as silent, socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))
        ports = [refusing.getsockname()[1], silent, server.port]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in ports]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        Connection.open("ws://example.test/", timeout=4).close()


# Each phase ends when another thread closes


def test_closing_ends_a_tcp_handshake_at_once() -> None:
    with silent_port() as port:
        connection = Connection(f"ws://127.0.0.1:{port}/")

        def close() -> None:
            until(lambda: connection._attempt is not None and connection._attempt.sock is not None)
            connection.close()

        closer = threading.Thread(target=close)
        closer.start()
        start = time.monotonic()
        with pytest.raises(ConnectError, match="closed meanwhile"):
            connection.connect(60)
        assert time.monotonic() - start < 30
        closer.join()


@pytest.mark.parametrize("phase", ["look-up", "tls", "upgrade", "proxy", "socks"])
def test_closing_ends_each_phase_at_once(phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, release = threading.Event(), threading.Event()

    def look_up(*_: object, **__: object) -> list[object]:
        begun.set()
        release.wait(10)
        return []

    def script(peer: Peer) -> None:
        peer.read(1)
        begun.set()
        peer.hang()

    with RawServer(script) as server:
        url, proxy = server.url, False
        if phase == "look-up":
            monkeypatch.setattr(socket, "getaddrinfo", look_up)
            url = "ws://example.test/"
        elif phase == "tls":
            url = server.url.replace("ws:", "wss:")
        elif phase in {"proxy", "socks"}:
            scheme = "http" if phase == "proxy" else "socks5h"
            url, proxy = "ws://192.0.2.1/", f"{scheme}://127.0.0.1:{server.port}"  # type: ignore[assignment]
        connection = Connection(url, ConnectionOptions(proxy=proxy))  # type: ignore[arg-type]
        closer = threading.Thread(target=lambda: (begun.wait(10), connection.close()))
        closer.start()
        start = time.monotonic()
        with pytest.raises(ConnectError, match="closed meanwhile"):
            connection.connect(60)
        assert time.monotonic() - start < 5
        closer.join()
    release.set()
    assert connection.tcp_closed
    assert connection.close_code == 1000


# Failures


def test_a_refused_connection_is_chained_from_what_the_system_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = failure(f"ws://127.0.0.1:{taken.getsockname()[1]}/ws")
    assert isinstance(error.__cause__, ConnectionRefusedError)
    assert str(error).startswith("cannot connect to ws://127.0.0.1:")


def test_a_failed_look_up_is_chained_from_what_the_system_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert isinstance(failure("ws://example.test/").__cause__, socket.gaierror)


def test_a_reset_in_the_handshake_is_a_failure() -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.reset()

    with RawServer(script) as server:
        assert isinstance(failure(server.url).__cause__, OSError)


def test_an_interpreter_without_threads_fails_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert "interpreter shutdown" in str(failure("ws://example.test/"))


def test_a_process_out_of_descriptors_fails_the_attempt() -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(ConnectError, match="Too many open files"):
            Connection.open("ws://127.0.0.1:1/")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_interrupt_leaves_no_socket_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_: object, **__: object) -> object:
        raise AssertionError

    def interrupt(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with RawServer(lambda peer: peer.hang()) as server:
        monkeypatch.setattr("masquerade_ws.connection.opening.upgrade", interrupt)
        connection = Connection(server.url)
        with pytest.raises(KeyboardInterrupt):
            connection.connect(10)
    assert connection.tcp_closed


# TLS


def test_a_certificate_that_nobody_vouches_for_is_refused_by_default() -> None:
    server_context, _ = tls_contexts()
    with RawServer(lambda peer: peer.upgrade(), tls=server_context) as server:
        assert isinstance(failure(server.url).__cause__, ssl.SSLCertVerificationError)


def test_a_certificate_for_another_name_is_refused() -> None:
    server_context, client_context = tls_contexts("other.example")
    with RawServer(lambda peer: peer.upgrade(), tls=server_context) as server:
        error = failure(server.url.replace("127.0.0.1", "localhost"), ssl_context=client_context)
    assert isinstance(error.__cause__, ssl.SSLCertVerificationError)


def test_the_context_given_replaces_the_default() -> None:
    server_context, _ = tls_contexts("other.example")
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    with RawServer(lambda peer: peer.upgrade(), tls=server_context) as server:
        Connection.open(server.url, ssl_context=careless).close()


def test_the_server_is_told_which_name_is_meant() -> None:
    names = []
    server_context, client_context = tls_contexts()
    server_context.sni_callback = lambda _, name, __: names.append(name)
    with RawServer(lambda peer: peer.upgrade(), tls=server_context) as server:
        Connection.open(server.url.replace("127.0.0.1", "localhost"), ssl_context=client_context).close()
    assert names == ["localhost"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_is_checked_against_the_certificate(host: str) -> None:
    server_context, client_context = tls_contexts(host)
    with RawServer(lambda peer: peer.upgrade(), tls=server_context, host=host) as server:
        Connection.open(server.url, ssl_context=client_context).close()


def test_a_server_without_tls_is_a_failure() -> None:
    with RawServer(lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        assert isinstance(failure(server.url.replace("ws:", "wss:")).__cause__, ssl.SSLError)


# Arguments


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"headers": [("X", "y")]}, TypeError),
        ({"headers": {"X": 1}}, TypeError),
        ({"headers": {"Host": "h"}}, ValueError),
        ({"subprotocols": "chat"}, TypeError),
        ({"subprotocols": ["a b"]}, ValueError),
        ({"ssl_context": True}, TypeError),
        ({"proxy": "h"}, ValueError),
        ({"max_message_size": 1.5}, TypeError),
        ({"max_message_size": True}, TypeError),
        ({"max_message_size": 0}, ValueError),
        ({"send_timeout": "1"}, TypeError),
        ({"send_timeout": 0}, ValueError),
        ({"send_timeout": math.nan}, ValueError),
        ({"send_timeout": -1}, ValueError),
        ({"compression": "gzip"}, ValueError),
    ],
)
def test_a_bad_argument_is_refused_by_its_name(options: dict[str, object], kind: type[Exception]) -> None:
    (name,) = options
    with pytest.raises(kind, match=name):
        Connection.open("ws://h/", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("timeout", "kind"), [(-1, ValueError), (math.nan, ValueError), ("1", TypeError)])
def test_a_bad_time_out_is_refused_and_the_connection_can_still_be_opened(
    timeout: object, kind: type[Exception]
) -> None:
    with RawServer(lambda peer: peer.upgrade()) as server:
        connection = Connection(server.url)
        with pytest.raises(kind, match="timeout"):
            connection.connect(timeout)  # type: ignore[arg-type]
        connection.connect(10)
        connection.close()
