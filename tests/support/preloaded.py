"""A gunicorn whose master has loaded the application, and connected its client, before it forked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from masquerade_ws.testing import EventServer, Peer
from tests.support.raw_server import until
from tests.support.web_server import WebServer, gunicorn

__all__ = ["serves_from_four_workers"]

APPLICATION = """
import os
import threading
import time

from masquerade_ws import WebSocketClient

client = WebSocketClient(os.environ["GATEWAY"], lambda: str(os.getpid()))
client.connect()  # in the master, which keeps its connection
heard, answered = [], []  # not events of threading, which would be older than gevent's threads


@client.on("image.generation.completed")
def wait_for_the_answer(event):
    heard.append(event)
    while not answered:
        time.sleep(0.01)


def post_fork(server, worker):
    assert client.state == "disconnected"
    assert [name for name in map(str, threading.enumerate()) if "masquerade" in name] == []


def application(environ, start_response):
    client.connect()
    job_id = environ["PATH_INFO"]
    event = client.run_image_job(lambda: client.emit("ask", {"job_id": job_id}) or job_id, timeout=20)
    while not heard:
        time.sleep(0.01)
    client.connect()  # would be refused in the listener, which is not over, but this is another thread
    answered.append(job_id)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {event.payload['job_id']} {client.stats.connections}".encode()]
"""


def answer(peer: Peer, event: dict[str, Any]) -> None:
    """Complete the job that a client asks for."""
    if event["type"] == "ask":
        peer.emit("image.generation.completed", {**event["payload"], "image_url": "https://images.example/1"})


def serves_from_four_workers(directory: Path, kind: str) -> None:
    """Start gunicorn, ask it until each of its workers has answered, and stop it."""
    (directory / "application.py").write_text(APPLICATION)
    options = ["--preload", "--workers=4", f"--worker-class={kind}", "--config=python:application", "application"]
    with EventServer(answer) as gateway:
        environment = {"GATEWAY": gateway.url}
        with WebServer(gunicorn(*options), folder=directory, environment=environment) as web:
            gateway.wait_for_connections(1)
            workers: set[str] = set()

            def ask(number: int) -> None:
                status, text = web.ask(f"/{number}")
                assert status == 200, web.output
                worker, job_id, connections = text.split()
                assert job_id == f"/{number}"
                assert connections == "2"  # the master's, and then its own
                workers.add(worker)

            def ask_until_all_have_answered() -> bool:
                with ThreadPoolExecutor(16) as pool:
                    list(pool.map(ask, range(48)))
                return len(workers) == 4

            until(ask_until_all_have_answered, 60)
            gateway.wait_for_connections(5)
            (master,) = set(gateway.tokens) - workers  # it connected once, and a worker has not harmed that
            assert sorted(gateway.tokens) == sorted({*workers, master})
            assert web.stop() == 0, web.output
        gateway.wait_for_connections(0)
    assert "Traceback" not in web.output, web.output
    assert "Error" not in web.output.replace("masquerade", ""), web.output
