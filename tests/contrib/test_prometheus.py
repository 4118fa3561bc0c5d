"""The counters of clients in Prometheus' own registry."""

from __future__ import annotations

import dataclasses

import pytest

pytest.importorskip("prometheus_client", reason="needs prometheus-client")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from masquerade_ws import Stats, WebSocketClient
from masquerade_ws.contrib.metrics import COUNTERS, GAUGES
from masquerade_ws.contrib.prometheus import ClientCollector
from masquerade_ws.testing import EventServer
from tests.support.raw_server import until
from tests.support.scenes import client_of


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry(auto_describe=True)


def scraped(registry: CollectorRegistry, client: str = "gallery") -> dict[str, float]:
    """Return what Prometheus would read for one client, without what the names begin with."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    samples = [sample for family in families for sample in family.samples]
    return {
        sample.name.removeprefix("masquerade_ws_"): sample.value
        for sample in samples
        if sample.labels == {"client": client}
    }


def test_everything_in_stats_is_a_metric() -> None:
    assert {metric.name for metric in (*COUNTERS, *GAUGES)} == {
        "connected",
        *(field.name for field in dataclasses.fields(Stats)),
    }


def test_a_scrape_reads_the_counters_of_a_client(server: EventServer, registry: CollectorRegistry) -> None:
    with client_of(server.url, heartbeat_interval=0.05) as client:
        registry.register(ClientCollector({"gallery": client}))
        before = scraped(registry)
        assert before["connected"] == before["connections_total"] == 0
        assert not before.keys() & {"latency_seconds", "connected_since_timestamp_seconds"}

        client.connect()
        server.emit("one")
        server.broadcast_raw("not an event")
        until(lambda: client.stats.messages_received == 2 and client.stats.latency)
        found, stats = scraped(registry), client.stats
        assert found["connected"] == found["connections_total"] == found["parse_errors_total"] == 1
        assert found["messages_received_total"] == 2
        assert found["bytes_received_total"] > 0
        assert found["latency_seconds"] > 0
        assert stats.connected_since is not None
        assert found["connected_since_timestamp_seconds"] == pytest.approx(stats.connected_since.timestamp())
        assert stats.last_event_at is not None
        assert found["last_event_at_timestamp_seconds"] == pytest.approx(stats.last_event_at.timestamp())

        server.drop()
        until(lambda: client.stats.reconnects == 1)
        found = scraped(registry)
        assert (found["reconnects_total"], found["connections_total"]) == (1, 2)
        assert found["gap_seconds_total"] > 0


def test_clients_may_come_and_go(registry: CollectorRegistry) -> None:
    clients = {"one": WebSocketClient("ws://localhost/", str)}
    registry.register(ClientCollector(clients))
    clients["two"] = WebSocketClient("ws://localhost/", str)
    assert scraped(registry, "one") == scraped(registry, "two") != {}
    del clients["one"]
    assert scraped(registry, "one") == {}


def test_a_client_alone_is_refused_with_what_is_expected_instead() -> None:
    with pytest.raises(TypeError, match="clients must be a mapping from names to clients, not WebSocketClient"):
        ClientCollector(WebSocketClient("ws://localhost/", str))  # type: ignore[arg-type]


def test_names_that_exist_already_are_refused_when_it_is_registered(registry: CollectorRegistry) -> None:
    registry.register(ClientCollector({}))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(ClientCollector({}))
