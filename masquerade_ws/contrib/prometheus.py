"""The counters of clients for Prometheus (extra ``prometheus``).

::

    REGISTRY.register(ClientCollector({"gallery": client}))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from masquerade_ws import WebSocketClient
from masquerade_ws.contrib.metrics import COUNTERS, GAUGES, Metric, read

try:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "masquerade_ws.contrib.prometheus needs the prometheus-client package: pip install 'masquerade-ws[prometheus]'",
        name=error.name,
    ) from error

__all__ = ["ClientCollector"]

_Family = CounterMetricFamily | GaugeMetricFamily
_UNITS = {"latency": "_seconds", "connected_since": "_timestamp_seconds", "last_event_at": "_timestamp_seconds"}


class ClientCollector(Collector):
    """Collects the counters of clients at each scrape. It costs nothing between scrapes, and starts no client.

    The metrics are called ``masquerade_ws_`` and the name in `~masquerade_ws.Stats`, with the suffixes that Prometheus
    asks for, and have the label ``client``.

    Args:
        clients: The clients by their names, which become the label. It is read at each scrape, and so may change.

    Raises:
        TypeError: If it is not a mapping.
    """

    def __init__(self, clients: Mapping[str, WebSocketClient]) -> None:
        if not isinstance(clients, Mapping):
            raise TypeError(f"clients must be a mapping from names to clients, not {type(clients).__name__}")
        self._clients = clients

    def describe(self) -> Iterator[_Family]:
        """Yield the metrics without values, so that the registry finds names that exist twice."""
        yield from (family for _, family in _families())

    def collect(self) -> Iterator[_Family]:
        """Yield the metrics of all clients."""
        measured = {name: read(client) for name, client in dict(self._clients).items()}
        for metric, family in _families():
            for name, values in measured.items():
                if metric.name in values:
                    family.add_metric([name], values[metric.name])
            yield family


def _families() -> Iterator[tuple[Metric, _Family]]:
    for metric in COUNTERS:
        yield metric, CounterMetricFamily(f"masquerade_ws_{metric.name}", metric.description, labels=["client"])
    for metric in GAUGES:
        name = f"masquerade_ws_{metric.name}{_UNITS.get(metric.name, '')}"
        yield metric, GaugeMetricFamily(name, metric.description, labels=["client"])
