"""What may happen to the engine while a relay leads: nothing is lost in silence, and nothing comes twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from redis.exceptions import BusyLoadingError

from masquerade_ws.relay.engine import Engine
from masquerade_ws.relay.entries import Blob
from masquerade_ws.relay.process import Relay
from masquerade_ws.testing import EventServer
from tests.support.engines import EngineServer, free_port
from tests.support.raw_server import until
from tests.support.relaying import Streams, numbered, relay_of, relaying

DONE = "image.generation.completed"
NAMESPACE = "faults"


@contextmanager
def one_event_before(engine: EngineServer, server: EventServer) -> Iterator[tuple[Relay, Streams]]:
    """Run a relay that has appended event 0."""
    streams = Streams(engine, NAMESPACE)
    with relaying(engine, server.url, NAMESPACE) as relay:
        server.broadcast_raw(numbered(0))
        streams.await_numbers(0)
        yield relay, streams


def starts(streams: Streams, stream: str = "ev") -> list[tuple[str, bool]]:
    """Return the previous id that each `start` names, and whether it names a gap."""
    found = [control.fields for control in streams.controls(stream) if control.kind == "start"]
    return [(fields["previous"], fields["gap"] is not None) for fields in found]


# The engine is away, and comes back as it was


def is_killed(engine: EngineServer) -> Callable[[], object]:
    engine.run("SAVE")
    engine.kill()
    return engine.start


def loads_its_data(engine: EngineServer) -> Callable[[], object]:
    engine.run("MSET", *(word for n in range(100) for word in (f"key{n}", "x" * 2000)))
    engine.run("SAVE")
    engine.kill()
    engine.start("--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024")
    return lambda: until(lambda: has_loaded(engine))


def has_loaded(engine: EngineServer) -> bool:
    try:
        return bool(engine.run("PING"))
    except BusyLoadingError:
        return False


def is_out_of_memory(engine: EngineServer) -> Callable[[], object]:
    engine.run("CONFIG", "SET", "maxmemory", "1")
    return lambda: engine.run("CONFIG", "SET", "maxmemory", "0")


def is_a_replica(engine: EngineServer) -> Callable[[], object]:
    engine.run("REPLICAOF", "127.0.0.1", free_port())
    return lambda: engine.run("REPLICAOF", "NO", "ONE")


def gives_no_permission(engine: EngineServer) -> Callable[[], object]:
    engine.run("ACL", "SETUSER", "default", "-xadd")
    return lambda: engine.run("ACL", "SETUSER", "default", "+xadd")


def cannot_write_its_disk(engine: EngineServer) -> Callable[[], object]:
    engine.run("CONFIG", "SET", "save", "3600 1")
    shutil.rmtree(engine.data)
    engine.run("BGSAVE")
    until(lambda: b"rdb_last_bgsave_status:err" in engine.run("INFO", "persistence"))
    return lambda: engine.run("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")


@pytest.mark.parametrize(
    "fault",
    [is_killed, loads_its_data, is_out_of_memory, is_a_replica, gives_no_permission, cannot_write_its_disk],
)
def test_while_the_engine_is_away_the_relay_reads_on_and_appends_all_then(
    fault: Callable[[EngineServer], Callable[[], object]], own_engine: EngineServer, server: EventServer
) -> None:
    engine = own_engine
    with one_event_before(engine, server) as (relay, streams):
        end = fault(engine)
        server.broadcast_raw(numbered(1))
        if fault is not loads_its_data:  # which ends by itself
            until(lambda: relay.report().engine)
        server.emit(DONE, {"job_id": "2"})
        server.broadcast_raw(numbered(3))
        until(lambda: relay.report().events == 4)
        end()
        until(lambda: len(streams.texts()) == 4)
        assert streams.numbers() == [0, 1, 3]
        assert [event.job for event in streams.key_events()] == ["2"]
        assert streams.kinds() == ["start"]
        ids = [entry for entry, _ in streams.entries()]
        assert [entry.n for entry in ids] == list(range(len(ids)))
        until(lambda: not relay.report().engine)


def test_a_relay_waits_for_an_engine_that_is_not_there_yet(
    own_engine: EngineServer, server: EventServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[Engine] = []

    class Counted(Engine):
        def connect(self, timeout: float | None) -> None:
            attempts.append(self)
            super().connect(timeout)

    monkeypatch.setattr("masquerade_ws.relay.process.Engine", Counted)
    caplog.set_level("INFO", "masquerade_ws")
    own_engine.kill()
    relay = relay_of(own_engine, server.url, NAMESPACE)
    relay.start()
    until(lambda: len(attempts) >= 3)
    assert server.connections == 0
    assert [record.getMessage() for record in caplog.records if "trying again" in record.getMessage()] == [
        f"the engine {own_engine.url} cannot be reached (connecting): No such file or directory; trying again"
    ]
    own_engine.start()
    until(lambda: relay.report().role == "leader")
    relay.stop()


def test_a_stop_does_not_wait_for_an_engine_that_hangs(
    own_engine: EngineServer, server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masquerade_ws.relay.process._LAST", 0.2)
    with relaying(own_engine, server.url, NAMESPACE) as relay:
        own_engine.suspend()
        relay.stop()
        assert relay.report().role == "stopped"
        relay.stop()  # again, which changes nothing


@pytest.mark.slow
def test_an_engine_that_hangs_holds_nothing_up_for_good_and_nothing_comes_twice(
    own_engine: EngineServer, server: EventServer
) -> None:
    with one_event_before(own_engine, server) as (relay, streams):
        own_engine.suspend()
        server.broadcast_raw(numbered(1))
        until(lambda: relay.report().engine)  # after the time for an answer
        server.broadcast_raw(numbered(2))
        own_engine.resume()
        streams.await_numbers(0, 1, 2)
        assert streams.kinds() == ["start"]


def test_a_pause_of_the_engine_shows_as_nothing(own_engine: EngineServer, server: EventServer) -> None:
    with one_event_before(own_engine, server) as (_, streams):
        own_engine.run("CLIENT", "PAUSE", 1200, "WRITE")
        server.broadcast_raw(numbered(1))
        streams.await_numbers(0, 1)
        assert streams.kinds() == ["start"]


def test_a_full_buffer_drops_the_oldest_and_says_how_many(own_engine: EngineServer, server: EventServer) -> None:
    streams = Streams(own_engine, NAMESPACE)
    with relaying(own_engine, server.url, NAMESPACE, buffer_bytes=100_000) as relay:
        server.broadcast_raw(numbered(0))
        streams.await_numbers(0)
        own_engine.run("ACL", "SETUSER", "default", "-xadd")
        server.broadcast_raw(numbered(1))
        until(lambda: "refused XADD: NOPERM" in relay.report().engine)  # so that it is under way
        for n in range(2, 500):
            server.broadcast_raw(json.dumps({"type": "note", "payload": {"n": n, "x": "x" * 1000}}))
        until(lambda: relay.report().events == 500)
        assert relay.report().buffered <= 100_000
        own_engine.run("ACL", "SETUSER", "default", "+xadd")
        until(lambda: 499 in streams.numbers())
        numbers = streams.numbers()
        dropped = streams.await_control("dropped").fields["count"]
        assert relay.report().dropped == dropped > 100
        assert numbers == [0, 1, *range(2 + dropped, 500)]
        assert streams.kinds() == streams.kinds("key") == ["start", "dropped"]


# The engine has lost entries


def test_after_a_flush_a_new_epoch_begins_with_a_gap(own_engine: EngineServer, server: EventServer) -> None:
    with one_event_before(own_engine, server) as (_, streams):
        epoch = streams.entries()[0][0].epoch
        own_engine.run("FLUSHALL")
        server.broadcast_raw(numbered(1))
        streams.await_numbers(1)
        assert starts(streams) == starts(streams, "key") == [("0-0", True)]
        assert streams.entries()[0][0].epoch > epoch
        assert streams.entries()[0][0].n == 0


def test_a_flush_is_found_without_an_event_too(own_engine: EngineServer, server: EventServer) -> None:
    with one_event_before(own_engine, server) as (_, streams):
        own_engine.run("FLUSHALL")
        until(lambda: starts(streams) == [("0-0", True)])
        until(lambda: own_engine.run("GET", streams.keys.leader))


def test_the_deletion_of_one_stream_is_a_gap_in_that_one_alone(own_engine: EngineServer, server: EventServer) -> None:
    with one_event_before(own_engine, server) as (_, streams):
        last = streams.entries("key")[-1][0]
        own_engine.run("DEL", streams.keys.ev)
        server.emit(DONE, {"job_id": "1"})
        until(lambda: len(streams.texts()) == 1)
        until(lambda: len(streams.key_events()) == 1)
        assert starts(streams) == [("0-0", True)]
        previous = [(entry, found) for entry, found in streams.entries("key") if getattr(found, "kind", "") == "start"]
        assert previous[1][1].fields["gap"] is None
        assert previous[1][1].fields["previous"] in {str(last), str(last.after())}


def test_an_engine_that_starts_empty_is_a_gap(own_engine: EngineServer, server: EventServer) -> None:
    with one_event_before(own_engine, server) as (relay, streams):
        own_engine.kill()
        server.broadcast_raw(numbered(1))
        until(lambda: relay.report().engine)
        own_engine.start()
        streams.await_numbers(1)
        assert starts(streams) == [("0-0", True)]


def test_an_engine_that_starts_with_an_older_file_is_a_gap(own_engine: EngineServer, server: EventServer) -> None:
    with one_event_before(own_engine, server) as (relay, streams):
        own_engine.run("SAVE")
        top = streams.entries()[-1][0]
        server.broadcast_raw(numbered(1))
        streams.await_numbers(0, 1)
        own_engine.kill()
        own_engine.start()
        server.broadcast_raw(numbered(2))
        streams.await_numbers(0, 2)
        assert starts(streams) == [("0-0", True), (str(top), True)]
        assert starts(streams, "key")[1][1] is False  # nothing is missing there
        until(lambda: relay.report().healthy)


def test_a_replica_that_lacks_the_last_entries_is_a_gap(own_engine: EngineServer, server: EventServer) -> None:
    port = free_port()
    with (
        EngineServer("--port", str(port), "--repl-diskless-sync-delay", "0") as primary,
        relaying(f"redis://127.0.0.1:{port}", server.url, NAMESPACE) as relay,
    ):
        streams, replica = Streams(primary, NAMESPACE), Streams(own_engine, NAMESPACE)
        server.broadcast_raw(numbered(0))
        streams.await_numbers(0)
        own_engine.run("REPLICAOF", "127.0.0.1", port)
        replica.await_numbers(0)
        own_engine.run("REPLICAOF", "NO", "ONE")
        top = replica.entries()[-1][0]
        server.broadcast_raw(numbered(1))
        streams.await_numbers(0, 1)
        primary.kill()
        until(lambda: relay.report().engine)
        own_engine.run("CONFIG", "SET", "port", port)
        server.broadcast_raw(numbered(2))
        replica.await_numbers(0, 2)
        assert starts(replica) == [("0-0", True), (str(top), True)]


def test_entries_of_others_do_not_stop_a_relay(own_engine: EngineServer, server: EventServer) -> None:
    streams = Streams(own_engine, NAMESPACE)
    own_engine.run("XADD", streams.keys.ev, "99999999999999-5", "x", "1")
    with relaying(own_engine, server.url, NAMESPACE):
        server.broadcast_raw(numbered(1))
        streams.await_numbers(1)
        entries = [entry for entry, found in streams.entries() if isinstance(found, Blob)]
        assert entries[0].epoch == 100000000000000
