"""What a health check is answered with."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

from masquerade_ws.client import seconds_lost
from masquerade_ws.contrib.health import report
from masquerade_ws.testing import EventServer
from tests.support.raw_server import until
from tests.support.scenes import client_of

CHECKS = 1000  # what a load balancer asks in 10 s, at 100 a second


def test_a_check_is_answered_with_the_state_the_age_of_the_last_event_and_the_gap(server: EventServer) -> None:
    with client_of(server.url, initial_reconnect_delay=60, max_reconnect_delay=60) as client:
        client.on("error", lambda event: None)
        assert report(client) == ({"state": "disconnected", "last_event_age": None, "gap": None}, 503)
        client.connect()
        assert report(client) == ({"state": "connected", "last_event_age": None, "gap": None}, 200)
        server.emit("one")
        until(lambda: client.stats.messages_received)
        body, status = report(client)
        assert (body["state"], body["gap"], status) == ("connected", None, 200)
        assert 0 <= body["last_event_age"] < 60

        server.drop()
        until(lambda: client.state == "disconnected")
        body, status = report(client)
        assert (body["state"], status) == ("disconnected", 503)
        assert 0 <= body["gap"] < 60
        until(lambda: report(client)[0]["gap"] > body["gap"])  # it grows

        client.connect()
        assert seconds_lost(client) is None


def test_a_client_that_is_connecting_is_not_well(server: EventServer) -> None:
    held = threading.Event()
    with client_of(server.url, lambda: str(held.wait(20))) as client:
        client.connect(block=False)
        until(lambda: client.state == "connecting")
        assert report(client) == ({"state": "connecting", "last_event_age": None, "gap": None}, 503)
        held.set()


def test_checks_leave_nothing_behind_and_send_nothing(server: EventServer) -> None:
    with client_of(server.url) as client:
        client.connect()
        assert_frugal(lambda: report(client)[1])
        assert server.received == []


def assert_frugal(check: Callable[[], int]) -> None:
    """Ask as often as a load balancer does, and compare what the process holds before and after."""
    assert {check() for _ in range(CHECKS)} == {200}  # and so fill what caches there are
    gc.collect()
    threads, objects = threading.active_count(), len(gc.get_objects())
    assert {check() for _ in range(CHECKS)} == {200}
    gc.collect()
    assert threading.active_count() <= threads
    assert len(gc.get_objects()) - objects < CHECKS / 10
