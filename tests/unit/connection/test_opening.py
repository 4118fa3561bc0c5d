"""The phases of an attempt under one deadline, their failures, and the arguments of a connection."""

from __future__ import annotations

import importlib.util
import math
import signal
import socket
import ssl
import sys
import threading
import time

import pytest

from masquerade_ws.connection import Connection
from masquerade_ws.connection.options import ConnectionOptions
from masquerade_ws.errors import ConnectError
from tests.support.raw_server import Peer, RawServer, loopback, shown, silent_port, tls_contexts, until


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
        with RawServer(Peer.upgrade) as server:
            connection = Connection.open(server.url)
            assert connection._established is not None
            assert connection._established._sock.gettimeout() is None
            connection.close()
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


def test_every_address_of_a_name_is_tried_until_one_answers(monkeypatch: pytest.MonkeyPatch) -> None:
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
            until(lambda: connection._attempt is not None and connection._attempt.racing)
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


class Careless(ssl.SSLContext):
    """Raises what an author did not think of."""

    def wrap_bio(self, *_: object, **__: object) -> ssl.SSLObject:
        raise LookupError("no certificate for the tenant")


def test_an_exception_of_the_user_s_context_fails_the_attempt() -> None:
    with RawServer(lambda peer: peer.hang()) as server:
        context = Careless(ssl.PROTOCOL_TLS_CLIENT)
        error = failure(server.url.replace("ws:", "wss:"), ssl_context=context)
    assert str(error).endswith("LookupError: no certificate for the tenant")
    assert isinstance(error.__cause__, LookupError)


def test_a_look_up_out_of_memory_fails_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_: object, **__: object) -> object:
        raise MemoryError

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    error = failure("ws://example.test/")
    assert str(error).endswith("MemoryError")
    assert isinstance(error.__cause__, MemoryError)


def test_a_proxy_module_that_cannot_be_imported_fails_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_socks", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    with RawServer(lambda peer: peer.hang()) as server:
        error = failure("ws://192.0.2.1/", proxy=f"socks5h://127.0.0.1:{server.port}")
    assert isinstance(error.__cause__, ImportError)


def test_memory_that_runs_out_at_the_last_moment_fails_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*_: object, **__: object) -> object:
        raise MemoryError

    monkeypatch.setattr("masquerade_ws.connection.connection.FrameReceiver", run_out)
    with RawServer(lambda peer: peer.upgrade()) as server:
        assert isinstance(failure(server.url).__cause__, MemoryError)


class Stop(BaseException):
    """As `gevent.Timeout` and `asyncio.CancelledError` are."""


def test_another_base_than_exception_passes_unchanged_and_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop()

    def look_up(*_: object, **__: object) -> object:
        raise stop

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    connection = Connection("ws://example.test/")
    with pytest.raises(Stop) as caught:
        connection.connect(10)
    assert caught.value is stop
    assert (connection.tcp_closed, connection.close_code, connection.error) == (True, 1006, None)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
def test_a_signal_handler_s_time_out_is_not_taken_for_the_attempt_s() -> None:
    def alarm(*_: object) -> None:
        raise TimeoutError("the user's own time-out")

    before = signal.signal(signal.SIGALRM, alarm)
    try:
        with silent_port() as port:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            error = failure(f"ws://127.0.0.1:{port}/", 60)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert str(error).endswith("the user's own time-out")
    assert type(error.__cause__) is TimeoutError


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


def test_rfc6066_3_the_dot_at_a_name_s_end_is_not_part_of_what_the_server_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = []
    server_context, client_context = tls_contexts()
    server_context.sni_callback = lambda _, name, __: names.append(name)
    with RawServer(lambda peer: peer.upgrade(), tls=server_context) as server:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [loopback(server.port)])
        Connection.open(server.url.replace("127.0.0.1", "localhost."), ssl_context=client_context).close()
    assert names == ["localhost"]


def test_a_server_that_does_not_get_through_tls_learns_why() -> None:
    reasons: list[str] = []

    def script(peer: Peer) -> None:
        peer.sock = server_context.wrap_socket(peer.sock, server_side=True, do_handshake_on_connect=False)
        try:
            peer.sock.do_handshake()
            peer.read_to_end()
        except ssl.SSLError as error:
            reasons.append(error.reason)

    server_context, _ = tls_contexts()
    with RawServer(script) as server:
        failure(server.url.replace("ws:", "wss:"))
    assert reasons == ["TLSV1_ALERT_UNKNOWN_CA"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_is_checked_against_the_certificate(host: str) -> None:
    server_context, client_context = tls_contexts(host)
    with RawServer(lambda peer: peer.upgrade(), tls=server_context, host=host) as server:
        Connection.open(server.url, ssl_context=client_context).close()


def test_a_server_without_tls_is_a_failure() -> None:
    with RawServer(lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        error = failure(server.url.replace("ws:", "wss:"))
    assert isinstance(error.__cause__, ssl.SSLError)
    assert str(error).endswith("the peer does not speak TLS; if it is not meant to, use ws:// instead of wss://")


def test_a_server_that_ends_a_tls_handshake_without_an_answer_may_have_no_tls() -> None:
    with RawServer(lambda peer: peer.sock.recv(65536)) as server:
        error = failure(server.url.replace("ws:", "wss:"))
    assert str(error).endswith(
        "the peer ended the connection without an answer, so it may not speak TLS; if it is not meant to, use ws:// "
        "instead of wss://"
    )


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
        ({"ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}, ValueError),
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
