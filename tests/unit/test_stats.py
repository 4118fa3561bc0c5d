from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from masquerade_ws.connection import Connection
from masquerade_ws.stats import Counters, Stats
from tests.support.raw_server import Peer, RawServer, frame, until

NOTHING = dict.fromkeys(
    ["connections", "reconnects", "messages_received", "messages_sent", "bytes_received", "bytes_sent"], 0
)


def test_counters_begin_at_nothing() -> None:
    assert Counters().snapshot(None) == NOTHING


def test_a_connection_that_replaces_a_lost_one_is_counted_twice() -> None:
    counters = Counters()
    counters.count_connection(False)
    counters.count_connection(True)
    assert counters.snapshot(None) == {**NOTHING, "connections": 2, "reconnects": 1}


def test_what_a_connection_sends_and_receives_counts_while_it_is_there_and_after_it() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade(glued=frame(1, b"hello"))
        peer.read_frame()
        peer.hang()

    counters = Counters()
    with RawServer(script) as server, Connection.open(server.url, proxy=False) as connection:
        connection.send("hi")
        until(connection.readable)
        assert next(iter(connection)) == "hello"
        present = counters.snapshot(connection)
        assert (present["bytes_received"], present["messages_sent"], present["bytes_sent"]) == (7, 1, 8)
        assert counters.snapshot(None) == NOTHING
        connection.abort(ConnectionError("over"))
        counters.absorb(connection)
        assert counters.snapshot(None) == present


def test_a_snapshot_cannot_be_changed() -> None:
    stats = Stats(**NOTHING, events_dropped=0, latency=None, connected_since=None)
    with pytest.raises(FrozenInstanceError):
        stats.connections = 1  # type: ignore[misc]
    assert {field.name for field in fields(stats)} == {*NOTHING, "events_dropped", "latency", "connected_since"}
