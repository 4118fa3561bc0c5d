"""Metrics of a client and a span for each of its image jobs, for OpenTelemetry (extra ``opentelemetry``).

::

    instrument(client)
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from masquerade_ws import ConnectedEvent, DisconnectedEvent, ImageJob, WebSocketClient
from masquerade_ws.contrib.metrics import COUNTERS, GAUGES, Metric, read
from masquerade_ws.version import __version__

try:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider, get_tracer, use_span
except ImportError as error:
    raise ImportError(
        "masquerade_ws.contrib.opentelemetry needs the opentelemetry-api package:"
        " pip install 'masquerade-ws[opentelemetry]'",
        name=error.name,
    ) from error

__all__ = ["instrument"]

_SCOPE = "masquerade_ws"
# Those for which there is a semantic convention, with the attribute that it demands beside `messaging.system`.
_CONVENTIONS = {
    "messages_received": ("messaging.client.consumed.messages", "receive"),
    "messages_sent": ("messaging.client.sent.messages", "send"),
}


def instrument(
    client: WebSocketClient,
    *,
    name: str = "default",
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
) -> None:
    """Measure a client, and make a span of each image job that it runs, with its reconnections as events.

    The metrics are those of `~masquerade_ws.Stats`, under ``masquerade_ws.`` and their names there; messages are
    ``messaging.client.consumed.messages`` and ``messaging.client.sent.messages``, as the semantic conventions say.
    A span is called ``run_image_job`` or ``submit_image_job``, is a child of the current one, and ends with the job,
    with the error if it has failed. Nothing is started by this, and the metrics of a client end with it.

    Args:
        client: The client; also that of the Django app.
        name: Tells clients apart, as the attribute ``masquerade_ws.client``.
        meter_provider: Where the metrics go, instead of the global one.
        tracer_provider: Where the spans go, instead of the global one.

    Raises:
        ValueError: If the client is instrumented already.
    """
    if "run_image_job" in vars(client):
        raise ValueError("the client is instrumented already: call instrument() once")
    attributes = {"masquerade_ws.client": name}
    _measure(client, attributes, meter_provider)
    jobs = _JobSpans(client, attributes, tracer_provider)
    client.on("disconnected", jobs.note_loss)
    client.on("connected", jobs.note_return)
    vars(client).update(run_image_job=jobs.run_image_job, submit_image_job=jobs.submit_image_job)


def _measure(client: WebSocketClient, attributes: dict[str, str], provider: MeterProvider | None) -> None:
    meter = get_meter(_SCOPE, __version__, provider)
    observed = weakref.ref(client)  # the instruments last as long as the process
    for make, metrics in ((meter.create_observable_counter, COUNTERS), (meter.create_observable_gauge, GAUGES)):
        for metric in metrics:
            name, operation = _CONVENTIONS.get(metric.name, (f"{_SCOPE}.{metric.name}", ""))
            demanded = {"messaging.system": "masquerade", "messaging.operation.name": operation} if operation else {}
            make(name, [_observer(observed, metric, {**attributes, **demanded})], metric.unit, metric.description)


def _observer(
    client: weakref.ref[WebSocketClient], metric: Metric, attributes: dict[str, str]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        observed = client()
        values = {} if observed is None else read(observed)
        return [Observation(values[metric.name], attributes)] if metric.name in values else []

    return observe


class _JobSpans:
    """Makes the spans of a client's jobs, in whose calls it stands, and hears of its connection."""

    def __init__(self, client: WebSocketClient, attributes: dict[str, str], provider: TracerProvider | None) -> None:
        self._run, self._submit = client.run_image_job, client.submit_image_job
        self._attributes = attributes
        self._tracer = get_tracer(_SCOPE, __version__, provider)
        self._lock = threading.Lock()  # guards the spans under way; nothing is done to a span under it
        self._spans: set[Span] = set()

    def run_image_job(self, start: Callable[[], str], **options: Any) -> Any:
        span = self._begin("run_image_job")
        try:
            with use_span(span):  # also notes the error
                return self._run(_noting(start, span), **options)
        finally:
            self._end(span)

    def submit_image_job(self, start: Callable[[], str], **options: Any) -> ImageJob[Any]:
        span = self._begin("submit_image_job")
        try:
            with use_span(span):
                job = self._submit(_noting(start, span), **options)
        except BaseException:
            self._end(span)
            raise
        job.add_done_callback(lambda job: self._end(span, job))
        return job

    def note_loss(self, event: DisconnectedEvent) -> None:
        self._note("disconnected", {"code": event.code, "reason": event.reason})

    def note_return(self, event: ConnectedEvent) -> None:
        if event.gap is not None:
            self._note("reconnected", {"gap": event.gap, "attempts": event.attempts})

    def _note(self, name: str, attributes: dict[str, Any]) -> None:
        with self._lock:
            spans = [*self._spans]
        for span in spans:
            span.add_event(name, attributes)

    def _begin(self, name: str) -> Span:
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=self._attributes)
        with self._lock:
            self._spans.add(span)
        return span

    def _end(self, span: Span, job: Future[Any] | None = None) -> None:
        with self._lock:
            self._spans.discard(span)
        error = None if job is None or job.cancelled() else job.exception()
        if error is not None:
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
        span.end()


def _noting(start: Callable[[], str], span: Span) -> Callable[[], str]:
    """Return a ``start`` that also notes the job's id."""

    def noting() -> str:
        job_id = start()
        span.set_attribute("masquerade_ws.job.id", job_id)
        return job_id

    return noting
