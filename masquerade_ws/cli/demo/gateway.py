"""A gateway to try clients against: it speaks the protocol of the Masquerade service and paints the pictures.

=====================  =============================================================================================
``/ws?token=...``      The WebSocket. An empty token, and one that begins with ``expired``, is refused (HTTP 401).
``/jobs/<job id>``     The latest event of a job as JSON, for those who missed it (HTTP 404: there is none).
=====================  =============================================================================================

Web pages of other sites are refused (HTTP 403; see `origins`), and so is a host that is not this machine.

A client starts a job by sending ``image.generate`` with the payload ``{"prompt": str, "job_id": str, "fail": bool}``.
Only ``prompt`` is required; ``fail`` plays a failure that may be retried. All clients get the events of all jobs, and
jobs continue while nobody is connected.
"""

from __future__ import annotations

__all__ = ["Gateway"]

import contextlib
import itertools
import json
import logging
import random
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from masquerade_ws import Event
from masquerade_ws.cli.demo.origins import refusal_of
from masquerade_ws.cli.demo.studio import Job, Studio
from masquerade_ws.sanitize import clean

_HEADERS = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}  # no page embeds it
_NOTICES = (
    {"severity": "info", "message": "all painters are at work"},
    {"severity": "warning", "message": "blue is running low"},
    {"severity": "error", "message": "a brush broke"},
)
_MAX_TEXT = 1_000  # characters of a prompt or a job id
_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)  # on, zero seconds: close() resets

_logger = logging.getLogger("masquerade_ws.gateway")
_logger.addHandler(logging.NullHandler())  # malformed requests, of port scanners for example, are not worth a log line


class Gateway:
    """Serves clients between entry and exit of the ``with`` block.

    Args:
        output: The folder for the pictures.
        host: The name or address to listen on.
        port: The port to listen on; 0 for a free one.
        names: Further names of this machine that requests may come under, such as that of a container.
        step: About how many seconds one of the ten steps of a job takes.
        fail_rate: The share of jobs (0 to 1) that fail though nobody asked for that.
        report: Called with a line for each connection and each job, from any thread.

    Raises:
        OSError: If it cannot listen there.
    """

    def __init__(
        self,
        output: Path,
        *,
        host: str = "localhost",
        port: int = 0,
        names: Iterable[str] = (),
        step: float = 0.4,
        fail_rate: float = 0.0,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._report = report
        self._fail_rate = fail_rate
        machine = socket.gethostname()
        self._names = {name.lower().removesuffix(".") for name in (host, machine, f"{machine}.local", *names) if name}
        self._server = serve(
            self._serve, host, port, process_request=self._answer, open_timeout=5, close_timeout=1, logger=_logger
        )
        self._address = f"{host}:{self._server.socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="masquerade-ws-gateway", daemon=True)
        self._studio = Studio(output, step, self._broadcast)
        self._notices = itertools.cycle(_NOTICES)
        self._changed = threading.Condition()  # guards _connections and _closing
        self._connections: set[ServerConnection] = set()
        self._closing = False

    @property
    def url(self) -> str:
        """The URL that clients connect to."""
        return f"ws://{self._address}/ws"

    def __enter__(self) -> Gateway:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._studio.close()
        with self._changed:
            self._closing = True
            connections = set(self._connections)
        for connection in connections:
            connection.close(1001)  # wakes its thread, which then ends
        self._server.shutdown()  # wakes the accepting thread, which then ends
        self._thread.join()
        with self._changed:
            self._changed.wait_for(lambda: not self._connections)

    def drop(self) -> None:
        """Reset the TCP connection of every client, as a broken network would."""
        with self._changed:
            connections = set(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):  # it has just been closed
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
                connection.socket.shutdown(
                    socket.SHUT_RD
                )  # its receiver sees the end of the stream and closes the socket

    def notify(self) -> None:
        """Send a notification to every client; one severity after the other."""
        event = Event("system.notification", dict(next(self._notices)))
        self._report(f"notification: {event.payload['message']}")
        self._send_to_all(event)

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Accept a WebSocket with a valid token, and answer plain HTTP requests."""
        url = urlsplit(request.path)
        if (why := refusal_of(request, self._names)) is not None:
            return self._refuse(connection, HTTPStatus.FORBIDDEN, why)
        if url.path == "/ws":
            token = _token(request, url.query)
            if not token or token.startswith("expired"):
                return self._refuse(connection, HTTPStatus.UNAUTHORIZED, "token missing or expired")
            return None
        event = self._studio.last_event(unquote(url.path.removeprefix("/jobs/")))
        if event is None:
            return _respond(connection, HTTPStatus.NOT_FOUND, "neither /ws nor the /jobs/<job id> of a job\n")
        return _respond(connection, HTTPStatus.OK, json.dumps(event.to_dict()), "application/json")

    def _refuse(self, connection: ServerConnection, status: HTTPStatus, why: str) -> Response:
        line = f"refused: {clean(why)}"
        self._report(line)
        return _respond(connection, status, f"{line}\n")

    def _serve(self, connection: ServerConnection) -> None:
        """Serve one client; called on a thread per connection."""
        peer = str(connection.id)[:8]  # not the address, which is unknown once the client has gone
        with self._changed:
            closing = self._closing
            if not closing:
                self._connections.add(connection)
        if closing:
            connection.close(1001)
            return
        try:
            self._report(f"connected: {peer}")
            with contextlib.suppress(ConnectionClosed):
                for message in connection:
                    self._take(connection, message)
            self._report(f"disconnected: {peer}, code {connection.protocol.close_code}")
        finally:
            with self._changed:
                self._connections.discard(connection)
                self._changed.notify_all()

    def _take(self, connection: ServerConnection, message: str | bytes) -> None:
        """Do what a message asks for, or reply what is wrong with it."""
        try:
            job = _job(json.loads(message))
        except (ValueError, RecursionError) as error:
            why = f"message not understood: {error}"
            self._report(why)
            notice = Event("system.notification", {"severity": "error", "message": why})
            connection.send(json.dumps(notice.to_dict()))
            return
        if job is not None and random.random() < self._fail_rate:
            job = replace(job, fail=True)
        if job is not None and not self._studio.start(job):
            self._report(f"already running: job {job.job_id!r}")

    def _broadcast(self, event: Event) -> None:
        kind = event.type.rpartition(".")[2]
        if kind != "progress":
            self._report(f"{kind}: job {event.payload['job_id']!r}")
        self._send_to_all(event)

    def _send_to_all(self, event: Event) -> None:
        text = json.dumps(event.to_dict())
        with self._changed:
            connections = set(self._connections)
        for connection in connections:
            with contextlib.suppress(ConnectionClosed):
                connection.send(text)


def _respond(
    connection: ServerConnection, status: HTTPStatus, text: str, kind: str = "text/plain; charset=utf-8"
) -> Response:
    """Return a response that no web page of another site can read or run."""
    response = connection.respond(status, text)
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = kind
    response.headers.update(_HEADERS)
    return response


def _token(request: Request, query: str) -> str:
    """Return the token from the header or else from the query."""
    header: str = request.headers.get("Authorization", "")
    return header.removeprefix("Bearer ") or parse_qs(query).get("token", [""])[0]


def _job(decoded: object) -> Job | None:
    """Return the job that a decoded message asks for; ``None`` for other events."""
    message: Any = decoded
    if not _is_object(decoded) or not isinstance(message.get("type"), str):
        raise ValueError("an event is an object with a type")
    if message["type"] != "image.generate":
        return None
    wanted: Any = message.get("payload")
    if not _is_object(wanted):
        raise ValueError("the payload of image.generate is an object")
    texts: dict[str, Any] = {name: wanted[name] for name in ("prompt", "job_id") if name in wanted}
    if "prompt" not in texts or not all(map(_is_text, texts.values())):
        raise ValueError(f"prompt and job_id are texts of 1 to {_MAX_TEXT} characters")
    return Job(fail=wanted.get("fail") is True, **texts)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_TEXT
