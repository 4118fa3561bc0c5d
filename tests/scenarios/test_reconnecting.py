"""The schedule of the attempts, and what a reconnection tells."""

from __future__ import annotations

import itertools
import logging
import re
import threading
import time

import pytest

from masquerade_ws import ConnectError, WebSocketClient
from masquerade_ws.testing import EventServer
from tests.support.raw_server import Peer, RawServer, close_payload, frame, until
from tests.support.scenes import TIMEOUT, Record, client_of, closed_port_url, elapsed, names_of_threads, running


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "masquerade_ws")
    return caplog


def delays(log: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    """Return the delays logged so far, each with the number of its attempt."""
    pattern = re.compile(r"reconnecting in (\S+) s \(attempt (\d+)\)")
    matches = (pattern.fullmatch(record.getMessage()) for record in log.records)
    return [(match[1], int(match[2])) for match in matches if match]


def fail(client: WebSocketClient) -> None:
    with pytest.raises(ConnectError):
        client.connect()


def test_the_delays_are_1_2_4_8_30_30_by_default(log: pytest.LogCaptureFixture) -> None:
    with client_of(closed_port_url(), initial_reconnect_delay=1.0, max_reconnect_delay=30.0) as client:
        for _ in range(7):
            fail(client)
    assert delays(log) == [("1", 2), ("2", 3), ("4", 4), ("8", 5), ("30", 6), ("30", 7), ("30", 8)]


def test_no_delay_exceeds_the_longest(log: pytest.LogCaptureFixture) -> None:
    with client_of(closed_port_url(), initial_reconnect_delay=20, max_reconnect_delay=50.5) as client:
        for _ in range(4):
            fail(client)
    assert [delay for delay, _ in delays(log)] == ["20", "40", "50.5", "50.5"]


def test_the_delays_are_kept(masquerade_server: EventServer) -> None:
    at: list[float] = []

    def get_token() -> str:
        at.append(time.monotonic())
        return ""

    masquerade_server.refuse(503, times=6)
    with client_of(masquerade_server.url, get_token, initial_reconnect_delay=0.02, max_reconnect_delay=0.2) as client:
        record = Record(client)
        client.connect(block=False)
        assert record.wait("connected").attempts == 7
    gaps = [after - before for before, after in itertools.pairwise(at)]
    for gap, delay in zip(gaps, [0.02, 0.04, 0.08, 0.16, 0.2, 0.2], strict=True):
        assert gap >= delay


def test_many_attempts_overflow_nothing(log: pytest.LogCaptureFixture) -> None:
    with client_of(closed_port_url(), initial_reconnect_delay=0.0001, max_reconnect_delay=0.0001) as client:
        record = Record(client)
        client.connect(block=False)
        record.wait("error", 301)  # so that the delay after the one before is logged
        assert client.state in {"disconnected", "connecting"}
        # The two of the session, and one that asks for the token of the attempt under way.
        assert {*names_of_threads()} - {"masquerade-ws-token"} == {
            "masquerade-ws-dispatcher",
            "masquerade-ws-supervisor",
        }
    assert delays(log)[299] == ("0.0001", 301)


def test_a_success_starts_the_schedule_anew(masquerade_server: EventServer, log: pytest.LogCaptureFixture) -> None:
    masquerade_server.refuse(503, times=3)
    with client_of(masquerade_server.url, initial_reconnect_delay=0.01, max_reconnect_delay=1) as client:
        record = Record(client)
        client.connect(block=False)
        record.wait("connected")
        masquerade_server.refuse(503, times=2)
        masquerade_server.drop()
        record.wait("connected", 2)
        masquerade_server.drop()
        record.wait("connected", 3)
    assert delays(log) == [("0.01", 2), ("0.02", 3), ("0.04", 4), ("0.01", 1), ("0.02", 2), ("0.04", 3), ("0.01", 1)]
    assert [event.attempts for event in record.of("connected")] == [4, 3, 1]
    assert [event.reconnected for event in record.of("connected")] == [False, True, True]


def test_a_connection_shorter_than_min_uptime_does_not(
    masquerade_server: EventServer, log: pytest.LogCaptureFixture
) -> None:
    with client_of(
        masquerade_server.url, initial_reconnect_delay=0.01, max_reconnect_delay=0.5, min_uptime=60
    ) as client:
        record = Record(client)
        client.connect()
        for count in (2, 3, 4):
            masquerade_server.drop()
            record.wait("connected", count)
    assert [delay for delay, _ in delays(log)] == ["0.01", "0.02", "0.04"]


def test_a_connection_longer_than_min_uptime_does(
    masquerade_server: EventServer, log: pytest.LogCaptureFixture
) -> None:
    with client_of(
        masquerade_server.url, initial_reconnect_delay=0.01, max_reconnect_delay=0.5, min_uptime=0.05
    ) as client:
        record = Record(client)
        client.connect()
        masquerade_server.drop()
        record.wait("connected", 2)
        since = client.stats.connected_since
        assert since is not None
        until(lambda: time.time() - since.timestamp() > 0.1)
        masquerade_server.drop()
        record.wait("connected", 3)
    assert [delay for delay, _ in delays(log)][-1] == "0.01"


def test_jitter_takes_off_at_most_its_share(log: pytest.LogCaptureFixture) -> None:
    with client_of(closed_port_url(), initial_reconnect_delay=8, max_reconnect_delay=8, reconnect_jitter=0.5) as client:
        for _ in range(30):
            fail(client)
    drawn = [float(delay) for delay, _ in delays(log)]
    assert all(4 <= delay <= 8 for delay in drawn)
    assert len(set(drawn)) > 20


def test_without_jitter_no_chance_is_involved(log: pytest.LogCaptureFixture) -> None:
    with client_of(closed_port_url(), initial_reconnect_delay=8, max_reconnect_delay=8) as client:
        for _ in range(5):
            fail(client)
    assert {delay for delay, _ in delays(log)} == {"8"}


def test_disconnect_cancels_a_delay(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, initial_reconnect_delay=60, max_reconnect_delay=60) as client:
        record = Record(client)
        client.connect()
        masquerade_server.drop()
        assert record.wait("disconnected").will_reconnect is True
        waiting = running(lambda: client.wait_for("news"))
        assert elapsed(client.disconnect) < TIMEOUT
        assert client.state == "disconnected"
        assert names_of_threads() == []
        with pytest.raises(ConnectionError):
            waiting.result()
    assert record.story[4:] == [
        "connected > disconnected",
        "disconnected",
        "disconnected > disconnecting",
        "disconnecting > disconnected",
    ]
    assert len(masquerade_server.tokens) == 1


def test_the_states_while_it_retries(masquerade_server: EventServer) -> None:
    masquerade_server.refuse(503)
    with client_of(masquerade_server.url) as client:
        record = Record(client, "state:change")
        client.connect(block=False)
        until(lambda: client.state == "connected")
        masquerade_server.drop()
        record.wait("state:change", 7)
    assert record.story[:7] == [
        "disconnected > connecting",
        "connecting > disconnected",
        "disconnected > connecting",
        "connecting > connected",
        "connected > disconnected",
        "disconnected > connecting",
        "connecting > connected",
    ]


def test_a_reconnection_tells_the_length_of_the_gap(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, initial_reconnect_delay=0.2, max_reconnect_delay=0.2) as client:
        record = Record(client)
        client.connect()
        assert record.wait("connected").gap is None
        dropped_at = time.monotonic()
        masquerade_server.drop()
        again = record.wait("connected", 2)
        assert 0.2 <= again.gap <= time.monotonic() - dropped_at
        assert not again.resumed
        assert client.stats.reconnects == 1
        assert client.stats.connections == 2


def test_a_server_that_accepts_and_drops_is_not_an_end() -> None:
    with RawServer(Peer.upgrade) as server, client_of(server.url) as client:
        record = Record(client)
        client.connect()
        record.wait("connected", 5)
        record.wait("disconnected", 5)
        assert {event.code for event in record.of("disconnected")} == {1006}


@pytest.mark.parametrize("code", [1000, 1001, 1012, 4000])
def test_a_close_by_the_peer_is_followed_by_a_reconnection(masquerade_server: EventServer, code: int) -> None:
    with client_of(masquerade_server.url) as client:
        record = Record(client)
        client.connect()
        masquerade_server.close(code, "later")
        gone = record.wait("disconnected")
        assert (gone.code, gone.reason, gone.will_reconnect) == (code, "later", True)
        record.wait("connected", 2)
        assert record.of("error") == []


def test_a_restarted_server_is_found_again() -> None:
    server = EventServer()
    with server, client_of(server.url) as client:
        record = Record(client)
        client.connect()
        server.stop()
        assert record.wait("disconnected").code == 1001
        server.start()
        record.wait("connected", 2)


def test_a_thread_that_cannot_be_started_fails_the_attempt_alone() -> None:
    """As in a process at the limit of its threads; one that exits is another matter."""
    starts = threading.Thread.start
    refused: list[str] = []

    def refuse_once(thread: threading.Thread) -> None:
        if thread.name == "masquerade-ws-heartbeat" and not refused:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        starts(thread)

    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.read_frame()
        peer.send(frame(8, close_payload(1001)))

    with RawServer(script) as server, client_of(server.url) as client, pytest.MonkeyPatch.context() as patch:
        record = Record(client)
        client.connect()
        patch.setattr(threading.Thread, "start", refuse_once)
        client.emit("go")
        record.wait("connected", 2)
        assert [str(event.error) for event in record.of("error")] == [
            "no thread could be started: can't start new thread"
        ]
        assert [event.will_reconnect for event in record.of("disconnected")] == [True]
