"""A relay alone: what it appends, and what it says of itself."""

from __future__ import annotations

import json
import time

import pytest

from masquerade_ws.relay.entries import Blob, EntryId
from masquerade_ws.relay.process import RelayError
from masquerade_ws.relay.survey import Survey
from masquerade_ws.testing import EventServer
from tests.support.engines import EngineServer
from tests.support.raw_server import until
from tests.support.relaying import Streams, numbered, relay_of, relaying

DONE = "image.generation.completed"


def test_what_the_gateway_sends_is_in_the_stream_as_it_came(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    sent = [*map(numbered, range(50)), 'garbage "é"', "{}"]
    with relaying(engine_server, server.url, namespace) as relay:
        for text in sent:
            server.broadcast_raw(text)
        until(lambda: len(streams.texts()) == len(sent))
        report = relay.report()
    assert streams.texts() == sent
    assert report.events == len(sent)
    assert report.bytes == sum(len(text.encode()) for text in sent)
    assert 1 <= report.flushes <= len(sent)
    assert report.last_event_at is not None
    assert report.healthy
    assert not relay.report().healthy


def test_ids_count_from_the_start_without_holes(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace):
        for n in range(20):
            server.broadcast_raw(numbered(n))
            streams.await_numbers(*range(n + 1))
        entries = streams.entries()
        now_ms = time.time() * 1000
    epoch = entries[0][0].epoch
    assert [entry for entry, _ in entries] == [EntryId(epoch, n) for n in range(21)]
    assert 0 <= now_ms - epoch < 60_000
    start = entries[0][1]
    assert (start.kind, start.fields["previous"], start.fields["format"]) == ("start", "0-0", 1)
    assert next(entry for entry, _ in streams.entries("key")) == EntryId(epoch, 0)
    assert all(0 <= now_ms - blob.received_ms < 60_000 for _, blob in entries if isinstance(blob, Blob))


def test_key_events_are_in_a_stream_of_their_own_too_with_their_place(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace, linger=0.2):
        for n in range(40):
            server.emit(DONE if n % 10 == 0 else "note", {"job_id": f"job-{n}", "n": n})
        until(lambda: len(streams.texts()) == 40)
    found = streams.key_events()
    assert [(event.type, event.job) for event in found] == [(DONE, f"job-{n}") for n in (0, 10, 20, 30)]
    places = streams.places()
    assert [places[event.place].encode() for event in found] == [event.text for event in found]
    times = {entry: blob.received_ms for entry, blob in streams.entries() if isinstance(blob, Blob)}
    assert {event.received_ms for event in found} <= {*times.values()}


def test_the_key_events_may_be_others(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace, key_events=("note",)):
        server.emit("note", {})
        server.emit(DONE, {"job_id": "1"})
        until(lambda: len(streams.texts()) == 2)
        assert [event.type for event in streams.key_events()] == ["note"]
        assert streams.status.key_events == ("note",)


def test_line_breaks_within_a_message_become_spaces_unless_it_is_not_json(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace):
        server.broadcast_raw('{"type":\r\n"a"}')
        server.broadcast_raw("a\nb")
        server.broadcast_raw(b'{"type":"b"}')
        until(lambda: len(streams.texts()) == 2)
    assert streams.texts() == ['{"type":  "a"}', '{"type":"b"}']
    assert [control.fields for control in streams.controls() if control.kind == "bad"] == [{"data": "a\nb"}]
    assert streams.kinds() == streams.kinds("key") == ["start", "bad", "lost"]


def test_a_message_of_16_mib_passes(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    text = json.dumps({"type": "a", "payload": {"x": "x" * (16 * 2**20 - 60)}})
    with relaying(engine_server, server.url, namespace):
        server.broadcast_raw(text)
        until(lambda: streams.texts() == [text])


def test_a_loss_of_the_gateway_and_its_return_stand_between_the_events(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace):
        server.broadcast_raw(numbered(1))
        server.close(4002, "restarting")
        control = streams.await_control("lost")
        assert control.fields == {"code": 4002, "reason": "restarting"}
        status = streams.status
        assert (status.gateway, status.code, status.reason) == (False, 4002, "restarting")
        control = streams.await_control("back")
        assert 0 < control.fields["gap"] < 60
        server.broadcast_raw(numbered(2))
        streams.await_numbers(1, 2)
        assert streams.status.gateway
        order = [getattr(entry, "kind", "events") for _, entry in streams.entries()]
        assert order == ["start", "events", "lost", "back", "events"]
        assert streams.kinds("key") == ["start", "lost", "back"]
        ids = {entry: found for stream in ("ev", "key") for entry, found in streams.entries(stream)}
        assert getattr(ids[streams.status.ev], "kind", "") == "back"


def test_a_tcp_reset_is_a_loss_with_1006(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace):
        server.drop()
        assert streams.await_control("lost").fields == {"code": 1006, "reason": ""}


def test_a_stop_says_that_the_relay_goes(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace):
        server.broadcast_raw(numbered(1))
        streams.await_numbers(1)
    assert streams.kinds() == ["start", "lost"]
    assert streams.controls()[-1].fields == {"code": 1001, "reason": "the relay was stopped"}
    assert (streams.status.gateway, streams.status.code) == (False, 1001)
    until(lambda: engine_server.run("GET", streams.keys.leader) is None)
    until(lambda: engine_server.run("GET", streams.keys.standby) is None)


def test_the_status_shows_that_the_relay_lives_and_is_sure(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace):
        first, leader = streams.status, engine_server.run("GET", streams.keys.leader)
        until(lambda: streams.status.alive >= first.alive + 2)
        assert streams.status.sure >= first.sure + 500
        assert engine_server.run("GET", streams.keys.leader) != leader
        assert engine_server.run("PTTL", streams.keys.leader) > 0
        assert engine_server.run("TTL", streams.keys.status) == -1


def test_sure_stands_still_without_the_gateway(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace):
        server.refuse(503, times=100)
        server.drop()
        streams.await_control("lost")
        first = streams.status
        until(lambda: streams.status.alive >= first.alive + 2)
        assert streams.status.sure == first.sure


def test_what_comes_within_the_linger_is_one_entry(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace, linger=1.0):
        server.broadcast_raw(numbered(0))
        streams.await_numbers(0)  # at once, since the last flush is long ago
        for n in range(1, 31):
            server.broadcast_raw(numbered(n))
        streams.await_numbers(*range(31))
        blobs = [entry for _, entry in streams.entries() if isinstance(entry, Blob)]
        assert len(blobs) < 15


def test_much_is_appended_before_the_linger_is_over(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace, linger=3600.0):
        server.broadcast_raw(numbered(0))
        streams.await_numbers(0)
        server.broadcast_raw(json.dumps({"type": "a", "payload": {"x": "x" * 300_000}}))
        until(lambda: len(streams.texts()) == 2)


def test_a_stream_is_trimmed_by_its_bytes(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace, keep_bytes=100_000, keep_key_bytes=100_000, linger=0.0):
        for count in range(50, 601, 50):
            for _ in range(50):
                server.emit(DONE, {"job_id": "1", "image_url": "u" * 1000})
            until(lambda count=count: streams.entries("key")[-1][0].n == count)
        assert 50 <= len(streams.texts()) < 250  # nodes of the stream go as a whole
        assert 50 <= len(streams.key_events()) < 250


def test_a_stream_is_trimmed_by_its_age(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace, keep_seconds=0.05, linger=0.0):
        deadline = time.monotonic() + 60
        n = 0
        while not streams.entries() or streams.entries()[0][0].n == 0:
            assert time.monotonic() < deadline
            server.broadcast_raw(numbered(n))
            n += 1


def test_a_new_relay_says_for_how_long_nobody_was_there(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace):
        server.broadcast_raw(numbered(1))
        streams.await_numbers(1)
    last = streams.entries()[-1][0]
    with relaying(engine_server, server.url, namespace):
        starts = [control for control in streams.controls() if control.kind == "start"]
        assert starts[1].fields["previous"] == str(last)
        assert 0 <= starts[1].fields["gap"] < 60
        previous_key = streams.controls("key")[2].fields["previous"]
        assert previous_key == str(streams.entries("key")[1][0])
        assert streams.entries()[-1][0].epoch > last.epoch
        server.broadcast_raw(numbered(2))
        streams.await_numbers(1, 2)


def test_what_waits_for_its_linger_is_appended_at_a_stop(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace, linger=3600.0) as relay:
        server.broadcast_raw(numbered(0))
        streams.await_numbers(0)
        server.broadcast_raw(numbered(1))
        until(lambda: relay.report().events == 2)
        assert streams.numbers() == [0]
    assert streams.numbers() == [0, 1]


def test_an_engine_that_is_too_old_ends_the_relay_in_words(
    engine_server: EngineServer, namespace: str, server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Survey("Redis 6.0", "Redis 6.0 is too old", None, "")
    monkeypatch.setattr("masquerade_ws.relay.process.survey", lambda engine: old)
    relay = relay_of(engine_server, server.url, namespace)
    relay.start()
    with pytest.raises(RelayError, match=r"the engine unix://.*: Redis 6.0 is too old"):
        relay.wait(30)


def test_a_wrong_password_ends_the_relay_in_words(
    engine_server: EngineServer, namespace: str, server: EventServer
) -> None:
    relay = relay_of(f"unix://nobody:pass@{engine_server.path}", server.url, namespace)
    relay.start()
    with pytest.raises(RelayError, match="WRONGPASS"):
        relay.wait(30)
    with pytest.raises(RelayError, match="WRONGPASS"):
        relay.stop()
    assert relay.report().role == "stopped"


def test_a_namespace_that_is_not_allowed_is_refused(engine_server: EngineServer, server: EventServer) -> None:
    with pytest.raises(ValueError, match="namespace must be 1 to 64"):
        relay_of(engine_server, server.url, "a b")
