from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masquerade_ws.connection.options import ConnectionOptions
from masquerade_ws.delivery.blocking import Guard
from masquerade_ws.errors import ConnectError, StopReconnecting
from masquerade_ws.lifecycle.connector import Connector
from tests.support.raw_server import Peer, RawServer, until

SECRET = "s3cr3t"


def make(
    url: Any, token_in: Literal["query", "header"] = "query", token: Any = "t", headers: Any = None, **options: Any
) -> Connector:
    made = ConnectionOptions(proxy=False, **options)
    return Connector(url, lambda: token, headers=headers, token_in=token_in, options=made, guard=Guard())


def raiser(error: BaseException) -> Callable[[], Any]:
    def raise_it() -> None:
        raise error

    return raise_it


def request_of(endpoint_url: str, token: str, token_in: Literal["query", "header"] = "query", **options: Any) -> Peer:
    """Open a connection to a server and return what it saw; the URL is what comes after the port."""
    peers: list[Peer] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        peers.append(peer)
        peer.hang()

    with RawServer(script) as server:
        url = f"ws://127.0.0.1:{server.port}{endpoint_url}"
        connection = make(url, token_in, token, **options).prepare()
        connection.connect(10)
        connection.abort(ConnectionError("enough"))
    return peers[0]


def resource_of(peer: Peer) -> str:
    return peer.request.split(" ", 2)[1]


@pytest.mark.parametrize(
    ("url", "resource"),
    [
        ("/ws", "/ws?token=t"),
        ("", "/?token=t"),
        ("/ws?", "/ws?token=t"),
        ("/ws?a=1", "/ws?a=1&token=t"),
        ("/ws?a=1&", "/ws?a=1&token=t"),
        ("/ws?a=b%20c&token=old", "/ws?a=b%20c&token=old&token=t"),
        ("?a=1", "/?a=1&token=t"),
    ],
)
def test_the_token_goes_after_the_query_that_is_there(url: str, resource: str) -> None:
    assert resource_of(request_of(url, "t")) == resource


@pytest.mark.parametrize(
    ("token", "encoded"),
    [("", ""), ("a b", "a%20b"), ("a+b/c=&d#e?f", "a%2Bb%2Fc%3D%26d%23e%3Ff"), ("ü%", "%C3%BC%25")],
)
def test_the_token_is_percent_encoded_in_the_query(token: str, encoded: str) -> None:
    assert resource_of(request_of("/ws", token)) == f"/ws?token={encoded}"


def test_the_token_goes_into_the_header_alone_beside_the_user_s() -> None:
    peer = request_of("/ws?a=1", "a.b-c_d~e", "header", headers={"X-Own": "1"})
    assert resource_of(peer) == "/ws?a=1"
    assert peer.header("Authorization") == "Bearer a.b-c_d~e"
    assert peer.header("X-Own") == "1"


def test_each_connection_shows_its_own_token() -> None:
    peers: list[Peer] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        peers.append(peer)

    with RawServer(script) as server:
        tokens = iter(["one", "two"])
        connector = Connector(
            server.url,
            lambda: next(tokens),
            headers=None,
            token_in="header",
            options=ConnectionOptions(proxy=False),
            guard=Guard(),
        )
        for count in (1, 2):
            connection = connector.prepare()
            connection.connect(10)
            until(lambda: len(peers) == count)  # noqa: B023 - called at once
            connection.abort(ConnectionError("enough"))
    assert [peer.header("Authorization") for peer in peers] == ["Bearer one", "Bearer two"]


def test_headers_and_subprotocols_that_the_user_changes_later_stay_as_they_were() -> None:
    headers, subprotocols = {"X-Own": "1"}, ["chat"]
    connector = make("ws://localhost/ws", headers=headers, subprotocols=subprotocols)
    headers["X-Own"] = subprotocols[0] = "\r\n"
    assert repr(connector.prepare()) == "<Connection ws://localhost:80/ws not open>"


def test_the_name_of_an_endpoint_has_no_query() -> None:
    assert make(f"ws://localhost:34076/ws?key={SECRET}").name == "ws://localhost:34076/ws"


def test_headers_may_hold_authorization_if_the_token_does_not_go_there() -> None:
    assert request_of("/ws", "t", headers={"authorization": "Basic x"}).header("Authorization") == "Basic x"
    with pytest.raises(ValueError, match=r"^headers must not have Authorization, "):
        make("ws://localhost/ws", "header", headers={"authorization": SECRET})


@pytest.mark.parametrize(
    "url",
    [
        f"http://localhost/?{SECRET}",
        f"ws://user:{SECRET}@localhost/ws",
        f"ws://localhost/ws?{SECRET}#fragment",
        f"ws://localhost/ws#{SECRET}",
        f"ws:///ws?{SECRET}",
        f"ws://localhost:99999/ws?{SECRET}",
        f"ws://localhost:0/ws?{SECRET}",
        f"ws://localhost/ws? {SECRET}",
        f"ws://[::1/ws?{SECRET}",
        SECRET,
        "",
    ],
)
def test_a_url_that_is_refused_is_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match=r"^url ") as caught:
        make(url)
    assert_no_secret(caught.value)


@pytest.mark.parametrize("url", [None, 1, SECRET.encode()])
def test_a_url_of_another_type_is_refused(url: Any) -> None:
    with pytest.raises(TypeError, match=r"^url must be a str, not ") as caught:
        make(url)
    assert_no_secret(caught.value)


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("headers", {"X": f"{SECRET}\r\nY: 1"}, ValueError),
        ("headers", {"X Y": SECRET}, ValueError),
        ("headers", {"Host": SECRET}, ValueError),
        ("headers", [("X", SECRET)], TypeError),
        ("headers", {"X": 1}, TypeError),
        ("subprotocols", "chat", TypeError),
        ("ssl_context", 1, TypeError),
        ("proxy", f"ftp://user:{SECRET}@host:1", ValueError),
        ("max_message_size", 0, ValueError),
        ("send_timeout", 0, ValueError),
        ("compression", "gzip", ValueError),
    ],
)
def test_a_bad_argument_is_named_and_shows_no_secret(argument: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=rf"^{argument} ") as caught:
        ConnectionOptions(**{argument: value})
    assert_no_secret(caught.value)


@pytest.mark.parametrize("token_in", ["query", "header"])
@pytest.mark.parametrize("char", ["\n", "\r\nX: 1", "\x00", "\x1f", "\x7f", "\x85", "\x9f", "\u2028", "\u2029"])
def test_a_token_with_a_control_character_or_a_line_separator_is_an_error_of_get_token(
    char: str, token_in: Literal["query", "header"]
) -> None:
    with pytest.raises(ConnectError, match=r"^get_token must return a token without control characters") as caught:
        make("ws://localhost/ws", token_in, f"{SECRET}{char}").prepare()
    assert isinstance(caught.value.__cause__, TypeError)
    assert_no_secret(caught.value)


@pytest.mark.parametrize("token", [f"{SECRET}ü", f"{SECRET}\xa0"])
def test_a_token_that_a_header_cannot_carry_is_a_connect_error_without_it(token: str) -> None:
    with pytest.raises(ConnectError, match=r"^get_token returned a token with characters that a header") as caught:
        make("ws://localhost/ws", "header", token).prepare()
    assert_no_secret(caught.value)


def test_a_token_that_utf_8_cannot_encode_is_a_connect_error_without_it() -> None:
    with pytest.raises(ConnectError, match=r"^get_token returned a token with characters that UTF-8") as caught:
        make("ws://localhost/ws", "query", f"{SECRET}\ud800").prepare()
    assert_no_secret(caught.value)


def assert_no_secret(error: BaseException) -> None:
    """Check the error, its causes and contexts; the lines of this file are not shown, since they hold the secret."""
    seen: BaseException | None = error
    while seen is not None:
        assert SECRET not in "".join(traceback.format_exception_only(type(seen), seen))
        assert SECRET not in repr(vars(seen)) + repr(seen.args)
        seen = seen.__cause__ or seen.__context__


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])))
def test_any_token_comes_through_the_query_unharmed(token: str) -> None:
    connection = make("ws://localhost/ws?a=1", "query", token).prepare()
    resource = connection._uri.resource
    assert parse_qsl(urlsplit(resource).query, keep_blank_values=True) == [("a", "1"), ("token", token)]
    assert repr(connection) == "<Connection ws://localhost:80/ws not open>"


# Callables


def test_the_callables_are_asked_in_order_and_anew_for_each_attempt() -> None:
    asked: list[str] = []

    def answer(name: str, value: Any) -> Callable[[], Any]:
        return lambda: (asked.append(name), value)[1]

    connector = Connector(
        answer("url", "ws://localhost/ws?signed=1"),
        answer("get_token", "t"),
        headers=answer("headers", {"X-Own": "1"}),
        token_in="query",
        options=ConnectionOptions(proxy=False),
        guard=Guard(),
    )
    assert connector.name == "(with a URL for each attempt)"
    for _ in range(2):
        connection = connector.prepare()
        assert connection._uri.resource == "/ws?signed=1&token=t"
        assert connection._options.headers == {"X-Own": "1"}
    assert asked == ["get_token", "url", "headers"] * 2
    assert connector.name == "ws://localhost:80/ws"


@pytest.mark.parametrize("name", ["url", "get_token", "headers"])
@pytest.mark.parametrize("error", [LookupError(SECRET), StopReconnecting("banned"), SystemExit()])
def test_what_a_callable_raises_is_the_cause_of_a_connect_error_that_names_it(name: str, error: BaseException) -> None:
    callables: dict[str, Any] = {"url": "ws://localhost/ws", "get_token": lambda: "t", "headers": None}
    callables[name] = raiser(error)
    connector = Connector(**callables, token_in="query", options=ConnectionOptions(), guard=Guard())
    with pytest.raises(ConnectError, match=f"^{name} raised {type(error).__name__}$") as caught:
        connector.prepare()
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ({"token": None}, "get_token must return a str, not NoneType"),
        ({"url": lambda: None}, "url must be a str, not NoneType"),
        ({"url": lambda: f"http://localhost/?{SECRET}"}, "url must begin with ws:// or wss://"),
        ({"url": lambda: f"ws://user:{SECRET}@localhost/"}, "url must not contain a user name"),
        ({"headers": lambda: None}, "headers must be a mapping, not NoneType"),
        ({"headers": lambda: [("X", SECRET)]}, "headers must be a mapping, not list"),
        ({"headers": lambda: {"X": f"{SECRET}\r\n"}}, "headers contains an invalid value for X"),
        ({"headers": lambda: {"Host": SECRET}}, "headers must not contain Host, which the handshake sets"),
        (
            {"headers": lambda: {"authorization": SECRET}, "token_in": "header"},
            "headers must not have Authorization, since token_in='header' makes it of the token",
        ),
    ],
)
def test_what_a_callable_returns_amiss_is_a_connect_error_without_it(answers: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConnectError) as caught:
        make(**{"url": "ws://localhost/ws", **answers}).prepare()
    assert str(caught.value) == problem
    assert isinstance(caught.value.__cause__, TypeError | ValueError)
    assert_no_secret(caught.value)


def test_headers_that_are_a_mapping_and_callable_are_a_mapping() -> None:
    class Both(dict[str, str]):
        def __call__(self) -> Mapping[str, str]:
            raise AssertionError

    assert make("ws://localhost/ws", headers=Both(X="1")).prepare()._options.headers == {"X": "1"}


@pytest.mark.parametrize("name", ["url", "get_token", "headers"])
def test_a_wait_in_a_callable_would_hold_up_the_attempt(name: str) -> None:
    guard = Guard()
    roles: list[str | None] = []
    callables: dict[str, Any] = {"url": "ws://localhost/ws", "get_token": lambda: "t", "headers": None}
    callables[name] = lambda: roles.append(guard.role)
    connector = Connector(**callables, token_in="query", options=ConnectionOptions(), guard=guard)
    with pytest.raises(ConnectError):
        connector.prepare()
    assert roles == [name]


@pytest.mark.parametrize("value", [None, "token", 1])
def test_a_get_token_that_cannot_be_called_is_a_type_error_that_does_not_show_it(value: Any) -> None:
    with pytest.raises(TypeError, match=rf"^get_token must be callable, not {type(value).__name__}$"):
        Connector(
            "ws://localhost/ws", value, headers=None, token_in="query", options=ConnectionOptions(), guard=Guard()
        )


@pytest.mark.parametrize("value", ["", "Query", "cookie", None, 1])
def test_a_place_for_the_token_that_is_not_one_of_the_two_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^token_in must be 'query' or 'header', not "):
        make("ws://localhost/ws", token_in=value)
