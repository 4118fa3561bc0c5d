"""The token, and the query of the URL, appear nowhere."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import websocket

from masquerade_ws import ConnectError, WebSocketClient
from masquerade_ws.testing import EventServer
from tests.support.raw_server import Peer, RawServer, until
from tests.support.scenes import Record, client_of, closed_port_url
from tests.support.scripts import silent, stay

TOKEN = "t0p-s3cret token"
SHAPES = ["t0p-s3cret", "hidden-key"]  # as it is, percent-encoded, and the secret of the URL's own query


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Record all at every level, websocket-client's trace included."""
    caplog.set_level(logging.DEBUG)
    handlers, level = list(logging.getLogger("websocket").handlers), logging.getLogger("websocket").level
    websocket.enableTrace(True, handler=logging.NullHandler())
    yield caplog
    websocket.enableTrace(False)
    logging.getLogger("websocket").handlers[:] = handlers
    logging.getLogger("websocket").setLevel(level)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception with all its causes and contexts."""
    if error is not None:
        yield error
        yield from chain(error.__cause__)
        yield from chain(error.__context__)


def all_shown(error: BaseException) -> str:
    """Return all that an exception shows, and all that its causes and contexts do, suppressed ones too."""
    parts = [part for each in chain(error) for part in (repr(each), str(each), repr(vars(each)))]
    return "\n".join([*parts, "".join(traceback.format_exception(error))])


def assert_clean(text: str) -> None:
    for secret in SHAPES:
        assert secret not in text


def secretive(url: str, **options: Any) -> Any:
    return client_of(f"{url}?key=hidden-key", lambda: TOKEN, **options)


@pytest.mark.parametrize("token_in", ["query", "header"])
def test_a_life_shows_no_token(masquerade_server: EventServer, log: pytest.LogCaptureFixture, token_in: str) -> None:
    with secretive(masquerade_server.url, token_in=token_in, heartbeat_interval=0.02) as client:
        record = Record(client)
        client.connect()
        client.emit("hello")
        masquerade_server.expect("heartbeat")
        masquerade_server.drop()
        record.wait("connected", 2)
        assert_clean(repr(client) + repr(client.stats) + repr(client.events()))
    assert_clean(repr(record.events) + "".join(all_shown(event.error) for event in record.of("error")))
    assert_clean(log.text)
    assert "connecting (attempt 1)" in log.text
    assert set(masquerade_server.tokens) == {TOKEN}


def reply(text: str) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        request = peer.read_request()
        peer.send(text.format(request=request.replace("\r\n", " "), line=request.split("\r\n")[0]).encode())

    return script


SCRIPTS: dict[str, Callable[[Peer], None]] = {
    "refused, with the request in reason, headers and body": reply(
        "HTTP/1.1 401 {line}\r\nX-Echo: {request}\r\nContent-Length: 5\r\n\r\n{request}"
    ),
    "redirected to a URL with the token": reply("HTTP/1.1 302 Found\r\nLocation: ws://x/{line}\r\n\r\n"),
    "answered with the request": reply("{request}\r\n\r\n"),
    "a wrong key": reply(
        "HTTP/1.1 101 {line}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {request}\r\n\r\n"
    ),
    "a cookie and no upgrade": reply("HTTP/1.1 200 OK\r\nSet-Cookie: a={request}\r\n\r\n"),
    "closed": Peer.reset,
    "silent": silent,
}


@pytest.mark.parametrize("token_in", ["query", "header"])
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_failed_attempt_shows_no_token(
    script: Callable[[Peer], None], token_in: str, log: pytest.LogCaptureFixture
) -> None:
    with (
        RawServer(script) as server,
        secretive(server.url, token_in=token_in, connect_timeout=0.5, auto_reconnect=False) as client,
    ):
        record = Record(client)
        with pytest.raises(ConnectError) as caught:
            client.connect()
        error = record.wait("error")
    assert_clean(all_shown(caught.value) + all_shown(error.error) + repr(error))
    assert_clean(log.text)


def test_an_unreachable_server_shows_no_token(log: pytest.LogCaptureFixture) -> None:
    with secretive(closed_port_url(), auto_reconnect=False) as client, pytest.raises(ConnectError) as caught:
        client.connect()
    assert_clean(all_shown(caught.value) + log.text)


@pytest.mark.parametrize(("token_in", "token"), [("header", "t0p-s3cret\n"), ("query", "t0p-s3cret\ud800")])
def test_a_token_that_cannot_be_carried_is_not_shown(
    token_in: str, token: str, log: pytest.LogCaptureFixture, masquerade_server: EventServer
) -> None:
    options: dict[str, Any] = {"token_in": token_in, "auto_reconnect": False}
    with client_of(masquerade_server.url, lambda: token, **options) as client, pytest.raises(ConnectError) as caught:
        client.connect()
    assert_clean(all_shown(caught.value) + log.text)


@pytest.mark.parametrize(
    "url",
    [
        "ws://hidden-key@localhost/ws",
        "ws://user:hidden-key@localhost/ws",
        "ws://localhost/ws?key=hidden-key#part",
        "http://localhost/?key=hidden-key",
        "ws://localhost:port/?key=hidden-key",
        "ws://[hidden-key]/",
        "ws://local host/?key=hidden-key",
        "ws:///?key=hidden-key",
    ],
)
def test_a_refused_url_is_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="url") as caught:
        WebSocketClient(url, str)
    assert_clean(all_shown(caught.value))


def test_the_password_of_a_proxy_is_not_shown(log: pytest.LogCaptureFixture) -> None:
    def refuse(peer: Peer) -> None:
        request = peer.read_request()
        peer.send(f"HTTP/1.1 407 {request}\r\n\r\n".encode())

    with RawServer(refuse) as server:
        proxy = f"http://user:hidden-key@127.0.0.1:{server.port}"
        with (
            secretive("ws://gateway.invalid/ws", proxy=proxy, auto_reconnect=False) as client,
            pytest.raises(ConnectError) as caught,
        ):
            client.connect()
    assert_clean(all_shown(caught.value) + log.text + repr(client))
    assert "dXNlcjpoaWRkZW4ta2V5" not in all_shown(caught.value) + log.text  # user:hidden-key in Base64


def test_an_error_that_nobody_listens_to_shows_no_token(log: pytest.LogCaptureFixture) -> None:
    script = SCRIPTS["refused, with the request in reason, headers and body"]
    with RawServer(script) as server, secretive(server.url) as client:
        client.connect(block=False)
        until(lambda: "nobody listens" in log.text)
    assert_clean(log.text)


def test_a_cookie_set_for_one_client_is_not_sent_by_another() -> None:
    cookies: list[str | None] = []

    def script(peer: Peer) -> None:
        peer.upgrade("Set-Cookie: session=1; Path=/")
        cookies.append(peer.header("Cookie"))
        stay(peer)

    with RawServer(script) as server:
        for _ in range(2):
            with client_of(server.url) as client, client:
                pass
    assert cookies == [None, None]


def test_debug_shows_what_happens_and_leaves_the_root_logger_alone(
    masquerade_server: EventServer, log: pytest.LogCaptureFixture
) -> None:
    root = list(logging.getLogger().handlers)
    with client_of(masquerade_server.url, debug=True, heartbeat_interval=0.02) as client:
        record = Record(client)
        client.connect()
        client.emit("hello", {"n": 1})
        masquerade_server.emit("news", {"n": 2})
        client.on("news", print)
        for _ in range(2):  # the second goes out after all that the first one brings
            masquerade_server.expect("heartbeat")
        masquerade_server.drop()
        record.wait("connected", 2)
    assert logging.getLogger().handlers == root
    for text in (
        "state: disconnected -> connecting",
        "connecting (attempt 1)",
        "reconnecting in 0.01 s (attempt 1)",
        "sent a heartbeat",
        'sent {"type":"hello"',
        "received {",
        " error: ",  # of the connection, or of the heartbeat that found the loss
    ):
        assert text in log.text
