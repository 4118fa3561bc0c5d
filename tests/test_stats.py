from __future__ import annotations

import threading
from dataclasses import FrozenInstanceError, fields

import pytest

from masquerade_ws.connection import Connection
from masquerade_ws.stats import Counters, Stats
from raw_server import Peer, RawServer, frame, until

NOTHING = dict.fromkeys(
    ["connections", "reconnects", "messages_received", "messages_sent", "bytes_received", "bytes_sent"], 0
)


def test_counters_begin_at_nothing() -> None:
    assert Counters().snapshot(None) == NOTHING


def test_what_is_added_is_counted_under_its_name() -> None:
    counters = Counters()
    counters.add(connections=1, messages_sent=2)
    counters.add(messages_sent=3)
    counters.add()
    assert counters.snapshot(None) == {**NOTHING, "connections": 1, "messages_sent": 5}


def test_threads_that_add_at_once_lose_nothing() -> None:
    counters = Counters()

    def add() -> None:
        for _ in range(2000):
            counters.count_sent()
            counters.add(bytes_sent=2)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.snapshot(None) == {**NOTHING, "messages_sent": 8000, "bytes_sent": 16000}


def test_the_bytes_of_a_connection_count_while_it_is_there_and_after_it() -> None:
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
        assert (present["bytes_received"], present["bytes_sent"]) == (7, 8)
        assert counters.snapshot(None) == NOTHING
        connection.abort(ConnectionError("over"))
        counters.absorb(connection)
        assert counters.snapshot(None) == present


def test_a_lock_that_is_held_when_the_process_forks_is_replaced() -> None:
    counters = Counters()
    counters._lock.acquire()
    counters.renew_lock()
    counters.add(connections=1)
    assert counters.snapshot(None)["connections"] == 1


def test_a_snapshot_cannot_be_changed() -> None:
    stats = Stats(**NOTHING, events_dropped=0, latency=None, connected_since=None)
    with pytest.raises(FrozenInstanceError):
        stats.connections = 1  # type: ignore[misc]
    assert {field.name for field in fields(stats)} == {*NOTHING, "events_dropped", "latency", "connected_since"}
