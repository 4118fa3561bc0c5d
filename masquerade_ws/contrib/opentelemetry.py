"""Metrics of a client and a span for each of its image jobs, for OpenTelemetry (extra ``opentelemetry``).

::

    instrument(client)
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any

from masquerade_ws import ConnectedEvent, DisconnectedEvent, WebSocketClient
from masquerade_ws.contrib.metrics import COUNTERS, GAUGES, Metric
from masquerade_ws.version import __version__

try:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter
    from opentelemetry.trace import Span, SpanKind, TracerProvider, get_tracer
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
    A span is called ``run_image_job``, is a child of the current one, and ends with the job, with the error if it has
    failed. Nothing is started by this, and the metrics of a client end with it.

    Args:
        client: The client; also that of the Django app.
        name: Tells clients apart, as the attribute ``masquerade_ws.client``.
        meter_provider: Where the metrics go, instead of the global one.
        tracer_provider: Where the spans go, instead of the global one.

    Raises:
        ValueError: If the client is instrumented already.
    """
    if isinstance(vars(client).get("run_image_job"), _TracedJobs):
        raise ValueError("the client is instrumented already: call instrument() once")
    attributes = {"masquerade_ws.client": name}
    _measure(client, attributes, meter_provider)
    jobs = _TracedJobs(client.run_image_job, attributes, tracer_provider)
    client.on("disconnected", jobs.note_loss)
    client.on("connected", jobs.note_return)
    client.run_image_job = jobs  # type: ignore[method-assign]


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
        value = None if observed is None else metric.read(observed, observed.stats)
        return [] if value is None else [Observation(value, attributes)]

    return observe


class _TracedJobs:
    """Takes the place of a client's ``run_image_job``, and hears of its connection."""

    def __init__(self, run: Callable[..., Any], attributes: dict[str, str], provider: TracerProvider | None) -> None:
        self._run = run
        self._attributes = attributes
        self._tracer = get_tracer(_SCOPE, __version__, provider)
        self._lock = threading.Lock()  # guards the spans under way; nothing is done to a span under it
        self._spans: set[Span] = set()

    def __call__(self, start: Callable[[], str], **options: Any) -> Any:
        with self._span() as span:

            def traced_start() -> str:
                job_id = start()
                span.set_attribute("masquerade_ws.job.id", job_id)
                return job_id

            return self._run(traced_start, **options)

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

    @contextmanager
    def _span(self) -> Generator[Span, None, None]:
        kind, attributes = SpanKind.CLIENT, self._attributes
        with self._tracer.start_as_current_span("run_image_job", kind=kind, attributes=attributes) as span:
            with self._lock:
                self._spans.add(span)
            try:
                yield span
            finally:
                with self._lock:
                    self._spans.discard(span)
