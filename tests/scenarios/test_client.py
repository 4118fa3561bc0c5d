"""The client's arguments and members, as long as they need no fault."""

from __future__ import annotations

import contextlib
import copy
import pickle
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from functools import partial
from typing import Any

import pytest

from masquerade_ws import (
    ConnectError,
    DisconnectedError,
    Event,
    EventStream,
    ImageGenerationCompletedEvent,
    StateChangeEvent,
    Stats,
    WebSocketClient,
)
from masquerade_ws.connection import Connection
from masquerade_ws.deadline import Deadline
from masquerade_ws.testing import EventServer
from tests.support.raw_server import Peer, RawServer, close_payload, frame, until
from tests.support.scenes import TIMEOUT, Hang, Record, client_of, closed_port_url, names_of_threads
from tests.support.scripts import stay

URL = "ws://localhost:34076/ws"


# Arguments


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/ws",
        "localhost:34076",
        "ws:///ws",
        "ws://",
        "",
        "ws://user@localhost/ws",
        "ws://user:password@localhost/ws",
        "ws://localhost/ws#part",
        "ws://localhost/ws#",
        "ws://localhost:99999/ws",
        "ws://local host/ws",
    ],
)
def test_a_url_that_is_none_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="url") as caught:
        WebSocketClient(url, str)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("url", [None, 5, b"ws://localhost/ws"])
def test_a_url_of_another_type_is_refused(url: Any) -> None:
    with pytest.raises(TypeError, match="url"):
        WebSocketClient(url, str)


@pytest.mark.parametrize(
    "name",
    [
        "initial_reconnect_delay",
        "max_reconnect_delay",
        "min_uptime",
        "heartbeat_interval",
        "heartbeat_timeout",
        "busy_timeout",
        "connect_timeout",
        "send_timeout",
    ],
)
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_a_duration_that_is_none_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        WebSocketClient(URL, str, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["heartbeat_interval", "heartbeat_timeout", "busy_timeout", "connect_timeout", "send_timeout"]
)
def test_a_duration_that_must_pass_is_not_zero(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        WebSocketClient(URL, str, **{name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("get_token", "secret"),
        ("get_token", None),
        ("initial_reconnect_delay", "1"),
        ("heartbeat_interval", True),
        ("connect_timeout", None),
        ("reconnect_jitter", None),
        ("auto_reconnect", 1),
        ("debug", "yes"),
        ("heartbeat_message", "no"),
        ("max_message_size", 1.5),
        ("queue_size", "10"),
        ("around_event", 1),
        ("headers", [("a", "b")]),
        ("subprotocols", "chat"),
        ("ssl_context", object()),
        ("proxy", 1),
    ],
)
def test_an_argument_of_the_wrong_type_is_refused_by_its_name(name: str, value: Any) -> None:
    arguments: dict[str, Any] = {"get_token": str, name: value}
    with pytest.raises(TypeError, match=name) as caught:
        WebSocketClient(URL, **arguments)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reconnect_jitter", 1.5),
        ("reconnect_jitter", -0.1),
        ("reconnect_jitter", float("nan")),
        ("max_message_size", 0),
        ("queue_size", 0),
        ("token_in", "cookie"),
        ("compression", "gzip"),
        ("headers", {"Upgrade": "x"}),
        ("headers", {"Sec-WebSocket-Key": "x"}),
        ("headers", {"X": "a\r\nb"}),
        ("subprotocols", ["a b"]),
        ("proxy", "ftp://proxy:1"),
    ],
)
def test_an_argument_with_a_value_that_is_not_allowed_is_refused_by_its_name(name: str, value: Any) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=name[:5]):
        WebSocketClient(URL, str, **arguments)


def test_a_header_that_the_token_makes_is_refused() -> None:
    with pytest.raises(ValueError, match="headers"):
        WebSocketClient(URL, str, headers={"authorization": "x"}, token_in="header")


def test_a_new_client_does_nothing() -> None:
    client = WebSocketClient(URL, str)
    assert client.state == "disconnected"
    assert names_of_threads() == []
    client.disconnect()
    assert client.stats == Stats(0, 0, 0, 0, 0, 0, 0, None, None, 0, 0, 0, 0.0, 0, None)


def test_a_client_whose_constructor_refused_has_a_repr() -> None:
    half_made = WebSocketClient.__new__(WebSocketClient)
    with pytest.raises(ValueError, match="reconnect_jitter"):
        half_made.__init__("ws://localhost/ws", str, reconnect_jitter=2)  # type: ignore[misc]
    assert repr(half_made) == "<WebSocketClient that was not made>"


@pytest.mark.parametrize("kind", [WebSocketClient, Connection, EventStream, EventServer])
def test_an_object_whose_constructor_was_never_called_has_a_repr(kind: type[object]) -> None:
    """As a subclass leaves it that fails before it calls the constructor."""
    assert repr(kind.__new__(kind)) == f"<{kind.__name__} that was not made>"


@pytest.mark.parametrize("action", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_client_is_neither_pickled_nor_copied(client: WebSocketClient, action: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="make one in each process"):
        action(client)


def test_the_members_that_python_shows_are_those_of_the_contract() -> None:
    internal = {"await_end", "close_at_exit", "reset_in_child", "after_fork"}
    assert not internal & set(dir(WebSocketClient))


def test_the_repr_names_the_server_and_the_state_without_the_query(masquerade_server: EventServer) -> None:
    with client_of(f"{masquerade_server.url}?key=secret", lambda: "hidden") as client:
        assert repr(client) == f"<WebSocketClient {masquerade_server.url} disconnected>"
        client.connect()
        assert repr(client) == f"<WebSocketClient {masquerade_server.url} connected>"


# with


def test_with_connects_and_disconnects(masquerade_server: EventServer) -> None:
    with WebSocketClient(masquerade_server.url, lambda: "token") as client:
        assert client.state == "connected"
        assert masquerade_server.connections == 1
    assert client.state == "disconnected"
    assert names_of_threads() == []
    masquerade_server.wait_for_connections(0)


def test_with_leaves_nothing_running_when_connect_raises() -> None:
    client = WebSocketClient(closed_port_url(), lambda: "token", initial_reconnect_delay=0)
    with pytest.raises(ConnectError), client:
        pytest.fail("it cannot connect")
    assert client.state == "disconnected"
    assert names_of_threads() == []


def test_with_disconnects_when_the_block_raises(masquerade_server: EventServer) -> None:
    client = WebSocketClient(masquerade_server.url, lambda: "token")
    with pytest.raises(KeyError), client:
        raise KeyError
    assert client.state == "disconnected"
    assert names_of_threads() == []


def test_what_the_exit_of_the_interpreter_calls_closes_with_code_1001(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    record = Record(client, "disconnected")
    client.connect()
    wait = client._control.close_at_exit(TIMEOUT)
    wait(Deadline(TIMEOUT))
    assert [event.code for event in record.events] == [1001]
    assert client.state == "disconnected"
    masquerade_server.wait_for_connections(0)


def test_a_client_serves_several_blocks(client: WebSocketClient, masquerade_server: EventServer) -> None:
    for count in (1, 2, 3):
        with client:
            assert masquerade_server.connections == 1
        assert client.stats.connections == count
    assert client.stats.reconnects == 0


# Listeners


def ask(client: WebSocketClient, server: EventServer, *types: str) -> None:
    """Let the server send events of these types, and wait until the listeners had them."""
    done = threading.Event()
    client.once("done", lambda _: done.set())
    for name in types:
        server.emit(name)
    server.emit("done")
    assert done.wait(TIMEOUT)


def test_a_listener_gets_each_event_of_its_type(client: WebSocketClient, masquerade_server: EventServer) -> None:
    got: list[Event] = []
    handler = client.on("news", got.append)
    with client:
        ask(client, masquerade_server, "news", "else", "news")
    assert [event.type for event in got] == ["news", "news"]
    assert callable(handler)


def test_on_returns_the_handler_and_decorates(client: WebSocketClient, masquerade_server: EventServer) -> None:
    got: list[str] = []

    def plain(event: Event) -> None:
        got.append("plain")

    assert client.on("news", plain) is plain

    @client.on("news")
    def decorated(event: Event) -> None:
        got.append("decorated")

    @client.once("news")
    def decorated_once(event: Event) -> None:
        got.append("once")

    with client:
        ask(client, masquerade_server, "news", "news")
    assert got == ["plain", "decorated", "once", "plain", "decorated"]
    client.off("news", decorated)


def test_the_same_handler_twice_for_one_type_counts_once(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    got: list[Event] = []
    client.on("news", got.append)
    client.on("news", got.append)
    client.on("other", got.append)
    with client:
        ask(client, masquerade_server, "news", "other")
    assert [event.type for event in got] == ["news", "other"]


def test_once_is_removed_before_its_one_call(client: WebSocketClient, masquerade_server: EventServer) -> None:
    got: list[str] = []

    def again(event: Event) -> None:
        got.append(event.type)
        if len(got) < 3:
            client.once("news", again)

    client.once("news", again)
    with client:
        ask(client, masquerade_server, *["news"] * 5)
    assert got == ["news"] * 3


def test_off_removes_what_on_and_once_registered(client: WebSocketClient, masquerade_server: EventServer) -> None:
    got: list[Event] = []
    client.on("news", got.append)
    client.off("news", got.append)
    client.once("news", got.append)
    client.off("news", got.append)
    client.off("news", print)
    client.off("never heard of", print)
    with client:
        ask(client, masquerade_server, "news")
    assert got == []


def test_off_in_a_listener_holds_for_the_event_that_is_delivered(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    got: list[Event] = []
    client.on("news", lambda _: client.off("news", got.append))
    client.on("news", got.append)
    with client:
        ask(client, masquerade_server, "news", "news")
    assert got == []


def test_patterns_cover_the_server_events_they_fit(client: WebSocketClient, masquerade_server: EventServer) -> None:
    images, everything = [], []
    client.on("image.generation.*", lambda event: images.append(event.type))
    client.on("*", lambda event: everything.append(event.type))
    with client:
        ask(client, masquerade_server, "image.generation.started", "image.generationx", "image.generation", "image.x")
    assert images == ["image.generation.started"]
    expected = ["image.generation.started", "image.generationx", "image.generation", "image.x", "done"]
    assert everything == expected


@pytest.mark.parametrize("type", ["a*", "*.b", "a.*.b", "**", "a.**", ""])
def test_a_star_elsewhere_is_refused_wherever_a_type_is_asked_for(client: WebSocketClient, type: str) -> None:
    for action in (client.on, client.once):
        with pytest.raises(ValueError, match="type"):
            action(type, print)
        with pytest.raises(ValueError, match="type"):
            action(type)
    with pytest.raises(ValueError, match="type"):
        client.events(type)
    client.connect()
    with pytest.raises(ValueError, match="type"):
        client.wait_for(type)


def test_a_type_or_a_handler_of_another_kind_is_refused(client: WebSocketClient) -> None:
    bad: Any = 5
    for action in (client.on, client.once):
        with pytest.raises(TypeError, match="type"):
            action(bad, print)
        with pytest.raises(TypeError, match="handler"):
            action("news", bad)
        for handler in (bad, None):  # `None` is what a decorator returns that forgot to return the function
            with pytest.raises(TypeError, match="handler"):
                action("news")(handler)
    with pytest.raises(TypeError, match="type"):
        client.events(bad)


def test_off_refuses_what_on_would_refuse(client: WebSocketClient) -> None:
    bad: Any = 5
    with pytest.raises(ValueError, match="type"):
        client.off("news*", print)
    with pytest.raises(TypeError, match="type"):
        client.off(bad, print)
    with pytest.raises(TypeError, match="handler"):
        client.off("news", bad)


def test_listeners_run_on_the_dispatcher_thread_alone(client: WebSocketClient, masquerade_server: EventServer) -> None:
    threads: set[str] = set()
    for name in ("*", "connected", "disconnected", "state:change", "error"):
        client.on(name, lambda _: threads.add(threading.current_thread().name))
    with client:
        masquerade_server.broadcast_raw("no event")
        ask(client, masquerade_server, "news")
    assert threads == {"masquerade-ws-dispatcher"}


def test_a_listener_that_raises_is_isolated_and_reported(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    mishap = KeyError("mine")
    errors = Record(client, "error")
    got: list[Event] = []

    def fail(event: Event) -> None:
        raise mishap

    client.on("news", fail)
    client.on("news", got.append)
    with client:
        ask(client, masquerade_server, "news", "news")
    assert len(got) == 2
    assert [(event.error, event.context) for event in errors.events] == [(mishap, "handler")] * 2


def test_an_error_listener_that_raises_is_only_logged(
    client: WebSocketClient, masquerade_server: EventServer, caplog: pytest.LogCaptureFixture
) -> None:
    errors = Record(client, "error")

    def fail(event: object) -> None:
        raise KeyError("mine")

    client.on("error", fail)
    with client:
        masquerade_server.broadcast_raw("no event")
        ask(client, masquerade_server)
    assert [event.context for event in errors.events] == ["parse"]
    assert "KeyError: 'mine'" in caplog.text


def test_an_error_that_nobody_listens_to_is_a_warning(
    client: WebSocketClient, masquerade_server: EventServer, caplog: pytest.LogCaptureFixture
) -> None:
    with client:
        masquerade_server.broadcast_raw("no event")
        ask(client, masquerade_server)
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "parse" in record.getMessage()


def test_the_context_of_an_event_is_entered_around_all_its_listeners(masquerade_server: EventServer) -> None:
    story: list[str] = []

    @contextlib.contextmanager
    def around(event: Any) -> Iterator[None]:
        story.append(f"enter {event.type}")
        yield
        story.append("leave")

    with client_of(masquerade_server.url, around_event=around) as client, client:
        client.on("news", lambda _: story.append("first"))
        client.on("news", lambda _: story.append("second"))
        ask(client, masquerade_server, "news", "nobody listens")
    assert story == ["enter news", "first", "second", "leave", "enter done", "leave"]


def test_a_context_that_raises_keeps_no_listener_from_its_event(masquerade_server: EventServer) -> None:
    class Broken:
        def __init__(self, event: object) -> None:
            if isinstance(event, Event) and event.type == "make":
                raise KeyError("make")

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            raise KeyError("exit")

    got: list[Event] = []
    with client_of(masquerade_server.url, around_event=Broken) as client, client:
        errors = Record(client, "error")
        client.on("make", got.append)
        client.on("exit", got.append)
        masquerade_server.emit("make")
        masquerade_server.emit("exit")
        errors.wait("error", 2)
    assert [event.type for event in got] == ["make", "exit"]
    assert [(str(event.error), event.context) for event in errors.events] == [
        ("'make'", "handler"),
        ("'exit'", "handler"),
    ]


# What the server sends


NO_EVENTS: list[str | bytes] = [
    "",
    "no JSON",
    "[]",
    "5",
    '{"payload": {}}',
    '{"type": ""}',
    '{"type": 5}',
    '{"type": "a", "payload": []}',
    '{"type": "a", "payload": {"x": NaN}}',
    '{"type": "a", "payload": {"x": Infinity}}',
    '{"type": "a", "payload": {"x": 1e999}}',
    '{"type": "connected"}',
    '{"type": "disconnected"}',
    '{"type": "state:change"}',
    '{"type": "error", "payload": {"a": 1}}',
    b"\xff\xfe",
    b'{"type": "\xff"}',
]


def test_a_message_that_is_not_an_event_is_a_parse_error_and_ends_nothing(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    everything = Record(client, "*", "error")
    with client:
        for message in NO_EVENTS:
            masquerade_server.broadcast_raw(message)
        ask(client, masquerade_server)
        assert client.stats.connections == 1
        assert client.stats.messages_received == len(NO_EVENTS) + 1
    errors = everything.of("error")
    assert [event.error.data for event in errors] == NO_EVENTS
    assert {event.context for event in errors} == {"parse"}
    assert [event.type for event in everything.events if event.type != "error"] == ["done"]


def test_a_segment_full_of_what_is_not_an_event_ends_nothing_and_takes_no_event_along() -> None:
    """The dispatcher thread, with nothing else to do, decodes it itself."""
    hostile: list[str | bytes] = [*NO_EVENTS, '{"type": "deep", "payload": {"a": ' + "[" * 100_000]
    messages = ['{"type": "first"}', *hostile, '{"type": "last"}']
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.upgrade()
        assert go.wait(TIMEOUT)
        binary = [isinstance(message, bytes) for message in messages]
        data = [message if isinstance(message, bytes) else message.encode() for message in messages]
        peer.send(b"".join(frame(1 + kind, payload) for kind, payload in zip(binary, data, strict=True)))
        stay(peer)

    with RawServer(script) as server, client_of(server.url) as client:
        everything = Record(client, "*", "error", "connected")
        client.connect()
        everything.wait("connected")
        go.set()
        everything.wait("last")
        assert client.state == "connected"
    _, first, *errors, last = everything.events
    assert (first.type, last.type) == ("first", "last")
    assert [event.error.data for event in errors] == hostile


def test_an_event_may_lack_payload_and_timestamp_and_come_in_binary(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    news = Record(client, "*")
    with client:
        for message in ('{"type": "a"}', b'{"type": "b", "payload": null, "timestamp": "then"}', '{"type": "c"}'):
            masquerade_server.broadcast_raw(message)
        a, b = news.wait("a"), news.wait("b")
        news.wait("c")
    assert a.payload == b.payload == {}
    assert a.timestamp.endswith("Z")
    assert b.timestamp == "then"


def test_a_known_event_has_its_class(client: WebSocketClient, masquerade_server: EventServer) -> None:
    with client, client.events() as stream:
        masquerade_server.emit("image.generation.completed", {"job_id": "1", "image_url": "u"})
        event = stream.get(TIMEOUT)
    assert isinstance(event, ImageGenerationCompletedEvent)
    assert event.payload["image_url"] == "u"


# Members


def test_the_statistics_count(client: WebSocketClient, masquerade_server: EventServer) -> None:
    with client:
        client.emit("hello")
        masquerade_server.expect("hello")
        ask(client, masquerade_server, "news")
        stats = client.stats
        assert (stats.connections, stats.reconnects, stats.messages_sent, stats.messages_received) == (1, 0, 1, 2)
        assert stats.bytes_received > 2 * len('{"type": "news"}')
        assert stats.bytes_sent > len('{"type": "hello"}')
        assert stats.connected_since is not None
        assert stats.connected_since.utcoffset() is not None
        with pytest.raises(AttributeError):
            stats.connections = 5  # type: ignore[misc]
    after = client.stats
    assert after.connected_since is None
    assert after.latency is None
    assert after.bytes_received >= stats.bytes_received


def test_the_statistics_count_what_goes_wrong_and_what_waits(masquerade_server: EventServer, hang: Hang) -> None:
    masquerade_server.refuse(503, times=2)
    with client_of(masquerade_server.url) as client:
        record = Record(client, "connected", "late")
        client.connect(block=False)
        record.wait("connected")
        assert client.stats.attempts_failed == 2
        assert client.stats.last_event_at is None
        masquerade_server.drop()
        gap = record.wait("connected", 2).gap
        assert client.stats.gap_seconds == gap > 0
        client.on("news", hang)
        client.on("late", lambda event: 1 / 0)
        before = datetime.now(timezone.utc)
        masquerade_server.emit("news")
        masquerade_server.broadcast_raw("{")
        masquerade_server.emit("late")
        until(lambda: client.stats.events_waiting == 2)
        hang.over.set()
        record.wait("late")
        until(lambda: client.stats.handler_errors == 1)
        after = client.stats
    assert (after.parse_errors, after.events_waiting, after.attempts_failed) == (1, 0, 2)
    assert after.last_event_at is not None
    assert before <= after.last_event_at <= datetime.now(timezone.utc)


def test_the_statistics_do_not_go_back_while_the_connection_is_closed() -> None:
    told = threading.Event()
    counts: list[tuple[int, bool]] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.read_close()
        told.wait(TIMEOUT)
        peer.send(frame(8, close_payload(1000)))

    with RawServer(script) as raw, client_of(raw.url) as client:

        @client.on("state:change")
        def count(event: StateChangeEvent) -> None:
            counts.append((client.stats.messages_sent, client.stats.bytes_sent > 0))
            if event.new_state == "disconnecting":
                told.set()

        client.connect()
        client.emit("hello")
        until(lambda: len(counts) == 2)
    assert counts[2:] == [(1, True), (1, True)]


def test_iterating_a_client_iterates_its_events(client: WebSocketClient, masquerade_server: EventServer) -> None:
    with client:
        events = iter(client)
        assert isinstance(events, EventStream)
        masquerade_server.emit("news")
        assert next(events).type == "news"
    assert list(events) == []


def test_a_client_that_is_not_running_is_not_iterated(client: WebSocketClient) -> None:
    with pytest.raises(DisconnectedError, match="not started"):
        iter(client)
    with client:
        pass
    with pytest.raises(DisconnectedError):
        iter(client)


def test_a_coroutine_function_is_refused_wherever_something_is_called(client: WebSocketClient) -> None:
    async def coroutine(*_: object) -> Any: ...

    async def generator(*_: object) -> Any:
        yield

    class Called:
        async def __call__(self, *_: object) -> Any: ...

    with client:
        for function in (coroutine, generator, Called(), partial(coroutine, 1)):
            actions: dict[str, Any] = {
                "get_token": lambda function=function: WebSocketClient("ws://localhost/ws", function),
                "around_event": lambda function=function: WebSocketClient(
                    "ws://localhost/ws", str, around_event=function
                ),
                "handler": lambda function=function: client.on("news", function),
                "where": lambda function=function: client.wait_for(where=function, timeout=0),
                "poll": lambda function=function: client.wait_for(poll=function, timeout=0),
                "start": lambda function=function: client.run_image_job(function),
                "on_progress": lambda function=function: client.run_image_job(str, on_progress=function),
            }
            for name, action in actions.items():
                with pytest.raises(TypeError, match=rf"^{name} must be a plain function, not a coroutine function"):
                    action()


def test_off_without_a_handler_removes_all_of_exactly_that_type(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    record, told = Record(client, "news.*"), Record(client, "news.a")
    client.once("news.a", told.events.append)
    client.off("news.a")
    client.off("news.b")
    with client:
        masquerade_server.emit("news.a")
        record.wait("news.a")
    assert told.events == []
    client.off("news.*")
    assert not client._listeners
    with pytest.raises(ValueError, match="type"):
        client.off("")


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", True])
def test_a_bad_timeout_is_refused_by_each_member_that_waits(client: WebSocketClient, timeout: Any) -> None:
    with client:
        for action in (
            lambda: client.connect(timeout=timeout),
            lambda: client.disconnect(timeout=timeout),
            lambda: client.wait_for("news", timeout=timeout),
            lambda: client.run_image_job(lambda: "1", timeout=timeout),
            lambda: client.events().get(timeout),
            lambda: client.events().wait_for("news", timeout=timeout),
        ):
            with pytest.raises((TypeError, ValueError), match="timeout"):
                action()
        assert client.state == "connected"


@pytest.mark.parametrize("block", ["no", 0, None])
def test_connect_refuses_a_block_that_is_not_a_bool(client: WebSocketClient, block: Any) -> None:
    with pytest.raises(TypeError, match="block"):
        client.connect(block=block)
    assert client.state == "disconnected"


def test_a_bad_callable_is_refused_by_its_name(client: WebSocketClient) -> None:
    bad: Any = 5
    with client:
        for name in ("poll", "where"):
            with pytest.raises(TypeError, match=name):
                client.wait_for("news", **{name: bad})
        for start in (bad, None):
            with pytest.raises(TypeError, match="start"):
                client.run_image_job(start)
        for name in ("on_progress", "poll"):
            with pytest.raises(TypeError, match=name):
                client.run_image_job(lambda: "1", **{name: bad})
        with pytest.raises(TypeError, match="where"):
            client.events(where=bad)
        for maxsize in (0, -1):
            with pytest.raises(ValueError, match="maxsize"):
                client.events(maxsize=maxsize)
        with pytest.raises(TypeError, match="maxsize"):
            client.events(maxsize=bad / 2)
