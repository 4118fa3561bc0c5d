"""The opening handshake: what is asked, what is accepted, its limits, and that it shows no secret."""

from __future__ import annotations

import io
import logging
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import websocket

import masquerade_ws
from masquerade_ws.connection import Connection
from masquerade_ws.connection.attempt import Attempt
from masquerade_ws.connection.channel import Channel
from masquerade_ws.connection.http_head import check_headers, check_subprotocols
from masquerade_ws.errors import ConnectError, copy_of
from tests.support.raw_server import Peer, RawServer, close_payload, frame, shown, tls_contexts


def request_of(url_query: str = "", **options: object) -> Peer:
    """Open a connection and return the server's end, which has the request."""
    peers: list[Peer] = []

    def script(peer: Peer) -> None:
        peers.append(peer)
        peer.upgrade()

    with RawServer(script) as server:
        Connection.open(server.url + url_query, **options).close()  # type: ignore[arg-type]
    return peers[0]


def refusal(script: Callable[[Peer], object], timeout: float = 10, **options: object) -> ConnectError:
    """Return what opening a connection to this server raises."""
    with RawServer(script) as server, pytest.raises(ConnectError) as caught:
        Connection.open(server.url, timeout=timeout, **options)  # type: ignore[arg-type]
    return caught.value


def respond(*lines: str) -> Callable[[Peer], None]:
    """Return a script that answers the request; ``{accept}`` stands for the right key."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send("\r\n".join([*lines, "", ""]).format(accept=peer.accept_key()).encode("latin-1"))
        peer.read_to_end()

    return script


@pytest.fixture
def reset_first(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Have the client read the response after the server's reset, which the test reports."""
    reset = threading.Event()
    check = Attempt.check

    def late(attempt: Attempt) -> None:
        if attempt.phase == "the opening handshake":
            assert reset.wait(10)
        check(attempt)

    monkeypatch.setattr(Attempt, "check", late)
    return reset


# The request (RFC 6455, 4.1)


def test_4_1_the_request_has_what_the_rfc_demands_and_no_more() -> None:
    peer = request_of("?token=a%2Fb&x=1")
    line, *headers = peer.request.split("\r\n")
    assert line == "GET /ws?token=a%2Fb&x=1 HTTP/1.1"
    assert sorted(header.partition(":")[0] for header in headers) == [
        "Connection",
        "Host",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Upgrade",
        "User-Agent",
    ]
    assert peer.header("Host") == f"127.0.0.1:{peer.header('Host').rpartition(':')[2]}"  # type: ignore[union-attr]
    assert (peer.header("Upgrade"), peer.header("Connection")) == ("websocket", "Upgrade")
    assert peer.header("Sec-WebSocket-Version") == "13"
    assert len(peer.header("Sec-WebSocket-Key") or "") == 24


@pytest.mark.parametrize("name", ["User-Agent", "user-agent"])
def test_the_user_agent_is_the_library_s_unless_the_user_gives_one(name: str) -> None:
    assert request_of().header("User-Agent") == f"masquerade-ws/{masquerade_ws.__version__}"
    given = request_of(headers={name: "mine/1"})
    assert given.header("User-Agent") == "mine/1"
    assert given.request.lower().count("user-agent") == 1


def test_no_origin_is_sent_unless_the_user_gives_one() -> None:
    assert request_of().header("Origin") is None


def test_the_user_s_headers_are_sent() -> None:
    peer = request_of(
        headers={"Authorization": "Bearer x", "X-Ü".replace("Ü", "U"): "grüß\tGott", "Origin": "https://h"}
    )
    assert peer.header("Authorization") == "Bearer x"
    assert (peer.header("X-U") or "").encode("latin-1").decode() == "grüß\tGott"
    assert peer.header("Origin") == "https://h"


def test_4_1_subprotocols_and_compression_are_offered() -> None:
    peer = request_of(subprotocols=("a", "b"), compression="deflate")
    assert peer.header("Sec-WebSocket-Protocol") == "a, b"
    assert (peer.header("Sec-WebSocket-Extensions") or "").startswith("permessage-deflate")


def test_the_cookie_of_one_connection_is_not_sent_by_another() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade("Set-Cookie: session=SECRET; Domain=127.0.0.1")
        requests.append(peer.request)

    requests: list[str] = []
    with RawServer(script) as server:
        plain = websocket.create_connection(server.url)  # which does keep it, for the whole process
        plain.close()
        for _ in range(2):
            Connection.open(server.url).close()
    assert len(requests) == 3
    assert not any("cookie" in request.lower() for request in requests[1:])


def test_a_cookie_that_the_user_gives_is_sent() -> None:
    assert request_of(headers={"Cookie": "mine=1"}).header("Cookie") == "mine=1"


# The response (RFC 6455, 4.1)


@pytest.mark.parametrize(
    "lines",
    [
        ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: {accept}"),
        ("upgrade: WebSocket", "CONNECTION: keep-alive, UPGRADE", "sec-websocket-accept:{accept}  "),
        ("Upgrade: websocket", "Connection: keep-alive", "Connection: Upgrade", "Sec-WebSocket-Accept:\t{accept}"),
        ("Upgrade: websocket", "Connection: keep-alive,", "\tUpgrade", "Sec-WebSocket-Accept: ", " {accept}"),
        ("X: a", "  b", " \tc", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: {accept}", " "),
    ],
)
def test_4_1_a_right_response_is_accepted(lines: tuple[str, ...]) -> None:
    with RawServer(respond("HTTP/1.1 101 Switching Protocols", *lines)) as server:
        Connection.open(server.url).close(timeout=0)


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (("HTTP/1.1 101 X", "Connection: Upgrade", "Sec-WebSocket-Accept: {accept}"), "Upgrade: websocket"),
        (("HTTP/1.1 101 X", "Upgrade: h2c", "Connection: Upgrade", "Sec-WebSocket-Accept: {accept}"), "Upgrade: web"),
        (("HTTP/1.1 101 X", "Upgrade: websocket", "Sec-WebSocket-Accept: {accept}"), "Connection: Upgrade"),
        (("HTTP/1.1 101 X", "Upgrade: websocket", "Connection: close", "Sec-WebSocket-Accept: {accept}"), "Connection"),
        (("HTTP/1.1 101 X", "Upgrade: websocket", "Connection: Upgrade"), "Sec-WebSocket-Accept"),
        (("HTTP/1.1 101 X", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: x"), "Sec-WebSocket"),
        (("HTTP/1.0 101 X", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: {accept}"), "HTTP/1.1"),
        (("SSH-2.0-OpenSSH",), "did not answer in HTTP"),
        (("HTTP/1.1 1O1",), "did not answer in HTTP"),
        (("HTTP/1.1 101 X", "no colon"), "invalid response header"),
        (("HTTP/1.1 101 X", " folded: x", "a: b"), "invalid response header"),
        (("HTTP/1.1 101 X", "SECRET NAME: b"), "invalid response header"),
    ],
)
def test_4_1_a_wrong_response_is_refused(lines: tuple[str, ...], fault: str) -> None:
    error = refusal(respond(*lines))
    assert fault in str(error)
    assert "SECRET" not in str(error)


def test_4_1_the_accept_key_is_compared_in_its_case() -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        accept = peer.accept_key().swapcase()
        peer.send(
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + accept.encode()
            + b"\r\n\r\n"
        )
        peer.read_to_end()

    assert "Sec-WebSocket-Accept" in str(refusal(script))


@pytest.mark.parametrize(
    ("header", "options"),
    [
        ("Sec-WebSocket-Protocol: c", {}),
        ("Sec-WebSocket-Protocol: c", {"subprotocols": ("a", "b")}),
        ("Sec-WebSocket-Protocol: A", {"subprotocols": ("a",)}),
        ("Sec-WebSocket-Protocol: a, b", {"subprotocols": ("a", "b")}),
        ("Sec-WebSocket-Extensions: permessage-deflate", {}),
        ("Sec-WebSocket-Extensions: x-unknown", {"compression": "deflate"}),
        ("Sec-WebSocket-Extensions: permessage-deflate; SECRET=1", {"compression": "deflate"}),
    ],
)
def test_4_1_what_was_not_offered_is_refused(header: str, options: dict[str, object]) -> None:
    error = refusal(lambda peer: (peer.upgrade(header), peer.read_to_end()), **options)
    assert "not offered" in str(error)
    assert "SECRET" not in shown(error)


def test_4_1_a_server_may_choose_no_subprotocol_and_no_compression() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()

    with RawServer(script) as server:
        connection = Connection.open(server.url, subprotocols=["a"], compression="deflate")
        assert connection.subprotocol is None
        connection.close()


@pytest.mark.parametrize(
    "header", ["Sec-WebSocket-Protocol:", "Sec-WebSocket-Extensions: \t", "Sec-WebSocket-Extensions: , ,"]
)
@pytest.mark.parametrize("options", [{}, {"subprotocols": ("a",), "compression": "deflate"}])
def test_an_empty_list_counts_as_absent(header: str, options: dict[str, Any]) -> None:
    with RawServer(lambda peer: peer.upgrade(header)) as server:
        connection = Connection.open(server.url, **options)
        assert connection.subprotocol is None
        connection.close()


@pytest.mark.parametrize("final", [101, 401])
@pytest.mark.parametrize("pause", [False, True])
def test_interim_responses_are_read_over(final: int, pause: bool) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        for interim in (b"100 Continue", b"102 Processing", b"103 Early Hints\r\nLink: </SECRET>"):
            peer.send(b"HTTP/1.1 " + interim + b"\r\n\r\n")
            if pause:
                time.sleep(0.01)  # so that they mostly come in several segments
        if final == 101:
            head = "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            peer.send(f"{head}{peer.accept_key()}\r\n\r\n".encode() + frame(1, b"glued"))
        else:
            peer.send(b"HTTP/1.1 401 Unauthorized\r\n\r\n")
        peer.read_to_end()

    if final == 401:
        assert refusal(script).status == 401
        return
    with RawServer(script) as server:
        connection = Connection.open(server.url)
        assert next(iter(connection)) == "glued"
        connection.close(timeout=0)


@pytest.mark.parametrize("response", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nX: y\r\n\r\n"])
def test_endless_interim_responses_are_cut_off(response: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        while True:
            peer.send(response)

    assert "65536 bytes" in str(refusal(script))


def test_interim_responses_that_drip_get_no_more_than_the_deadline() -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        while not over.wait(0.01):
            peer.send(b"HTTP/1.1 102 Processing\r\n\r\n")

    over = threading.Event()
    with RawServer(script) as server:
        with pytest.raises(ConnectError, match="timed out during the opening handshake"):
            Connection.open(server.url, timeout=0.3)
        over.set()


@pytest.mark.parametrize("status", [200, 301, 302, 307, 308, 400, 401, 403, 404, 429, 500, 503])
def test_4_1_any_other_status_is_reported_and_nothing_else_of_the_response(status: int) -> None:
    error = refusal(
        respond(
            f"HTTP/1.1 {status} SECRET reason",
            "Location: ws://127.0.0.1/?SECRET",
            "Set-Cookie: SECRET",
            "Content-Length: 6",
            "",
            "SECRET",
        )
    )
    assert error.status == status
    assert f"HTTP status {status}" in str(error)
    assert "SECRET" not in shown(error)
    assert error.__context__ is None


def test_4_1_a_status_of_http_1_0_is_reported() -> None:
    assert refusal(respond("HTTP/1.0 503 Unavailable")).status == 503


# What a refusal says beside its status


def test_a_refusal_s_headers_are_for_the_program() -> None:
    error = refusal(respond("HTTP/1.1 401 No", "WWW-Authenticate: SECRET", "X: 1", "x:  2", "Content-Length: 0"))
    assert error.headers == {"www-authenticate": "SECRET", "x": "1, 2", "content-length": "0"}
    with pytest.raises(TypeError):
        error.headers["x"] = "3"  # type: ignore[index]
    assert "SECRET" not in shown(error) + repr(vars(error)) + repr(error)


def test_an_error_without_a_response_has_neither_headers_nor_a_body() -> None:
    error = refusal(lambda peer: peer.reset())
    assert (error.status, error.headers, error.body, error.retry_after) == (None, {}, b"", None)


def test_a_refusal_survives_pickling_and_copying_with_all_that_it_says() -> None:
    error = refusal(respond("HTTP/1.1 429 No", "Retry-After: 7", "Content-Length: 3", "", "why"))
    for twin in (pickle.loads(pickle.dumps(error)), copy_of(error)):
        assert (str(twin), twin.status) == (str(error), 429)
        assert (twin.headers, twin.body, twin.retry_after) == (error.headers, error.body, 7.0)


def body_of(*parts: bytes, end: bool = False) -> tuple[bytes, float]:
    """Return the body of a refusal that is sent in these parts, and the seconds that reading it took."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 403 No\r\n")
        for part in parts:
            peer.send(part)
        if not end:
            peer.read_to_end()

    start = time.monotonic()
    return refusal(script).body, time.monotonic() - start


@pytest.mark.parametrize(
    ("parts", "body"),
    [
        ([b"Content-Length: 4\r\n\r\nbody"], b"body"),
        ([b"Content-Length: 4\r\n\r\n", b"bo", b"dy", b"beyond"], b"body"),
        ([b"Content-Length: 9999999\r\n\r\n", bytes(9000)], bytes(4096)),
        ([b"Transfer-Encoding: chunked\r\n\r\n", b"4\r\nbody\r\n", b"3;x=y\r\n, t\r\n0\r\n\r\n"], b"body, t"),
        ([b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 5000], b"x" * 4096),
        ([b"Transfer-Encoding: chunked\r\n\r\n", b"4\r\nbody\r\n", b"no chunk\r\n"], b"body"),
        ([b"\r\n", bytes(5000)], bytes(4096)),
    ],
)
def test_a_refusal_s_body_comes_without_transfer_coding_and_not_in_full_length(
    parts: list[bytes], body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masquerade_ws.connection.http_body._PATIENCE", 60.0)
    assert body_of(*parts)[0] == body


@pytest.mark.parametrize("head", [b"\r\n", b"Content-Length: x\r\n\r\n", b"Content-Length: 9\r\n\r\n"])
def test_a_refusal_s_body_ends_with_the_connection(head: bytes) -> None:
    assert body_of(head, b"body", end=True)[0] == b"body"


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_is_not_waited_for(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masquerade_ws.connection.http_body._PATIENCE", 60.0)
    assert refusal(respond(f"HTTP/1.1 {status} No")).body == b""


def test_a_body_that_drips_or_stops_is_read_for_half_a_second() -> None:
    body, seconds = body_of(b"Content-Length: 9\r\n\r\nbody")
    assert body == b"body"
    assert 0.4 < seconds < 9


def test_a_body_gets_no_more_than_the_attempt_s_deadline() -> None:
    start = time.monotonic()
    error = refusal(respond("HTTP/1.1 403 No", "Content-Length: 10"), timeout=0.2)
    assert error.status == 403
    assert time.monotonic() - start < 9


def test_closing_ends_the_wait_for_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masquerade_ws.connection.http_body._PATIENCE", 60.0)
    waiting = threading.Event()

    def script(peer: Peer) -> None:
        respond("HTTP/1.1 403 No", "Content-Length: 10")(peer)

    hurry = Attempt.hurry
    monkeypatch.setattr(Attempt, "hurry", lambda *args: (waiting.set(), hurry(*args)))
    with RawServer(script) as server:
        connection = Connection(server.url)
        closer = threading.Thread(target=lambda: (waiting.wait(10), connection.close()))
        closer.start()
        with pytest.raises(ConnectError, match="closed meanwhile"):
            connection.connect(60)
        closer.join()


def test_a_signal_handler_s_time_out_is_not_taken_for_the_body_s_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def alarm(*_: object) -> bytes:
        raise TimeoutError("from the handler")

    monkeypatch.setattr(Attempt, "hurry", lambda *_: monkeypatch.setattr(Channel, "recv", alarm))
    error = refusal(respond("HTTP/1.1 403 No", "Content-Length: 10"))
    assert str(error).endswith("from the handler")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ((), None),
        (("Retry-After: 120",), 120.0),
        (("Retry-After: 0",), 0.0),
        ((f"Retry-After: {'9' * 400}",), threading.TIMEOUT_MAX),
        (("Date: Sun, 22 Nov 2026 12:00:00 GMT", "Retry-After: Sun, 22 Nov 2026 12:00:30 GMT"), 30.0),
        (("Date: Sun, 22 Nov 2026 12:00:00 GMT", "Retry-After: Sunday, 22-Nov-26 12:00:30 GMT"), 30.0),
        (("Date: Sun, 22 Nov 2026 12:00:00 GMT", "Retry-After: Sun, 22 Nov 2026 11:00:00 GMT"), 0.0),
        (("Retry-After: Sun, 22 Nov 2020 12:00:00 GMT",), 0.0),
        (("Date: never", "Retry-After: Sun, 22 Nov 2020 12:00:00 -0000"), 0.0),
        (("Retry-After: -1",), None),
        (("Retry-After: 1.5",), None),
        (("Retry-After: soon",), None),
        (("Retry-After: 1", "Retry-After: 2"), None),
        (("Retry-After: \xb2",), None),
        (("Retry-After: Sun, 99 Nov 2026 12:00:00 GMT",), None),
        (("Retry-After:",), None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_ignored_in_others(headers: tuple[str, ...], seconds: float) -> None:
    assert refusal(respond("HTTP/1.1 503 No", *headers, "Content-Length: 0")).retry_after == seconds


@pytest.mark.parametrize(
    ("location", "words"),
    [
        (
            "https://user:SECRET@other.example/SECRET?SECRET",
            "a redirect to the host other.example, which is not followed",
        ),
        ("wss://other.example:99/", "the host other.example,"),
        ("/SECRET", "HTTP status 302"),
        ("ftp://SECRET/", "HTTP status 302"),
        ("https://SE|CRET/", "HTTP status 302"),
    ],
)
def test_a_redirect_names_its_target_s_host_alone(location: str, words: str) -> None:
    error = refusal(respond("HTTP/1.1 302 Found", f"Location: {location}", "Content-Length: 0"))
    assert words in str(error)
    assert "SECRET" not in shown(error)
    assert error.status == 302


# Limits


def test_endless_headers_are_cut_off() -> None:
    sent = [0]

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 101 X\r\n")
        while True:
            peer.send(b"X-Endless: " + b"x" * 1000 + b"\r\n")
            sent[0] += 1013

    assert "65536 bytes" in str(refusal(script))


def test_white_space_in_a_head_costs_no_more_than_its_length() -> None:
    """It is read with the interpreter held, so that no deadline and no other thread could cut it short."""
    start = time.thread_time()
    error = refusal(respond("HTTP/1.1 503 Busy", f"X: a{' ' * 65_000}b", " c"), 60)
    assert error.status == 503
    assert time.thread_time() - start < 1


def test_an_endless_body_of_an_error_is_not_read() -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 500 Oops\r\nContent-Length: 999999999999\r\n\r\n")
        while True:
            peer.send(bytes(65536))

    start = time.monotonic()
    assert refusal(script).status == 500
    assert time.monotonic() - start < 5


def test_a_body_that_never_comes_is_not_waited_for() -> None:
    start = time.monotonic()
    assert refusal(respond("HTTP/1.1 403 No", "Content-Length: 10")).status == 403
    assert time.monotonic() - start < 5


def test_a_head_cut_short_is_an_error() -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 101 Switching")

    assert "closed the connection" in str(refusal(script))


def test_a_server_that_drips_bytes_gets_no_more_than_the_deadline() -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        for byte in b"HTTP/1.1 101 Switching Protocols\r\n" + b"X: y\r\n" * 1000:
            peer.send(bytes([byte]))
            time.sleep(0.02)

    start = time.monotonic()
    error = refusal(script, timeout=0.5)
    assert 0.4 < time.monotonic() - start < 10
    assert "timed out during the opening handshake" in str(error)


def test_a_server_that_does_not_read_the_request_gets_no_more_than_the_deadline() -> None:
    over = threading.Event()
    with RawServer(lambda peer: over.wait(10)) as server:
        with pytest.raises(ConnectError, match="timed out during the opening handshake") as caught:
            Connection.open(f"{server.url}?token={'SECRET' * 2**22}", timeout=0.5)
        over.set()
    assert "SECRET" not in shown(caught.value)


def test_a_response_of_single_bytes_is_read() -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        head = "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        for byte in (head + peer.accept_key() + "\r\n\r\n").encode() + frame(8, close_payload(1000)):
            peer.send(bytes([byte]))
        peer.read_close()

    with RawServer(script) as server:
        assert list(Connection.open(server.url)) == []


# Arguments


@pytest.mark.parametrize(
    "name",
    ["Host", "UPGRADE", "connection", "Content-Length", "Transfer-Encoding", "Sec-WebSocket-Key", "sec-websocket-x"],
)
def test_headers_that_the_handshake_owns_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"headers must not contain {name}"):
        check_headers({name: "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X\r\nY", "SECRET"),
        ("", "SECRET"),
        ("X:", "SECRET"),
        ("X Y", "SECRET"),
        ("Ü", "SECRET"),
        ("X", "SECRET\r\nY: z"),
        ("X", "SECRET\n"),
        ("X", "SECRET\x00"),
        ("X", "SECRET\ud800"),
    ],
)
def test_headers_that_would_break_the_request_are_refused_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="headers contains an invalid") as caught:
        check_headers({name: value})
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("headers", [{"X": 1}, {b"X": "y"}])
def test_headers_that_are_no_text_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(TypeError, match="headers"):
        check_headers(headers)


@pytest.mark.parametrize("subprotocols", [["a b"], [""], ["a\r\n"], ["a,b"], ["a", "a"], ["ü"]])
def test_subprotocols_that_may_not_be_offered_are_refused(subprotocols: list[str]) -> None:
    with pytest.raises(ValueError, match="subprotocols"):
        check_subprotocols(subprotocols)


@pytest.mark.parametrize("subprotocols", ["a", b"a", [1], [b"a"], {"a"}, iter("a"), None])
def test_subprotocols_of_another_type_are_refused(subprotocols: list[str]) -> None:
    with pytest.raises(TypeError, match="subprotocols"):
        check_subprotocols(subprotocols)


# A reset after the response


@pytest.mark.parametrize("secure", [False, True])
def test_a_refusal_is_reported_though_the_server_resets_the_connection_after_it(
    reset_first: threading.Event, secure: bool
) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        peer.reset()
        reset_first.set()

    own, theirs = tls_contexts()
    with RawServer(script, tls=own if secure else None) as server, pytest.raises(ConnectError) as caught:
        Connection.open(server.url, ssl_context=theirs)
    assert caught.value.status == 403


@pytest.mark.parametrize("secure", [False, True])
def test_a_message_glued_to_the_response_is_read_though_the_server_resets_the_connection_after_it(
    reset_first: threading.Event, secure: bool
) -> None:
    def script(peer: Peer) -> None:
        peer.upgrade(glued=frame(1, b"news"))
        peer.reset()
        reset_first.set()

    own, theirs = tls_contexts()
    with RawServer(script, tls=own if secure else None) as server:
        connection = Connection.open(server.url, ssl_context=theirs)
        assert next(iter(connection)) == "news"
        connection.close()


# Secrets


def test_no_secret_is_logged_even_with_websocket_client_s_trace(caplog: pytest.LogCaptureFixture) -> None:
    def script(peer: Peer) -> None:
        peer.upgrade("Set-Cookie: SECRET", "X-Server: SECRET")

    trace = io.StringIO()
    websocket.enableTrace(True, logging.StreamHandler(trace))
    try:
        with caplog.at_level(logging.DEBUG), RawServer(script) as server:
            Connection.open(f"{server.url}?token=SECRET", headers={"Authorization": "Bearer SECRET"}).close()
        refused = refusal(respond("HTTP/1.1 401 SECRET", "X: SECRET"), headers={"Authorization": "Bearer SECRET"})
    finally:
        websocket.enableTrace(False)
    logged = trace.getvalue() + caplog.text
    assert "GET /ws HTTP/1.1" in logged
    assert "SECRET" not in logged + shown(refused)
    assert logged.count("HTTP/1.1 101") == logged.count("not by the server") > 0
