"""What a relay says to those who watch it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection

import pytest

from masquerade_ws.relay.metrics import Metrics, text_of
from masquerade_ws.relay.process import Report

REPORT = Report(
    role="leader",
    gateway="connected",
    engine="",
    events=7,
    bytes=900,
    flushes=3,
    buffered=0,
    dropped=1,
    sent=2,
    unsent=4,
    last_event_at=1_700_000_000.25,
)


class Scene:
    """A server of metrics, and what it reports."""

    report = REPORT

    def __init__(self) -> None:
        self.metrics = Metrics("127.0.0.1", 0, lambda: self.report)

    def get(self, path: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.metrics.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    with scene.metrics:
        yield scene


def test_metrics_are_in_prometheus_format(scene: Scene) -> None:
    status, text = scene.get("/metrics")
    assert status == 200
    assert text == text_of(REPORT)
    lines = text.splitlines()
    assert "# TYPE masquerade_relay_events_total counter" in lines
    values = dict(line.split() for line in lines if not line.startswith("#"))
    assert values == {
        "masquerade_relay_events_total": "7",
        "masquerade_relay_bytes_total": "900",
        "masquerade_relay_flushes_total": "3",
        "masquerade_relay_dropped_total": "1",
        "masquerade_relay_sent_total": "2",
        "masquerade_relay_unsent_total": "4",
        "masquerade_relay_buffer_bytes": "0",
        "masquerade_relay_leader": "1",
        "masquerade_relay_gateway_connected": "1",
        "masquerade_relay_engine_connected": "1",
        "masquerade_relay_last_event_timestamp_seconds": "1700000000.250",
    }


def test_before_the_first_event_its_time_is_0() -> None:
    assert "masquerade_relay_last_event_timestamp_seconds 0\n" in text_of(replace(REPORT, last_event_at=None))


@pytest.mark.parametrize(
    ("report", "status", "said"),
    [
        (REPORT, 200, "leader, gateway connected\n"),
        (replace(REPORT, role="standby", gateway="disconnected"), 200, "standby, gateway disconnected\n"),
        (replace(REPORT, gateway="connecting"), 503, "leader, gateway connecting\n"),
        (replace(REPORT, engine="gone"), 503, "leader, gateway connected, the engine is away\n"),
        (replace(REPORT, role="stopped"), 503, "stopped, gateway connected\n"),
    ],
)
def test_a_leader_with_a_gateway_and_a_standby_are_healthy(
    report: Report, status: int, said: str, scene: Scene
) -> None:
    scene.report = report
    assert scene.get("/healthz") == (status, said)


def test_there_is_nothing_else(scene: Scene) -> None:
    assert scene.get("/")[0] == 404


def test_it_listens_on_ipv6_too() -> None:
    if not socket.has_ipv6:
        pytest.skip("this system has no IPv6")
    try:
        metrics = Metrics("::1", 0, lambda: REPORT)
    except OSError:
        pytest.skip("this system has no IPv6")
    with metrics:
        assert metrics.port > 0


def test_a_port_in_use_is_refused(scene: Scene) -> None:
    with pytest.raises(OSError, match="in use"):
        Metrics("127.0.0.1", scene.metrics.port, lambda: REPORT)
