"""The Celery task of the examples, in a real worker."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("celery", reason="needs celery")
if not hasattr(os, "fork"):
    pytest.skip("needs os.fork, for the pool", allow_module_level=True)

from masquerade_ws.cli.demo.gateway import Gateway
from masquerade_ws.testing import EventServer, Peer
from tests.support.raw_server import until

FOLDER = Path(__file__).parents[2] / "examples" / "celery_task"
OPTIONS = ("--pool=prefork", "--concurrency=2", "--without-gossip", "--without-mingle", "--without-heartbeat")

SEND = """
import json, sys
from tasks import make_image

results = [make_image.delay(prompt, fail=prompt == "fail") for prompt in sys.argv[1:]]
answers = [result.get(timeout=60, interval=0.05, propagate=False) for result in results]
print(json.dumps([answer if isinstance(answer, str) else repr(answer) for answer in answers]))
"""


@contextlib.contextmanager
def working(environment: dict[str, str], output: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a worker, which the block may end."""
    with (
        output.open("w") as file,
        subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "tasks", "worker", *OPTIONS],
            cwd=FOLDER,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def environment_for(url: str, folder: Path) -> dict[str, str]:
    added = {"MASQUERADE_URL": url, "CELERY_FOLDER": str(folder / "celery")}
    return {**os.environ, **added}


def sent(environment: dict[str, str], *prompts: str) -> list[str]:
    """Send a task for each prompt and return the answers."""
    done = subprocess.run(
        [sys.executable, "-c", SEND, *prompts],
        cwd=FOLDER,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done
    answers: list[str] = json.loads(done.stdout)
    return answers


@pytest.mark.slow
def test_each_task_gets_its_own_image_and_each_process_says_goodbye(
    gateway: Gateway, tmp_path: Path, reports: list[str]
) -> None:
    environment = environment_for(gateway.url, tmp_path)
    prompts = [f"harbour {number}" for number in range(8)]
    with working(environment, tmp_path / "log") as worker:
        *images, failure = sent(environment, *prompts, "fail")
        worker.terminate()
        assert worker.wait(60) == 0, (tmp_path / "log").read_text()

    for prompt, image in zip(prompts, images, strict=True):
        assert image.startswith((tmp_path / "images" / prompt.replace(" ", "-")).as_uri() + "-")
    assert len(set(images)) == 8
    assert failure.startswith("RuntimeError(")
    assert failure.endswith("the painter ran out of blue')")
    connected = sum(line.startswith("connected") for line in reports)
    assert 1 <= connected <= 2
    until(lambda: sum(line.startswith("disconnected") for line in reports) >= connected)
    assert all(line.endswith("code 1000") for line in reports if line.startswith("disconnected"))


def test_a_task_is_tried_again_while_the_service_is_away(tmp_path: Path) -> None:
    def paint(peer: Peer, event: dict[str, Any]) -> None:
        if event["type"] == "image.generate":
            peer.emit("image.generation.completed", {"job_id": event["payload"]["job_id"], "image_url": "image"})

    with EventServer(paint) as server:
        environment = environment_for(server.url, tmp_path)
        server.refuse(503)
        with working(environment, tmp_path / "log"):
            assert sent(environment, "a harbour") == ["image"]
        assert len(server.tokens) >= 2
