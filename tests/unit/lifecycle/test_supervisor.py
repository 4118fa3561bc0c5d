"""A session ends in full, whatever ends it, and leaves nobody waiting."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from masquerade_ws import ConnectError, DisconnectedError, Event, NotConnectedError, WebSocketClient
from masquerade_ws.delivery.stream_index import Reconnection
from masquerade_ws.lifecycle.session import Mail, Session
from masquerade_ws.lifecycle.supervisor import supervise
from masquerade_ws.lifecycle.transitions import Phase
from masquerade_ws.testing import EventServer
from tests.support.raw_server import Peer, RawServer, close_payload, frame, until
from tests.support.scenes import CONNECTING, FOUR, TIMEOUT, Hang, Record, client_of, elapsed, names_of_threads, running
from tests.support.scripts import stay

# What dies


def test_a_loss_that_comes_after_an_abandonment_is_nothing(client: WebSocketClient) -> None:
    session = Session(1, None)
    session.phase = Phase.CONNECTED  # as it was when the mail was taken; the connection has gone since
    assert client._control._supervisor.step(session, Mail.LOST) is None
    assert client.state == "disconnected"


def test_a_reader_that_ends_before_its_connection_ends_that(client: WebSocketClient) -> None:
    record = Record(client)
    client.connect()
    session = client._state.session
    assert session is not None
    session.mail.put(Mail.LOST)  # what the reader thread does last
    assert "the reader thread ended before the connection" in str(record.wait("error").error)
    record.wait("connected", 2)


def test_a_disconnect_while_a_loss_is_judged_ends_the_session(
    client: WebSocketClient, masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.connect()
    session = client._state.session
    assert session is not None
    stopping: list[Any] = []

    def judge(*_: object) -> None:
        stopping.append(running(client.disconnect))
        until(lambda: session.stopping)

    monkeypatch.setattr(client._control._supervisor, "_judge", judge)
    masquerade_server.drop()
    until(lambda: stopping)
    stopping[0].join(TIMEOUT)
    assert client.state == "disconnected"
    assert names_of_threads() == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("auto_reconnect", [True, False])
def test_a_supervisor_thread_that_dies_leaves_nobody_waiting(
    masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch, auto_reconnect: bool
) -> None:
    """Only a bug of ours can still end it."""
    masquerade_server.refuse(503)
    with client_of(masquerade_server.url, auto_reconnect=auto_reconnect) as client:
        stream = client.events("news")
        with monkeypatch.context() as patch:
            patch.setattr("masquerade_ws.lifecycle.supervisor._log_delay", None)
            with pytest.raises(ConnectError):
                running(client.connect).result()
            with pytest.raises(DisconnectedError):
                stream.get(timeout=TIMEOUT)
            until(lambda: names_of_threads() == [])
        client.connect()
        assert client.state == "connected"


class NotAnException(BaseException):
    """As asyncio.CancelledError and gevent.Timeout are not."""


@pytest.mark.parametrize("kind", [LookupError, MemoryError, NotAnException])
def test_whatever_get_token_raises_the_next_attempt_follows(
    masquerade_server: EventServer, kind: type[BaseException]
) -> None:
    raised = [kind()]

    def get_token() -> str:
        if raised:
            raise raised.pop()
        return "token"

    with client_of(masquerade_server.url, get_token) as client:
        record = Record(client, "error", "connected")
        with pytest.raises(ConnectError, match=f"get_token raised {kind.__name__}") as refusal:
            client.connect()
        assert isinstance(refusal.value.__cause__, kind)
        record.wait("connected")
        (error,) = record.of("error")
        assert (error.context, type(error.error)) == ("connection", ConnectError)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_get_token_that_exits_ends_the_client_with_one_error_and_leaves_nobody_waiting(
    masquerade_server: EventServer, kind: type[BaseException]
) -> None:
    raised = [kind()]

    def get_token() -> str:
        if raised:
            raise raised.pop()
        return "token"

    with client_of(masquerade_server.url, get_token) as client:
        record = Record(client, "error")
        stream = client.events("news")
        with pytest.raises(ConnectError):
            running(client.connect).result()
        until(lambda: names_of_threads() == [])
        assert client.state == "disconnected"
        assert list(stream) == []
        assert [str(event.error) for event in record.events] == [f"get_token raised {kind.__name__}"]
        client.connect()
        assert client.state == "connected"


@pytest.mark.parametrize("kind", [LookupError, MemoryError, NotAnException])
def test_whatever_an_attempt_runs_into_the_next_one_follows(
    client: WebSocketClient, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    def run_into(*args: object) -> list[Any]:
        raise kind

    record = Record(client, "error", "connected")
    with monkeypatch.context() as patch:
        patch.setattr("socket.getaddrinfo", run_into)
        patch.setattr("masquerade_ws.connection.opening.resolve", run_into)
        with pytest.raises(ConnectError):
            running(client.connect).result()
    record.wait("connected")
    assert {event.context for event in record.of("error")} == {"connection"}


def test_what_goes_wrong_right_after_a_connection_was_announced_is_a_loss(
    client: WebSocketClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = client._streams.mark_connection
    errors = [MemoryError()]

    def mark(connection: Reconnection) -> None:
        if errors:
            raise errors.pop()
        marks(connection)

    monkeypatch.setattr(client._streams, "mark_connection", mark)
    record = Record(client)
    client.connect()
    record.wait("connected", 2)
    assert record.story == [
        *CONNECTING,
        "error",
        "connected > disconnected",
        "disconnected",
        *CONNECTING,
    ]
    assert names_of_threads() == FOUR


# Threads


def test_each_connection_has_its_own_reader_and_heartbeat(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    record = Record(client)
    client.connect()
    for count in (2, 3, 4):
        masquerade_server.drop()
        record.wait("connected", count)
        client.connect()
        until(lambda: names_of_threads() == FOUR)


def test_no_thread_is_left_however_a_life_ends(masquerade_server: EventServer) -> None:
    ends: dict[str, Callable[[WebSocketClient], object]] = {
        "disconnect": lambda client: client.disconnect(),
        "drop": lambda client: masquerade_server.drop(),
        "close": lambda client: masquerade_server.close(),
    }
    for end in ends.values():
        with client_of(masquerade_server.url, auto_reconnect=False) as client:
            client.connect()
            end(client)
            until(lambda: names_of_threads() == [])
            assert client.state == "disconnected"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("type", ["news", "connected"])
def test_a_listener_that_exits_ends_the_client(
    client: WebSocketClient, masquerade_server: EventServer, type: str
) -> None:
    def leave(event: object) -> None:
        raise SystemExit

    client.on(type, leave)
    stream = client.events()
    client.connect(block=False)
    if type == "news":  # otherwise the connection may have ended before it is looked for
        masquerade_server.wait_for_connections(1)
        masquerade_server.emit("news")
    until(lambda: client.stats.connections == 1 and names_of_threads() == [])
    assert client.state == "disconnected"
    assert len(list(stream)) <= 1
    with pytest.raises(DisconnectedError):
        client.wait_for("news")
    client.off(type, leave)
    client.connect()
    assert client.state == "connected"


def test_a_client_that_nobody_refers_to_ends_with_its_threads(masquerade_server: EventServer) -> None:
    client = WebSocketClient(masquerade_server.url, lambda: "token")
    client.on("news", print)
    client.connect()
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None
    until(lambda: names_of_threads() == [])
    masquerade_server.wait_for_connections(0)


def test_a_client_that_nobody_refers_to_ends_in_a_delay(masquerade_server: EventServer) -> None:
    masquerade_server.refuse(503)
    client = WebSocketClient(masquerade_server.url, lambda: "token", initial_reconnect_delay=60, max_reconnect_delay=60)
    with pytest.raises(ConnectError):
        client.connect()
    del client
    gc.collect()
    until(lambda: names_of_threads() == [])


def test_a_client_that_nobody_refers_to_ends_during_an_attempt(masquerade_server: EventServer, hang: Hang) -> None:
    client = WebSocketClient(masquerade_server.url, hang)
    client.connect(block=False)
    assert hang.entered.wait(TIMEOUT)
    del client
    gc.collect()
    hang.over.set()
    until(lambda: names_of_threads() == [])


def test_a_client_that_nobody_refers_to_ends_after_a_listener_that_hangs(
    masquerade_server: EventServer, hang: Hang
) -> None:
    """The listener has begun the next session, which waits for it."""
    client = WebSocketClient(masquerade_server.url, lambda: "token")
    reference = weakref.ref(client)

    def restart(event: Event) -> None:
        known = reference()
        assert known is not None
        known.disconnect(timeout=0.5)
        known.connect(block=False)
        del known
        hang()

    client.once("news", restart)
    client.connect()
    masquerade_server.emit("news")
    assert hang.entered.wait(TIMEOUT)
    del client
    gc.collect()
    assert reference() is None
    until(lambda: names_of_threads() == ["masquerade-ws-dispatcher", "masquerade-ws-supervisor"])
    hang.over.set()
    until(lambda: names_of_threads() == [])


def test_a_stream_keeps_its_client(masquerade_server: EventServer) -> None:
    client = WebSocketClient(masquerade_server.url, lambda: "token")
    client.connect()
    stream = client.events("news")
    gone = weakref.ref(client)
    del client
    gc.collect()
    masquerade_server.emit("news")
    assert stream.get(TIMEOUT).type == "news"
    assert gone() is not None
    del stream
    gc.collect()
    until(lambda: names_of_threads() == [])


def test_a_supervisor_thread_that_dies_after_its_client_ends_its_session() -> None:
    session = Session(1, None)
    session.mail = cast("Any", None)  # as if there were no memory
    with pytest.raises(AttributeError):
        supervise(lambda: None, session)
    assert session.done.is_set()


@pytest.mark.parametrize("name", ["supervisor", "dispatcher", "reader", "heartbeat"])
def test_memory_that_is_out_when_a_thread_starts_fails_that_attempt(
    client: WebSocketClient, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    starts = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == f"masquerade-ws-{name}":
            raise MemoryError
        starts(thread)

    record = Record(client, "connected")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(ConnectError, match="no thread could be started: MemoryError"):
            running(client.connect).result()
    if name in {"supervisor", "dispatcher"}:  # without them no session begins
        until(lambda: names_of_threads() == [])
        assert client.state == "disconnected"
        client.connect()
    record.wait("connected")
    assert names_of_threads() == FOUR


def test_threads_that_cannot_be_started_fail_the_first_attempt(
    client: WebSocketClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = threading.Thread.start
    for name in ("dispatcher", "reader", "heartbeat"):

        def refuse(thread: threading.Thread, name: str = name) -> None:
            if thread.name == f"masquerade-ws-{name}":
                raise RuntimeError("can't start new thread")
            starts(thread)

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(ConnectError, match="no thread"):
                client.connect()
            client.disconnect()
            until(lambda: names_of_threads() == [])
        assert client.state == "disconnected"
    client.connect()
    assert names_of_threads() == FOUR


def test_loss_and_disconnect_at_once_end_in_good_order(masquerade_server: EventServer) -> None:
    for _ in range(30):
        with client_of(masquerade_server.url) as client:
            record = Record(client, "disconnected", "connected")
            client.connect()
            dropping = running(masquerade_server.drop)
            client.disconnect()
            dropping.result()
            assert client.state == "disconnected"
            assert names_of_threads() == []
            story = record.story
            assert story[:2] == ["connected", "disconnected"]
            assert story[-1] == "disconnected"


def test_a_peer_that_closes_while_we_do_is_not_an_error() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.read_frame()
        peer.send(frame(8, close_payload(1000)))
        stay(peer)

    for _ in range(20):
        with RawServer(script) as server, client_of(server.url, auto_reconnect=False) as client:
            record = Record(client)
            client.connect()
            client.emit("go")
            client.disconnect()
            assert record.of("error") == []
            assert [event.code for event in record.of("disconnected")] == [1000]


@pytest.fixture
def slow_to_close(monkeypatch: pytest.MonkeyPatch, hang: Hang) -> Iterator[RawServer]:
    """A peer that closes with 1001 and then keeps TCP open for as long as the test hangs, which the client allows."""
    monkeypatch.setattr("masquerade_ws.connection.connection.LINGER", TIMEOUT)
    monkeypatch.setattr("masquerade_ws.connection.established.LINGER", TIMEOUT)

    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.read_frame()
        peer.send(frame(8, close_payload(1001)))
        hang()

    with RawServer(script) as server:
        yield server
        hang.over.set()


def test_a_peer_that_is_slow_to_close_tcp_delays_the_next_attempt_but_not_the_news(
    slow_to_close: RawServer, hang: Hang
) -> None:
    with client_of(slow_to_close.url) as client:
        record = Record(client)
        client.connect()
        sent = client.stats.bytes_sent
        client.emit("go")
        record.wait("disconnected")
        assert client.state == "disconnected"
        with pytest.raises(NotConnectedError):
            client.emit("late")
        session = client._state.session
        assert session is not None
        assert session.leaving is not None
        assert not session.leaving.tcp_closed
        until(lambda: client.stats.bytes_sent > sent)
        sent = client.stats.bytes_sent
        hang.over.set()
        record.wait("connected", 2)
        assert client.stats.bytes_sent >= sent
        assert record.of("error") == []


def test_a_disconnect_does_not_wait_for_a_peer_that_is_slow_to_close_tcp(slow_to_close: RawServer, hang: Hang) -> None:
    with client_of(slow_to_close.url) as client:
        record = Record(client)
        client.connect()
        client.emit("go")
        record.wait("disconnected")
        assert elapsed(lambda: client.disconnect(timeout=0.1)) < TIMEOUT / 2
        until(lambda: names_of_threads() == [])
        hang.over.set()
        assert len(record.of("disconnected")) == 1
