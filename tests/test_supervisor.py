"""Whatever the user's code does, a `disconnect` comes back, and a life ends in full."""

from __future__ import annotations

import gc
import json
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, cast

import pytest

from masquerade_ws import ConnectError, DisconnectedError, Event, WebSocketClient
from masquerade_ws.lifecycle import Mail, Phase, Session, Signal
from masquerade_ws.supervisor import supervise
from masquerade_ws.testing import EventServer
from raw_server import Peer, RawServer, close_payload, frame, until
from scenes import TIMEOUT, Record, Worker, client_of, elapsed, names_of_threads, running, stay

FOUR = ["masquerade-ws-dispatcher", "masquerade-ws-heartbeat", "masquerade-ws-reader", "masquerade-ws-supervisor"]
CONNECTING = ["disconnected > connecting", "connecting > connected", "connected"]
CLOSING = ["connected > disconnecting", "disconnecting > disconnected", "disconnected"]


@pytest.fixture
def client(masquerade_server: EventServer) -> Iterator[WebSocketClient]:
    with client_of(masquerade_server.url) as client:
        yield client


class Hang:
    """User code that hangs until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.over = threading.Event()

    def __call__(self, *_: object) -> str:
        self.entered.set()
        assert self.over.wait(TIMEOUT)
        return "token"


@pytest.fixture
def hang() -> Iterator[Hang]:
    hang = Hang()
    yield hang
    hang.over.set()


def echo(peer: Peer) -> None:
    """Send back what the client sends, until it closes."""
    peer.upgrade()
    while (received := peer.read_frame())[0] != 8:
        peer.send(frame(*received))
    peer.send(frame(8, received[1]))


# The table


def test_a_transition_that_is_not_in_the_table_raises(client: WebSocketClient) -> None:
    session = Session(1, None)
    session.phase = Phase.ENDED
    with pytest.raises(KeyError), client._supervisor._changed:
        client._supervisor._advance(session, Signal.OPENED)


def test_a_loss_that_comes_behind_an_abandonment_is_nothing(client: WebSocketClient) -> None:
    session = Session(1, None)
    session.phase = Phase.CONNECTED  # as it was when the mail was taken; the connection has gone since
    assert client._supervisor.step(session, Mail.LOST) is None
    assert client.state == "disconnected"


# disconnect, from wherever


def test_disconnect_is_idempotent(client: WebSocketClient) -> None:
    client.disconnect()
    client.connect()
    for _ in range(3):
        client.disconnect()
        assert client.state == "disconnected"
        assert names_of_threads() == []


def test_many_threads_may_disconnect_at_once(client: WebSocketClient) -> None:
    record = Record(client)
    client.connect()
    workers = [running(client.disconnect) for _ in range(8)]
    for worker in workers:
        worker.result()
    assert record.story == [*CONNECTING, *CLOSING]
    assert names_of_threads() == []


def test_disconnect_in_a_listener_returns_without_waiting_for_itself(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    record = Record(client)
    seen: list[Any] = []
    client.on("news", lambda _: seen.extend([elapsed(client.disconnect), client.state]))
    client.connect()
    stream = client.events("disconnected")
    masquerade_server.emit("news")
    assert stream.get(TIMEOUT).code == 1000
    assert list(stream) == []
    assert seen[0] < 3
    assert seen[1] == "disconnected"
    until(lambda: names_of_threads() == [])
    assert record.story == [*CONNECTING, *CLOSING]


@pytest.mark.parametrize("type", ["connected", "state:change", "disconnected", "error"])
def test_disconnect_is_legal_in_listeners_of_the_clients_own_events(
    client: WebSocketClient, masquerade_server: EventServer, type: str
) -> None:
    took: list[float] = []
    client.on(type, lambda _: took.append(elapsed(client.disconnect)))
    client.connect(block=False)
    if type in {"disconnected", "error"}:
        masquerade_server.wait_for_connections(1)
        masquerade_server.drop()
    until(lambda: names_of_threads() == [])
    assert client.state == "disconnected"
    assert max(took) < 3


def test_a_listener_may_restart_the_client(client: WebSocketClient, masquerade_server: EventServer) -> None:
    record = Record(client)

    @client.once("news")
    def restart(event: Event) -> None:
        client.disconnect()
        client.connect(block=False)

    client.connect()
    masquerade_server.emit("news")
    record.wait("connected", 2)
    assert client.state == "connected"
    assert record.story == [*CONNECTING, *CLOSING, *CONNECTING]


def test_a_listener_may_change_its_mind(client: WebSocketClient, masquerade_server: EventServer) -> None:
    """Sessions that never began end as soon as the listener returns, and nobody waits for the time-out."""
    took: list[float] = []

    def action() -> None:
        client.disconnect()
        client.connect(block=False)
        client.disconnect()
        client.connect(block=False)
        client.disconnect()

    record = Record(client)
    client.once("news", lambda _: took.append(elapsed(action)))
    client.connect()
    masquerade_server.emit("news")
    until(lambda: names_of_threads() == [])
    assert took[0] < 3
    assert client.state == "disconnected"
    assert record.story == [*CONNECTING, *CLOSING]
    assert client.stats.connections == 1


def test_a_listener_that_restarts_the_client_and_hangs_holds_it_up_no_longer_than_disconnect_may_take(
    client: WebSocketClient, masquerade_server: EventServer, hang: Hang
) -> None:
    def restart(event: Event) -> None:
        client.disconnect(timeout=0.2)
        client.connect(block=False)
        hang()

    client.once("news", restart)
    client.connect()
    masquerade_server.emit("news")
    assert hang.entered.wait(TIMEOUT)
    client.connect(timeout=TIMEOUT)
    assert client.stats.connections == 2


def test_disconnect_in_get_token_gives_that_attempt_up(masquerade_server: EventServer) -> None:
    seen: list[Any] = []

    def get_token() -> str:
        seen.extend([elapsed(client.disconnect), client.state])
        return "token"

    with client_of(masquerade_server.url, get_token) as client:
        record = Record(client)
        with pytest.raises(DisconnectedError, match="disconnect"):
            client.connect()
        until(lambda: names_of_threads() == [])
        assert seen[0] < 3
        assert seen[1] == client.state == "disconnected"
        assert record.story == ["disconnected > connecting", "connecting > disconnected"]
    assert masquerade_server.tokens == []


def test_disconnect_in_a_predicate_closes_in_good_order(client: WebSocketClient) -> None:
    seen: list[Any] = []
    codes: list[int] = []

    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.read_frame()
        peer.send(frame(1, b'{"type": "news"}'))
        codes.append(peer.read_close())
        peer.send(frame(8, close_payload(1000)))

    def leave(event: object) -> bool:
        seen.extend([elapsed(client.disconnect), client.state])
        return True

    with RawServer(script) as server, client_of(server.url) as client:
        client.connect()
        stream = client.events("news", where=leave)
        last = client.events("disconnected")
        client.emit("go")
        assert last.get(TIMEOUT).code == 1000
        until(lambda: names_of_threads() == [])
        assert seen[0] < 3
        assert seen[1] == "disconnected"
        assert [event.type for event in stream] in ([], ["news"])
    assert codes == [1000]


# What hangs


def test_a_get_token_that_hangs_holds_up_neither_disconnect_nor_the_next_connect(
    masquerade_server: EventServer, hang: Hang
) -> None:
    tokens: list[Callable[[], str]] = [hang, lambda: "second"]
    with client_of(masquerade_server.url, lambda: tokens.pop(0)()) as client:
        record = Record(client)
        client.connect(block=False)
        assert hang.entered.wait(TIMEOUT)
        took = elapsed(lambda: client.disconnect(timeout=0.1))
        assert 0.1 <= took < 2
        assert client.state == "disconnected"
        client.connect()
        assert client.state == "connected"
        assert names_of_threads().count("masquerade-ws-supervisor") == 2  # the old one hangs
        hang.over.set()
        until(lambda: names_of_threads() == FOUR)
        assert client.state == "connected"
        assert client.stats.connections == 1
        assert record.story == ["disconnected > connecting", "connecting > disconnected", *CONNECTING]
    assert masquerade_server.tokens == ["second"]


def test_a_get_token_that_hangs_and_then_raises_tells_nobody(masquerade_server: EventServer, hang: Hang) -> None:
    def get_token() -> str:
        hang()
        raise KeyError("late")

    with client_of(masquerade_server.url, get_token) as client:
        record = Record(client)
        client.connect(block=False)
        assert hang.entered.wait(TIMEOUT)
        client.disconnect(timeout=0)
        hang.over.set()
        until(lambda: names_of_threads() == [])
        assert record.of("error") == []
        assert client.state == "disconnected"


def test_a_listener_that_hangs_holds_up_neither_disconnect_nor_the_next_connect(
    client: WebSocketClient, masquerade_server: EventServer, hang: Hang
) -> None:
    got = Record(client, "after")
    client.once("block", hang)
    client.connect()
    masquerade_server.emit("block")
    masquerade_server.emit("after")
    assert hang.entered.wait(TIMEOUT)
    took = elapsed(lambda: client.disconnect(timeout=0.3))
    assert 0.3 <= took < 3
    assert client.state == "disconnected"
    client.connect()
    masquerade_server.emit("after", {"n": 2})
    assert got.wait("after").payload == {"n": 2}
    hang.over.set()
    until(lambda: names_of_threads() == FOUR)
    assert len(got.events) == 1


def test_a_predicate_that_hangs_holds_up_neither_disconnect_nor_the_next_connect(
    client: WebSocketClient, masquerade_server: EventServer, hang: Hang
) -> None:
    record = Record(client, "disconnected")
    client.connect()
    stream = client.events("news", where=hang)
    last = client.events("disconnected")
    masquerade_server.emit("news")
    assert hang.entered.wait(TIMEOUT)
    took = elapsed(lambda: client.disconnect(timeout=0.3))
    assert 0.1 <= took < 3
    assert client.state == "disconnected"
    assert [event.code for event in last] == [1000]
    assert list(stream) == []
    record.wait("disconnected")
    client.connect()
    hang.over.set()
    until(lambda: names_of_threads() == FOUR)
    assert len(record.events) == 1


def test_an_abandoned_session_never_ends_before_its_supervisor_knows_the_connection_to_close(
    masquerade_server: EventServer, hang: Hang, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts: list[object] = []

    class Watched(Session):
        def __setattr__(self, name: str, value: object) -> None:
            if name == "phase" and value is Phase.ENDED:
                cuts.append(self.cut)
            super().__setattr__(name, value)

    monkeypatch.setattr("masquerade_ws.supervisor.Session", Watched)
    with client_of(masquerade_server.url) as client:
        client.connect()
        with client.events("news", where=hang):
            masquerade_server.emit("news")
            assert hang.entered.wait(TIMEOUT)
            client.disconnect(timeout=0)
            hang.over.set()
        assert len(cuts) == 1
        assert cuts[0] is not None


def test_no_later_stream_gets_an_event_that_a_predicate_held_up_beyond_the_disconnect(hang: Hang) -> None:
    old = [frame(1, json.dumps({"type": name, "payload": {}}).encode()) for name in ("news", "old")]

    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.send(b"".join(old))
        old.clear()
        peer.read_close()
        peer.send(frame(8, close_payload(1000)))

    with RawServer(script) as raw, client_of(raw.url) as client:
        with client.events("news", where=hang):
            client.connect()
            assert hang.entered.wait(TIMEOUT)
            client.disconnect(timeout=0)
        client.connect()
        with client.events() as later:
            hang.over.set()
            until(lambda: names_of_threads() == FOUR)
            client.disconnect()
            assert list(later) == []


def test_no_listener_gets_an_event_that_a_predicate_held_up_beyond_the_disconnect(
    client: WebSocketClient, masquerade_server: EventServer, hang: Hang
) -> None:
    listener = Hang()
    record = Record(client, "late")
    client.once("news", listener)
    client.connect()
    stream = client.events("late", where=hang)
    masquerade_server.emit("news")
    assert listener.entered.wait(TIMEOUT)
    masquerade_server.emit("late")
    assert hang.entered.wait(TIMEOUT)
    client.disconnect(timeout=0)
    assert list(stream) == []
    hang.over.set()
    until(lambda: "masquerade-ws-reader" not in names_of_threads())
    listener.over.set()
    until(lambda: names_of_threads() == [])
    assert record.events == []


@pytest.mark.parametrize("held", ["by a listener", "by the predicate"])
@pytest.mark.parametrize("type", ["state:change", "disconnected"])
def test_a_predicate_that_hangs_on_the_last_events_holds_up_neither_disconnect_nor_other_streams(
    client: WebSocketClient, masquerade_server: EventServer, hang: Hang, type: str, held: str
) -> None:
    """Nobody asks it on the thread that disconnects, when that ends the streams itself."""
    listener = Hang()
    record = Record(client, "connected")
    client.on("news", listener)
    client.connect()
    record.wait("connected")
    other = client.events("disconnected", where={"code": 1000})
    stream = client.events(type, where=hang)
    if held == "by a listener":
        masquerade_server.emit("news")
        assert listener.entered.wait(TIMEOUT)
    disconnecting = running(lambda: client.disconnect(timeout=0.3))
    disconnecting.result()
    assert client.state == "disconnected"
    assert [event.code for event in other] == [1000]
    assert list(stream) == []
    listener.over.set()


def test_a_disconnect_while_another_waits_for_the_last_listeners_ends_the_streams_made_meanwhile(
    masquerade_server: EventServer, hang: Hang
) -> None:
    last = Hang()
    with client_of(masquerade_server.url, hang) as client:
        client.on("state:change", lambda event: event.new_state == "disconnected" and last())
        client.connect(block=False)
        assert hang.entered.wait(TIMEOUT)
        first = running(lambda: client.disconnect(timeout=0))
        assert last.entered.wait(TIMEOUT)
        stream = client.events("news")
        client.disconnect()
        with pytest.raises(DisconnectedError):
            stream.get(timeout=TIMEOUT / 2)  # the token comes later
        first.result()
        last.over.set()
        hang.over.set()


def test_a_session_that_two_give_up_at_once_tells_its_last_events_ahead_of_the_next(
    masquerade_server: EventServer,
) -> None:
    """Its `disconnect` and the session that waits for it have the same deadline."""
    for _ in range(20):
        hang = Hang()
        tokens: list[Callable[[], str]] = [hang, lambda: "second"]
        with client_of(masquerade_server.url, lambda tokens=tokens: tokens.pop(0)()) as client:
            record = Record(client, "state:change")
            stream = client.events("state:change")
            client.connect(block=False)
            assert hang.entered.wait(TIMEOUT)
            disconnecting = running(lambda client=client: client.disconnect(timeout=0.03))
            until(lambda client=client: not client._supervisor.running)
            client.connect()
            disconnecting.result()
            record.wait("state:change", 4)
            assert record.story == [
                "disconnected > connecting",
                "connecting > disconnected",
                "disconnected > connecting",
                "connecting > connected",
            ]
            assert [event.new_state for event in stream] == ["connecting", "disconnected"]
            hang.over.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("auto_reconnect", [True, False])
def test_a_supervisor_thread_that_dies_leaves_nobody_waiting(
    masquerade_server: EventServer, caplog: pytest.LogCaptureFixture, auto_reconnect: bool
) -> None:
    """A filter of the user's logging may raise anywhere."""

    def refuse(record: logging.LogRecord) -> bool:
        if "connection error" in record.getMessage():
            raise LookupError("in a filter")
        return True

    caplog.set_level(logging.DEBUG, "masquerade_ws")
    logger = logging.getLogger("masquerade_ws")
    masquerade_server.refuse(503)
    with client_of(masquerade_server.url, auto_reconnect=auto_reconnect) as client:
        stream = client.events("news")
        logger.addFilter(refuse)
        try:
            with pytest.raises(ConnectError):
                running(client.connect).result()
            with pytest.raises(DisconnectedError):
                stream.get(timeout=TIMEOUT)
            until(lambda: names_of_threads() == [])
        finally:
            logger.removeFilter(refuse)
        client.connect()
        assert client.state == "connected"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, MemoryError])
def test_a_get_token_that_exits_ends_the_client_and_leaves_nobody_waiting(
    masquerade_server: EventServer, kind: type[BaseException]
) -> None:
    raised = [kind()]

    def get_token() -> str:
        if raised:
            raise raised.pop()
        return "token"

    with client_of(masquerade_server.url, get_token, auto_reconnect=False) as client:
        stream = client.events("news")
        with pytest.raises((ConnectError, DisconnectedError)):
            running(client.connect).result()
        until(lambda: names_of_threads() == [])
        assert client.state == "disconnected"
        assert list(stream) == []
        client.connect()
        assert client.state == "connected"


def test_a_connect_that_waits_for_a_disconnect_that_hangs_goes_on_when_that_gives_up(
    masquerade_server: EventServer, hang: Hang
) -> None:
    tokens: list[Callable[[], str]] = [hang, lambda: "second"]
    with client_of(masquerade_server.url, lambda: tokens.pop(0)()) as client:
        client.connect(block=False)
        assert hang.entered.wait(TIMEOUT)
        disconnecting = running(lambda: client.disconnect(timeout=0.3))
        until(lambda: not client._supervisor.running)
        client.connect()
        disconnecting.result()
        assert client.state == "connected"
        hang.over.set()


def test_a_disconnect_during_a_session_that_never_began_abandons_both(
    masquerade_server: EventServer, hang: Hang
) -> None:
    with client_of(masquerade_server.url, hang) as client:
        client.connect(block=False)
        assert hang.entered.wait(TIMEOUT)
        disconnecting = running(lambda: client.disconnect(timeout=TIMEOUT))
        until(lambda: not client._supervisor.running)
        client.connect(block=False)
        client.disconnect(timeout=0.1)
        disconnecting.result()
        assert client.state == "disconnected"
        hang.over.set()
        until(lambda: names_of_threads() == [])
    assert masquerade_server.tokens == []


def test_disconnect_without_time_leaves_the_state_disconnected(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    for _ in range(20):
        stream = client.events("disconnected")
        client.connect()
        client.disconnect(timeout=0)
        assert client.state == "disconnected"
        assert len(list(stream)) == 1
    until(lambda: names_of_threads() == [])


def test_disconnect_without_time_in_the_middle_of_a_handshake_leaves_nothing() -> None:
    def script(peer: Peer) -> None:
        asked.set()
        peer.read_to_end()

    asked = threading.Event()
    with RawServer(script) as server, client_of(server.url) as client:
        record = Record(client)
        client.connect(block=False)
        assert asked.wait(TIMEOUT)
        client.disconnect(timeout=0)
        assert client.state == "disconnected"
        until(lambda: names_of_threads() == [])
        assert record.of("disconnected") == []
        assert record.story[-1].endswith("> disconnected")


class Held(threading.Condition):
    """The life cycle's lock, whose supervisor thread is held up as soon as it has released it in a certain state."""

    def __init__(self, client: WebSocketClient, state: str, hang: Hang) -> None:
        super().__init__()
        self._client = client
        self._state = state
        self._hang = hang

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        if threading.current_thread().name == FOUR[3] and self._client.state == self._state:
            self._hang()


@pytest.mark.parametrize(
    ("state", "lost", "story"),
    [
        ("connecting", False, ["disconnected > connecting", "connecting > disconnected"]),
        ("connected", False, [*CONNECTING, "connected > disconnected", "disconnected"]),
        ("disconnecting", False, [*CONNECTING, *CLOSING]),
        ("disconnected", False, [*CONNECTING, *CLOSING]),
        ("disconnected", True, [*CONNECTING, "error", "connected > disconnected", "disconnected"]),
    ],
)
def test_an_abandonment_right_behind_a_transition_loses_no_event(
    masquerade_server: EventServer, hang: Hang, state: str, lost: bool, story: list[str]
) -> None:
    with client_of(masquerade_server.url, auto_reconnect=False) as client:
        record = Record(client)
        stream = client.events("state:change", "connected", "error", "disconnected")
        held = Held(client, state, hang)
        if state in {"connecting", "connected"}:
            client._supervisor._changed = held
            client.connect(block=False)
        else:
            client.connect()
            record.wait("connected")
            client._supervisor._changed = held
            if lost:
                masquerade_server.drop()
            else:
                client._supervisor.stop(1000, TIMEOUT)
        assert hang.entered.wait(TIMEOUT)
        client.disconnect(timeout=0)
        hang.over.set()
        assert record.story == story
        assert [event.type for event in stream] == [event.type for event in record.events]


def test_the_first_event_is_told_though_the_token_does_not_come(masquerade_server: EventServer) -> None:
    for _ in range(20):
        hang = Hang()
        with client_of(masquerade_server.url, hang) as client:
            record = Record(client)
            client.connect(block=False)
            record.wait("state:change")
            hang.over.set()


def test_an_abandonment_ahead_of_the_first_step_loses_no_event(
    client: WebSocketClient, hang: Hang, monkeypatch: pytest.MonkeyPatch
) -> None:
    receives = Session.receive
    monkeypatch.setattr(Session, "receive", lambda *args: hang() and receives(*args))
    record = Record(client)
    stream = client.events("state:change")
    client.connect(block=False)
    assert hang.entered.wait(TIMEOUT)
    client.disconnect(timeout=0)
    assert record.story == ["disconnected > connecting", "connecting > disconnected"]
    assert list(stream) == record.events


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_streams_get_the_last_events_though_a_listener_ended_the_dispatcher_thread(client: WebSocketClient) -> None:
    def leave(event: object) -> None:
        raise SystemExit

    client.on("connected", leave)
    stream = client.events("state:change", "disconnected")
    client.connect()
    told = [event.new_state if event.type == "state:change" else event.type for event in stream]
    assert told == ["connecting", "connected", "disconnecting", "disconnected", "disconnected"]


@pytest.mark.parametrize("timeout", [0, 0.1])
def test_disconnect_behind_a_full_queue_closes_the_connection_though_its_reader_waits(
    masquerade_server: EventServer, hang: Hang, timeout: float
) -> None:
    with client_of(masquerade_server.url, queue_size=2) as client:
        client.on("news", hang)
        client.connect()
        for _ in range(20):
            masquerade_server.emit("news")
        session = client._supervisor._session
        assert session is not None
        until(lambda: session.dispatcher.full)
        assert elapsed(lambda: client.disconnect(timeout=timeout)) < TIMEOUT
        masquerade_server.wait_for_connections(0)
        until(lambda: set(names_of_threads()) <= {FOUR[0], FOUR[3]})  # the hung listener, and who waits for it
        client.connect()
        assert client.state == "connected"
        hang.over.set()


@pytest.mark.parametrize("timeout", [0, 5])
@pytest.mark.parametrize("then", ["stays away", "comes back"])
@pytest.mark.parametrize("place", ["around_event", "enter", "exit", "start", "poll", "on_progress"])
def test_user_code_may_disconnect_wherever_it_runs(place: str, then: str, timeout: float) -> None:
    took: list[float] = []

    def leave(*_: object) -> None:
        if not took:
            took.append(elapsed(lambda: client.disconnect(timeout=timeout)))
            if then == "comes back":
                client.connect(block=False)

    class Around:
        def __init__(self, event: Any) -> None:
            self.known = event.type == "image.generation.progress"
            self.at("around_event")

        def __enter__(self) -> None:
            self.at("enter")

        def __exit__(self, *_: object) -> None:
            self.at("exit")

        def at(self, here: str) -> None:
            if self.known and here == place:
                leave()

    def start() -> str:
        client.emit("image.generation.progress", {"job_id": "j", "progress": 1})
        if place == "start":
            leave()
        return "j"

    with RawServer(echo) as server, client_of(server.url, around_event=Around) as client:
        client.on("*", lambda _: None)
        client.connect()
        job = running(
            lambda: client.run_image_job(
                start,
                timeout=TIMEOUT / 2,
                on_progress=leave if place == "on_progress" else None,
                poll=leave if place == "poll" else None,
            )
        )
        with pytest.raises(DisconnectedError):
            job.result()
        until(lambda: took)
        assert took[0] < 3
        until(lambda: client.state == ("connected" if then == "comes back" else "disconnected"))


def test_a_handler_of_the_logger_may_disconnect_on_the_supervisor_thread(
    masquerade_server: EventServer, caplog: pytest.LogCaptureFixture
) -> None:
    took: list[float] = []

    class Leaving(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "reconnecting" in record.getMessage():
                took.append(elapsed(lambda: client.disconnect(timeout=0.1)))

    caplog.set_level(logging.INFO, "masquerade_ws")
    handler = Leaving()
    masquerade_server.refuse(503)
    with client_of(masquerade_server.url) as client:
        logging.getLogger("masquerade_ws").addHandler(handler)
        try:
            with pytest.raises((ConnectError, DisconnectedError)):
                running(client.connect).result()
            until(lambda: took and names_of_threads() == [])
        finally:
            logging.getLogger("masquerade_ws").removeHandler(handler)
    assert took[0] < 3


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
    client.connect(block=False)
    masquerade_server.wait_for_connections(1)
    stream = client.events()
    masquerade_server.emit("news")
    until(lambda: names_of_threads() == [])
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


def test_a_client_that_nobody_refers_to_ends_behind_a_listener_that_hangs(
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


def test_a_supervisor_thread_that_dies_behind_its_client_ends_its_session() -> None:
    session = Session(1, None)
    session.mail = cast("Any", None)  # as if there were no memory
    with pytest.raises(AttributeError):
        supervise(lambda: None, session)
    assert session.done.is_set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("name", ["supervisor", "dispatcher", "reader", "heartbeat"])
def test_memory_that_is_out_when_a_thread_starts_ends_the_client_and_leaves_nobody_waiting(
    client: WebSocketClient, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    starts = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == f"masquerade-ws-{name}":
            raise MemoryError
        starts(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(MemoryError if name in {"supervisor", "dispatcher"} else DisconnectedError):
            running(client.connect).result()
        until(lambda: names_of_threads() == [])
        assert client.state == "disconnected"
    client.connect()
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


# Races


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


def test_connect_and_disconnect_from_many_threads_end_in_a_state_that_works(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    def churn() -> None:
        for _ in range(10):
            client.connect(block=False)
            client.disconnect()

    record = Record(client, "state:change")
    workers: list[Worker] = [running(churn) for _ in range(4)]
    for worker in workers:
        worker.result()
    client.disconnect()
    assert client.state == "disconnected"
    states = [(event.old_state, event.new_state) for event in record.events]
    assert all(before[1] == after[0] for before, after in pairwise(states))
    client.connect()
    assert client.state == "connected"


def test_a_peer_that_closes_while_we_do_is_no_error() -> None:
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
