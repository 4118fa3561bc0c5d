"""A worker's client reads what a relay appends: its state, its losses and its gaps."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from masquerade_ws import (
    ConnectError,
    DisconnectedError,
    ImageGenerationError,
    NotConnectedError,
    ParseError,
    SendError,
    WebSocketClient,
)
from masquerade_ws.lifecycle.session import Session
from masquerade_ws.relay import RelayClient, reading
from masquerade_ws.relay.engine import EngineUrl
from masquerade_ws.relay.entries import BACK, BAD, DROPPED, LOST, UNSENT, decode_outgoing
from masquerade_ws.relay.place import Place
from masquerade_ws.relay.reading import Reading
from tests.support.engines import EngineServer
from tests.support.raw_server import until
from tests.support.relays import Leader, connected, wire_of
from tests.support.scenes import FOUR, TIMEOUT, Record, names_of_threads, running

Make = Callable[..., RelayClient]
COMPLETED = "image.generation.completed"


def collect(client: RelayClient, *types: str) -> list[Any]:
    got: list[Any] = []
    for name in types or ("*",):
        client.on(name, got.append)
    return got


# The first attempt


def test_it_has_every_member_of_the_gateway_s_client() -> None:
    members = {name for name in dir(WebSocketClient) if not name.startswith("_")}
    assert members == {name for name in dir(RelayClient) if not name.startswith("_")}


def test_without_a_relay_the_attempt_says_what_to_start(new_client: Make, namespace: str) -> None:
    client = new_client(connect_timeout=0.2, auto_reconnect=False)
    with pytest.raises(ConnectError) as caught:
        client.connect()
    assert str(caught.value) == (
        f"no relay is running for namespace '{namespace}'; start one with: masquerade-ws relay"
    )


def test_a_relay_without_a_gateway_is_named(engine_server: EngineServer, namespace: str, new_client: Make) -> None:
    with Leader(engine_server, namespace=namespace) as leader:
        leader.note(LOST, code=4401, reason="no such token")
        client = new_client(connect_timeout=0.2, auto_reconnect=False)
        with pytest.raises(ConnectError, match="has no connection to the gateway \\(code 4401, no such token\\)"):
            client.connect()
        leader.note(LOST, code=1006, reason="")
        with pytest.raises(ConnectError, match="has no connection to the gateway \\(code 1006\\)"):
            client.connect()


def test_a_relay_that_crashed_is_none(engine_server: EngineServer, namespace: str, new_client: Make) -> None:
    with Leader(engine_server, namespace=namespace) as leader:
        leader.vanish()
        with pytest.raises(ConnectError, match="no relay is running"):
            new_client(connect_timeout=0.2, auto_reconnect=False).connect()


def test_the_delay_after_an_attempt_without_a_relay_does_not_grow(new_client: Make) -> None:
    client = new_client(connect_timeout=0.01, initial_reconnect_delay=0.02)
    record = Record(client, "state:change")
    client.connect(block=False)
    record.wait("state:change", 14)
    assert client._state.session is not None
    assert client._state.session.schedule.delay == 0.02


def test_an_attempt_waits_for_a_relay_to_start(engine_server: EngineServer, namespace: str, new_client: Make) -> None:
    client = new_client()
    connecting = running(client.connect)
    until(lambda: client.state == "connecting")
    with Leader(engine_server, namespace=namespace):
        connecting.result()
        assert client.state == "connected"
        assert names_of_threads() == FOUR


def test_an_attempt_waits_for_the_gateway_to_be_back(
    engine_server: EngineServer, namespace: str, new_client: Make, leader: Leader
) -> None:
    leader.note(LOST, code=1006, reason="")
    client = new_client()
    record = Record(client, "connected", "disconnected")
    connecting = running(client.connect)
    until(lambda: client.state == "connecting")
    leader.note(BACK, gap=3.0)
    connecting.result()
    event = record.wait("connected")
    assert (event.reconnected, event.resumed, event.gap) == (False, False, None)


def test_an_attempt_ends_at_once_when_the_client_disconnects(new_client: Make) -> None:
    client = new_client()
    connecting = running(client.connect)
    until(lambda: client.state == "connecting")
    time.sleep(0.1)  # in the middle of its wait, mostly
    client.disconnect()
    with pytest.raises(DisconnectedError):
        connecting.result()


def test_an_engine_that_is_not_there_is_named(new_client: Make) -> None:
    client = new_client("unix:///nowhere/engine.sock", auto_reconnect=False)
    with pytest.raises(ConnectError, match=r"the engine unix:///nowhere/engine.sock cannot be reached"):
        client.connect()


def test_a_relay_of_another_format_is_refused(engine_server: EngineServer, namespace: str, new_client: Make) -> None:
    with Leader(engine_server, namespace=namespace) as leader:
        leader.pause()
        value = leader.run("GET", leader.keys.status)
        leader.run("SET", leader.keys.status, value.replace(b'"format": 1', b'"format": 2'))
        with pytest.raises(ConnectError, match="the relay writes format 2, this version reads format 1"):
            new_client(auto_reconnect=False).connect()


def test_a_user_without_rights_is_told_so(own_engine: EngineServer, new_client: Make) -> None:
    own_engine.run("ACL", "SETUSER", "blind", "on", ">pw", "resetkeys", "~mws:{x}:*", "+get", "+select")
    with pytest.raises(ConnectError, match="NOPERM"):
        new_client(own_engine.url.replace("unix://", "unix://blind:pw@"), namespace="x", auto_reconnect=False).connect()


# Events


def test_listeners_get_every_event_with_its_place(client: RelayClient, leader: Leader) -> None:
    got = collect(client)
    first = leader.append(wire_of("a", x=1), wire_of("b", x=2))
    second = leader.emit("c")
    until(lambda: len(got) == 3)
    assert [(event.type, event.id) for event in got] == [("a", f"{first}.0"), ("b", f"{first}.1"), ("c", f"{second}.0")]
    assert client.stats.messages_received == 3


def test_the_place_counts_malformed_texts_and_is_no_part_of_the_event(client: RelayClient, leader: Leader) -> None:
    got = collect(client)
    errors = Record(client, "error")
    entry = leader.append("not JSON", wire_of("a"), wire_of("a"))
    until(lambda: len(got) == 2)
    assert [event.id for event in got] == [f"{entry}.1", f"{entry}.2"]
    assert got[0] == got[1]
    assert "id" not in got[0].to_dict()
    assert isinstance(errors.wait("error").error, ParseError)
    assert client.stats.parse_errors == 1


def test_an_entry_may_hold_more_texts_than_any_table(client: RelayClient, leader: Leader) -> None:
    got = collect(client)
    entry = leader.append(*[wire_of("a", n=n) for n in range(300)])
    until(lambda: len(got) == 300)
    assert [event.id for event in got] == [f"{entry}.{n}" for n in range(300)]


def test_an_absent_timestamp_is_that_of_the_receipt_by_the_relay(client: RelayClient, leader: Leader) -> None:
    with client.events("a") as stream:
        leader.append('{"type": "a"}', received_ms=1_700_000_000_123)
        assert stream.get(TIMEOUT).timestamp == "2023-11-14T22:13:20.123Z"


def test_texts_that_are_not_utf_8_are_parse_errors_of_their_own(client: RelayClient, leader: Leader) -> None:
    got = collect(client)
    errors = Record(client, "error")
    leader.append(b"\xff", wire_of("a"))
    until(lambda: len(got) == 1)
    assert errors.wait("error").error.data == b"\xff"


def test_waits_and_streams_get_events(client: RelayClient, leader: Leader) -> None:
    with client.events("a") as stream:
        entry = leader.append(wire_of("b"), wire_of("a"))
        event = stream.get(TIMEOUT)
    assert (event.type, event.id) == ("a", f"{entry}.1")

    def start() -> str:
        leader.emit("image.generation.progress", job_id="7", progress=50)
        leader.emit(COMPLETED, job_id="7", image_url="u")
        return "7"

    assert client.run_image_job(start, timeout=TIMEOUT).payload["image_url"] == "u"


def test_what_came_before_the_first_connection_is_not_read(leader: Leader, new_client: Make) -> None:
    leader.emit("a")
    client = new_client()
    got = collect(client)
    client.connect()
    leader.emit("b")
    until(lambda: got)
    assert [event.type for event in got] == ["b"]


def test_a_second_session_begins_at_the_top(client: RelayClient, leader: Leader) -> None:
    got = collect(client)
    client.disconnect()
    leader.emit("a")
    client.connect()
    leader.emit("b")
    until(lambda: got)
    assert [event.type for event in got] == ["b"]


def test_events_that_nobody_takes_are_not_decoded(client: RelayClient, leader: Leader) -> None:
    record = Record(client, "connected", "error")
    leader.append("not JSON")
    until(lambda: client.stats.messages_received == 1)
    with client.events("a") as stream:
        leader.emit("a")
        stream.get(TIMEOUT)
    assert record.of("error") == []


def test_undecoded_events_count_as_waiting_and_stop_the_reader(leader: Leader, new_client: Make) -> None:
    client = new_client(queue_size=4)
    held, go_on = threading.Event(), threading.Event()
    got: list[Any] = []

    def listen(event: Any) -> None:
        held.set()
        assert go_on.wait(TIMEOUT)
        got.append(event.payload["n"])

    client.on("a", listen)
    client.connect()
    numbers = iter(range(60))
    for _ in range(10):
        leader.append(*[wire_of("a", n=next(numbers)) for _ in range(6)])
    assert held.wait(TIMEOUT)
    until(lambda: client.stats.events_waiting >= 5)
    time.sleep(0.1)  # in which a reader that does not wait would read all
    assert client.stats.events_waiting <= 11
    go_on.set()
    until(lambda: len(got) == 60)
    assert got == [*range(60)]
    assert client.stats.events_waiting == 0


def test_messages_are_logged_as_they_came(
    client: RelayClient, leader: Leader, caplog: pytest.LogCaptureFixture
) -> None:
    got = collect(client)
    with caplog.at_level("DEBUG", "masquerade_ws"):
        leader.emit("a", n=1)
        until(lambda: got)
    assert any(message.startswith('received {"type": "a"') for message in caplog.messages)


# Losses


@pytest.mark.parametrize(("code", "errors"), [(1012, 0), (1006, 1)])
def test_a_lost_gateway_is_lost_with_its_own_code(client: RelayClient, leader: Leader, code: int, errors: int) -> None:
    record = Record(client)
    got = collect(client)
    leader.emit("a")
    leader.note(LOST, code=code, reason="so it is")
    lost = record.wait("disconnected")
    assert (lost.code, lost.reason, lost.will_reconnect) == (code, "so it is", True)
    assert [event.type for event in got] == ["a"]
    assert len(record.of("error")) == errors
    assert client.last_error is not None


def test_a_gap_of_the_relay_is_that_of_the_connection(client: RelayClient, leader: Leader) -> None:
    record = Record(client)
    leader.note(LOST, code=1006, reason="")
    record.wait("disconnected")
    with pytest.raises(NotConnectedError):
        client.emit("a")
    leader.note(BACK, gap=1.5)
    again = record.wait("connected")
    assert (again.reconnected, again.resumed, again.gap) == (True, False, 1.5)
    assert client.stats.gap_seconds == 1.5
    assert (client.stats.connections, client.stats.reconnects) == (2, 1)


def test_a_standby_that_takes_over_in_time_leaves_no_gap(client: RelayClient, leader: Leader) -> None:
    record = Record(client)
    leader.note(LOST, code=1001, reason="")
    record.wait("disconnected")
    leader.anew()
    again = record.wait("connected")
    assert (again.reconnected, again.resumed, again.gap) == (True, True, None)
    assert client.stats.gap_seconds == 0


def test_a_start_without_a_gap_is_not_told(client: RelayClient, leader: Leader) -> None:
    record = Record(client)
    got = collect(client)
    leader.emit("a")
    leader.anew()
    leader.emit("b")
    until(lambda: len(got) == 2)
    assert record.events == []


def test_a_relay_that_shows_no_sign_of_life_is_gone(client: RelayClient, leader: Leader) -> None:
    record = Record(client)
    leader.vanish()
    lost = record.wait("disconnected")
    assert (lost.code, lost.reason) == (1006, "the relay is gone")
    assert str(record.wait("error").error).startswith("the relay is gone")
    leader.resume()  # it was only stopped, and goes on under its old epoch
    again = record.wait("connected")
    assert (again.resumed, again.gap) == (True, None)


@pytest.mark.slow
def test_a_relay_that_is_gone_is_replaced_by_one_with_a_gap(client: RelayClient, leader: Leader) -> None:
    record = Record(client)
    leader.vanish()
    record.wait("disconnected")
    leader.anew(gap=7.0)
    again = record.wait("connected")
    assert (again.resumed, again.gap) == (False, 7.0)


@pytest.mark.slow
def test_an_event_proves_that_a_relay_leads(client: RelayClient, leader: Leader) -> None:
    record = Record(client)
    got = collect(client)
    leader.vanish()
    record.wait("disconnected")
    leader.emit("a")
    record.wait("connected")
    until(lambda: got)


# Gaps


def gap_of(record: Record, client: RelayClient) -> tuple[str, Any]:
    """Wait for a gap that was found while reading; return what was said, and the connection after it."""
    lost, again = record.wait("disconnected"), record.wait("connected")
    assert record.story == ["disconnected", "connected"]
    assert (lost.code, lost.will_reconnect) == (1006, True)
    assert (again.reconnected, again.attempts, again.resumed) == (True, 1, False)
    assert client.state == "connected"
    return lost.reason, again


def test_missing_entries_are_a_gap(client: RelayClient, leader: Leader) -> None:
    record = Record(client)
    got = collect(client)
    leader.skip(leader.keys.ev, 3)
    leader.emit("a")
    until(lambda: got)
    reason, again = gap_of(record, client)
    assert reason == "3 entries of the stream went unread"
    assert again.gap >= 0
    assert (client.stats.connections, client.stats.reconnects) == (2, 1)


def test_a_gap_is_told_whatever_auto_reconnect_says(leader: Leader, new_client: Make) -> None:
    client = new_client(auto_reconnect=False)
    connected(client)
    record = Record(client)
    leader.skip(leader.keys.ev, 1)
    leader.emit("a")
    assert gap_of(record, client)[0] == "1 entry of the stream went unread"


def test_what_a_full_buffer_dropped_is_a_gap_of_known_size(client: RelayClient, leader: Leader) -> None:
    record = Record(client)
    leader.note(DROPPED, count=12)
    assert gap_of(record, client)[0] == "the relay's buffer was full, and 12 events are missing"


def test_a_start_with_a_gap_is_one(client: RelayClient, leader: Leader) -> None:
    record = Record(client)
    leader.anew(gap=2.5)
    reason, again = gap_of(record, client)
    assert reason == "the relay had no connection to the gateway for 2.5 s"
    assert again.gap == 2.5


def test_jobs_may_fail_after_a_gap_but_not_after_a_resumption(client: RelayClient, leader: Leader) -> None:
    record = Record(client)
    jobs = [client.submit_image_job(lambda number=n: str(number), fail_after_gap=n == 1) for n in range(2)]
    leader.note(LOST, code=1001, reason="")
    record.wait("disconnected")
    leader.anew()
    assert record.wait("connected").resumed
    leader.skip(leader.keys.ev, 1)
    leader.emit(COMPLETED, job_id="0", image_url="u")
    assert jobs[0].result(TIMEOUT).id is not None
    with pytest.raises(ImageGenerationError, match="the connection was lost while the job ran"):
        jobs[1].result(TIMEOUT)


def test_a_future_gets_an_event_of_the_stream(client: RelayClient, leader: Leader) -> None:
    future = client.future("a")
    entry = leader.emit("a")
    assert future.result(TIMEOUT).id == f"{entry}.0"


def test_a_poll_is_asked_after_a_gap(client: RelayClient, leader: Leader) -> None:
    answers = iter([None, "found"])
    waiting = running(lambda: client.wait_for("a", poll=lambda: next(answers)))
    until(lambda: client._streams)
    leader.skip(leader.keys.ev, 1)
    leader.emit("b")
    assert waiting.result() == "found"


def test_a_stream_that_was_flushed_is_a_gap(own_engine: EngineServer, new_client: Make) -> None:
    with Leader(own_engine, namespace="x") as leader:
        client = new_client(own_engine.url, namespace="x")
        connected(client)
        record = Record(client)
        got = collect(client)
        own_engine.run("FLUSHALL")
        leader.anew()
        leader.emit("a")
        until(lambda: got)
        assert "the engine has lost the history of the stream" in gap_of(record, client)[0]


def test_a_stream_that_begins_anew_below_the_old_ids_is_found(
    own_engine: EngineServer, new_client: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CHECK", 0.1)
    monkeypatch.setattr(reading, "LOOK", 0.1)
    with Leader(own_engine, namespace="x") as leader:
        client = new_client(own_engine.url, namespace="x")
        connected(client)
        record = Record(client)
        got = collect(client)
        own_engine.run("FLUSHALL")
        with Leader(own_engine, namespace="x", epoch=5):
            leader.pause()
            until(lambda: record.of("connected"))
        assert "the engine has lost the history of the stream" in gap_of(record, client)[0]
        assert got == []


@pytest.mark.parametrize("when", ["while it is read", "while the engine is away"])
def test_an_engine_that_is_set_back_is_a_gap_and_tells_nothing_twice(
    own_engine: EngineServer, new_client: Make, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr(reading, "CHECK", 0.1)
    monkeypatch.setattr(reading, "LOOK", 0.1)
    with Leader(own_engine, namespace="x") as leader:
        client = connected(new_client(own_engine.url, namespace="x"))
        record = Record(client)
        got = collect(client)
        leader.append(wire_of("a"), wire_of("b"))
        older = own_engine.run("DUMP", leader.keys.ev)
        leader.emit("c")
        until(lambda: len(got) == 3)
        own_engine.run("RESTORE", leader.keys.ev, 0, older, "REPLACE")
        if when == "while the engine is away":
            own_engine.run("CLIENT", "KILL", "TYPE", "normal")
            assert record.wait("connected").resumed  # nothing is missing yet
            record = Record(client)
        else:
            until(lambda: client._state.session.place.chain.cursor < client._state.session.place.chain.last)  # type: ignore[union-attr]
        leader.anew()
        leader.emit("d")
        until(lambda: len(got) == 4)
        assert "the engine has lost the history of the stream" in gap_of(record, client)[0]
        assert [event.type for event in got] == ["a", "b", "c", "d"]


def test_an_entry_that_no_relay_wrote_is_reported_once(client: RelayClient, leader: Leader) -> None:
    record = Record(client)
    for _ in range(2):
        leader.run("XADD", leader.keys.ev, "*", "who", "knows")
    error = record.wait("error").error
    assert isinstance(error, ParseError)
    assert "was written by no relay" in str(error)
    assert "who" in str(error)
    leader.anew()
    assert "how many entries are missing is not known" in record.wait("disconnected").reason
    assert len(record.of("error")) == 1


# An engine that goes


def test_a_lost_engine_is_told_and_reading_goes_on(own_engine: EngineServer, new_client: Make) -> None:
    with Leader(own_engine, namespace="x") as leader:
        client = new_client(own_engine.url, namespace="x")
        connected(client)
        record = Record(client)
        got = collect(client)
        leader.emit("a")
        until(lambda: got)
        own_engine.run("CLIENT", "KILL", "TYPE", "normal")
        lost = record.wait("disconnected")
        assert (lost.code, lost.reason) == (1006, "")
        assert str(record.wait("error").error).startswith("the engine was lost: the engine unix://")
        leader.emit("b")
        again = record.wait("connected")
        until(lambda: len(got) == 2)
        assert (again.resumed, again.gap) == (True, None)


def test_entries_that_are_gone_after_a_loss_are_the_gap_of_the_next_connection(
    own_engine: EngineServer, new_client: Make
) -> None:
    with Leader(own_engine, namespace="x") as leader:
        client = new_client(own_engine.url, namespace="x", initial_reconnect_delay=0.2)
        connected(client)
        record = Record(client)
        got = collect(client)
        own_engine.run("CLIENT", "KILL", "TYPE", "normal")
        leader.skip(leader.keys.ev, 2)
        leader.emit("b")
        again = record.wait("connected")
        assert (again.resumed, again.gap > 0) == (False, True)
        until(lambda: got)
        assert len(record.of("connected")) == 1


def test_an_engine_that_hangs_is_lost(own_engine: EngineServer, new_client: Make) -> None:
    with Leader(own_engine, namespace="x"):
        client = new_client(own_engine.url, namespace="x")
        connected(client)
        record = Record(client)
        own_engine.suspend()
        try:
            assert "it has not answered for 3 s" in str(record.wait("error").error)
            record.wait("disconnected")
        finally:
            own_engine.resume()
        again = record.wait("connected")
        assert (again.resumed, again.gap) == (True, None)


def test_an_engine_that_restarts_empty_is_a_gap(own_engine: EngineServer, new_client: Make) -> None:
    with Leader(own_engine, namespace="x") as leader:
        client = new_client(own_engine.url, namespace="x")
        connected(client)
        record = Record(client)
        own_engine.kill()
        record.wait("disconnected")
        own_engine.start()
        leader.anew()
        again = record.wait("connected")
        assert not again.resumed
        assert again.gap > 0


# Sending


def test_what_is_sent_stands_in_the_out_stream(client: RelayClient, leader: Leader) -> None:
    client.emit("image.generate", {"prompt": "a fox"})
    client.send({"type": "b", "payload": {}})
    entries = leader.run("XRANGE", leader.keys.out, "-", "+")
    first = decode_outgoing(entries[0][1])
    assert not isinstance(first, tuple) or b'"a fox"' in first[0]
    assert first.timeout_ms == 10_000  # type: ignore[union-attr]
    assert len(entries) == 2
    assert client.stats.messages_sent == 2
    assert client.stats.bytes_sent > 50


def test_what_the_relay_did_not_send_is_reported_to_its_sender_alone(
    client: RelayClient, leader: Leader, new_client: Make
) -> None:
    other = new_client()
    other.connect()
    records = Record(client, "error"), Record(other, "error")
    client.emit("a")
    [[entry, fields]] = leader.run("XRANGE", leader.keys.out, "-", "+")
    sender = decode_outgoing(fields).sender  # type: ignore[union-attr]
    leader.note(UNSENT, sender=sender, id=entry.decode(), reason="not sent within 10 s")
    leader.note(BAD, data="\n")
    error = records[0].wait("error")
    assert isinstance(error.error, SendError)
    assert error.context == "send"
    assert str(error.error) == "a message that was given to the relay: not sent within 10 s"
    bad = records[1].wait("error")
    assert (bad.context, bad.error.data) == ("parse", "\n")
    assert [event.context for event in records[1].events] == ["parse"]


def test_a_send_that_the_engine_refuses_fails_alone(own_engine: EngineServer, new_client: Make) -> None:
    own_engine.run(
        *("ACL", "SETUSER", "reader", "on", ">pw", "resetkeys", "%R~mws:{x}:*", "-@all", "+select", "+xread"),
        *("+xrange", "+xrevrange", "+get"),
    )
    with Leader(own_engine, namespace="x"):
        client = new_client(own_engine.url.replace("unix://", "unix://reader:pw@"), namespace="x")
        connected(client)
        record = Record(client)
        with pytest.raises(SendError, match=r"the message was not given to the relay: .* NOPERM"):
            client.emit("a")
        assert client.state == "connected"
        assert record.events == []


def test_a_send_that_finds_the_engine_gone_ends_the_connection(own_engine: EngineServer, new_client: Make) -> None:
    with Leader(own_engine, namespace="x"):
        client = new_client(own_engine.url, namespace="x", send_timeout=0.2)
        connected(client)
        record = Record(client)
        client.emit("a")
        own_engine.suspend()
        try:
            with pytest.raises(SendError, match="did not answer in time"):
                client.emit("b")
            assert record.wait("error").context == "send"
            record.wait("disconnected")
        finally:
            own_engine.resume()
        record.wait("connected")
        client.emit("c")


# What is left


def test_a_client_that_nobody_refers_to_any_more_ends(
    leader: Leader, engine_server: EngineServer, namespace: str
) -> None:
    client = RelayClient(engine_server.url, namespace=namespace)
    client.connect()
    client.on("*", print)
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None
    until(lambda: names_of_threads() == [])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_begins_anew_and_leaves_the_parent_s_connection(client: RelayClient, leader: Leader) -> None:
    client.emit("before")
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            fine = client.state == "disconnected"
            client.connect()
            stream = client.events("b")
            os.write(write, b"r")
            os.write(write, b"y" if fine and stream.get(TIMEOUT).type == "b" else b"n")
            client.emit("mine")
        finally:
            os._exit(0)
    got = collect(client)
    assert os.read(read, 1) == b"r"
    leader.emit("b")
    assert os.read(read, 1) == b"y"
    os.waitpid(pid, 0)
    os.close(read)
    os.close(write)
    until(lambda: got)
    client.emit("after")
    assert leader.run("XLEN", leader.keys.out) == 3


def test_the_password_is_shown_nowhere(new_client: Make) -> None:
    secret = "s3cr3t-pw"
    client = new_client(f"redis://user:{secret}@127.0.0.1:1/0", auto_reconnect=False)
    with pytest.raises(ConnectError) as caught:
        client.connect()
    error: BaseException | None = caught.value
    while error is not None:
        assert secret not in str(error) + repr(error) + repr(vars(error))
        error = error.__cause__ or error.__context__
    assert secret not in repr(client)
    assert "127.0.0.1:1/0" in repr(client)


# Its ends


@pytest.fixture
def opened(engine_server: EngineServer, leader: Leader) -> Reading:
    """Give a connection that nobody reads."""
    place = Place(EngineUrl.parse(engine_server.url), leader.keys, None)
    opened = Reading(place, 1.0)
    opened.connect(TIMEOUT)
    return opened


def test_a_connection_that_was_closed_before_is_not_opened(opened: Reading) -> None:
    closed = Reading(opened._place, 1.0)
    closed.close()
    with pytest.raises(ConnectError, match="closed before"):
        closed.connect(TIMEOUT)
    assert closed.wait_tcp_closed(TIMEOUT)
    opened.close(1001, "so long")
    assert (opened.close_code, opened.close_reason, opened.error) == (1001, "so long", None)
    assert opened.wait_tcp_closed(TIMEOUT)
    with pytest.raises(DisconnectedError, match="not open"):
        next(opened.batches())


def test_who_cuts_a_connection_leaves_the_rest_to_who_uses_it(opened: Reading) -> None:
    cause = DisconnectedError("enough")
    opened.cut(cause)
    assert not opened.wait_tcp_closed(0)
    opened.abort(DisconnectedError("later"))
    assert opened.error is cause
    assert opened.wait_tcp_closed(TIMEOUT)


def test_a_forked_child_closes_the_descriptors(opened: Reading) -> None:
    opened.send("{}")
    opened.after_fork()
    assert opened.wait_tcp_closed(0)
    with pytest.raises(SendError):
        opened.send("{}")


def test_a_session_in_a_forked_child_leaves_its_place(leader: Leader, engine_server: EngineServer) -> None:
    session = Session(1, None, Place(EngineUrl.parse(engine_server.url), leader.keys, None))
    session.after_fork()
    assert session.done.is_set()


# Key events only


def test_a_client_of_key_events_reads_these_alone(leader: Leader, new_client: Make) -> None:
    client = new_client(key_events_only=True)
    got = collect(client)
    client.connect()
    leader.append(wire_of("news"), wire_of(COMPLETED, job_id="7", image_url="u"))
    entry = leader.append(wire_of("news"), wire_of("image.generation.failed", job_id="8", error="no"))
    until(lambda: len(got) == 2)
    assert [event.type for event in got] == [COMPLETED, "image.generation.failed"]
    assert got[1].id == f"{entry}.1"
    job = client.run_image_job(lambda: leader.emit(COMPLETED, job_id="9", image_url="v") and "9", timeout=TIMEOUT)
    assert job.payload["image_url"] == "v"


def test_it_fails_when_the_relay_does_not_tell_a_type(leader: Leader, new_client: Make) -> None:
    client = new_client(key_events_only=("x.done", COMPLETED), auto_reconnect=False)
    with pytest.raises(ConnectError, match=r"does not tell key events of type x.done; start it with --key-event"):
        client.connect()


@pytest.mark.parametrize("name", ["image.generation.progress", "news"])
def test_other_types_are_refused(new_client: Make, name: str) -> None:
    client = new_client(key_events_only=True)
    for call in (client.on, client.once, client.events, client.wait_for, client.future):
        with pytest.raises(ValueError, match=f"type '{name}' is not among the key events that this client reads"):
            call(name)
    for known in ("*", "image.generation.*", COMPLETED, "connected"):
        client.on(known, print)


def test_progress_is_refused_where_none_comes(new_client: Make) -> None:
    with pytest.raises(ValueError, match="on_progress gets no events"):
        new_client(key_events_only=True).run_image_job(str, on_progress=print)
    with pytest.raises(ValueError, match="on_progress gets no events"):
        new_client(key_events_only=True).submit_image_job(str, on_progress=print)


@pytest.mark.parametrize("value", [(), ("*",), ("connected",), ("",)])
def test_types_that_are_none_are_refused(new_client: Make, value: Any) -> None:
    with pytest.raises(ValueError, match=r"type must not be empty|key_events_only must hold types"):
        new_client(key_events_only=value)


@pytest.mark.parametrize("value", [1, "x", None, ["a"]])
def test_key_events_of_another_type_are_refused(new_client: Make, value: Any) -> None:
    with pytest.raises(TypeError, match="key_events_only must be True, False or a tuple of types"):
        new_client(key_events_only=value)
