"""The command ``run``: a job from its start to the image in a file."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click", reason="the command line needs the extra cli")
pytest.importorskip("rich", reason="the command line needs the extra cli")
pytest.importorskip("websockets", reason="the test server needs the extra testing")

from masquerade_ws import ConnectError
from masquerade_ws.cli import image_command
from masquerade_ws.cli.download import _is_reachable, download
from masquerade_ws.cli.target import Target
from masquerade_ws.cli.tokens import TokenSource
from masquerade_ws.testing import EventServer
from tests.support.commands import Command
from tests.support.scenes import closed_port_url
from tests.support.terminal import TIMEOUT, Terminal, posix

IMAGE = b"\x89PNG" + bytes(range(256)) * 2000


@pytest.fixture
def run(run: Command) -> Command:
    """Run this command to its end."""
    return functools.partial(run, "run")


class Images(BaseHTTPRequestHandler):
    """Serves the image at ``/image``, cut off at ``/cut``, and elsewhere sends browsers there."""

    def do_GET(self) -> None:
        if self.path in ("/image", "/cut"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(IMAGE)))
            self.end_headers()
            self.wfile.write(IMAGE if self.path == "/image" else IMAGE[:1000])
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/image")
            self.end_headers()
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def images() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Images) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def complete(server: EventServer, url: object) -> None:
    """Answer the next job with this image."""
    server.script(
        [
            (
                "image.generation.completed",
                lambda event: {"job_id": event["payload"]["job_id"], "image_url": url},
            )
        ],
        on="image.generate",
    )


# --- the job ----------------------------------------------------------------------------------------------------------


def test_a_notification_that_an_order_is_not_understood_is_shown(run: Command, server: EventServer) -> None:
    error = ("system.notification", {"severity": "error", "message": "prompt is a text\x1b"})
    other = ("system.notification", {"severity": "info", "message": "all painters are at work"})
    done = ("image.generation.completed", {"job_id": "1", "image_url": "https://images.example/1.png"})
    started = ("image.generation.started", {"job_id": "1"})
    server.script([other, error, started, error, done], on="image.generate")
    ended = run(server.url, '{"prompt": 3, "job_id": "1"}')
    assert (ended.status, ended.out) == (0, "https://images.example/1.png\n")
    assert [note for note in ended.notes if note.startswith("notification")] == [r"notification: prompt is a text\x1b"]


def test_the_url_goes_to_stdout_and_the_progress_to_stderr(run: Command, masquerade_server: EventServer) -> None:
    masquerade_server.paint(steps=2)

    ended = run(masquerade_server.url, "a fox")

    sent = masquerade_server.expect("image.generate")["payload"]
    assert sent["prompt"] == "a fox"
    assert ended.status == 0
    assert ended.out == f"https://images.example/{sent['job_id']}.png\n"
    assert ended.notes == ["connecting", "connected", "0 %", "50 % painting"]


def test_a_whole_payload_may_be_given_and_the_event_is_printed_as_json(
    run: Command, masquerade_server: EventServer
) -> None:
    masquerade_server.paint(steps=0)

    ended = run(masquerade_server.url, '{"prompt": "a fox", "job_id": "fox-1", "seed": 7}', "--json")

    assert masquerade_server.expect("image.generate")["payload"] == {"prompt": "a fox", "job_id": "fox-1", "seed": 7}
    event = json.loads(ended.out)
    assert event["type"] == "image.generation.completed"
    assert event["payload"]["job_id"] == "fox-1"


@pytest.mark.parametrize("text", ["a fox\n", '{"prompt": "a fox"}', "\ufeffa fox\r\n"])
def test_the_prompt_may_come_from_standard_input(
    run: Command, masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    masquerade_server.paint(steps=0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    assert run(masquerade_server.url, "-").status == 0
    assert masquerade_server.expect("image.generate")["payload"]["prompt"] == "a fox"


def test_a_job_that_fails_is_status_4_with_the_reason(run: Command, masquerade_server: EventServer) -> None:
    masquerade_server.paint(fail="no \x1b[2J blue")

    ended = run(masquerade_server.url, '{"prompt": "a fox", "job_id": "fox-1"}')

    assert (ended.status, ended.out) == (4, "")
    assert ended.err.splitlines()[-1] == "Error: job fox-1 failed: no \\x1b[2J blue (it may be tried again)"


def test_jobs_of_others_are_not_looked_at(run: Command, masquerade_server: EventServer) -> None:
    masquerade_server.script(
        [
            ("image.generation.failed", {"job_id": "another", "error": "no"}),
            ("image.generation.completed", {"image_url": "https://images.example/wrong"}),
            ("image.generation.progress", lambda event: {"job_id": event["payload"]["job_id"], "progress": "much"}),
            ("image.generation.completed", lambda event: {**event["payload"], "image_url": "https://images.example/1"}),
        ],
        on="image.generate",
    )
    assert run(masquerade_server.url, "a fox").out == "https://images.example/1\n"


def test_a_job_that_is_late_is_status_1(run: Command, masquerade_server: EventServer) -> None:
    masquerade_server.script(
        [("image.generation.started", lambda event: {"job_id": event["payload"]["job_id"]})], on="image.generate"
    )
    ended = run(masquerade_server.url, '{"prompt": "a fox", "job_id": "fox-1"}', "--timeout", "1")
    assert (ended.status, ended.out) == (1, "")
    last = ended.err.splitlines()[-1]
    assert last.startswith(
        ("Error: job fox-1 did not end in time; last seen of it: ", "Error: could not connect in time")
    )


def test_a_job_goes_on_after_a_lost_connection(run: Command, masquerade_server: EventServer) -> None:
    masquerade_server.script(
        [
            masquerade_server.drop,
            lambda: masquerade_server.wait_for_connections(1, TIMEOUT),
            ("image.generation.completed", lambda event: {**event["payload"], "image_url": "https://images.example/1"}),
        ],
        on="image.generate",
    )
    ended = run(masquerade_server.url, "a fox")
    assert (ended.status, ended.out) == (0, "https://images.example/1\n")
    assert any(note.startswith("connected again after ") for note in ended.notes)


def test_a_job_that_is_not_heard_of_after_a_lost_connection_has_failed(
    run: Command, masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_command, "_PATIENCE", 0.05)
    masquerade_server.script([masquerade_server.drop], on="image.generate")
    ended = run(masquerade_server.url, '{"prompt": "a fox", "job_id": "fox-1"}')
    assert ended.status == 4
    assert ended.err.splitlines()[-1] == (
        "Error: job fox-1: the connection was lost while the job ran, and nothing was heard of it since"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'PROMPT|JSON'"),
        (["a", "fox"], "give the prompt as one argument, in quotes"),
        ([" "], "there is no prompt"),
        (["{}"], "there is no prompt"),
        (['{"prompt": "a fox", "job_id": 7}'], "job_id must be a JSON string"),
    ],
)
def test_what_is_not_a_prompt_is_wrong_usage(run: Command, arguments: list[str], message: str) -> None:
    ended = run("ws://localhost:1/ws", *arguments)
    assert ended.status == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_a_gateway_that_is_not_there_is_status_3(run: Command) -> None:
    assert run(closed_port_url(), "a fox").status == 3


def test_a_bar_leaves_nothing_in_the_output(
    run: Command, masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    masquerade_server.paint()
    ended = run(masquerade_server.url, '{"prompt": "a fox", "job_id": "1"}')
    assert (ended.status, ended.out) == (0, "https://images.example/1.png\n")
    assert "%" in ended.err


@posix
def test_a_terminal_shows_a_bar(masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch) -> None:
    masquerade_server.script(
        [
            (
                "image.generation.progress",
                lambda event: {**event["payload"], "progress": 50, "stage": "[red]half[/red]"},
            ),
            lambda: shown.wait(TIMEOUT),
            ("image.generation.completed", lambda event: {**event["payload"], "image_url": "https://images.example/1"}),
        ],
        on="image.generate",
    )
    shown = threading.Event()
    terminal = Terminal(monkeypatch)
    process = subprocess.Popen(
        [sys.executable, "-m", "masquerade_ws", "run", masquerade_server.url, "a fox"],
        stdout=subprocess.PIPE, stderr=terminal.slave, text=True,
    )  # fmt: skip
    with process:
        terminal.wait_for("50%")
        terminal.wait_for("[red]half[/red]")
        shown.set()
        out, _ = process.communicate(timeout=TIMEOUT)
    os.close(terminal.slave)
    terminal.close()
    assert (process.returncode, out) == (0, "https://images.example/1\n")


# --- the image --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/image", "/moved"])
def test_the_image_is_saved(
    run: Command, masquerade_server: EventServer, images: str, tmp_path: Path, path: str
) -> None:
    place = tmp_path / "fox.png"
    complete(masquerade_server, images + path)

    ended = run(masquerade_server.url, "a fox", "--save", str(place))

    assert (ended.status, ended.out) == (0, f"{images}{path}\n")
    assert ended.notes[-1] == f"saved as {place}"
    assert place.read_bytes() == IMAGE
    assert [each.name for each in tmp_path.iterdir()] == ["fox.png"]


def test_a_file_is_overwritten_if_that_is_said(
    run: Command, masquerade_server: EventServer, images: str, tmp_path: Path
) -> None:
    place = tmp_path / "fox.png"
    place.write_bytes(b"old")
    complete(masquerade_server, f"{images}/image")

    ended = run(masquerade_server.url, "a fox", "--save", str(place))
    assert ended.status == 2
    assert f"{place} exists already: give --force to overwrite it" in ended.err
    assert place.read_bytes() == b"old"
    assert masquerade_server.received == []

    assert run(masquerade_server.url, "a fox", "--save", str(place), "--force").status == 0
    assert place.read_bytes() == IMAGE


def test_a_folder_that_is_not_there_is_reported_before_the_job(
    run: Command, masquerade_server: EventServer, tmp_path: Path
) -> None:
    ended = run(masquerade_server.url, "a fox", "--save", str(tmp_path / "none" / "fox.png"))
    assert ended.status == 2
    assert f"cannot write into the folder {tmp_path / 'none'}" in ended.err
    assert masquerade_server.received == []


def test_the_image_of_a_gateway_on_this_machine_may_be_a_file(
    run: Command, masquerade_server: EventServer, tmp_path: Path
) -> None:
    source, place = tmp_path / "source.png", tmp_path / "fox.png"
    source.write_bytes(IMAGE)
    complete(masquerade_server, source.as_uri())
    assert run(masquerade_server.url, "a fox", "--save", str(place)).status == 0
    assert place.read_bytes() == IMAGE


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/none", "HTTP Error 404"),
        ("/cut", "the answer ended early"),
        ("http://127.0.0.1:1/x", "refused"),
        ("ftp://127.0.0.1/x", "not an address that can be reached from here"),
        ("file:///nowhere/at/all", "nowhere"),
        ("http://127.0.0.1:x/", "nonnumeric port"),
        ("/etc/passwd", None),
    ],
)
def test_an_image_that_cannot_be_fetched_is_status_3_and_leaves_no_file(  # noqa: PLR0917 - fixtures
    run: Command, masquerade_server: EventServer, images: str, tmp_path: Path, path: str, why: str | None
) -> None:
    url = images + path if path in ("/none", "/cut") else path
    complete(masquerade_server, url)
    ended = run(masquerade_server.url, "a fox", "--save", str(tmp_path / "fox.png"))
    assert ended.status == 3
    assert ended.out == f"{url}\n"
    assert ended.err.splitlines()[-1].startswith(f"Error: cannot fetch the image at {url}: ")
    assert why is None or why in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("gateway", "expected"),
    [("ws://localhost/", True), ("ws://[::1]/", True), ("wss://images.example/", False), ("ws://192.0.2.1/", False)],
)
def test_a_gateway_elsewhere_gets_no_file_of_this_machine_copied(gateway: str, expected: bool) -> None:
    assert _is_reachable("file:///etc/passwd", gateway) is expected


@pytest.mark.parametrize(("proxy", "status"), [("none", 0), ("http://127.0.0.1:1", 3)])
def test_the_image_comes_through_the_proxy_that_is_given(images: str, tmp_path: Path, proxy: str, status: int) -> None:
    target = Target("ws://localhost/", TokenSource(), {"proxy": False if proxy == "none" else proxy})
    with contextlib.ExitStack() as stack:
        if status:
            stack.enter_context(pytest.raises(ConnectError, match="refused"))
        download(f"{images}/image", tmp_path / "fox.png", target)
    assert (tmp_path / "fox.png").exists() == (status == 0)


@pytest.mark.parametrize("url", [None, 7])
def test_a_completion_without_a_url_is_reported(run: Command, masquerade_server: EventServer, url: Any) -> None:
    complete(masquerade_server, url)
    ended = run(masquerade_server.url, "a fox")
    assert ended.status == 4
    assert "without the URL of its image" in ended.err
