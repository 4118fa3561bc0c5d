"""The gateway of the demo, its jobs and pictures, and the command ``serve``."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import pytest

pytest.importorskip("click", reason="the command line needs the extra demo")
pytest.importorskip("rich", reason="the command line needs the extra demo")
pytest.importorskip("websockets", reason="the gateway needs the extra demo")

from click.testing import CliRunner
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from masquerade_ws import Event, WebSocketClient
from masquerade_ws.cli.commands import cli as commands
from masquerade_ws.cli.demo import picture, serve, studio
from masquerade_ws.cli.demo.gateway import Gateway
from masquerade_ws.cli.demo.picture import SIZE, paint, png
from masquerade_ws.cli.demo.studio import Job, Studio

TIMEOUT = 30.0  # seconds; for what ought to come at once


class Lines(list[str]):
    """What was reported, with a wait for a line that has not come yet."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def __call__(self, line: str) -> None:
        with self._changed:
            self.append(line)
            self._changed.notify_all()

    def wait_for(self, beginning: str, count: int = 1) -> str:
        """Return the latest of the lines that begin so, once there are ``count``."""

        def found() -> list[str]:
            return [line for line in self if line.startswith(beginning)]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, TIMEOUT), f"no line {beginning!r} in {self}"
            return found()[-1]


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def gateway(tmp_path: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    for module in (picture, studio, sys.modules[__name__]):
        monkeypatch.setattr(module, "SIZE", 48)
    with Gateway(tmp_path / "pictures", step=0.001, report=lines) as gateway:
        yield gateway


def dial(url: str, **options: Any) -> ClientConnection:
    """Connect without a proxy, whatever the environment says."""
    address = urlsplit(url)
    assert address.hostname
    assert address.port
    reached = socket.create_connection((address.hostname, address.port), TIMEOUT)
    peer: ClientConnection = connect(url, sock=reached, **options)
    return peer


def join(gateway: Gateway, token: str = "secret-token") -> ClientConnection:
    return dial(f"{gateway.url}?token={quote(token)}")


def generate(peer: ClientConnection, **payload: Any) -> None:
    peer.send(json.dumps({"type": "image.generate", "payload": payload}))


def events(peer: ClientConnection) -> Iterator[dict[str, Any]]:
    """Yield the events until a job has ended."""
    kind = ""
    while kind not in studio.ENDS:
        event = json.loads(peer.recv(timeout=TIMEOUT))
        kind = event["type"]
        yield event


def ask(gateway: Gateway, path: str, **headers: str) -> tuple[int, str, Any]:
    with contextlib.closing(HTTPConnection(urlsplit(gateway.url).netloc, timeout=TIMEOUT)) as http:
        http.request("GET", path, headers=headers)
        response = http.getresponse()
        body = response.read()
        kind = response.getheader("Content-Type", "")
        return response.status, kind, json.loads(body) if kind == "application/json" else body


def path_of(url: str) -> Path:
    return Path(url2pathname(urlsplit(url).path))


def decode(data: bytes) -> tuple[dict[bytes, bytes], bytes]:
    """Return the chunks of a PNG file, each checksum tried, and its pixels."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, position = {}, 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind, body = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        assert struct.unpack_from(">I", data, position + 8 + length) == (zlib.crc32(kind + body),)
        chunks[kind], position = body, position + 12 + length
    lines = zlib.decompress(chunks[b"IDAT"])
    return chunks, b"".join(lines[start + 1 : start + SIZE + 1] for start in range(0, len(lines), SIZE + 1))


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_picture_is_a_valid_png_with_a_palette_and_every_pixel() -> None:
    palette, rows = paint("a lighthouse in a storm")

    chunks, pixels = decode(png(palette, rows))

    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (SIZE, SIZE, 8, 3, 0, 0, 0)
    assert chunks[b"PLTE"] == palette
    assert len(palette) == 3 * 256
    assert len(pixels) == SIZE * SIZE
    assert len(set(pixels)) > 100, "a picture, not a plain surface"


def test_a_prompt_always_gives_the_same_picture_and_another_one_another() -> None:
    first, again, other = (png(*paint(prompt)) for prompt in ("a fox", "a fox", "a box"))

    assert first == again
    assert first != other


# --- jobs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A Fox!", r"a-fox-[0-9a-f]{8}\.png"),
        ("../../etc/passwd", r"etc-passwd-[0-9a-f]{8}\.png"),
        ("狐", r"[0-9a-f]{8}\.png"),
        ("\ud800", r"[0-9a-f]{8}\.png"),
        ("x" * 500, r"x{40}-[0-9a-f]{8}\.png"),
    ],
)
def test_a_file_name_is_safe_whatever_the_prompt(prompt: str, expected: str) -> None:
    assert re.fullmatch(expected, Job(prompt, job_id="../\0").file_name)


def test_the_oldest_job_is_forgotten_when_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio, "_REMEMBERED", 2)
    ended = threading.Semaphore(0)

    def announce(event: Event) -> None:
        if event.type in studio.ENDS:
            ended.release()

    rooms = Studio(tmp_path, 0.0, announce)
    try:
        for name in ("first", "second", "third"):
            rooms.start(Job("a fox", fail=True, job_id=name))
            assert ended.acquire(timeout=TIMEOUT)
        known = [name for name in ("first", "second", "third") if rooms.last_event(name)]
    finally:
        rooms.close()

    assert known == ["second", "third"]


def test_closing_the_studio_ends_a_job_between_two_steps(tmp_path: Path) -> None:
    heard: list[str] = []
    begun = threading.Event()

    def announce(event: Event) -> None:
        heard.append(event.type)
        begun.set()

    rooms = Studio(tmp_path, 3600.0, announce)
    rooms.start(Job("a fox"))
    assert begun.wait(TIMEOUT)
    rooms.close()

    assert heard == ["image.generation.started"]


# --- the gateway ------------------------------------------------------------------------------------------------------


def test_a_job_is_told_from_its_start_to_the_picture_it_has_saved(gateway: Gateway, lines: Lines) -> None:
    with join(gateway) as peer:
        generate(peer, prompt="a fox", job_id="job-1")
        story = list(events(peer))

    started, *progress, completed = story
    assert started["type"] == "image.generation.started"
    assert started["payload"] == {"job_id": "job-1", "user_id": "demo", "prompt": "a fox"}
    assert [event["payload"]["progress"] for event in progress] == list(range(10, 101, 10))
    assert list(dict.fromkeys(event["payload"]["stage"] for event in progress)) == list(studio.STAGES)
    assert {event["payload"]["job_id"] for event in story} == {"job-1"}
    data = path_of(completed["payload"]["image_url"]).read_bytes()
    assert data == png(*paint("a fox"))
    assert completed["payload"]["metadata"] == {"width": SIZE, "height": SIZE, "bytes": len(data)}
    lines.wait_for("disconnected: ")
    assert [line.partition(":")[0] for line in lines] == ["connected", "started", "completed", "disconnected"]
    assert "secret-token" not in "".join(lines)


def test_clients_that_leave_at_once_get_their_jobs_done(gateway: Gateway, lines: Lines) -> None:
    for number in range(20):
        with join(gateway) as peer:
            generate(peer, prompt="a fox", job_id=f"job-{number}")
    lines.wait_for("completed: ", count=20)


def test_a_job_without_an_id_gets_one(gateway: Gateway) -> None:
    with join(gateway) as peer:
        generate(peer, prompt="a fox")
        ids = {event["payload"]["job_id"] for event in events(peer)}

    assert len(ids) == 1
    assert len(ids.pop()) == 36


def test_a_job_fails_when_asked_to_and_may_be_started_again(gateway: Gateway) -> None:
    with join(gateway) as peer:
        generate(peer, prompt="a fox", job_id="job-1", fail=True)
        failed = list(events(peer))[-1]
        generate(peer, prompt="a fox", job_id="job-1")
        completed = list(events(peer))[-1]

    assert failed["type"] == "image.generation.failed"
    assert failed["payload"]["retry_allowed"] is True
    assert completed["type"] == "image.generation.completed"


def test_a_job_under_way_is_not_started_twice(tmp_path: Path, lines: Lines) -> None:
    with Gateway(tmp_path, step=3600, report=lines) as gateway, join(gateway) as peer:
        generate(peer, prompt="a fox", job_id="job-1")
        generate(peer, prompt="a fox", job_id="job-1")

        assert lines.wait_for("already running: ") == "already running: job 'job-1'"


def test_a_picture_that_cannot_be_saved_is_a_failed_job(tmp_path: Path) -> None:
    occupied = tmp_path / "a file, not a folder"
    occupied.touch()
    with Gateway(occupied, step=0.001) as gateway, join(gateway) as peer:
        generate(peer, prompt="a fox")
        failed = list(events(peer))[-1]

    assert failed["type"] == "image.generation.failed"
    assert failed["payload"]["error"].startswith("cannot save the picture: ")


def test_everybody_hears_of_every_job(gateway: Gateway, lines: Lines) -> None:
    with join(gateway) as worker, join(gateway) as watcher:
        lines.wait_for("connected: ", count=2)
        generate(worker, prompt="a fox")

        assert list(events(worker)) == list(events(watcher))


@pytest.mark.parametrize(
    "message",
    [
        "no JSON",
        b"\xff",
        "[1]",
        "{}",
        '{"type": 1}',
        '{"type": "image.generate"}',
        '{"type": "image.generate", "payload": {}}',
        '{"type": "image.generate", "payload": {"prompt": ""}}',
        '{"type": "image.generate", "payload": {"prompt": "a fox", "job_id": 1}}',
        json.dumps({"type": "image.generate", "payload": {"prompt": "x" * 1001}}),
        "[" * 200_000,
    ],
    ids=lambda message: repr(message)[:30],
)
def test_a_message_that_is_not_understood_is_reported_to_the_log_and_to_its_sender(
    gateway: Gateway, lines: Lines, message: str | bytes
) -> None:
    with join(gateway) as peer:
        peer.send(message)
        notice = json.loads(peer.recv(timeout=TIMEOUT))

        assert notice["type"] == "system.notification"
        assert notice["payload"]["severity"] == "error"
        assert notice["payload"]["message"].startswith("message not understood: ")
        assert lines.wait_for("message not understood: ") == notice["payload"]["message"]


def test_other_events_are_ignored(gateway: Gateway) -> None:
    with join(gateway) as peer:
        peer.send('{"type": "heartbeat", "payload": {}}')
        generate(peer, prompt="a fox", fail=True)

        assert next(events(peer))["type"] == "image.generation.started"


@pytest.mark.parametrize("token", ["", "expired-yesterday"])
def test_a_bad_token_is_refused(gateway: Gateway, lines: Lines, token: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        join(gateway, token)

    assert caught.value.response.status_code == 401
    assert lines == ["refused: token missing or expired"]


def test_a_token_in_the_header_is_taken(gateway: Gateway, lines: Lines) -> None:
    with dial(gateway.url, additional_headers={"Authorization": "Bearer secret"}):
        lines.wait_for("connected: ")


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://localhost.evil.example",
        "http://localhost@evil.example",
        "http://192.0.2.1:34076",
        "http://[2001:db8::1",
        "null",
        "",
        "file://localhost",
        "chrome-extension://localhost",
    ],
)
def test_a_web_page_of_another_site_is_refused(gateway: Gateway, lines: Lines, origin: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        dial(f"{gateway.url}?token=secret", additional_headers={"Origin": origin})

    assert caught.value.response.status_code == 403
    assert b"refused: " in caught.value.response.body
    assert len(lines) == 1
    assert lines[0].startswith("refused: ")


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:3000", "https://LOCALHOST.", "http://127.0.0.1", "http://[::1]:80", "http://app.localhost"],
)
def test_a_web_page_of_this_machine_may_connect(gateway: Gateway, lines: Lines, origin: str) -> None:
    with dial(f"{gateway.url}?token=secret", additional_headers={"Origin": origin}):
        lines.wait_for("connected: ")


@pytest.mark.parametrize("path", ["/ws?token=secret", "/jobs/job-1"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:34076"},
        {"Host": "evil.example:34076", "Origin": "http://evil.example:34076"},
        {"Host": "localhost.evil.example"},
        {"Host": "[::1"},
        {"Host": "localhost", "Origin": "http://evil.example"},
        {"Host": ""},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_a_name_that_a_stranger_points_at_this_machine_is_refused(
    gateway: Gateway, lines: Lines, path: str, headers: dict[str, str]
) -> None:
    with join(gateway) as peer:
        generate(peer, prompt="a secret fox", job_id="job-1")
        lines.wait_for("completed: ")

    status, _, body = ask(gateway, path, **headers)

    assert status == 403
    assert b"fox" not in body
    assert lines.wait_for("refused: ").isprintable()


@pytest.mark.parametrize(
    "host", ["127.0.0.1:1", "192.0.2.1", "[::1]:34076", "[fe80::1%25eth0]", "LocalHost.", "a.localhost"]
)
def test_an_address_or_a_name_of_this_machine_is_served(gateway: Gateway, host: str) -> None:
    assert ask(gateway, "/jobs/unknown", Host=host)[0] == 404


def test_two_hosts_or_none_are_refused(gateway: Gateway) -> None:
    address = urlsplit(gateway.url)
    for hosts in ("", "Host: localhost\r\nHost: evil.example\r\n"):
        with socket.create_connection((address.hostname, address.port), TIMEOUT) as peer:
            peer.sendall(f"GET /jobs/x HTTP/1.1\r\n{hosts}\r\n".encode())
            assert peer.makefile("rb").readline().split()[1] == b"403"


def test_a_name_that_it_is_given_is_served_and_so_are_the_pages_that_come_from_there(tmp_path: Path) -> None:
    with Gateway(tmp_path, names=["Gateway.Test", ""]) as gateway:
        assert ask(gateway, "/jobs/x", Host="")[0] == 403
        assert ask(gateway, "/jobs/x", Host="gateway.test:80")[0] == 404
        assert ask(gateway, "/jobs/x", Host="gateway.test", Origin="http://gateway.test")[0] == 404
        assert ask(gateway, "/jobs/x", Host="192.0.2.1", Origin="http://192.0.2.1")[0] == 404
        assert ask(gateway, "/jobs/x", Host="192.0.2.1", Origin="http://192.0.2.2")[0] == 403


def test_other_sites_can_neither_embed_nor_guess_at_an_answer(gateway: Gateway) -> None:
    with contextlib.closing(HTTPConnection(urlsplit(gateway.url).netloc, timeout=TIMEOUT)) as http:
        http.request("GET", "/jobs/x")
        response = http.getresponse()
        assert response.getheader("X-Content-Type-Options") == "nosniff"
        assert response.getheader("Cross-Origin-Resource-Policy") == "same-origin"
        assert response.getheader("Access-Control-Allow-Origin") is None


def test_what_a_lost_connection_has_missed_can_be_asked_for(gateway: Gateway, lines: Lines) -> None:
    with join(gateway) as peer:
        lines.wait_for("connected: ")
        generate(peer, prompt="a fox", job_id="a job/ä")
        lines.wait_for("started: ")
        gateway.drop()
        with pytest.raises(ConnectionClosed):
            list(iter(lambda: peer.recv(timeout=TIMEOUT), None))
    lines.wait_for("completed: ")

    status, kind, event = ask(gateway, "/jobs/" + quote("a job/ä", safe=""))

    assert (status, kind, event["type"]) == (200, "application/json", "image.generation.completed")
    assert path_of(event["payload"]["image_url"]).is_file()
    assert lines.wait_for("disconnected: ").endswith("code 1006")


@pytest.mark.parametrize("path", ["/", "/jobs/unknown", "/elsewhere"])
def test_what_is_not_there_is_not_found(gateway: Gateway, path: str) -> None:
    assert ask(gateway, path)[0] == 404


def test_dropping_a_connection_that_has_just_closed_is_harmless(gateway: Gateway, lines: Lines) -> None:
    with join(gateway) as peer:
        lines.wait_for("connected: ")
        (connection,) = gateway._connections
        connection.socket.close()
        gateway.drop()
        connection.close_socket()

        with pytest.raises(ConnectionClosed):
            peer.recv(timeout=TIMEOUT)


def test_the_end_of_the_gateway_is_reported_to_its_clients(tmp_path: Path, lines: Lines) -> None:
    with Gateway(tmp_path, report=lines) as gateway:
        peer = join(gateway)
        lines.wait_for("connected: ")

    with peer, pytest.raises(ConnectionClosed):
        peer.recv(timeout=TIMEOUT)

    assert peer.close_code == 1001


def test_a_client_that_comes_while_the_gateway_ends_is_sent_away(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    gateway._closing = True
    with gateway, join(gateway) as peer, pytest.raises(ConnectionClosed):
        peer.recv(timeout=TIMEOUT)

    assert peer.close_code == 1001


# --- the command ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(*options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-u", "-m", "masquerade_ws", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="a signal to another process needs POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_cleanly_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    with serving("--output", str(tmp_path)) as process:
        assert process.stdout
        listening = process.stdout.readline()
        match = re.search(r"listening on (ws://localhost:\d+/ws), pictures go to (.*); stop with Ctrl-C", listening)
        assert match, listening
        assert match[2] == str(tmp_path)
        with dial(f"{match[1]}?token=x") as peer:
            assert re.search(r" connected: [0-9a-f]{8}$", process.stdout.readline())
            process.send_signal(number)
            with pytest.raises(ConnectionClosed):
                peer.recv(timeout=TIMEOUT)
        rest = process.stdout.read()

        assert process.wait(TIMEOUT) == 0
        assert [line[10:].partition(":")[0].strip() for line in rest.splitlines()] == ["disconnected", "ended"]


def test_serve_answers_to_the_names_that_it_is_allowed(tmp_path: Path) -> None:
    with serving("--output", str(tmp_path), "--allow-host", "gateway.test") as process:
        assert process.stdout
        match = re.search(r"listening on ws://(localhost:\d+)/ws", process.stdout.readline())
        assert match
        for name, status in (("gateway.test", 404), ("evil.example", 403)):
            with contextlib.closing(HTTPConnection(match[1], timeout=TIMEOUT)) as http:
                http.request("GET", "/jobs/x", headers={"Host": name})
                assert http.getresponse().status == status
        refused = process.stdout.readline()
        assert (
            refused[10:] == "refused: evil.example is not a name of this machine; if it is, serve with --allow-host\n"
        )


@pytest.mark.skipif(sys.platform == "win32", reason="a signal to another process needs POSIX")
def test_serve_notifies_and_drops_by_itself(tmp_path: Path) -> None:
    faults = ("--notify", "0.1", "--drop-every", "0.5", "--fail-rate", "0.5")
    with serving("--output", str(tmp_path), *faults) as process:
        assert process.stdout
        match = re.search(r"listening on (\S+),", process.stdout.readline())
        assert match
        with (
            WebSocketClient(match[1], lambda: "x", max_reconnect_delay=0.1, initial_reconnect_delay=0.1) as client,
            client.events("system.notification", "connected") as stream,
        ):
            seen = [stream.wait_for("system.notification", timeout=TIMEOUT).payload["severity"] for _ in range(3)]
            assert {*seen} == {"info", "warning", "error"}
            while not stream.wait_for("connected", timeout=TIMEOUT).reconnected:
                pass
        process.send_signal(signal.SIGINT)
        said = {line[10:].partition(":")[0].strip() for line in process.stdout.read().splitlines()}

    assert {"notification", "dropping all connections", "connected", "ended"} <= said


def test_a_share_of_the_jobs_fails_by_itself(tmp_path: Path) -> None:
    with Gateway(tmp_path, step=0.0, fail_rate=1.0) as gateway, join(gateway) as peer:
        generate(peer, prompt="a fox")
        failed = list(events(peer))[-1]

    assert failed["type"] == "image.generation.failed"
    assert failed["payload"]["retry_allowed"] is True


def test_a_notification_reaches_every_client(gateway: Gateway, lines: Lines) -> None:
    with join(gateway) as first, join(gateway) as second:
        lines.wait_for("connected: ", count=2)
        gateway.notify()
        notices = [json.loads(peer.recv(timeout=TIMEOUT)) for peer in (first, second)]

        assert [notice["payload"]["severity"] for notice in notices] == ["info", "info"]
        serve._drop(gateway, lines)
        for peer in (first, second):
            with pytest.raises(ConnectionClosed):
                peer.recv(timeout=TIMEOUT)
    assert lines.wait_for("dropping all connections")


def test_a_chore_is_done_when_its_time_has_come() -> None:
    done: list[str] = []
    due, later, never = (serve._Chore(every, lambda: done.append("done")) for every in (0.0, 3600.0, None))
    for chore in (due, later, never):
        chore.do_if_due()
    assert done == ["done"]
    assert due.seconds_left() == 0.0
    assert never.seconds_left() == float("inf")


def test_a_folder_that_cannot_be_written_is_reported_at_once(tmp_path: Path) -> None:
    occupied = tmp_path / "a file, not a folder"
    occupied.touch()

    for folder in (occupied, occupied / "below"):
        result = CliRunner().invoke(commands, ["serve", "--port", "0", "--output", str(folder)])
        assert result.exit_code == 2
        assert result.output.count("\n") == 1
        assert "--output" in result.output


@pytest.mark.parametrize(
    "options", [("--notify", "0"), ("--drop-every", "nan"), ("--fail-rate", "1.5"), ("--fail-rate", "nan")]
)
def test_a_power_out_of_range_is_wrong_usage(tmp_path: Path, options: tuple[str, str]) -> None:
    result = CliRunner().invoke(commands, ["serve", "--port", "0", "--output", str(tmp_path), *options])
    assert result.exit_code == 2
    assert f"{options[1]} must be a number from " in result.output


def test_the_help_of_serve_names_its_powers() -> None:
    text = " ".join(CliRunner().invoke(commands, ["serve", "--help"]).output.split())
    for power in ("--notify", "--drop-every", "--fail-rate", '"fail": true', '"expired"', "401", "/jobs/<job id>"):
        assert power in text


def test_serve_listens_until_it_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminated(threading.Event):
        beats = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.beats += 1
            if self.beats == 2:
                signal.raise_signal(signal.SIGTERM)
            return False

    class Report(serve._Report):
        def __init__(self) -> None:
            super().__init__()
            self.closed = Terminated()

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(serve, "_Report", Report)

    result = CliRunner().invoke(commands, ["serve", "--port", "0", "--output", str(tmp_path)])

    assert result.exit_code == 0
    assert [line[10:].partition(" ")[0] for line in result.output.splitlines()] == ["listening", "ended"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_serve_ends_when_nobody_reads_its_lines_any_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, into = os.pipe()
    os.close(out)
    with (
        open(into, "w", encoding="utf-8") as closed,
        contextlib.redirect_stdout(closed),
        pytest.raises(SystemExit) as caught,
    ):
        commands.main(["serve", "--port", "0", "--output", str(tmp_path)], "masquerade-ws")

    assert caught.value.code == 0
    assert capsys.readouterr().err == ""


def test_serve_does_not_hide_an_output_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(text: str) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(serve.click, "echo", fail)

    with pytest.raises(OSError, match="no space left"):
        serve._Report()("a line")


def test_a_port_in_use_is_reported_in_a_line(tmp_path: Path) -> None:
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(commands, ["serve", "--port", str(port), "--output", str(tmp_path)])

    assert result.exit_code == 2
    assert result.output.startswith(f"Error: cannot listen on localhost:{port}: ")
    assert result.output.count(str(port)) == 1
    assert result.output.count("\n") == 1
