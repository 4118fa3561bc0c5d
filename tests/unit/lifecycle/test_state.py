"""Each change of the state is reported, once and in order, whenever a session is abandoned."""

from __future__ import annotations

import gc
import json
import logging
import threading
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from masquerade_ws import DisconnectedError, WaitTimeoutError, WebSocketClient
from masquerade_ws.connection import Connection
from masquerade_ws.delivery.blocking import Guard
from masquerade_ws.delivery.stream_index import StreamIndex
from masquerade_ws.lifecycle import state as state_module
from masquerade_ws.lifecycle.session import Mail, Session
from masquerade_ws.lifecycle.state import ClientState
from masquerade_ws.lifecycle.transitions import Phase, Trigger
from masquerade_ws.stats import Counters
from masquerade_ws.testing import EventServer
from tests.support.raw_server import Peer, RawServer, close_payload, frame, until
from tests.support.scenes import (
    CLOSING,
    CONNECTING,
    FOUR,
    PATIENCE,
    TIMEOUT,
    Hang,
    Record,
    client_of,
    elapsed,
    names_of_threads,
    running,
)


def test_a_transition_that_is_not_in_the_table_raises(client: WebSocketClient) -> None:
    session = Session(1, None)
    session.phase = Phase.ENDED
    with pytest.raises(KeyError), client._state.changed:
        client._state.advance(session, Trigger.OPENED)


def test_an_abandoned_session_never_ends_before_its_supervisor_knows_the_connection_to_close(
    masquerade_server: EventServer, hang: Hang, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts: list[object] = []

    class Watched(Session):
        def __setattr__(self, name: str, value: object) -> None:
            if name == "phase" and value is Phase.ENDED:
                cuts.append(self.cut)
            super().__setattr__(name, value)

    monkeypatch.setattr("masquerade_ws.lifecycle.control.Session", Watched)
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


def test_a_session_that_two_give_up_at_once_tells_its_last_events_before_the_next(
    masquerade_server: EventServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its `disconnect` and the session that waits for it have the same deadline."""
    hanging: list[Hang] = []

    def hold_up(record: logging.LogRecord) -> bool:
        if hanging and record.getMessage().startswith("connecting"):
            hanging.pop()()
        return True

    caplog.set_level(logging.DEBUG, "masquerade_ws")
    monkeypatch.setattr(logging.getLogger("masquerade_ws"), "filters", [hold_up])
    for _ in range(20):
        hang = Hang()
        hanging.append(hang)
        with client_of(masquerade_server.url) as client:
            record = Record(client, "state:change")
            stream = client.events("state:change")
            client.connect(block=False)
            assert hang.entered.wait(TIMEOUT)
            disconnecting = running(lambda client=client: client.disconnect(timeout=0.03))
            until(lambda client=client: not client._state.running)
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
def test_an_abandonment_right_after_a_transition_loses_no_event(
    masquerade_server: EventServer, hang: Hang, state: str, lost: bool, story: list[str]
) -> None:
    with client_of(masquerade_server.url, auto_reconnect=False) as client:
        record = Record(client)
        stream = client.events("state:change", "connected", "error", "disconnected")
        held = Held(client, state, hang)
        if state in {"connecting", "connected"}:
            client._state._changed = held
            client.connect(block=False)
        else:
            client.connect()
            record.wait("connected")
            client._state._changed = held
            if lost:
                masquerade_server.drop()
            else:
                client._control._stop(1000, TIMEOUT)
        assert hang.entered.wait(TIMEOUT)
        client.disconnect(timeout=0)
        hang.over.set()
        assert record.story == story
        assert [event.type for event in stream] == [event.type for event in record.events]


def test_the_first_event_is_reported_though_the_token_does_not_come(masquerade_server: EventServer) -> None:
    for _ in range(20):
        hang = Hang()
        with client_of(masquerade_server.url, hang) as client:
            record = Record(client)
            client.connect(block=False)
            record.wait("state:change")
            hang.over.set()


def test_an_abandonment_before_the_first_step_loses_no_event(
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


@pytest.mark.parametrize("cut", list(range(5)), ids=["START", "OPENED", "LOST", "RETRY", "OPENED again"])
def test_a_signal_handler_or_a_finalizer_may_disconnect_amid_a_change(
    masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    with client_of(masquerade_server.url) as client:
        record = Record(client)
        advances, calls = client._state.advance, iter(range(100))

        def advance(*args: Any, **news: Any) -> Any:
            if next(calls) == cut:
                client.disconnect(timeout=0)
            return advances(*args, **news)

        monkeypatch.setattr(client._state, "advance", advance)
        with suppress(DisconnectedError):
            client.connect()
            masquerade_server.drop()
        until(lambda: not client._state.running)
        client.connect()
        client.disconnect(timeout=TIMEOUT)
        assert client.state == "disconnected"
        changes = record.of("state:change")
        assert [change.old_state for change in changes] == [
            "disconnected",
            *(change.new_state for change in changes[:-1]),
        ]
        assert len(record.of("connected")) == len(record.of("disconnected"))


@pytest.mark.parametrize("cut", ["a stream is read", "a stream is opened", "a listener is added"])
def test_a_disconnect_amid_what_the_last_events_need_waits_for_nothing(
    masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """As a signal handler does: the threads of the client cannot end before it returns."""
    with client_of(masquerade_server.url) as client:
        record = Record(client)
        client.once("disconnected", lambda event: None)
        stream = client.events("disconnected")
        client.connect()
        took: list[float] = []

        def disconnect(*_: object) -> None:
            took.append(elapsed(lambda: client.disconnect(timeout=TIMEOUT)))

        class Handler:
            def __hash__(self) -> int:
                return 1

            def __eq__(self, _: object) -> bool:
                disconnect()
                return True

            def __call__(self, _: object) -> None: ...

        with monkeypatch.context() as patch:
            if cut == "a stream is read":
                patch.setattr(stream, "_over", disconnect)
                with suppress(WaitTimeoutError):
                    stream.get(timeout=0)
            elif cut == "a stream is opened":
                patch.setattr(client._streams, "_insert", disconnect)
                client.events("disconnected")
            else:
                client.on("never", Handler())
                client.on("never", Handler())
        assert max(took) < PATIENCE
        record.wait("disconnected")
        assert stream.get(TIMEOUT).type == "disconnected"


def test_a_stream_that_is_opened_just_before_its_client_ends_keeps_nobody_waiting(
    client: WebSocketClient, masquerade_server: EventServer, hang: Hang, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.connect()
    newest, calls = client._streams.newest, count()

    def slow_newest() -> int:
        number = newest()
        if next(calls) == 1:  # the first is that of `disconnect` itself
            hang()
        return number

    monkeypatch.setattr(client._streams, "newest", slow_newest)
    end = running(client.disconnect)
    assert hang.entered.wait(TIMEOUT)
    stream = client.events("news")
    reader = running(stream.get)
    until(lambda: stream._changed._waiters)  # type: ignore[attr-defined]
    hang.over.set()
    with pytest.raises(DisconnectedError):
        reader.result()
    end.result()


def test_in_a_forked_child_what_a_connection_sent_before_still_counts() -> None:
    counters = Counters()
    state = ClientState(StreamIndex(Guard()), counters)
    state.session = Session(1, None)
    with (
        RawServer(lambda peer: [peer.upgrade(), peer.hang()]) as raw,
        Connection.open(raw.url, proxy=False) as connection,
    ):
        state.session.connection = connection
        connection.send("hello")
        state.after_fork()
    assert counters.snapshot(None)["messages_sent"] == 1


def test_a_client_that_goes_when_the_interpreter_has_cleared_its_modules_goes_in_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As free-threaded builds do at their exit."""
    state = ClientState(StreamIndex(Guard()), Counters())
    session = state.session = Session(1, None)
    for name in [name for name in vars(state_module) if not name.startswith("__")]:
        monkeypatch.setattr(state_module, name, None)
    del state  # whatever it raises fails the test
    gc.collect()
    monkeypatch.undo()
    assert session.receive(0) is Mail.STOP
