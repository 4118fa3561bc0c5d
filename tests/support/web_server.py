"""A web server in a process of its own, for the integrations."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from urllib.parse import urlencode

__all__ = ["WebServer", "free_port", "gunicorn"]

LIMIT = 60.0  # seconds


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class WebServer:
    """A web server, from the moment that it accepts connections to its end by SIGTERM.

    Args:
        command: What runs it: a module and its arguments, with ``{port}`` for the port.
        folder: Where it runs.
        environment: What is added to its environment.
        listens: Whether it accepts connections at all; a command beside a server does not.
    """

    def __init__(
        self, command: Sequence[str], *, folder: Path, environment: Mapping[str, str], listens: bool = True
    ) -> None:
        self._listens = listens
        self.port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, *(part.format(port=self.port) for part in command)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return "".join(self._lines)

    def __enter__(self) -> WebServer:
        try:
            if self._listens:
                self.await_listening()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._kill()

    def ask(self, path: str, form: Mapping[str, str] | None = None, **headers: str) -> tuple[int, str]:
        """Send a request, a POST if there is a form; return the status and the body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        try:
            if form is None:
                connection.request("GET", path, headers=headers)
            else:
                kind = {"Content-Type": "application/x-www-form-urlencoded"}
                connection.request("POST", path, urlencode(form), {**kind, **headers})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def await_listening(self) -> None:
        """Wait until it accepts connections."""
        deadline = time.monotonic() + LIMIT
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT).close()
                return
            time.sleep(0.05)
        raise AssertionError(f"the web server does not listen: {self.output}")

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal, and return its exit status."""
        self.send_signal(number)
        status = self._process.wait(LIMIT)
        self._reader.join(LIMIT)
        return status

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its workers too
        self._process.wait(LIMIT)
        self._reader.join(LIMIT)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        if self._process.stdout is not None:
            self._lines.extend(self._process.stdout)


def gunicorn(*arguments: str) -> list[str]:
    """Return the command of a gunicorn."""
    grace = "--graceful-timeout=5"  # seconds; a worker that is still starting misses the signal to end
    return ["-m", "gunicorn", "--bind", "127.0.0.1:{port}", grace, *arguments]
