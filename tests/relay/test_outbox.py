"""What workers send: in its order, at most once, and never lost in silence."""

from __future__ import annotations

import json
from typing import Any

from redis import ResponseError

from masquerade_ws.relay.entries import Outgoing, encode_outgoing
from masquerade_ws.testing import EventServer
from tests.support.engines import EngineServer
from tests.support.raw_server import until
from tests.support.relaying import Streams, relaying


def text_of(n: int) -> bytes:
    return json.dumps({"type": "image.generate", "payload": {"n": n}}).encode()


def give(
    engine: EngineServer, streams: Streams, text: bytes, sender: str = "worker-1", timeout_ms: int = 30_000
) -> str:
    """Give a message to the relay, as a worker does."""
    entry: bytes = engine.run("XADD", streams.keys.out, "*", *encode_outgoing(Outgoing(text, sender, timeout_ms)))
    return entry.decode()


def sent_to(server: EventServer) -> list[Any]:
    return [event["payload"]["n"] for event in server.received if event["type"] == "image.generate"]


def unsent(streams: Streams) -> list[tuple[str, str, str]]:
    found = [control.fields for control in streams.controls() if control.kind == "unsent"]
    return [(fields["sender"], fields["id"], fields["reason"]) for fields in found]


def pending(engine: EngineServer, streams: Streams) -> int:
    try:
        return int(engine.run("XPENDING", streams.keys.out, "relay")[0])
    except ResponseError:  # there is no group yet
        return 0


def test_messages_are_sent_in_their_order(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    early = [give(engine_server, streams, text_of(n)) for n in range(3)]
    assert early
    with relaying(engine_server, server.url, namespace) as relay:
        for n in range(3, 50):
            give(engine_server, streams, text_of(n))
        until(lambda: len(sent_to(server)) == 50)
        assert sent_to(server) == [*range(50)]
        until(lambda: pending(engine_server, streams) == 0)
        assert relay.report().sent == 50
        assert unsent(streams) == []


def test_what_was_sent_is_acknowledged_though_the_relay_stops(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace):
        give(engine_server, streams, text_of(1))
        until(lambda: sent_to(server) == [1])
    assert pending(engine_server, streams) == 0


def test_without_the_gateway_a_message_waits_for_its_time_and_is_not_sent_then(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace) as relay:
        server.refuse(503, times=1000)
        server.drop()
        streams.await_control("lost")
        entry = give(engine_server, streams, text_of(1), timeout_ms=100)
        late = give(engine_server, streams, text_of(2), sender="worker-2", timeout_ms=0)
        streams.await_control("unsent", 2)
        assert unsent(streams) == [
            ("worker-1", entry, "not sent within 0.1 s"),
            ("worker-2", late, "not sent within 0 s"),
        ]
        assert pending(engine_server, streams) == 0
        assert relay.report().unsent == 2
        assert streams.kinds("key") == streams.kinds()
    assert sent_to(server) == []


def test_a_message_waits_for_the_gateways_return(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace):
        server.drop()
        streams.await_control("lost")
        give(engine_server, streams, text_of(1))
        until(lambda: sent_to(server) == [1])
        assert unsent(streams) == []


def test_what_another_relay_left_half_done_may_have_been_sent(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    entries = [give(engine_server, streams, text_of(n)) for n in range(3)]
    foreign = engine_server.run("XADD", streams.keys.out, "*", "x", "1")
    engine_server.run("XGROUP", "CREATE", streams.keys.out, "relay", "0")
    engine_server.run("XREADGROUP", "GROUP", "relay", "relay", "COUNT", 4, "STREAMS", streams.keys.out, ">")
    give(engine_server, streams, text_of(3))
    with relaying(engine_server, server.url, namespace):
        until(lambda: sent_to(server) == [3])
        streams.await_control("unsent", 4)
        reason = "may have been sent: the relay that had it went away"
        assert unsent(streams) == [
            *(("worker-1", entry, reason) for entry in entries),
            ("", foreign.decode(), reason),
        ]
        until(lambda: pending(engine_server, streams) == 0)


def test_what_is_no_event_is_not_sent(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    bad = [b"garbage", b"[]", b'{"type":1}', b'{"type":""}', b"\xff", b"[" * 100_000, b"{}"]
    with relaying(engine_server, server.url, namespace):
        for text in bad:
            give(engine_server, streams, text)
        engine_server.run("XADD", streams.keys.out, "*", "x", "1")  # which no client wrote
        give(engine_server, streams, text_of(1))
        until(lambda: sent_to(server) == [1])
        streams.await_control("unsent", len(bad))
        assert {reason for _, _, reason in unsent(streams)} == {"not sent: it is not an event"}
        until(lambda: pending(engine_server, streams) == 0)


def test_a_send_that_fails_may_have_been_sent(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    big = json.dumps({"type": "image.generate", "payload": {"n": 1, "x": "x" * 30_000_000}}).encode()
    with relaying(engine_server, server.url, namespace) as relay:
        server.freeze()
        give(engine_server, streams, big)
        until(lambda: relay.client.stats.bytes_sent > 1000)
        server.drop()
        server.thaw()
        streams.await_control("unsent")
        [(_, _, reason)] = unsent(streams)
        assert reason.startswith("may have been sent: ")


def test_a_deleted_out_stream_is_made_anew(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace):
        give(engine_server, streams, text_of(1))
        until(lambda: sent_to(server) == [1])
        engine_server.run("DEL", streams.keys.out)
        give(engine_server, streams, text_of(2))
        until(lambda: sent_to(server) == [1, 2])


def test_an_engine_that_comes_back_finds_the_outbox_again(own_engine: EngineServer, server: EventServer) -> None:
    streams = Streams(own_engine, "out")
    with relaying(own_engine, server.url, "out"):
        give(own_engine, streams, text_of(1))
        until(lambda: sent_to(server) == [1])
        own_engine.run("SAVE")
        own_engine.kill()
        own_engine.start()
        give(own_engine, streams, text_of(2))
        until(lambda: sent_to(server) == [1, 2])


def test_the_out_stream_is_trimmed(
    engine_server: EngineServer, namespace: str, server: EventServer, streams: Streams
) -> None:
    with relaying(engine_server, server.url, namespace):
        for n in range(500):
            give(engine_server, streams, text_of(n))
        until(lambda: len(sent_to(server)) == 500)
        until(lambda: engine_server.run("XLEN", streams.keys.out) < 250)
