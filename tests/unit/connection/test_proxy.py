"""Proxies: which one is used, and the tunnel through real ones, well-behaved and not."""

from __future__ import annotations

import base64
import importlib.util
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from masquerade_ws.connection import Connection
from masquerade_ws.connection.options import ConnectionOptions
from masquerade_ws.connection.proxy import Proxy, choose_proxy, parse_proxy
from masquerade_ws.errors import ConnectError, DisconnectedError
from masquerade_ws.protocol.uri import parse_uri
from tests.support.proxies import dial, http_proxy, relay, socks4_proxy, socks5_proxy
from tests.support.raw_server import Peer, RawServer, frame, shown, tls_contexts, until


def greeting(peer: Peer) -> None:
    peer.upgrade(glued=frame(1, b"hello"))
    peer.read_close()
    peer.send(frame(8, b"\x03\xe8"))


def greet(url: str, proxy: str | None, **options: object) -> None:
    """Open a connection, get the greeting and close."""
    with Connection.open(url, proxy=proxy, **options) as connection:  # type: ignore[arg-type]
        assert next(iter(connection)) == "hello"


def refused(proxy_script: Callable[[Peer], object], scheme: str = "http", timeout: float = 10) -> ConnectError:
    """Return what opening a connection through this proxy raises; nothing in it may show the password."""
    with RawServer(proxy_script) as proxy, pytest.raises(ConnectError) as caught:
        Connection.open(
            "ws://127.0.0.1:1/?token=SECRET", proxy=f"{scheme}://user:SECRET@127.0.0.1:{proxy.port}", timeout=timeout
        )
    assert "SECRET" not in shown(caught.value)
    assert caught.value.__context__ is None or isinstance(caught.value.__context__, OSError)
    return caught.value


# HTTP


def test_a_tunnel_is_asked_of_an_http_proxy_for_ws_too() -> None:
    requests: list[Peer] = []
    with RawServer(greeting) as server, RawServer(http_proxy(requests)) as proxy:
        greet(server.url, f"http://127.0.0.1:{proxy.port}")
        line, *headers = requests[0].request.split("\r\n")
        assert line == f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"
        assert headers == [f"Host: 127.0.0.1:{server.port}"]


def test_tls_goes_through_the_tunnel() -> None:
    requests: list[Peer] = []
    server_context, client_context = tls_contexts()
    with RawServer(greeting, tls=server_context) as server, RawServer(http_proxy(requests)) as proxy:
        greet(server.url, f"http://127.0.0.1:{proxy.port}", ssl_context=client_context)
    assert len(requests) == 1


def test_the_proxy_gets_the_credentials_without_their_percent_encoding() -> None:
    requests: list[Peer] = []
    with RawServer(greeting) as server, RawServer(http_proxy(requests)) as proxy:
        greet(server.url, f"http://us%40er:p%3Aw@127.0.0.1:{proxy.port}")
        greet(server.url, f"http://user@127.0.0.1:{proxy.port}")
    sent = [base64.b64decode((peer.header("Proxy-Authorization") or "").removeprefix("Basic ")) for peer in requests]
    assert sent == [b"us@er:p:w", b"user:"]


def test_an_ipv6_target_is_named_in_brackets() -> None:
    requests: list[Peer] = []
    with RawServer(greeting, host="::1") as server, RawServer(http_proxy(requests)) as proxy:
        greet(server.url, f"http://127.0.0.1:{proxy.port}")
    assert requests[0].request.startswith(f"CONNECT [::1]:{server.port} HTTP/1.1\r\n")


@pytest.mark.parametrize("status", [301, 403, 407, 502])
def test_a_proxy_that_refuses_is_told_apart_from_the_server(status: int) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(f"HTTP/1.1 {status} SECRET\r\nX: SECRET\r\n\r\nSECRET".encode())

    error = refused(script)
    assert f"the proxy answered with HTTP status {status}" in str(error)
    assert error.status is None


def test_interim_responses_of_a_proxy_are_read_over() -> None:
    def script(peer: Peer) -> None:
        authority = peer.read_request().split(" ")[1]
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nX: y\r\n\r\n")
        upstream = dial(int(authority.rpartition(":")[2]))
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        relay(peer, upstream)

    with RawServer(greeting) as server, RawServer(script) as proxy:
        greet(server.url, f"http://127.0.0.1:{proxy.port}")


def test_a_proxy_that_switches_protocols_has_refused() -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")

    assert "HTTP status 101" in str(refused(script))


@pytest.mark.parametrize(
    ("response", "fault"),
    [
        (b"SECRET\r\n\r\n", "did not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nSECRET", "more than its response"),
        (b"HTTP/1.1 200 OK\r\nX: " + bytes(70_000), "65536 bytes"),
        (b"HTTP/1.1 200", "closed the connection"),
    ],
)
def test_a_proxy_that_breaks_the_protocol_is_refused(response: bytes, fault: str) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(response)

    assert fault in str(refused(script))


@pytest.mark.parametrize("scheme", ["http", "socks4a", "socks5h"])
def test_a_silent_proxy_gets_no_more_than_the_deadline(scheme: str) -> None:
    start = time.monotonic()
    error = refused(lambda peer: peer.hang(), scheme, timeout=0.3)
    assert 0.2 < time.monotonic() - start < 10
    assert "timed out during the proxy's" in str(error)


# HTTP over TLS


@pytest.fixture
def roots(monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The proxy's context, which the system's roots vouch for."""
    proxy_context, client_context = tls_contexts()
    monkeypatch.setattr("masquerade_ws.connection.opening.default_context", lambda: client_context)
    return proxy_context


def test_a_proxy_may_speak_tls(roots: ssl.SSLContext) -> None:
    requests: list[Peer] = []
    with RawServer(greeting) as server, RawServer(http_proxy(requests), tls=roots) as proxy:
        greet(server.url, f"https://127.0.0.1:{proxy.port}")
    assert len(requests) == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_with_the_server_goes_through_tls_with_the_proxy(roots: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    def echo(peer: Peer) -> None:
        peer.upgrade()
        for _ in range(3):
            peer.send(frame(2, peer.read_frame()[1]))
        peer.send(frame(8, b"\x03\xe8"))
        peer.read_close()
        assert isinstance(peer.sock, ssl.SSLSocket)
        peer.sock.suppress_ragged_eofs = False
        assert peer.read_to_end() == b""  # up to the close_notify

    server_context, client_context = tls_contexts(version=version)
    with RawServer(echo, tls=server_context) as server, RawServer(http_proxy([]), tls=roots) as proxy:
        through = f"https://127.0.0.1:{proxy.port}"
        connection = Connection.open(server.url, proxy=through, ssl_context=client_context)
        messages = iter(connection)
        for size in (0, 70_000, 2**20):
            connection.send(bytes(size))
            assert next(messages) == bytes(size)
        assert list(messages) == []
    assert connection.close_code == 1000


def test_bytes_that_are_not_tls_within_the_proxy_s_tls_end_the_connection(roots: ssl.SSLContext) -> None:
    def script(peer: Peer) -> None:
        peer.upgrade(glued=frame(1, b"one"))
        with socket.socket(fileno=peer.sock.detach()) as plain:
            plain.sendall(b"this is not a record of TLS")
            plain.recv(1)

    server_context, client_context = tls_contexts()
    with RawServer(script, tls=server_context) as server, RawServer(http_proxy([]), tls=roots) as proxy:
        through = f"https://127.0.0.1:{proxy.port}"
        messages = iter(Connection.open(server.url, proxy=through, ssl_context=client_context))
        assert next(messages) == "one"
        with pytest.raises(DisconnectedError) as caught:
            next(messages)
    assert isinstance(caught.value.__cause__, ssl.SSLError)


def test_the_user_s_context_is_for_the_gateway_alone() -> None:
    proxy_context, client_context = tls_contexts()
    with (
        RawServer(lambda peer: peer.read_to_end(), tls=proxy_context) as proxy,
        pytest.raises(ConnectError, match="cannot reach the proxy") as caught,
    ):
        greet("wss://127.0.0.1:1/", f"https://127.0.0.1:{proxy.port}", ssl_context=client_context)
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


def test_a_proxy_that_does_not_speak_tls_is_reported_as_such() -> None:
    error = refused(lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "https")
    assert "the peer does not speak TLS; if it is not meant to, use http:// for the proxy" in str(error)


def test_an_unverified_server_behind_a_proxy_with_tls_learns_why(roots: ssl.SSLContext) -> None:
    reasons: list[str] = []

    def script(peer: Peer) -> None:
        peer.sock = server_context.wrap_socket(peer.sock, server_side=True, do_handshake_on_connect=False)
        try:
            peer.sock.do_handshake()
            peer.read_to_end()
        except ssl.SSLError as error:
            reasons.append(error.reason)

    server_context, _ = tls_contexts()
    with (
        RawServer(script) as server,
        RawServer(http_proxy([]), tls=roots) as proxy,
        pytest.raises(ConnectError, match="certificate verify failed"),
    ):
        greet(server.url.replace("ws:", "wss:"), f"https://127.0.0.1:{proxy.port}")
    assert reasons == ["TLSV1_ALERT_UNKNOWN_CA"]


# Which hop failed


@pytest.mark.parametrize("argument", [True, False])
def test_a_proxy_that_cannot_be_reached_is_named_with_where_it_comes_from(
    argument: bool, environment: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://user:SECRET@127.0.0.1:{taken.getsockname()[1]}"
        environment.setenv("http_proxy", url)
        with pytest.raises(ConnectError) as caught:
            Connection.open("ws://gateway.example/", proxy=url if argument else None)
    shown_url = url.replace("user:SECRET@", "")
    source = "the argument proxy" if argument else "http_proxy"
    assert str(caught.value).startswith(f"cannot reach the proxy {shown_url} (from {source}): ")
    assert "gateway" not in str(caught.value)
    assert "SECRET" not in shown(caught.value)


def test_a_proxy_that_refuses_is_named_beside_the_gateway() -> None:
    error = refused(lambda peer: (peer.read_request(), peer.send(b"HTTP/1.1 407 No\r\n\r\n")))
    assert str(error).startswith("cannot connect to ws://127.0.0.1:1/ through the proxy http://127.0.0.1:")
    assert str(error).endswith("(from the argument proxy): the proxy answered with HTTP status 407")


def test_a_gateway_that_refuses_through_a_proxy_is_named_alone() -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
        peer.read_to_end()

    with RawServer(script) as server, RawServer(http_proxy([])) as proxy, pytest.raises(ConnectError) as caught:
        greet(server.url, f"http://127.0.0.1:{proxy.port}")
    assert str(caught.value) == f"cannot connect to {server.url}: the server answered with HTTP status 403"


# SOCKS


@pytest.mark.parametrize(
    ("scheme", "asked_for"),
    [("socks4", "127.0.0.1"), ("socks4a", "localhost"), ("socks5", "127.0.0.1"), ("socks5h", "localhost")],
)
def test_socks_proxies_get_a_name_or_an_address_as_their_scheme_says(
    scheme: str, asked_for: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(family, 1, 6, "", (host, 0)) for family, host in ((10, "::1"), (2, "127.0.0.1"))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found[scheme == "socks5" :])
    asked: list[str] = []
    script = socks4_proxy(asked) if scheme.startswith("socks4") else socks5_proxy(asked)
    with RawServer(greeting) as server, RawServer(script) as proxy:
        greet(server.url.replace("127.0.0.1", "localhost"), f"{scheme}://127.0.0.1:{proxy.port}")
    assert asked == [asked_for]


def test_socks_credentials_are_sent() -> None:
    asked: list[str] = []
    with RawServer(greeting) as server, RawServer(socks5_proxy(asked, (b"us@er", b"p:w"))) as proxy:
        greet(server.url, f"socks5h://us%40er:p%3Aw@127.0.0.1:{proxy.port}")
    assert asked == ["127.0.0.1"]


def test_tls_goes_through_socks() -> None:
    server_context, client_context = tls_contexts()
    with RawServer(greeting, tls=server_context) as server, RawServer(socks5_proxy([])) as proxy:
        greet(server.url, f"socks5://127.0.0.1:{proxy.port}", ssl_context=client_context)


def test_wrong_socks_credentials_are_refused() -> None:
    assert "the proxy refused" in str(refused(socks5_proxy([], (b"user", b"other")), "socks5h"))


def test_a_socks_proxy_that_leaves_is_an_error() -> None:
    assert "the proxy" in str(refused(lambda peer: peer.read(1), "socks5h"))


def test_a_socks_proxy_that_resets_is_an_error() -> None:
    error = refused(lambda peer: (peer.read(1), peer.reset()), "socks5h")
    assert isinstance(error.__cause__, ConnectionError) or "the proxy" in str(error)


def test_socks4_cannot_name_an_ipv6_address() -> None:
    with RawServer(lambda peer: peer.read_to_end()) as proxy, pytest.raises(ConnectError, match="no address that"):
        Connection.open("ws://[::1]:1/", proxy=f"socks4://127.0.0.1:{proxy.port}")


def test_without_python_socks_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"proxy.*pip install masquerade-ws\[socks\]"):
        ConnectionOptions(proxy="socks5://h")
    assert parse_proxy("http://h").port == 80


# Programs of other authors


@contextmanager
def program(*command: str) -> Iterator[None]:
    """Run a proxy until the block ends."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def open_port() -> int:
    """Return a port that a program may listen on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(shutil.which("tinyproxy") is None, reason="needs tinyproxy")
def test_tinyproxy_lets_us_through_with_the_right_password_alone(tmp_path: Path) -> None:
    port = open_port()
    settings = f'Port {port}\nListen 127.0.0.1\nTimeout 60\nBasicAuth user p4ss\nLogFile "{tmp_path / "log"}"\n'
    (tmp_path / "tinyproxy.conf").write_text(settings)
    server_context, client_context = tls_contexts()
    with program("tinyproxy", "-d", "-c", str(tmp_path / "tinyproxy.conf")):
        until(lambda: listens(port))
        with RawServer(greeting) as server:
            greet(server.url, f"http://user:p4ss@127.0.0.1:{port}")
            with pytest.raises(ConnectError, match=r"HTTP status 40[17]"):
                greet(server.url, f"http://user:wrong@127.0.0.1:{port}")
        with RawServer(greeting, tls=server_context) as server:
            greet(server.url, f"http://user:p4ss@127.0.0.1:{port}", ssl_context=client_context)


@pytest.mark.skipif(shutil.which("microsocks") is None, reason="needs microsocks")
def test_microsocks_lets_us_through_with_the_right_password_alone() -> None:
    port = open_port()
    server_context, client_context = tls_contexts()
    with program("microsocks", "-i", "127.0.0.1", "-p", str(port), "-u", "user", "-P", "p4ss"):
        until(lambda: listens(port))
        for scheme in ("socks5", "socks5h"):
            with RawServer(greeting) as server:
                greet(server.url.replace("127.0.0.1", "localhost"), f"{scheme}://user:p4ss@127.0.0.1:{port}")
                with pytest.raises(ConnectError, match="the proxy refused"):
                    greet(server.url, f"{scheme}://user:wrong@127.0.0.1:{port}")
            with RawServer(greeting, tls=server_context) as server:
                greet(server.url, f"{scheme}://user:p4ss@127.0.0.1:{port}", ssl_context=client_context)


# Which


def test_a_proxy_s_url_is_split() -> None:
    assert parse_proxy("http://h") == Proxy("http", "h", 80, None, None)
    assert parse_proxy("https://h", "https_proxy") == Proxy("https", "h", 443, None, None, "https_proxy")
    assert parse_proxy("socks5h://u:p@h:9/") == Proxy("socks5h", "h", 9, "u", "p")
    assert parse_proxy("socks4://u@[::1]") == Proxy("socks4", "::1", 1080, "u", None)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://user:SECRET@h",
        "user:SECRET@h:80",
        "http://user:SECRET@",
        "http://user:SECRET@h:port",
        "http://user:SECRET@h:0",
        "http://user:SECRET@h/path",
        "http://user:SECRET@h?query",
        "http://user:SECRET@h\r\n",
    ],
)
def test_a_bad_proxy_is_refused_by_name_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="proxy") as caught:
        ConnectionOptions(proxy=url)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("proxy", [True, 1, b"http://h"])
def test_a_proxy_of_another_type_is_refused(proxy: object) -> None:
    with pytest.raises(TypeError, match="proxy"):
        ConnectionOptions(proxy=proxy)  # type: ignore[arg-type]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "url", "host"),
    [
        ({}, "ws://h/", None),
        ({"http_proxy": "http://p:3128"}, "ws://h/", "p"),
        ({"http_proxy": "p:3128"}, "ws://h/", "p"),
        ({"http_proxy": ""}, "ws://h/", None),
        ({"http_proxy": "", "HTTP_PROXY": "http://p"}, "ws://h/", None),
        ({"HTTP_PROXY": "http://p"}, "ws://h/", "p"),
        ({"HTTP_PROXY": "http://p", "REQUEST_METHOD": "GET"}, "ws://h/", None),
        ({"HTTPS_PROXY": "http://p", "REQUEST_METHOD": "GET"}, "wss://h/", "p"),
        ({"http_proxy": "http://p:3128"}, "wss://h/", None),
        ({"https_proxy": "http://p:3128"}, "wss://h/", "p"),
        ({"https_proxy": "http://p:3128"}, "ws://h/", None),
        ({"http_proxy": "http://p", "no_proxy": "h"}, "ws://h/", None),
        ({"http_proxy": "http://p", "no_proxy": ".example"}, "ws://a.example:81/", None),
        ({"http_proxy": "http://p", "no_proxy": "h:81"}, "ws://h:81/", None),
        ({"http_proxy": "http://p", "no_proxy": "h:81"}, "ws://h:82/", "p"),
        ({"http_proxy": "http://p", "no_proxy": "::1"}, "ws://[::1]/", None),
        ({"http_proxy": "http://p", "no_proxy": "*"}, "ws://h/", None),
        ({"http_proxy": "http://p", "no_proxy": "[::1]:8080"}, "ws://[::1]:8080/", None),
        ({"http_proxy": "http://p", "NO_PROXY": "10.0.0.0/8"}, "ws://10.1.2.3/", None),
        ({"http_proxy": "http://p", "no_proxy": "", "NO_PROXY": "h"}, "ws://h/", "p"),
    ],
)
def test_the_environment_names_the_proxy(
    variables: dict[str, str], url: str, host: str | None, environment: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    proxy = choose_proxy(None, parse_uri(url))
    assert (proxy and proxy.host) == host


def test_false_means_no_proxy_whatever_the_environment_says(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("http_proxy", "http://p")
    assert choose_proxy(False, parse_uri("ws://h/")) is None


def test_the_environment_s_proxy_is_used(environment: pytest.MonkeyPatch) -> None:
    requests: list[Peer] = []
    with RawServer(greeting) as server, RawServer(http_proxy(requests)) as proxy:
        environment.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        greet(server.url, None)
    assert len(requests) == 1


def test_an_unusable_proxy_in_the_environment_fails_the_attempt_and_is_not_shown(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("http_proxy", "ftp://user:SECRET@p")
    with pytest.raises(ConnectError, match="the environment's http_proxy must begin with") as caught:
        Connection.open("ws://127.0.0.1:1/")
    assert "SECRET" not in shown(caught.value)
