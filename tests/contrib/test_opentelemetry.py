"""Metrics and spans in OpenTelemetry's own SDK."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from concurrent.futures import wait
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs opentelemetry-sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from masquerade_ws import DisconnectedError, ImageGenerationError, WebSocketClient
from masquerade_ws.contrib.metrics import COUNTERS, GAUGES
from masquerade_ws.contrib.opentelemetry import instrument
from masquerade_ws.testing import EventServer
from tests.support.raw_server import until
from tests.support.scenes import client_of


class Telemetry:
    """An SDK that keeps what it gets."""

    def __init__(self) -> None:
        self._reader, self._exporter = InMemoryMetricReader(), InMemorySpanExporter()
        self.meters, self.tracers = MeterProvider([self._reader]), TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))

    def instrument(self, client: WebSocketClient, name: str = "gallery") -> None:
        instrument(client, name=name, meter_provider=self.meters, tracer_provider=self.tracers)

    @property
    def spans(self) -> list[ReadableSpan]:
        return [*self._exporter.get_finished_spans()]

    @property
    def measured(self) -> dict[str, tuple[float, dict[str, Any]]]:
        """The value and the attributes of each metric."""
        data = self._reader.get_metrics_data()
        metrics = [] if data is None else [each for one in data.resource_metrics for each in one.scope_metrics]
        return {
            metric.name: (point.value, dict(point.attributes))
            for scope in metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        }

    def shutdown(self) -> None:
        self.meters.shutdown()
        self.tracers.shutdown()


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    telemetry = Telemetry()
    yield telemetry
    telemetry.shutdown()


def test_the_metrics_are_those_of_stats_and_follow_the_conventions_where_there_are_some(
    server: EventServer, telemetry: Telemetry
) -> None:
    with client_of(server.url, heartbeat_interval=0.05) as client:
        telemetry.instrument(client)
        client.connect()
        server.emit("one")
        until(lambda: client.stats.messages_received and client.stats.latency)
        measured = telemetry.measured
    assert len(measured) == len((*COUNTERS, *GAUGES))
    gallery = {"masquerade_ws.client": "gallery"}
    assert measured["masquerade_ws.connected"] == measured["masquerade_ws.connections"] == (1, gallery)
    assert measured["messaging.client.consumed.messages"] == (
        1,
        {**gallery, "messaging.system": "masquerade", "messaging.operation.name": "receive"},
    )
    assert measured["messaging.client.sent.messages"][1]["messaging.operation.name"] == "send"
    assert measured["masquerade_ws.latency"][0] > 0


def test_a_job_is_a_span_within_the_current_one_with_the_losses_of_its_connection(
    server: EventServer, telemetry: Telemetry
) -> None:
    with client_of(server.url) as client:
        telemetry.instrument(client)
        client.connect()

        def start() -> str:
            with client.events("connected", where={"reconnected": True}) as returns:
                server.drop()
                returns.get(timeout=20)
            server.emit("image.generation.completed", {"job_id": "job-42", "image_url": "u"})
            return "job-42"

        with telemetry.tracers.get_tracer("test").start_as_current_span("request"):
            assert client.run_image_job(start, timeout=20).payload["image_url"] == "u"
        client.disconnect()

    job, request = telemetry.spans
    assert (job.name, job.kind, job.status.status_code) == ("run_image_job", SpanKind.CLIENT, StatusCode.UNSET)
    assert job.parent is not None
    assert job.parent.span_id == request.context.span_id
    assert job.attributes == {"masquerade_ws.client": "gallery", "masquerade_ws.job.id": "job-42"}
    lost, back = job.events
    assert (lost.name, lost.attributes["code"]) == ("disconnected", 1006)
    assert (back.name, back.attributes["attempts"]) == ("reconnected", 1)
    assert back.attributes["gap"] > 0
    assert request.events == ()


def test_a_job_that_fails_is_a_span_with_its_error(server: EventServer, telemetry: Telemetry) -> None:
    with client_of(server.url) as client:
        telemetry.instrument(client)
        client.connect()

        def start() -> str:
            server.emit("image.generation.failed", {"job_id": "job-42", "error": "no blue"})
            return "job-42"

        with pytest.raises(ImageGenerationError):
            client.run_image_job(start, timeout=20)
    (job,) = telemetry.spans
    assert job.status.status_code is StatusCode.ERROR
    assert job.status.description == "ImageGenerationError: job job-42 failed: no blue"
    assert [event.name for event in job.events] == ["exception"]


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_a_job_that_is_a_future_is_a_span_until_it_is_done(end: str, server: EventServer, telemetry: Telemetry) -> None:
    with client_of(server.url) as client:
        telemetry.instrument(client)
        client.connect()
        job = client.submit_image_job(lambda: "job-42")
        assert telemetry.spans == []
        if end == "cancelled":
            job.cancel()
        else:
            server.emit(f"image.generation.{end}", {"job_id": "job-42", "image_url": "u", "error": "no blue"})
            wait([job], timeout=20)
        until(lambda: telemetry.spans)
    (span,) = telemetry.spans
    assert (span.name, span.attributes["masquerade_ws.job.id"]) == ("submit_image_job", "job-42")
    assert span.status.status_code is (StatusCode.ERROR if end == "failed" else StatusCode.UNSET)
    assert [event.name for event in span.events] == ["exception"] * (end == "failed")


def test_a_job_that_could_not_be_submitted_is_a_span_with_its_error(telemetry: Telemetry) -> None:
    client = WebSocketClient("ws://localhost/", str)
    telemetry.instrument(client)
    with pytest.raises(DisconnectedError):
        client.submit_image_job(lambda: "job-42")
    (span,) = telemetry.spans
    assert span.status.status_code is StatusCode.ERROR


def test_a_client_is_instrumented_once(telemetry: Telemetry) -> None:
    client = WebSocketClient("ws://localhost/", str)
    telemetry.instrument(client)
    with pytest.raises(ValueError, match="the client is instrumented already"):
        telemetry.instrument(client)


def test_a_forgotten_client_is_measured_no_more(telemetry: Telemetry) -> None:
    client = WebSocketClient("ws://localhost/", str)
    telemetry.instrument(client)
    assert telemetry.measured
    forgotten = weakref.ref(client)
    del client
    gc.collect()
    assert forgotten() is None
    assert telemetry.measured == {}
