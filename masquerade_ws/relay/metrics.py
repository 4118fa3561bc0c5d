"""``/metrics`` in Prometheus' text format, and ``/healthz``, for whoever watches a relay."""

from __future__ import annotations

import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from typing_extensions import Self

from masquerade_ws.lifecycle.threads import Thread, start
from masquerade_ws.relay.process import Report

__all__ = ["Metrics", "text_of"]

_PATIENCE = 5.0  # seconds for a request to be complete


def text_of(report: Report) -> str:
    """Return what Prometheus reads: names, kinds and values."""
    rows: list[tuple[str, str, str, float]] = [
        ("events_total", "counter", "Messages received from the gateway.", report.events),
        ("bytes_total", "counter", "Bytes of these messages.", report.bytes),
        ("flushes_total", "counter", "Entries appended to the stream with messages in them.", report.flushes),
        ("dropped_total", "counter", "Messages that found the buffer full.", report.dropped),
        ("sent_total", "counter", "Messages of workers that were sent to the gateway.", report.sent),
        ("unsent_total", "counter", "Messages of workers that were not sent, or may not have been.", report.unsent),
        ("buffer_bytes", "gauge", "Bytes received and not yet in the stream.", report.buffered),
        ("leader", "gauge", "1 if this relay leads, 0 if it stands by.", report.role == "leader"),
        ("gateway_connected", "gauge", "1 if the gateway is connected.", report.gateway == "connected"),
        ("engine_connected", "gauge", "1 if the engine is connected.", not report.engine),
        ("last_event_timestamp_seconds", "gauge", "When the last message came.", report.last_event_at or 0),
    ]
    lines: list[str] = []
    for name, kind, meaning, value in rows:
        full = f"masquerade_relay_{name}"
        number = f"{value:.3f}" if isinstance(value, float) else str(int(value))
        lines += [f"# HELP {full} {meaning}", f"# TYPE {full} {kind}", f"{full} {number}"]
    return "\n".join([*lines, ""])


class Metrics:
    """A server for both. As a context manager it runs meanwhile; its end wakes its thread, which then ends.

    Args:
        host: The name or address to listen on.
        port: The port; 0 for a free one.
        report: Returns where the relay stands.

    Raises:
        OSError: If it cannot listen there.
    """

    def __init__(self, host: str, port: int, report: Callable[[], Report]) -> None:
        class Handler(_Handler):
            ask = staticmethod(report)

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
            daemon_threads = True

        self._server = Server((host, port), Handler)
        self._thread: Thread | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread = start("metrics", self._server.serve_forever, 0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    ask: Callable[[], Report]
    timeout = _PATIENCE

    def do_GET(self) -> None:
        report = self.ask()
        if self.path == "/metrics":
            self._answer(200, "text/plain; version=0.0.4; charset=utf-8", text_of(report))
        elif self.path == "/healthz":
            gateway = f"gateway {report.gateway}"
            said = f"{report.role}, {gateway}{report.engine and ', the engine is away'}\n"
            self._answer(200 if report.healthy else 503, "text/plain; charset=utf-8", said)
        else:
            self._answer(404, "text/plain; charset=utf-8", "there are /metrics and /healthz\n")

    def _answer(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: it is asked every few seconds."""
