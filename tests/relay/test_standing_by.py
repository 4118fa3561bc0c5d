"""Two relays: one leads, and the other takes over."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, ClassVar

import pytest

from masquerade_ws.relay.engine import Command, Engine
from masquerade_ws.relay.process import RelayError
from masquerade_ws.testing import EventServer
from tests.support.engines import EngineServer
from tests.support.processes import Script
from tests.support.raw_server import until
from tests.support.relaying import Streams, numbered, relay_of, relaying

LEADER = """
signal.alarm(120)
from tests.support.relaying import relay_of
relay = relay_of(sys.argv[2], url, sys.argv[3])
relay.start()
until(lambda: relay.report().role == "leader")
say("leads")
while True:
    time.sleep(3600)
"""


class Leader(Script):
    """A relay in a process of its own, which leads."""

    def __init__(self, server: EventServer, engine: EngineServer, namespace: str) -> None:
        super().__init__(LEADER, server.url, engine.url, namespace)
        self.expect("leads")


def starts(streams: Streams) -> list[dict[str, Any]]:
    return [dict(control.fields) for control in streams.controls() if control.kind == "start"]


def await_standby(engine: EngineServer, streams: Streams) -> None:
    """Wait until the leader has seen the other relay renew its sign of life."""
    first = engine.run("GET", streams.keys.standby)
    until(lambda: engine.run("GET", streams.keys.standby) not in (None, first))
    alive = streams.status.alive
    until(lambda: streams.status.alive >= alive + 3)


def test_on_a_stop_the_other_takes_over_without_a_gap(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace) as first:
        with relaying(engine_server, server.url, namespace, leads=False) as second:
            for n in range(10):
                server.broadcast_raw(numbered(n))
            await_standby(engine_server, streams)
            assert second.report().role == "standby"
            assert second.report().healthy
            first.stop()
            until(lambda: second.report().role == "leader")
            for n in range(10, 20):
                server.broadcast_raw(numbered(n))
            streams.await_numbers(*range(20))
        assert [start["gap"] for start in starts(streams)][1:] == [None]
    assert streams.kinds() == ["start", "start", "lost"]  # the second one's stop finds nobody who stands by


def test_equal_texts_are_told_apart_by_their_number(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with (
        relaying(engine_server, server.url, namespace) as first,
        relaying(engine_server, server.url, namespace, leads=False) as second,
    ):
        for n in range(30):
            server.broadcast_raw(numbered(n % 3))
            server.broadcast_raw("a\nb")
        until(lambda: len(streams.numbers()) == 30)
        await_standby(engine_server, streams)
        first.stop()
        until(lambda: second.report().role == "leader")
        server.broadcast_raw(numbered(7))
        until(lambda: 7 in streams.numbers())
        assert streams.numbers() == [*(n % 3 for n in range(30)), 7]
        assert streams.kinds().count("bad") == 30


@pytest.mark.slow
def test_a_hot_standby_fills_in_what_a_crash_left_out(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with (
        Leader(server, engine_server, namespace) as leader,
        relaying(engine_server, server.url, namespace, leads=False) as second,
    ):
        server.broadcast_raw(numbered(0))
        await_standby(engine_server, streams)
        leader.signal(signal.SIGSTOP)  # SIGSTOP: it receives nothing more, and is gone for all that others can see
        for n in range(1, 20):
            server.broadcast_raw(numbered(n))
        until(lambda: second.report().role == "leader")
        server.broadcast_raw(numbered(20))
        until(lambda: 20 in streams.numbers())
        assert streams.numbers() == [*range(21)]
        assert [start["gap"] for start in starts(streams)][1:] == [None]
        leader.signal(signal.SIGCONT)  # it wakes, and is refused at its first append
        server.broadcast_raw(numbered(21))
        streams.await_numbers(*range(22))
        until(lambda: len(starts(streams)) == 2 and second.report().role == "leader")
        await_standby(engine_server, streams)  # which it is now
        server.broadcast_raw(numbered(22))
        streams.await_numbers(*range(23))


@pytest.mark.slow
def test_a_relay_alone_that_was_only_paused_goes_on_in_its_epoch(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with Leader(server, engine_server, namespace) as leader:
        server.broadcast_raw(numbered(0))
        streams.await_numbers(0)
        leader.signal(signal.SIGSTOP)
        until(lambda: engine_server.run("GET", streams.keys.leader) is None)
        server.broadcast_raw(numbered(1))
        alive = streams.status.alive
        leader.signal(signal.SIGCONT)
        streams.await_numbers(0, 1)
        until(lambda: streams.status.alive > alive)
        assert engine_server.run("GET", streams.keys.leader)
        assert streams.kinds() == ["start"]


def test_a_cold_standby_connects_when_it_takes_over_and_tells_the_gap(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace) as first:
        server.broadcast_raw(numbered(0))
        streams.await_numbers(0)
        with relaying(engine_server, server.url, namespace, leads=False, standby="cold") as second:
            alive = streams.status.alive
            until(lambda: streams.status.alive >= alive + 2)
            assert second.report().gateway == "disconnected"
            assert second.report().healthy
            first.stop()
            until(lambda: second.report().role == "leader")
            server.broadcast_raw(numbered(1))
            streams.await_numbers(0, 1)
            assert 0 < starts(streams)[1]["gap"] < 60
    assert streams.kinds() == ["start", "lost", "start", "lost"]


def test_a_cold_standby_that_was_too_late_disconnects(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    engine_server.run("SET", streams.keys.leader, "")  # nobody leads, so that both connect
    with (
        relaying(engine_server, server.url, namespace, leads=False, standby="cold") as one,
        relaying(engine_server, server.url, namespace, leads=False, standby="cold") as other,
    ):
        relays = [one, other]
        until(lambda: [each.report().role for each in relays].count("leader") == 1)
        late = next(each for each in relays if each.report().role == "standby")
        until(lambda: late.report().gateway == "disconnected")
        server.broadcast_raw(numbered(1))
        streams.await_numbers(1)


def test_a_leader_that_loses_its_gateway_hands_over_to_one_that_has_it(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with (
        EventServer() as other_way,
        relaying(engine_server, other_way.url, namespace, name=server.url) as first,
        relaying(engine_server, server.url, namespace, leads=False) as second,
    ):
        await_standby(engine_server, streams)
        other_way.refuse(503, times=1000)
        other_way.drop()
        assert streams.await_control("lost").fields["code"] == 1006
        until(lambda: second.report().role == "leader")
        assert first.report().role == "standby"
        server.broadcast_raw(numbered(1))
        streams.await_numbers(1)
        assert streams.kinds() == ["start", "lost", "start"]
        assert starts(streams)[1]["gap"] is None


def test_what_the_leader_had_before_the_other_comes_once(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with (
        EventServer() as slow_way,
        relaying(engine_server, server.url, namespace) as first,
        relaying(engine_server, slow_way.url, namespace, name=server.url, leads=False) as second,
    ):
        await_standby(engine_server, streams)
        for n in range(3):
            server.broadcast_raw(numbered(n))
        streams.await_numbers(0, 1, 2)
        slow_way.broadcast_raw(numbered(0))
        until(lambda: second.report().events == 1)
        await_standby(engine_server, streams)  # it has read on
        relay = streams.status.relay
        first.stop()
        until(lambda: streams.status.relay != relay and streams.status.alive > 0)  # the take-over is complete
        for n in range(1, 5):
            slow_way.broadcast_raw(numbered(n))
        streams.await_numbers(*range(5))
        slow_way.broadcast_raw(numbered(1))  # which is another event
        streams.await_numbers(*range(5), 1)


def test_a_leader_alone_keeps_the_lead_without_its_gateway(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace) as relay:
        server.refuse(503, times=3)
        server.drop()
        streams.await_control("lost")
        alive = streams.status.alive
        until(lambda: streams.status.alive >= alive + 2)
        assert relay.report().role == "leader"
        assert not relay.report().healthy
    assert streams.kinds()[:2] == ["start", "lost"]


def test_a_relay_of_another_gateway_is_refused(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with EventServer() as elsewhere, relaying(engine_server, server.url, namespace):
        other = relay_of(engine_server, elsewhere.url, namespace)
        other.start()
        with pytest.raises(RelayError, match="has another gateway; give this one a namespace of its own"):
            other.wait(30)
        server.broadcast_raw(numbered(1))
        streams.await_numbers(1)


def test_the_lock_of_a_relay_that_is_gone_is_taken_though_the_engine_keeps_it(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    digest = sha256(server.url.encode()).hexdigest()[:8]
    engine_server.run("SET", streams.keys.leader, f"{digest}-gone-1:7")  # which would expire, had nobody set the clock
    with relaying(engine_server, server.url, namespace):
        server.broadcast_raw(numbered(1))
        streams.await_numbers(1)


def test_a_relay_whose_lock_another_has_stands_by(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace) as relay:
        engine_server.run("SET", streams.keys.leader, "x-other-1:7", "PX", 1500)
        until(lambda: relay.report().role == "standby")
        server.broadcast_raw(numbered(1))
        until(lambda: relay.report().role == "leader")
        server.broadcast_raw(numbered(2))
        streams.await_numbers(1, 2)


def test_a_relay_that_was_fenced_begins_a_new_epoch_with_what_it_had(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace) as relay:
        server.broadcast_raw(numbered(0))
        streams.await_numbers(0)
        engine_server.run("XADD", streams.keys.ev, f"{streams.status.epoch}-99", "x", "1")
        server.broadcast_raw(numbered(1))
        until(lambda: len(starts(streams)) == 2)
        streams.await_numbers(0, 1)
        assert relay.report().role == "leader"
        assert starts(streams)[1]["previous"] == f"{starts_epoch(streams)}-99"


def starts_epoch(streams: Streams) -> int:
    """Return the first epoch in the stream."""
    return streams.entries()[0][0].epoch


class Meddled(Engine):
    """A connection before whose transactions something may happen, once each.

    Attributes:
        before: What happens, by a command in the transaction.
    """

    before: ClassVar[dict[str, Callable[[], object]]] = {}

    def transaction(self, commands: Sequence[Command]) -> list[Any] | None:
        for command in commands:
            self.before.pop(str(command[1]), lambda: None)()
        return super().transaction(commands)


@pytest.fixture
def meddled(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], object]]:
    """What happens before the next transaction with a key."""
    monkeypatch.setattr("masquerade_ws.relay.process.Engine", Meddled)
    monkeypatch.setattr(Meddled, "before", {})
    return Meddled.before


def test_a_relay_that_another_overtakes_begins_again(
    engine_server: EngineServer,
    namespace: str,
    server: EventServer,
    streams: Streams,
    meddled: dict[str, Callable[[], object]],
) -> None:
    meddled[streams.keys.ev] = lambda: engine_server.run("XADD", streams.keys.ev, "1-1", "x", "1")
    with relaying(engine_server, server.url, namespace):
        assert not meddled
        server.broadcast_raw(numbered(1))
        streams.await_numbers(1)
        assert starts(streams)[0]["previous"] == "1-1"


def test_a_renewal_that_something_cuts_into_is_made_again(
    engine_server: EngineServer,
    namespace: str,
    server: EventServer,
    streams: Streams,
    meddled: dict[str, Callable[[], object]],
) -> None:
    with relaying(engine_server, server.url, namespace) as relay:
        value = engine_server.run("GET", streams.keys.leader)
        meddled[streams.keys.leader] = lambda: engine_server.run("SET", streams.keys.leader, value)
        until(lambda: not meddled)
        alive = streams.status.alive
        until(lambda: streams.status.alive > alive)
        assert relay.report().role == "leader"


@pytest.mark.parametrize("owner", ["ours", "another's"])
def test_a_new_epoch_begins_if_the_lock_is_still_ours(
    owner: str,
    engine_server: EngineServer,
    server: EventServer,
    streams: Streams,
    meddled: dict[str, Callable[[], object]],
) -> None:
    namespace = streams.keys.namespace

    def meddle() -> None:
        engine_server.run("XADD", streams.keys.ev, "1-1", "x", "1")
        if owner != "ours":
            engine_server.run("SET", streams.keys.leader, "x-other-1:7", "PX", 1000)

    with relaying(engine_server, server.url, namespace) as relay:
        meddled[streams.keys.ev] = meddle
        engine_server.run("DEL", streams.keys.ev)
        until(lambda: starts(streams) and starts(streams)[0]["previous"] == "1-1")
        until(lambda: relay.report().role == "leader")
        server.broadcast_raw(numbered(1))
        streams.await_numbers(1)


def test_what_others_write_into_the_keys_of_relays_stops_none(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    engine_server.run("SET", streams.keys.status, "garbage")
    engine_server.run("SET", streams.keys.standby, "garbage")
    engine_server.run("XADD", streams.keys.ev, "1-0", "c", json.dumps({"kind": "bad", "data": 7}))
    with relaying(engine_server, server.url, namespace):
        server.broadcast_raw(numbered(1))
        streams.await_numbers(1)


@pytest.mark.slow
def test_a_standby_that_holds_too_much_says_what_went_unseen(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with (
        Leader(server, engine_server, namespace) as leader,
        relaying(engine_server, server.url, namespace, leads=False, buffer_bytes=50_000) as second,
    ):
        await_standby(engine_server, streams)
        leader.signal(signal.SIGSTOP)
        for n in range(200):
            server.broadcast_raw(json.dumps({"type": "note", "payload": {"n": n, "x": "x" * 1000}}))
        until(lambda: second.report().role == "leader")
        until(lambda: 199 in streams.numbers())
        count = streams.await_control("dropped").fields["count"]
        assert streams.numbers() == [*range(count, 200)]
        assert starts(streams)[1]["gap"] is not None
