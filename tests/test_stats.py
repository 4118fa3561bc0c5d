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


def test_a_connection_that_replaces_a_lost_one_is_counted_twice() -> None:
    counters = Counters()
    counters.count_connection(False)
    counters.count_connection(True)
    assert counters.snapshot(None) == {**NOTHING, "connections": 2, "reconnects": 1}


def test_threads_that_count_at_once_lose_nothing() -> None:
    counters = Counters()

    def count() -> None:
        for _ in range(2000):
            counters.count_sent()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.snapshot(None) == {**NOTHING, "messages_sent": 8000}


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
    counters.count_sent()
    assert counters.snapshot(None)["messages_sent"] == 1


def test_a_snapshot_cannot_be_changed() -> None:
    stats = Stats(**NOTHING, events_dropped=0, latency=None, connected_since=None)
    with pytest.raises(FrozenInstanceError):
        stats.connections = 1  # type: ignore[misc]
    assert {field.name for field in fields(stats)} == {*NOTHING, "events_dropped", "latency", "connected_since"}
