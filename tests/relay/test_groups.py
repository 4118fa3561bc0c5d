"""Clients of a group share the key events, and each is handled at least once."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from masquerade_ws import ConnectError, DisconnectedError
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.relay import RelayClient, group_reading
from masquerade_ws.relay.entries import BACK, DROPPED, LOST, EntryId, KeyEvent
from masquerade_ws.relay.hand import Hold
from masquerade_ws.relay.reading import Taken
from tests.support.engines import EngineServer
from tests.support.raw_server import until
from tests.support.relays import Leader, connected
from tests.support.scenes import FOUR, TIMEOUT, Record, names_of_threads, running

Make = Callable[..., RelayClient]
COMPLETED = "image.generation.completed"
GROUP = "store"


@pytest.fixture
def member(leader: Leader, new_client: Make) -> Callable[..., RelayClient]:
    """Give what makes connected clients of the group, with a handler for completed images if there is one."""

    def make(handler: Callable[[Any], object] | None = None, **options: Any) -> RelayClient:
        client = new_client(**{"group": GROUP, "retry_after": 0.3, **options})
        if handler is not None:
            client.on(COMPLETED, handler)
        return connected(client)

    return make


def complete(leader: Leader, *jobs: object) -> None:
    for job in jobs:
        leader.emit(COMPLETED, job_id=str(job), image_url="u")


def pending(leader: Leader) -> list[tuple[str, str, int]]:
    """Return the pending entries of the group: id, consumer and how often each was delivered."""
    reply = leader.run("XPENDING", leader.keys.key, GROUP, "-", "+", 1000)
    return [(entry.decode(), consumer.decode(), count) for entry, consumer, _, count in reply]


def consumers(leader: Leader) -> list[str]:
    return [about[1].decode() for about in leader.run("XINFO", "CONSUMERS", leader.keys.key, GROUP)]


def job_of(event: Any) -> str:
    return str(event.payload["job_id"])


def settled(leader: Leader) -> None:
    until(lambda: not pending(leader))


# Sharing


def test_each_event_goes_to_one_client(leader: Leader, member: Make) -> None:
    got: list[tuple[int, str]] = []
    clients = [member(lambda event, n=n: got.append((n, job_of(event)))) for n in range(2)]
    complete(leader, *range(60))
    until(lambda: len(got) >= 60)
    settled(leader)
    assert sorted(int(job) for _, job in got) == [*range(60)]
    assert len(clients) == 2
    assert names_of_threads() == sorted(FOUR * 2)


def test_it_goes_to_all_listeners_of_that_client(leader: Leader, member: Make) -> None:
    got: list[str] = []
    client = member(lambda event: got.append("one"))
    client.on("image.generation.*", lambda event: got.append(str(event.id)))
    client.on("*", lambda event: got.append("three"))
    complete(leader, 1)
    until(lambda: len(got) == 3)
    settled(leader)
    assert got[0] == "one"
    assert got[1].endswith(".0")


def test_what_nobody_takes_is_done_at_once(leader: Leader, member: Make) -> None:
    got: list[Any] = []
    member(got.append)
    leader.emit("image.generation.failed", job_id="1", error="no")
    complete(leader, 2)
    until(lambda: got)
    settled(leader)


def test_what_is_no_event_is_reported_and_done(leader: Leader, member: Make) -> None:
    got: list[Any] = []
    client = member(got.append)
    record = Record(client, "error")
    raw = b'{"type": "image.generation.completed", "payload": 3}'
    leader._append(leader.keys.key, [b"t", b"0", b"y", COMPLETED.encode(), b"j", b"", b"e", raw, b"p", b"1-1.0"])
    leader._append(leader.keys.key, [b"who", b"knows"])
    assert record.wait("error").context == "parse"
    assert "was written by no relay" in str(record.wait("error", 2).error)
    settled(leader)


def test_without_listeners_and_streams_nothing_is_read(leader: Leader, member: Make) -> None:
    client = member()
    complete(leader, 1)
    time.sleep(0.3)
    assert pending(leader) == []
    got: list[Any] = []
    client.on(COMPLETED, got.append)
    until(lambda: got)


def test_a_group_begins_with_its_first_client_and_keeps_what_comes_while_all_are_away(
    leader: Leader, member: Make
) -> None:
    complete(leader, "before")
    got: list[Any] = []
    member(got.append).disconnect()
    complete(leader, "meanwhile")
    member(got.append)
    until(lambda: got)
    assert [job_of(event) for event in got] == ["meanwhile"]


def test_not_more_than_ten_entries_are_in_hand(leader: Leader, member: Make) -> None:
    go_on = threading.Event()
    got: list[str] = []

    def listen(event: Any) -> None:
        assert go_on.wait(TIMEOUT)
        got.append(job_of(event))

    member(listen, retry_after=30.0)
    complete(leader, *range(25))
    until(lambda: len(pending(leader)) == 10)
    others: list[str] = []
    member(lambda event: others.append(job_of(event)), retry_after=30.0)
    until(lambda: len(others) == 15)
    go_on.set()
    settled(leader)
    assert sorted(map(int, got + others)) == [*range(25)]


def test_after_a_long_listener_one_entry_is_read_at_a_time(leader: Leader, member: Make) -> None:
    go_on = threading.Semaphore(0)

    def listen(event: Any) -> None:
        assert go_on.acquire(timeout=TIMEOUT)

    member(listen, retry_after=1.0)
    complete(leader, 0)
    until(lambda: len(pending(leader)) == 1)
    time.sleep(0.2)  # more than a tenth of `retry_after`
    complete(leader, *range(1, 6))
    until(lambda: len(pending(leader)) == 6)
    for _ in range(7):
        go_on.release()
    settled(leader)
    complete(leader, 6)
    time.sleep(0.2)
    complete(leader, *range(7, 10))
    for _ in range(10):
        go_on.release()
    settled(leader)


# Failures


def test_a_listener_that_raises_leaves_it_for_another_try(leader: Leader, member: Make) -> None:
    tries: list[float] = []

    def listen(event: Any) -> None:
        tries.append(time.monotonic())
        if len(tries) == 1:
            raise ValueError("no")

    client = member(listen)
    record = Record(client, "error")
    complete(leader, 1)
    until(lambda: len(tries) == 2)
    settled(leader)
    assert tries[1] - tries[0] >= 0.29
    assert [event.context for event in record.events] == ["handler"]


def test_after_the_last_try_it_goes_to_the_dead_letters(leader: Leader, member: Make) -> None:
    tries: list[Any] = []

    def listen(event: Any) -> None:
        tries.append(event)
        raise LookupError("no")

    client = member(listen, max_deliveries=2)
    record = Record(client, "error")
    complete(leader, 7)
    last = record.wait("error", 3)
    assert len(tries) == 2
    dead = leader.keys.dead(GROUP)
    assert str(last.error) == f"event {tries[0].id} ({COMPLETED}) failed 2 times, and was moved to {dead}"
    assert isinstance(last.error.__cause__, LookupError)
    assert last.context == "handler"
    [[_, fields]] = leader.run("XRANGE", dead, "-", "+")
    letter = dict(zip(fields[::2], fields[1::2], strict=True))
    assert letter[b"j"] == b"7"
    assert letter[b"y"] == COMPLETED.encode()
    assert letter[b"p"].decode() == tries[0].id
    assert (letter[b"tries"], letter[b"class"]) == (b"2", b"LookupError")
    assert letter.keys() == {b"t", b"y", b"j", b"e", b"p", b"tries", b"consumer", b"class"}
    settled(leader)


def test_what_a_dead_worker_left_is_taken_over(leader: Leader, member: Make) -> None:
    member().disconnect()  # makes the group
    complete(leader, 1)
    leader.run("XREADGROUP", "GROUP", GROUP, "the dead", "COUNT", 10, "STREAMS", leader.keys.key, ">")
    got: list[Any] = []
    member(got.append)
    until(lambda: got)
    settled(leader)
    assert job_of(got[0]) == "1"


def test_what_killed_its_workers_goes_to_the_dead_letters(leader: Leader, member: Make) -> None:
    member(max_deliveries=2).disconnect()
    complete(leader, 1)
    leader.run("XREADGROUP", "GROUP", GROUP, "the dead", "COUNT", 10, "STREAMS", leader.keys.key, ">")
    [(entry, _, _)] = pending(leader)
    leader.run("XCLAIM", leader.keys.key, GROUP, "the dead", 0, entry)
    got: list[Any] = []
    record = Record(member(got.append, max_deliveries=2), "error")
    assert "failed 2 times" in str(record.wait("error").error)
    settled(leader)
    assert got == []
    [[_, fields]] = leader.run("XRANGE", leader.keys.dead(GROUP), "-", "+")
    assert dict(zip(fields[::2], fields[1::2], strict=True))[b"class"] == b""


def test_a_listener_at_work_keeps_its_event(leader: Leader, member: Make) -> None:
    begun, go_on = threading.Event(), threading.Event()
    got: list[str] = []

    def slow(event: Any) -> None:
        begun.set()
        assert go_on.wait(TIMEOUT)
        got.append("slow")

    member(slow)
    complete(leader, *range(10))
    assert begun.wait(TIMEOUT)
    until(lambda: len(pending(leader)) == 10)
    member(lambda event: got.append("other"))
    time.sleep(1.2)  # several times `retry_after`
    go_on.set()
    settled(leader)
    assert got == ["slow"] * 10


def test_what_was_held_for_long_and_is_another_s_by_now_is_passed_over(leader: Leader, member: Make) -> None:
    begun, go_on = threading.Event(), threading.Event()
    got: list[str] = []

    def slow(event: Any) -> None:
        begun.set()
        assert go_on.wait(TIMEOUT)
        got.append(job_of(event))

    client = member(slow, retry_after=0.5)
    complete(leader, 1, 2)
    assert begun.wait(TIMEOUT)
    until(lambda: len(pending(leader)) == 2)
    second = pending(leader)[1][0]
    leader.run("XCLAIM", leader.keys.key, GROUP, "another", 0, second)
    time.sleep(0.7)
    go_on.set()
    until(lambda: len(pending(leader)) == 1)
    leader.run("XACK", leader.keys.key, GROUP, second)
    assert got == ["1"]
    assert client.state == "connected"


def test_an_entry_that_was_trimmed_is_a_gap_and_done(leader: Leader, member: Make) -> None:
    member().disconnect()
    complete(leader, 1)
    leader.run("XREADGROUP", "GROUP", GROUP, "the dead", "COUNT", 10, "STREAMS", leader.keys.key, ">")
    complete(leader, 2)
    leader.run("XTRIM", leader.keys.key, "MAXLEN", 1)
    record = Record(member(print))
    assert "trimmed before the group had handled 1 of its entries" in record.wait("disconnected").reason
    assert "trimmed" in str(record.wait("error").error)
    settled(leader)


# Streams


def test_an_event_of_a_stream_is_done_when_the_next_is_asked_for(leader: Leader, member: Make) -> None:
    client = member(retry_after=30.0)
    stream = client.events(COMPLETED)
    complete(leader, 1, 2, 3)
    assert job_of(stream.get(TIMEOUT)) == "1"
    assert len(pending(leader)) == 3
    assert job_of(next(stream)) == "2"
    until(lambda: len(pending(leader)) == 2)
    assert job_of(stream.wait_for(timeout=TIMEOUT)) == "3"
    until(lambda: len(pending(leader)) == 1)
    with pytest.raises(TimeoutError):
        stream.get(0.01)
    settled(leader)


def test_an_event_is_done_when_its_with_block_ends_without_an_exception(leader: Leader, member: Make) -> None:
    client = member(retry_after=30.0)
    with client.events(COMPLETED) as stream:
        complete(leader, 1)
        stream.get(TIMEOUT)
    settled(leader)
    stream = client.events(COMPLETED)
    complete(leader, 2)
    with suppress(ZeroDivisionError), stream:
        stream.get(TIMEOUT)
        raise ZeroDivisionError
    assert len(pending(leader)) == 1


def test_what_a_stream_has_not_handed_out_is_left_for_others(leader: Leader, member: Make) -> None:
    client = member()
    with client.events(COMPLETED) as stream:
        complete(leader, 1, 2)
        until(lambda: len(pending(leader)) == 2)
        assert job_of(stream.get(TIMEOUT)) == "1"
        until(lambda: len(stream._buffer) == 1)
    with pytest.raises(DisconnectedError):
        stream.get()
    got: list[Any] = []
    client.on(COMPLETED, got.append)
    until(lambda: got)
    settled(leader)
    assert [job_of(event) for event in got] == ["2"]


def test_what_a_forgotten_stream_holds_is_left_for_others(leader: Leader, member: Make) -> None:
    client = member()
    stream = client.events(COMPLETED)
    complete(leader, 1, 2)
    stream.get(TIMEOUT)
    held = weakref.ref(stream)
    until(lambda: "1 buffered" in repr(held()))
    del stream
    gc.collect()
    got: list[Any] = []
    client.on(COMPLETED, got.append)
    until(lambda: len(got) == 2)
    settled(leader)


def test_what_a_predicate_fails_at_is_left_for_others(leader: Leader, member: Make) -> None:
    client = member(retry_after=30.0)
    answers = iter([True])
    stream = client.events(COMPLETED, where=lambda event: next(answers))
    complete(leader, 1, 2)
    until(lambda: stream.ended)
    until(lambda: len(pending(leader)) == 1)  # the second is taken by nobody
    with pytest.raises(StopIteration):
        stream.get(0)


def test_a_stream_drops_nothing(leader: Leader, member: Make) -> None:
    client = member()
    with client.events(COMPLETED, maxsize=1) as stream:
        complete(leader, 1, 2, 3)
        assert [job_of(stream.get(TIMEOUT)) for _ in range(3)] == ["1", "2", "3"]


def test_other_waits_are_refused(member: Make) -> None:
    client = member()
    for wait in (client.wait_for, client.future):
        with pytest.raises(RuntimeError, match="cannot work on a client with a group"):
            wait(COMPLETED)
    for job in (client.run_image_job, client.submit_image_job):
        with pytest.raises(RuntimeError, match="use a client without a group"):
            job(str)


# Ends


def test_what_a_disconnect_finds_unbegun_is_free_at_once(leader: Leader, member: Make) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(event: Any) -> None:
        begun.set()
        assert go_on.wait(TIMEOUT)

    client = member(slow, retry_after=60.0)
    complete(leader, 1, 2, 3)
    assert begun.wait(TIMEOUT)
    until(lambda: len(pending(leader)) == 3)
    leaving = running(client.disconnect)
    until(lambda: client.state == "disconnected")
    go_on.set()
    leaving.result()
    assert len(pending(leader)) == 2  # what was begun was done, and told
    got: list[Any] = []
    member(lambda event: got.append(job_of(event)), retry_after=60.0)
    until(lambda: len(got) == 2)
    settled(leader)
    assert sorted(got) == ["2", "3"]


def test_what_is_done_after_the_end_is_told_at_once(leader: Leader, member: Make) -> None:
    client = member(retry_after=60.0)
    stream = client.events(COMPLETED)
    complete(leader, 1)
    stream.get(TIMEOUT)
    client.disconnect()
    assert len(pending(leader)) == 1
    with pytest.raises(DisconnectedError):
        stream.get(0)
    settled(leader)


def test_an_exit_in_a_listener_leaves_its_event(leader: Leader, member: Make) -> None:
    def leave(event: Any) -> None:
        raise SystemExit

    client = member(leave, retry_after=60.0)
    complete(leader, 1)
    until(lambda: client.state == "disconnected")
    client.disconnect()
    assert len(pending(leader)) == 1


def test_what_was_delivered_and_not_received_is_taken_after_a_reconnection(
    own_engine: EngineServer, new_client: Make
) -> None:
    with Leader(own_engine, namespace="x") as leader:
        client = new_client(own_engine.url, namespace="x", group=GROUP, retry_after=60.0)
        got: list[str] = []
        client.on(COMPLETED, lambda event: got.append(job_of(event)))
        connected(client)
        record = Record(client, "connected")
        name = client._state.session.place.name  # type: ignore[union-attr]
        leader.pause()
        own_engine.suspend()
        own_engine.resume()
        client.off(COMPLETED)
        until(lambda: not client._wanting)
        time.sleep(1.0)  # the reader has left its call
        complete(leader, 1)
        leader.run("XREADGROUP", "GROUP", GROUP, name, "COUNT", 1, "STREAMS", leader.keys.key, ">")
        client.on(COMPLETED, lambda event: got.append(job_of(event)))
        leader.resume()
        own_engine.run("CLIENT", "KILL", "TYPE", "normal")
        record.wait("connected")
        until(lambda: got)
        assert got == ["1"]
        until(lambda: not pending(leader))


def test_consumers_that_have_gone_are_deleted(leader: Leader, member: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    member().disconnect()
    leader.run("XGROUP", "CREATECONSUMER", leader.keys.key, GROUP, "gone")
    monkeypatch.setattr(group_reading, "_HOUR", 0.0)
    member(print)
    assert "gone" not in consumers(leader)
    leader.run("XGROUP", "CREATECONSUMER", leader.keys.key, GROUP, "gone")
    until(lambda: "gone" not in consumers(leader))  # hourly


# What the relay says


def test_a_group_learns_of_losses_and_gaps_from_the_status(leader: Leader, member: Make) -> None:
    client = member(print)
    record = Record(client)
    complete(leader, 1)
    leader.note(DROPPED, count=3)
    assert "3 events are missing" in record.wait("disconnected").reason
    record.wait("connected")
    leader.note(LOST, code=1012, reason="restart")
    lost = record.wait("disconnected", 2)
    assert (lost.code, lost.reason) == (1012, "restart")
    leader.note(BACK, gap=2.0)
    assert record.wait("connected", 2).gap == 2.0
    leader.anew()
    leader.note(DROPPED, count=1)
    assert "1 event is missing" in record.wait("disconnected", 3).reason


def test_a_group_waits_for_a_relay(engine_server: EngineServer, namespace: str, new_client: Make) -> None:
    client = new_client(group=GROUP)
    record = Record(client, "connected", "disconnected")
    connecting = running(client.connect)
    until(lambda: b"cmd=xread " in engine_server.run("CLIENT", "LIST"))  # it waits for a relay
    with Leader(engine_server, namespace=namespace) as leader:
        connecting.result()
        leader.vanish()
        assert record.wait("disconnected").reason == "the relay is gone"
        leader.resume()
        assert record.wait("connected", 2).resumed


@pytest.mark.parametrize("waits", [False, True])
def test_a_group_whose_stream_was_flushed_begins_with_all_that_came_since(
    own_engine: EngineServer, new_client: Make, waits: bool
) -> None:
    with Leader(own_engine, namespace="x") as leader:
        client = new_client(own_engine.url, namespace="x", group=GROUP, retry_after=0.3)
        got: list[str] = []
        client.on(COMPLETED, lambda event: got.append(job_of(event)))
        connected(client)
        record = Record(client)
        own_engine.run("FLUSHALL")
        if waits:
            record.wait("disconnected")
            time.sleep(0.1)  # in which the client finds no stream
        leader.anew()
        complete(leader, 1)
        again = record.wait("connected")
        assert not again.resumed
        until(lambda: got)
        assert got == ["1"]


@pytest.mark.parametrize("group", ["", "a b", "x" * 65])
def test_a_group_without_a_name_is_refused(new_client: Make, group: str) -> None:
    with pytest.raises(ValueError, match="group must be 1 to 64 of the characters"):
        new_client(group=group)
    with pytest.raises(ValueError, match="retry_after must be more than 0"):
        new_client(group="a", retry_after=0)
    with pytest.raises(ValueError, match="max_deliveries must be at least 1"):
        new_client(group="a", max_deliveries=0)


# An engine that refuses


@pytest.fixture
def restricted(own_engine: EngineServer, new_client: Make) -> Callable[..., RelayClient]:
    """Give what makes clients of a user whose rights the test may change."""
    own_engine.run(
        *("ACL", "SETUSER", "worker", "on", ">pw", "resetkeys", "resetchannels", "-@all"),
        *("%R~mws:{x}:*", "%RW~mws:{x}:key", "+select", "+ping", "+xread", "+xrange", "+xrevrange", "+get"),
        *("+xreadgroup", "+xack", "+xclaim", "+xpending", "+xgroup|create", "+xgroup|delconsumer"),
        *("+xinfo|consumers", "+multi", "+exec", "(-@all %W~mws:{x}:dead:* +xadd)"),
    )

    def make(**options: Any) -> RelayClient:
        url = own_engine.url.replace("unix://", "unix://worker:pw@")
        return new_client(url, **{"namespace": "x", "group": GROUP, "retry_after": 0.3, **options})

    return make


def test_the_rights_that_the_documentation_gives_are_enough(own_engine: EngineServer, restricted: Make) -> None:
    with Leader(own_engine, namespace="x") as leader:
        client = restricted(max_deliveries=1)
        client.on(COMPLETED, lambda event: 1 / 0)
        connected(client)
        complete(leader, 1)
        until(lambda: leader.run("XLEN", leader.keys.dead(GROUP)) == 1)
        settled(leader)


def test_a_user_who_may_not_make_a_group_is_told_so(own_engine: EngineServer, restricted: Make) -> None:
    with Leader(own_engine, namespace="x"):
        own_engine.run("ACL", "SETUSER", "worker", "-xgroup|create")
        with pytest.raises(ConnectError, match="refused XGROUP: NOPERM"):
            restricted(auto_reconnect=False).connect()


def test_what_the_engine_could_not_be_told_is_told_later(own_engine: EngineServer, restricted: Make) -> None:
    with Leader(own_engine, namespace="x") as leader:
        got: list[Any] = []
        client = restricted(retry_after=30.0)
        client.on(COMPLETED, got.append)
        connected(client)
        own_engine.run("ACL", "SETUSER", "worker", "-xack")
        complete(leader, 1)
        until(lambda: got)
        time.sleep(0.1)
        assert len(pending(leader)) == 1
        own_engine.run("ACL", "SETUSER", "worker", "+xack")
        settled(leader)


def test_what_may_be_another_s_is_passed_over_if_nobody_can_say(own_engine: EngineServer, restricted: Make) -> None:
    with Leader(own_engine, namespace="x"):
        client = connected(restricted())
        keeper = client._state.session.place.keeper  # type: ignore[union-attr]
        hold = Hold(EntryId(1, 1), KeyEvent(0, COMPLETED, "1", b"{}", "1-1.0"), 1, since=0.0)
        own_engine.run("ACL", "SETUSER", "worker", "-xpending")
        assert not keeper.is_mine(hold)


def test_what_is_in_hand_stays_there_over_a_reconnection(own_engine: EngineServer, new_client: Make) -> None:
    with Leader(own_engine, namespace="x") as leader:
        go_on = threading.Event()
        got: list[str] = []

        def listen(event: Any) -> None:
            got.append(job_of(event))
            if job_of(event) == "1":
                raise ValueError("no")
            assert go_on.wait(TIMEOUT)

        client = new_client(own_engine.url, namespace="x", group=GROUP, retry_after=60.0)
        record = Record(client, "connected", "error")
        client.on(COMPLETED, listen)
        connected(client)
        complete(leader, 1, 2, 3)
        until(lambda: len(got) == 2)
        own_engine.run("CLIENT", "KILL", "TYPE", "normal")
        go_on.set()
        record.wait("connected", 2)
        until(lambda: len(pending(leader)) == 1)
        assert got == ["1", "2", "3"]  # the first is left for `retry_after`


def test_what_is_done_amid_a_recovery_is_not_tried_again(
    own_engine: EngineServer, new_client: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Leader(own_engine, namespace="x") as leader:
        go_on = threading.Event()
        got: list[str] = []

        def listen(event: Any) -> None:
            got.append(job_of(event))
            assert go_on.wait(TIMEOUT)

        knows = group_reading.GroupReading._knows

        def knows_a_moment_later(reading: group_reading.GroupReading, entry_id: EntryId) -> bool:
            go_on.set()
            settled(leader)
            return knows(reading, entry_id)

        client = new_client(own_engine.url, namespace="x", group=GROUP, retry_after=60.0)
        client.on(COMPLETED, listen)
        connected(client)
        complete(leader, 1, 2)
        until(lambda: got)
        monkeypatch.setattr(group_reading.GroupReading, "_knows", knows_a_moment_later)
        own_engine.run("CLIENT", "KILL", "TYPE", "normal")
        until(go_on.is_set)
        complete(leader, 3)
        until(lambda: "3" in got)
        assert got == ["1", "2", "3"]


def test_control_entries_that_no_client_took_are_done_in_the_end(leader: Leader, member: Make) -> None:
    member().disconnect()
    leader.note(DROPPED, count=1)
    leader.run("XREADGROUP", "GROUP", GROUP, "the dead", "COUNT", 10, "STREAMS", leader.keys.key, ">")
    [(entry, _, _)] = pending(leader)
    leader.run("XCLAIM", leader.keys.key, GROUP, "the dead", 0, entry)
    member(print, max_deliveries=2)
    settled(leader)
    assert leader.run("EXISTS", leader.keys.dead(GROUP)) == 0


def test_a_stream_may_take_events_of_the_client_too(leader: Leader, member: Make) -> None:
    client = member()
    stream = client.events("connected", COMPLETED)
    leader.note(DROPPED, count=1)
    assert stream.get(TIMEOUT).type == "connected"
    stream.close()
    assert stream.extend([object()]) == 0


def test_many_entries_between_two_control_entries_are_read_over(leader: Leader, member: Make) -> None:
    client = member()
    record = Record(client)
    for _ in range(2):
        complete(leader, *range(120))
        leader.note(DROPPED, count=1)
    record.wait("disconnected", 2)


def test_a_forked_child_has_nothing_in_hand(leader: Leader, member: Make) -> None:
    client = member(retry_after=60.0)
    stream = client.events(COMPLETED)
    complete(leader, 1, 2)
    stream.get(TIMEOUT)
    keeper = client._state.session.place.keeper  # type: ignore[union-attr]
    name = keeper.name
    client.disconnect()
    client._state.session.place.after_fork()  # type: ignore[union-attr]
    assert keeper.name != name
    assert client._hand.in_hand() == []
    taken = Taken(EntryId(1, 1), KeyEvent(0, COMPLETED, "1", b"{}", "1-1.0"), None, 0.0)
    assert [*client._control._rooms.intake.take([taken], EventQueue(1))] == []
