"""The Django project of the examples, under real web servers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("django", reason="needs django")
pytest.importorskip("gunicorn", reason="needs gunicorn")
if not hasattr(os, "fork"):
    pytest.skip("needs os.fork, for gunicorn", allow_module_level=True)

from masquerade_ws.cli.demo import studio
from masquerade_ws.cli.demo.gateway import Gateway
from masquerade_ws.testing import EventServer, Peer
from tests.support.raw_server import until
from tests.support.web_server import WebServer, gunicorn

PROJECT = Path(__file__).parents[2] / "examples" / "django_worker"


def paint(peer: Peer, event: dict[str, Any]) -> None:
    """Answer a job at once, or as its prompt asks for."""
    if event["type"] != "image.generate":
        return
    job_id, prompt = event["payload"]["job_id"], event["payload"]["prompt"]
    if prompt == "fail":
        peer.emit("image.generation.failed", {"job_id": job_id, "error": "no blue", "retry_allowed": True})
    elif prompt != "never":
        peer.emit("image.generation.completed", {"job_id": job_id, "image_url": f"https://images.example/{job_id}"})


@pytest.fixture
def server() -> Iterator[EventServer]:
    with EventServer(paint) as server:
        yield server


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the tables and nothing in them."""
    path = tmp_path_factory.mktemp("migrated") / "db.sqlite3"
    manage("migrate", "--verbosity=0", environment={"DATABASE": str(path)})
    return path


@pytest.fixture
def database(migrated: Path, tmp_path: Path) -> dict[str, str]:
    return {"DATABASE": str(shutil.copy(migrated, tmp_path))}


def manage(*arguments: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done
    return done.stdout


def made(web: WebServer, prompt: str) -> dict[str, Any]:
    status, body = web.ask("/images", {"prompt": prompt})
    assert status == 200, (status, body, web.output)
    answer: dict[str, Any] = json.loads(body)
    assert answer["prompt"] == prompt
    return answer


def is_own(answer: dict[str, Any], images: Path) -> bool:
    """Return whether the image is that of the answer's own prompt and job."""
    path = images / studio.Job(answer["prompt"], job_id=answer["job_id"]).file_name
    return answer["image_url"] == path.as_uri() and path.exists()


def test_the_migrations_are_those_of_the_models_and_the_settings_are_sound() -> None:
    manage("makemigrations", "--check", "--dry-run", environment={})
    assert manage("check", "--fail-level=WARNING", environment={}).startswith("System check identified no issues")


@pytest.mark.slow
def test_200_concurrent_requests_each_get_their_own_image(
    gateway: Gateway, tmp_path: Path, reports: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    count = 200
    at_once = threading.Barrier(count)
    times: list[float] = []

    def ask(number: int) -> dict[str, Any]:
        at_once.wait(30)
        before = time.monotonic()
        answer = made(web, f"harbour number {number}")
        times.append(time.monotonic() - before)
        return answer

    environment = {"MASQUERADE_URL": gateway.url}
    with WebServer(gunicorn(), folder=PROJECT, environment=environment) as web:
        with ThreadPoolExecutor(count) as pool:
            until(lambda: sum(line.startswith("connected") for line in reports) == 4)
            before = time.monotonic()
            answers = list(pool.map(ask, range(count)))
            took = time.monotonic() - before
        assert web.stop() == 0

    assert [answer["prompt"] for answer in answers] == [f"harbour number {number}" for number in range(count)]
    assert all(is_own(answer, tmp_path / "images") for answer in answers)
    assert len({answer["image_url"] for answer in answers}) == count
    assert sum(line.startswith("connected") for line in reports) == 4
    with capsys.disabled():
        sys.stdout.write(
            f"\n{count} requests at once: {count / took:.0f} requests/s,"
            f" median {statistics.median(times):.2f} s, slowest {max(times):.2f} s\n"
        )


@pytest.mark.parametrize(
    "arguments",
    [
        ("--worker-class=sync", "--threads=1"),
        pytest.param(("--worker-class=gthread",), marks=pytest.mark.slow),
        ("--worker-class=gthread", "--preload"),
        ("--worker-class=gevent",),
        pytest.param(("--worker-class=gevent", "--preload"), marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_every_kind_of_worker_makes_images_and_says_goodbye(
    arguments: tuple[str, ...], gateway: Gateway, tmp_path: Path, reports: list[str]
) -> None:
    if "--worker-class=gevent" in arguments:
        pytest.importorskip("gevent", reason="needs gevent")
    environment = {"MASQUERADE_URL": gateway.url}

    with WebServer(gunicorn(*arguments, "--workers=2"), folder=PROJECT, environment=environment) as web:
        until(lambda: sum(line.startswith("connected") for line in reports) == 2)  # before any request
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: made(web, f"harbour {number}"), range(16)))
        assert web.stop() == 0, web.output

    assert all(is_own(answer, tmp_path / "images") for answer in answers)
    assert sum(line.startswith("connected") for line in reports) == 2
    until(lambda: sum(line.startswith("disconnected") for line in reports) == 2)
    assert all(line.endswith("code 1001") for line in reports if line.startswith("disconnected"))


def test_what_goes_wrong_has_a_status_of_its_own(server: EventServer) -> None:
    environment = {"MASQUERADE_URL": server.url, "IMAGE_TIMEOUT": "0.5"}
    with WebServer(gunicorn("--workers=1"), folder=PROJECT, environment=environment) as web:
        assert made(web, "a harbour")["image_url"].startswith("https://images.example/")
        status, page = web.ask("/")
        assert (status, f"http://127.0.0.1:{web.port}/images" in page) == (200, True)
        assert json.loads(web.ask("/healthz")[1])["state"] == "connected"
        for form, status, error in [
            ({"prompt": "never"}, 504, "the image was not finished in time"),
            ({"prompt": " "}, 400, "a prompt is missing: send the form field prompt"),
        ]:
            assert web.ask("/images", form) == (status, json.dumps({"error": error}))
        for other in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
            assert web.ask("/images", {"prompt": "a harbour"}, **other)[0] == (400 if "Host" in other else 403)
        status, body = web.ask("/images", {"prompt": "fail"})
        assert (status, json.loads(body)["retry_allowed"]) == (502, True)
        server.emit("system.notification", {})  # the receiver fails
        until(lambda: "KeyError: 'severity'" in web.output)
        server.stop()
        assert web.ask("/images", {"prompt": "a harbour"})[0] == 503
        assert web.ask("/healthz")[0] == 503
        until(lambda: "connection error, and nobody listens to errors" in web.output)


def test_a_notification_is_saved_once_though_every_process_receives_it(
    server: EventServer, database: dict[str, str]
) -> None:
    environment = {"MASQUERADE_URL": server.url, **database}
    with WebServer(gunicorn("--workers=2"), folder=PROJECT, environment=environment) as web:
        assert "None yet." in web.ask("/notifications")[1]
        server.wait_for_connections(2, timeout=30)
        server.emit("system.notification", {"severity": "info", "message": "<b>first</b>"})
        server.emit("system.notification", {"severity": "warning", "message": "second"})
        until(lambda: "second" in web.ask("/notifications")[1])

        page = web.ask("/notifications")[1]
        assert web.stop() == 0
    assert page.count("<li>") == 2
    assert "<strong>info</strong> &lt;b&gt;first&lt;/b&gt;" in page


def test_the_command_alone_saves_notifications_beside_a_web_worker_that_uses_its_client(
    server: EventServer, database: dict[str, str]
) -> None:
    environment = {"MASQUERADE_URL": server.url, "LISTENERS": "listen", **database}
    serving = WebServer(gunicorn("--workers=1"), folder=PROJECT, environment=environment)
    listening = subprocess.Popen(
        [sys.executable, "manage.py", "masquerade_listen"],
        cwd=PROJECT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with serving as web, listening:
        server.wait_for_connections(1, timeout=30)
        made(web, "a harbour")
        assert server.connections == 2
        server.emit("system.notification", {"severity": "info", "message": "first"})
        until(lambda: "first" in web.ask("/notifications")[1])
        listening.terminate()
        output, errors = listening.communicate(timeout=30)
    assert listening.returncode == 0, errors
    assert json.loads(output.splitlines()[-1])["payload"] == {"severity": "info", "message": "first"}
    assert "Traceback" not in web.output, web.output
    assert errors.splitlines() == ["connected", "disconnected, code 1000"]


def test_the_command_ends_quietly_when_nobody_reads_its_lines_any_more(
    server: EventServer, database: dict[str, str]
) -> None:
    with subprocess.Popen(
        [sys.executable, "manage.py", "masquerade_listen"],
        cwd=PROJECT,
        env={**os.environ, "MASQUERADE_URL": server.url, **database},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as listening:
        assert listening.stdout is not None
        assert listening.stderr is not None
        server.wait_for_connections(1, timeout=30)
        server.emit("first")
        assert json.loads(listening.stdout.readline())["type"] == "first"
        listening.stdout.close()
        server.emit("second")
        errors = listening.stderr.read()
    assert (listening.returncode, errors.splitlines()) == (0, ["connected", "disconnected, code 1000"])


def test_the_autoreloader_has_one_client_and_each_reload_replaces_it(server: EventServer, tmp_path: Path) -> None:
    project = shutil.copytree(PROJECT, tmp_path / "project")
    apps = project / "gallery" / "apps.py"
    eager = "        from masquerade_ws.contrib.django import client\n\n        client.connect(block=False)\n"
    apps.write_text(apps.read_text() + eager)  # runs in both processes of the autoreloader

    command = ["manage.py", "runserver", "127.0.0.1:{port}"]
    with WebServer(command, folder=project, environment={"MASQUERADE_URL": server.url}) as web:
        server.wait_for_connections(1, timeout=30)
        made(web, "a harbour")
        assert (server.connections, len(server.tokens)) == (1, 1)

        for _ in range(5):  # a change that comes before the reloader has had its first look goes unseen
            (project / "gallery" / "views.py").touch()
            with contextlib.suppress(AssertionError):
                until(lambda: len(server.tokens) == 2, 6)
                break
        web.await_listening()
        until(lambda: server.connections == 1)
        made(web, "a harbour")
    assert len(server.tokens) == 2
