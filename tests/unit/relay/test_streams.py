"""Appends, their fences and their repeats, each step against a real engine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from masquerade_ws.relay.buffer import Batch, Note
from masquerade_ws.relay.engine import Command, Engine, EngineLost, EngineRefusal, EngineUrl
from masquerade_ws.relay.entries import BACK, LOST, UNSENT, EntryId
from masquerade_ws.relay.key_events import KeyEvents
from masquerade_ws.relay.keys import Keys
from masquerade_ws.relay.streams import EpochEnded, Fenced, Streams
from masquerade_ws.relay.trimming import Trim
from tests.support.engines import EngineServer
from tests.support.relaying import Streams as Seen

DONE = "image.generation.completed"


def streams_of(namespace: str, relay: str = "r-1") -> Streams:
    return Streams(Keys(namespace), KeyEvents((DONE,)), relay, Trim(300, 2**26, 1000), Trim(3600, 2**26, 1000))


def batch(*texts: str) -> Batch:
    return Batch("\n".join(texts).encode(), len(texts), 1_700_000_000_000, time.monotonic())


def done(job: str) -> str:
    return json.dumps({"type": DONE, "payload": {"job_id": job}})


@pytest.fixture
def engine(engine_server: EngineServer, namespace: str) -> Iterator[Engine]:
    engine = connect(engine_server, namespace)
    yield engine
    engine.close()


@pytest.fixture
def seen(engine_server: EngineServer, namespace: str) -> Seen:
    return Seen(engine_server, namespace)


def connect(server: EngineServer, namespace: str) -> Engine:
    engine = Engine(EngineUrl.parse(server.url), Keys(namespace), reply_timeout=30.0)
    engine.connect(30)
    return engine


@contextmanager
def another(server: EngineServer, namespace: str) -> Iterator[Engine]:
    engine = connect(server, namespace)
    yield engine
    engine.close()


class Cutting(Engine):
    """A connection that is lost when the next append is sent: before the engine has it, or with its answer.

    Attributes:
        when: Which of them; empty for neither.
    """

    when = ""

    def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        if self.when and any(command[0] == "XADD" for command in commands):
            before, self.when = self.when == "before", ""
            if not before:
                super().pipeline(commands)
            self.close()
            raise EngineLost("cut")
        return super().pipeline(commands)


def cutting(server: EngineServer, namespace: str) -> Cutting:
    engine = Cutting(EngineUrl.parse(server.url), Keys(namespace), reply_timeout=30.0)
    engine.connect(30)
    return engine


@pytest.mark.parametrize("when", ["before", "with its answer"])
@pytest.mark.parametrize("texts", [["a"], ["a", done("1"), done("2")]])
def test_a_repeat_changes_nothing_if_the_append_had_arrived(
    when: str, texts: list[str], engine_server: EngineServer, namespace: str, seen: Seen
) -> None:
    streams, engine = streams_of(namespace), cutting(engine_server, namespace)
    streams.begin(engine, None)
    engine.when = when
    with pytest.raises(EngineLost):
        streams.append(engine, batch(*texts))
    assert streams.flying_since is not None
    with another(engine_server, namespace) as again:
        streams.look(again)
        streams.finish(again)
        streams.append(again, batch("b"))
    assert seen.texts() == [*texts, "b"]
    assert [event.job for event in seen.key_events()] == ["1", "2"][: len(texts) - 1]
    assert [entry.n for entry, _ in seen.entries()] == [0, 1, 2]
    assert streams.flying_since is None
    assert streams.flushes == 2


def test_a_start_whose_answer_was_lost_is_followed_by_another(
    engine_server: EngineServer, namespace: str, seen: Seen
) -> None:
    streams, engine = streams_of(namespace), cutting(engine_server, namespace)
    engine.when = "with its answer"
    with pytest.raises(EngineLost):
        streams.begin(engine, 1.5)
    assert not streams.leads
    with another(engine_server, namespace) as again:
        assert streams.begin(again, 1.5) == seen.entries()[0][0]
    first, second = seen.controls()
    assert second.fields["previous"] == str(seen.entries()[0][0])
    assert first.fields["gap"] == second.fields["gap"] == 1.5


def test_a_relay_that_does_not_lead_any_more_cannot_append(engine: Engine, namespace: str, seen: Seen) -> None:
    old, new = streams_of(namespace, "r-1"), streams_of(namespace, "r-2")
    old.begin(engine, None)
    old.append(engine, batch("a"))
    new.begin(engine, None)
    item = batch("b", done("1"))
    with pytest.raises(Fenced):
        old.append(engine, item)
    with pytest.raises(Fenced):
        old.look(engine)
    assert old.leave() is item
    assert old.leave() is None
    assert not old.leads
    assert seen.texts() == ["a"]
    assert [control.fields["relay"] for control in seen.controls()] == ["r-1", "r-2"]


def test_of_two_relays_that_begin_at_once_one_is_told_to_begin_again(
    engine_server: EngineServer, namespace: str, seen: Seen
) -> None:
    other = streams_of(namespace, "r-2")

    class Overtaken(Engine):
        def transaction(self, commands: Sequence[Command]) -> list[Any] | None:
            if not other.leads:
                with another(engine_server, namespace) as quicker:
                    other.begin(quicker, None)
            return super().transaction(commands)

    engine = Overtaken(EngineUrl.parse(engine_server.url), Keys(namespace), reply_timeout=30.0)
    engine.connect(30)
    streams = streams_of(namespace, "r-1")
    assert streams.begin(engine, None) is None
    assert not streams.leads
    assert streams.epoch == 0
    assert streams.begin(engine, None) is not None
    engine.close()
    epochs = [entry.epoch for entry, _ in seen.entries()]
    assert epochs == sorted(set(epochs))
    assert [control.fields["relay"] for control in seen.controls()] == ["r-2", "r-1"]


def test_an_epoch_is_above_both_tops_whatever_the_engines_clock_says(
    engine: Engine, engine_server: EngineServer, namespace: str, seen: Seen
) -> None:
    engine_server.run("XADD", seen.keys.ev, "99999999999998-7", "x", "1")
    engine_server.run("XADD", seen.keys.key, "99999999999999-1", "x", "1")
    streams = streams_of(namespace)
    streams.begin(engine, None)
    assert streams.epoch == 100000000000000
    engine_server.run("DEL", seen.keys.ev, seen.keys.key)
    streams.begin(engine, None)
    assert streams.epoch == 100000000000001


def test_an_append_to_a_deleted_stream_ends_the_epoch(
    engine: Engine, engine_server: EngineServer, namespace: str, seen: Seen
) -> None:
    streams = streams_of(namespace)
    streams.begin(engine, None)
    streams.append(engine, batch("a"))
    engine_server.run("DEL", seen.keys.ev)
    with pytest.raises(EpochEnded):
        streams.append(engine, batch("b"))
    assert seen.entries() == []
    streams.begin(engine, None)
    streams.finish(engine)
    assert seen.texts() == ["b"]
    assert seen.controls()[0].fields["previous"] == "0-0"


@pytest.mark.parametrize("deleted", ["ev", "key"])
def test_only_what_a_stream_did_not_take_is_appended_again(
    deleted: str, engine: Engine, engine_server: EngineServer, namespace: str, seen: Seen
) -> None:
    streams = streams_of(namespace)
    streams.begin(engine, None)
    streams.append(engine, batch("a"))
    engine_server.run("DEL", getattr(seen.keys, deleted))
    with pytest.raises(EpochEnded):
        streams.append(engine, batch("x", done("1"), done("2")))
    streams.begin(engine, None)
    streams.finish(engine)
    streams.append(engine, batch(done("3")))
    assert [event.job for event in seen.key_events()] == ["1", "2", "3"]
    assert seen.texts() == (["a"] if deleted == "key" else []) + ["x", done("1"), done("2"), done("3")]
    places = seen.places()
    if deleted == "key":  # `p` names the place where `ev` took it, in the epoch before
        assert [places[event.place] for event in seen.key_events()] == [done("1"), done("2"), done("3")]
    gaps = {stream: seen.controls(stream)[-1].fields["gap"] is None for stream in ("ev", "key")}
    assert gaps == {deleted: False, "ev" if deleted == "key" else "key": True}


def test_a_note_begins_a_new_epoch_if_a_stream_is_gone(
    engine: Engine, engine_server: EngineServer, namespace: str, seen: Seen
) -> None:
    streams = streams_of(namespace)
    streams.begin(engine, None)
    engine_server.run("DEL", seen.keys.key)
    with pytest.raises(EpochEnded):
        streams.append(engine, Note(LOST, {"code": 1, "reason": "r"}, time.monotonic()))
    streams.begin(engine, None)
    streams.finish(engine)
    assert seen.kinds() == ["start", "start", "lost"]
    assert seen.kinds("key") == ["start", "lost"]
    assert not seen.status.gateway


def test_a_note_of_a_relay_that_does_not_lead_any_more_leaves_the_status_alone(
    engine_server: EngineServer, engine: Engine, namespace: str, seen: Seen
) -> None:
    old, new = streams_of(namespace, "r-1"), streams_of(namespace, "r-2")
    note = Note(LOST, {"code": 1, "reason": "r"}, time.monotonic())

    class Overtaken(Engine):
        def transaction(self, commands: Sequence[Command]) -> list[Any] | None:
            if old.leads and not new.leads:
                with another(engine_server, namespace) as quicker:
                    new.begin(quicker, None)
            return super().transaction(commands)

    old.begin(engine, None)
    overtaken = Overtaken(EngineUrl.parse(engine_server.url), Keys(namespace), reply_timeout=30.0)
    overtaken.connect(30)
    for _ in range(2):  # overtaken between the look and the append, and before both
        with pytest.raises(Fenced):
            old.append(overtaken, note)
    overtaken.close()
    assert (seen.status.relay, seen.status.gateway) == ("r-2", True)
    assert seen.kinds() == ["start", "start"]


def test_a_new_epoch_without_the_gateway_says_so_again(
    engine: Engine, engine_server: EngineServer, namespace: str, seen: Seen
) -> None:
    streams = streams_of(namespace)
    streams.begin(engine, None)
    streams.append(engine, Note(LOST, {"code": 4001, "reason": "r"}, 10.0))
    engine_server.run("DEL", seen.keys.ev, seen.keys.key)
    streams.begin(engine, None)
    streams.append(engine, Note(BACK, {}, 12.0))
    for stream in ("ev", "key"):
        assert seen.kinds(stream) == ["start", "lost", "back"]
        assert seen.controls(stream)[1].fields == {"code": 4001, "reason": "r"}
    assert seen.controls()[2].fields == {"gap": 2.0}
    assert [entry.n for entry, _ in seen.entries()] == [0, 1, 2]


def test_a_stream_that_was_set_back_is_found_by_a_look(
    engine: Engine, engine_server: EngineServer, namespace: str, seen: Seen
) -> None:
    streams = streams_of(namespace)
    streams.begin(engine, None)
    streams.append(engine, batch("a"))
    assert streams.look(engine, ("GET", seen.keys.leader)) == [None]
    engine_server.run("XDEL", seen.keys.ev, str(seen.entries()[-1][0]))
    with pytest.raises(EpochEnded):
        streams.look(engine)
    streams.begin(engine, None)
    assert seen.controls()[-1].fields["previous"] == str(seen.entries()[0][0])
    assert seen.controls()[-1].fields["gap"] >= 0
    assert seen.controls("key")[-1].fields["gap"] is None


@pytest.mark.parametrize("texts", [["b"], ["b", done("1")]])
def test_what_had_arrived_before_an_epoch_ended_is_not_appended_again(
    texts: list[str], engine_server: EngineServer, namespace: str, seen: Seen
) -> None:
    streams, engine = streams_of(namespace), cutting(engine_server, namespace)
    streams.begin(engine, None)
    engine.when = "with its answer"
    with pytest.raises(EngineLost):
        streams.append(engine, batch(*texts))
    with another(engine_server, namespace) as again:
        streams.begin(again, None)
        streams.finish(again)
        streams.append(again, batch("c"))
    assert seen.texts() == [*texts, "c"]
    assert len(seen.key_events()) == len(texts) - 1


def test_the_part_that_had_not_arrived_before_an_epoch_ended_is_appended(
    engine_server: EngineServer, namespace: str, seen: Seen
) -> None:
    streams, engine = streams_of(namespace), cutting(engine_server, namespace)
    streams.begin(engine, None)
    engine.when = "with its answer"
    with pytest.raises(EngineLost):
        streams.append(engine, batch("b", done("1")))
    engine_server.run("DEL", seen.keys.key)
    with another(engine_server, namespace) as again:
        with pytest.raises(EpochEnded):
            streams.look(again)
        streams.begin(again, None)
        streams.finish(again)
    assert seen.texts() == ["b", done("1")]
    assert [event.job for event in seen.key_events()] == ["1"]


def test_the_part_of_a_note_that_had_not_arrived_is_appended(
    engine_server: EngineServer, namespace: str, seen: Seen
) -> None:
    streams, engine = streams_of(namespace), cutting(engine_server, namespace)
    streams.begin(engine, None)
    engine.when = "with its answer"
    with pytest.raises(EngineLost):
        streams.append(engine, Note(LOST, {"code": 1, "reason": "r"}, time.monotonic()))
    engine_server.run("DEL", seen.keys.key)
    with another(engine_server, namespace) as again:
        streams.begin(again, None)
        streams.finish(again)
    assert seen.kinds() == ["start", "lost", "start", "lost"]  # said again, since a start alone means a gateway
    assert seen.kinds("key") == ["start", "lost", "lost"]


def test_what_is_refused_for_another_reason_is_repeated(namespace: str) -> None:
    with EngineServer() as server:
        engine, seen, streams = connect(server, namespace), Seen(server, namespace), streams_of(namespace)
        streams.begin(engine, None)
        server.run("CONFIG", "SET", "maxmemory", "1")
        for item in (batch("a"), batch(done("1"))):
            with pytest.raises(EngineRefusal, match=r"OOM .*; give it more memory"):
                streams.append(engine, item)
        server.run("CONFIG", "SET", "maxmemory", "0")
        streams.finish(engine)
        streams.finish(engine)  # there is nothing any more
        assert seen.texts() == [done("1")]
        engine.close()


def test_a_key_that_is_no_stream_is_an_error(engine: Engine, engine_server: EngineServer, namespace: str) -> None:
    engine_server.run("SET", Keys(namespace).ev, "x")
    with pytest.raises(EngineRefusal, match="WRONGTYPE"):
        streams_of(namespace).begin(engine, None)


def test_the_status_goes_with_each_note(engine: Engine, namespace: str, seen: Seen) -> None:
    streams = streams_of(namespace)
    streams.sure = 7
    streams.begin(engine, None)
    assert (seen.status.relay, seen.status.epoch, seen.status.ev.n, seen.status.sure) == ("r-1", streams.epoch, 0, 7)
    streams.append(engine, Note(LOST, {"code": 4001, "reason": "x"}, 10.0))
    assert (seen.status.gateway, seen.status.code, seen.status.ev) == (False, 4001, EntryId(streams.epoch, 1))
    streams.append(engine, Note(BACK, {}, 12.5))
    assert (seen.status.gateway, seen.status.code, seen.status.key) == (True, None, EntryId(streams.epoch, 2))
    assert seen.controls()[-1].fields == {"gap": 2.5}


def test_a_return_without_a_loss_has_no_length(engine: Engine, namespace: str, seen: Seen) -> None:
    streams = streams_of(namespace)
    streams.begin(engine, None)
    streams.append(engine, Note(BACK, {}, 12.5))
    assert seen.controls()[-1].fields == {"gap": 0.0}


def test_a_message_that_was_not_sent_is_acknowledged_with_its_note(
    engine: Engine, engine_server: EngineServer, namespace: str, seen: Seen
) -> None:
    streams, out = streams_of(namespace), seen.keys.out
    streams.begin(engine, None)
    entry = engine_server.run("XADD", out, "*", "e", "{}")
    engine_server.run("XGROUP", "CREATE", out, "relay", "0")
    engine_server.run("XREADGROUP", "GROUP", "relay", "relay", "STREAMS", out, ">")
    streams.append(engine, Note(UNSENT, {"sender": "s", "id": entry.decode(), "reason": "r"}, 0.0, outgoing=entry))
    assert engine_server.run("XPENDING", out, "relay")[0] == 0
    assert seen.kinds() == ["start", "unsent"]
    assert streams.leave() is None
