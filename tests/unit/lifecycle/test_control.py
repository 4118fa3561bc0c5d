"""Whatever the user's code does, a `disconnect` comes back."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

from masquerade_ws import ConnectError, DisconnectedError, Event, NotConnectedError, WebSocketClient
from masquerade_ws.testing import EventServer
from tests.support.raw_server import Peer, RawServer, frame, until
from tests.support.scenes import (
    CLOSING,
    CONNECTING,
    FOUR,
    TIMEOUT,
    Hang,
    Record,
    Worker,
    client_of,
    elapsed,
    names_of_threads,
    running,
)
from tests.support.scripts import echo

GIVEN_UP = ["disconnected > connecting", "connecting > disconnecting", "disconnecting > disconnected"]

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


@pytest.mark.parametrize("timeout", [5, 0])
def test_disconnect_in_a_listener_returns_without_waiting_for_itself_and_all_is_reported(
    client: WebSocketClient, masquerade_server: EventServer, timeout: float
) -> None:
    record = Record(client)
    seen: list[Any] = []
    client.on("news", lambda _: seen.extend([elapsed(lambda: client.disconnect(timeout=timeout)), client.state]))
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
        assert record.story == GIVEN_UP
    assert masquerade_server.tokens == []


@contextmanager
def sending_news(codes: list[int]) -> Iterator[RawServer]:
    """Serve two messages to whoever says something, and four more together on the next word; note how it closes."""

    def script(peer: Peer) -> None:
        peer.upgrade()
        parts = iter([(0, 1), (2, 3, 4, 5)])
        while (received := peer.read_frame())[0] != 8:
            peer.send(b"".join(frame(1, b'{"type": "news.%d"}' % number) for number in next(parts)))
        codes.append(int.from_bytes(received[1][:2], "big"))
        peer.send(frame(*received))

    with RawServer(script) as server:
        yield server


NEWS = [f"news.{number}" for number in range(6)]


@pytest.mark.parametrize("place", ["a predicate", "decode"])
def test_disconnect_on_the_reader_thread_delivers_what_came_before_it(place: str) -> None:
    codes: list[int] = []
    seen: list[Any] = []
    left = threading.Event()

    def leave(event: Any) -> bool:
        if event["type"] == "news.3":
            seen.extend([elapsed(lambda: client.disconnect(timeout=TIMEOUT)), client.state])
            with pytest.raises(NotConnectedError):
                client.emit("late")
            left.set()
        return True

    def decode(message: str | bytes) -> Any:
        event = json.loads(message)
        leave(event)
        return event

    options = {"decode": decode} if place == "decode" else {}

    def listen(_: Event) -> None:
        client.emit("go on")
        assert left.wait(TIMEOUT)

    with sending_news(codes) as server, client_of(server.url, **options) as client:
        record = Record(client, "*", "state:change", "disconnected")
        client.once("news.0", listen)
        client.connect()
        stream = client.events(where=None if place == "decode" else lambda event: leave(event.to_dict()))
        last = client.events("disconnected")
        waiting = running(lambda: client.wait_for("never"))
        client.emit("go")
        assert last.get(TIMEOUT).code == 1000
        with pytest.raises(DisconnectedError, match="disconnect"):
            waiting.result()
        until(lambda: names_of_threads() == [])
        assert seen[0] < TIMEOUT / 2
        assert seen[1] == client.state == "disconnected"
        assert record.story[:4] == [*CONNECTING[:2], *NEWS[:2]]
        assert [told for told in record.story[4:-2] if told != CLOSING[0]] == NEWS[2:]
        assert record.story[-2:] == CLOSING[1:]
        assert [event.type for event in stream] == NEWS
    assert codes == [1000]


def test_the_reader_thread_may_restart_the_client() -> None:
    codes: list[int] = []
    left = threading.Event()

    def leave(event: Any) -> bool:
        if not left.is_set():
            client.disconnect()
            client.connect(block=False)
            client.disconnect()
            client.connect(block=False)
            left.set()
        return True

    with sending_news(codes) as server, client_of(server.url) as client:
        record = Record(client, "*", "disconnected", "connected")
        client.connect()
        stream = client.events(where=leave)
        client.emit("go")
        assert left.wait(TIMEOUT)
        until(lambda: client.state == "connected")
        assert client.stats.connections == 2
        assert [event.type for event in stream] == NEWS[:2]
        record.wait("connected", 2)
        assert record.story == ["connected", *NEWS[:2], "disconnected", "connected"]
        until(lambda: names_of_threads() == FOUR)
    assert codes[0] == 1000


@pytest.mark.parametrize("hung", ["the predicate", "a listener"])
def test_waits_end_when_a_disconnect_on_the_reader_thread_has_had_its_time(hung: str, hang: Hang) -> None:
    def leave(event: Any) -> bool:
        client.disconnect(timeout=0.2)
        if hung == "the predicate":
            hang()
        return True

    with sending_news([]) as server, client_of(server.url) as client:
        record = Record(client, "disconnected")
        if hung == "a listener":
            client.once("news.0", hang)
        client.connect()
        stream = client.events("news.1", where=leave)
        last = client.events("disconnected")
        waiting = running(lambda: client.wait_for("never"))
        client.emit("go")
        assert hang.entered.wait(TIMEOUT)
        with pytest.raises(DisconnectedError, match="disconnect"):
            waiting.result()
        assert client.state == "disconnected"
        assert [event.code for event in last] == [1000]
        assert len(list(stream)) <= (hung == "a listener")
        hang.over.set()
        until(lambda: names_of_threads() == [])
        assert len(record.events) <= (hung == "the predicate")


def test_disconnect_in_a_predicate_of_the_clients_own_event_is_as_in_a_listener(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    states: list[str] = []

    def leave(event: object) -> bool:
        if not states:
            client.disconnect(timeout=TIMEOUT)
            states.append(client.state)
        return True

    record = Record(client)
    stream = client.events("connected", "state:change", "disconnected", where=leave)
    client.connect(block=False)
    until(lambda: states and names_of_threads() == [])
    assert states == ["disconnected"]
    assert len(list(stream)) == len(record.events)
    assert record.story[0] == CONNECTING[0]
    assert record.events[-1].type in ("state:change", "disconnected")


def test_disconnect_in_a_predicate_on_the_users_own_thread_waits_for_all(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    def leave(event: object) -> bool:
        client.disconnect(timeout=TIMEOUT)
        assert names_of_threads() == []
        return True

    client.connect()
    stream = client.events()
    masquerade_server.emit("news")
    masquerade_server.emit("more")
    assert stream.wait_for("news", where=leave, timeout=TIMEOUT).type == "news"


def test_disconnect_in_a_log_handler_on_the_heartbeat_thread_waits_for_nothing_that_waits_for_it(
    masquerade_server: EventServer, caplog: pytest.LogCaptureFixture
) -> None:
    took: list[Any] = []

    class Leaving(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "sent a heartbeat" in record.getMessage() and not took:
                took.extend([elapsed(lambda: client.disconnect(timeout=TIMEOUT)), client.state])

    caplog.set_level(logging.DEBUG, "masquerade_ws")
    handler = Leaving()
    with client_of(masquerade_server.url, heartbeat_interval=0.05) as client:
        record = Record(client)
        logging.getLogger("masquerade_ws").addHandler(handler)
        try:
            client.connect()
            until(lambda: took and names_of_threads() == [])
        finally:
            logging.getLogger("masquerade_ws").removeHandler(handler)
        assert took[0] < TIMEOUT / 2
        assert took[1] == "disconnected"
        assert record.story == [*CONNECTING, *CLOSING]


# What hangs


def test_a_get_token_that_hangs_holds_up_neither_disconnect_nor_the_next_connect(
    masquerade_server: EventServer, hang: Hang
) -> None:
    tokens: list[Callable[[], str]] = [hang, lambda: "second"]
    with client_of(masquerade_server.url, lambda: tokens.pop(0)()) as client:
        record = Record(client)
        client.connect(block=False)
        assert hang.entered.wait(TIMEOUT)
        assert elapsed(lambda: client.disconnect(timeout=TIMEOUT)) < TIMEOUT / 2
        assert client.state == "disconnected"
        client.connect()
        assert client.state == "connected"
        assert names_of_threads() == [*FOUR, "masquerade-ws-token"]
        hang.over.set()
        until(lambda: names_of_threads() == FOUR)
        assert client.state == "connected"
        assert client.stats.connections == 1
        assert record.story == [*GIVEN_UP, *CONNECTING]
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
    assert 0.3 <= took < TIMEOUT
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
    assert 0.1 <= took < TIMEOUT
    assert client.state == "disconnected"
    assert [event.code for event in last] == [1000]
    assert list(stream) == []
    record.wait("disconnected")
    client.connect()
    hang.over.set()
    until(lambda: names_of_threads() == FOUR)
    assert len(record.events) == 1


def test_a_connect_that_waits_for_a_disconnect_that_hangs_goes_on_when_that_gives_up(
    masquerade_server: EventServer, hang: Hang
) -> None:
    tokens: list[Callable[[], str]] = [hang, lambda: "second"]
    with client_of(masquerade_server.url, lambda: tokens.pop(0)()) as client:
        client.connect(block=False)
        assert hang.entered.wait(TIMEOUT)
        disconnecting = running(lambda: client.disconnect(timeout=0.3))
        until(lambda: not client._state.running)
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
        until(lambda: not client._state.running)
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


@pytest.mark.parametrize("timeout", [0, 0.1])
def test_disconnect_behind_a_full_queue_closes_the_connection_though_its_reader_waits(
    masquerade_server: EventServer, hang: Hang, timeout: float
) -> None:
    with client_of(masquerade_server.url, queue_size=2) as client:
        client.on("news", hang)
        client.connect()
        for _ in range(20):
            masquerade_server.emit("news")
        session = client._state.session
        assert session is not None
        until(lambda: session.event_queue.full)
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


# Races


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


class HeldUp(threading.Condition):
    """The life cycle's lock; a thread that disconnects is held up as soon as it has released it."""

    def __init__(self, hang: Hang) -> None:
        super().__init__()
        self._hang = hang
        self.thread: int | None = None

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        if threading.get_ident() == self.thread:
            self.thread = None
            self._hang()


@pytest.mark.parametrize("place", ["a thread", "a listener"])
def test_a_disconnect_never_ends_the_session_that_another_thread_starts_meanwhile(
    client: WebSocketClient, masquerade_server: EventServer, hang: Hang, place: str
) -> None:
    took: list[float] = []

    def leave(*_: object) -> None:
        lock.thread = threading.get_ident()
        took.append(elapsed(lambda: client.disconnect(timeout=0.2)))

    client.connect()
    lock = HeldUp(hang)
    vars(client._state)["_changed"] = lock
    if place == "a thread":
        leaving = running(leave)
    else:
        client.once("news", leave)
        masquerade_server.emit("news")
    assert hang.entered.wait(TIMEOUT)
    client.connect()
    record = Record(client)
    hang.over.set()
    until(lambda: took)
    if place == "a thread":
        leaving.result()
    assert client.state == "connected"
    client.emit("still there")
    masquerade_server.expect("still there")
    until(lambda: names_of_threads() == FOUR)
    assert record.of("disconnected") == record.of("error") == []
