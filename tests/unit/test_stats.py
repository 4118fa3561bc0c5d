from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from datetime import datetime, timezone
from typing import Any

import pytest

from masquerade_ws.connection import Connection
from masquerade_ws.stats import Counters, Stats
from tests.support.raw_server import Peer, RawServer, frame, until

NUMBERS = (
    *("connections", "reconnects", "messages_received", "messages_sent", "bytes_received", "bytes_sent"),
    *("attempts_failed", "parse_errors", "handler_errors", "gap_seconds"),
)
NOTHING: dict[str, Any] = {**dict.fromkeys(NUMBERS, 0), "last_event_at": None}
NOW = {"events_dropped": 0, "events_waiting": 0, "latency": None, "connected_since": None}


def test_counters_begin_at_nothing() -> None:
    assert Counters().snapshot(None) == NOTHING


def test_a_connection_that_replaces_a_lost_one_is_counted_twice_and_with_its_gap() -> None:
    counters = Counters()
    counters.count_connection(None, reconnected=False)
    counters.count_connection(1.5, reconnected=True)
    counters.count_connection(0.25, reconnected=True)
    assert counters.snapshot(None) == {**NOTHING, "connections": 3, "reconnects": 2, "gap_seconds": 1.75}


def test_messages_are_counted_with_the_time_of_the_last() -> None:
    counters, before = Counters(), datetime.now(timezone.utc)
    counters.count_messages(3)
    counters.count_messages(1)
    found = counters.snapshot(None)
    assert found["messages_received"] == 4
    assert before <= found["last_event_at"] <= datetime.now(timezone.utc)


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
    stats = Stats(**NOTHING, **NOW)
    with pytest.raises(FrozenInstanceError):
        stats.connections = 1  # type: ignore[misc]
    assert {field.name for field in fields(stats)} == {*NOTHING, *NOW}
