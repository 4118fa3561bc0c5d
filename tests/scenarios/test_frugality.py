"""What a client costs: little memory, few calls to connect, and no wake-up while nothing happens."""

from __future__ import annotations

import gc
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.raw_server import RawServer, until
from tests.support.scenes import client_of
from tests.support.scripts import idle


def test_an_idle_client_keeps_less_than_a_mebibyte() -> None:
    with RawServer(idle) as server, client_of(server.url) as client:
        client.connect()
        client.disconnect()  # what is made once a process does not count
    with RawServer(idle) as server:
        gc.collect()
        tracemalloc.start()
        try:
            with client_of(server.url) as client:
                client.connect()
                gc.collect()
                kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert kept < 2**20


def test_a_handshake_takes_few_calls_of_recv(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Counted(socket.socket):
        def recv(self, *arguments: Any) -> bytes:
            calls.append(threading.current_thread().name)
            return super().recv(*arguments)

    with RawServer(idle) as server, client_of(server.url) as client:
        monkeypatch.setattr(socket, "socket", Counted)
        client.connect()
    assert 1 <= calls.count("masquerade-ws-supervisor") < 10


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts wake-ups by Linux's /proc")
def test_an_idle_client_does_not_wake() -> None:
    with RawServer(idle) as server, client_of(server.url, heartbeat_interval=600) as client:
        client.connect()
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("masquerade-ws-")]
        assert len(threads) == 4
        until(lambda: switches(threads) == after(0.2, lambda: switches(threads)))  # connecting has its aftermath
        before = switches(threads)
        assert after(1, lambda: switches(threads)) == before


def after(seconds: float, look: Callable[[], list[str]]) -> list[str]:
    time.sleep(seconds)
    return look()


def switches(threads: list[threading.Thread]) -> list[str]:
    """Return how often each thread has gone to sleep, as the kernel counts it."""
    statuses = [Path(f"/proc/self/task/{thread.native_id}/status").read_text() for thread in threads]
    return [next(line for line in status.splitlines() if line.startswith("voluntary_")) for status in statuses]
