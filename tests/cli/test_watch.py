"""The command ``watch``: what it shows, that it survives, and how it leaves the terminal."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click", reason="the command line needs the extra cli")
pytest.importorskip("rich", reason="the command line needs the extra cli")
pytest.importorskip("websockets", reason="the test server needs the extra testing")

from rich.cells import cell_len
from rich.console import Console

from masquerade_ws import ConnectedEvent, DisconnectedEvent, Event, StateChangeEvent, WebSocketClient
from masquerade_ws.cli.commands import cli
from masquerade_ws.cli.watch import board as boards
from masquerade_ws.cli.watch.board import Board
from masquerade_ws.cli.watch.keys import keyboard
from masquerade_ws.cli.watch.rendering import render
from masquerade_ws.testing import EventServer
from tests.support.scenes import running
from tests.support.terminal import TIMEOUT, Terminal, posix

NOW = "2026-11-23T12:00:00.000Z"
LEFT = "\x1b[?1049l"  # the alternate screen


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("MASQUERADE_TOKEN", "secret-token")
    terminal = Terminal(monkeypatch)
    yield terminal
    os.close(terminal.slave)
    terminal.close()


@contextlib.contextmanager
def at(terminal: Terminal) -> Iterator[None]:
    """Make the terminal standard input and output."""
    with pytest.MonkeyPatch.context() as patched, open(os.dup(terminal.slave), encoding="utf-8") as keys:
        patched.setattr(sys, "stdin", keys)
        with open(os.dup(terminal.slave), "w", encoding="utf-8") as shown, contextlib.redirect_stdout(shown):
            yield


def watch(url: str, play: Callable[[], object] = lambda: None, *options: str) -> int:
    """Run the command to its end, and beside it what makes it end."""
    ended = threading.Event()

    def act() -> None:
        try:
            play()
        except BaseException:
            if not ended.is_set():
                os.kill(os.getpid(), signal.SIGINT)  # or it would never end
            raise

    worker = running(act)
    try:
        with pytest.raises(SystemExit) as caught:
            cli.main(["watch", url, *options], "masquerade-ws")
    finally:
        ended.set()
    worker.result()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def settings(terminal: Terminal) -> Any:
    import termios  # noqa: PLC0415 - POSIX only

    return termios.tcgetattr(terminal.slave)


# --- on a terminal ----------------------------------------------------------------------------------------------------


@posix
def test_it_shows_jobs_notifications_and_the_connection_until_q(
    terminal: Terminal, masquerade_server: EventServer
) -> None:
    before = settings(terminal)

    def play() -> None:
        masquerade_server.wait_for_connections(1, TIMEOUT)
        prompt = "a fox \x1b[2J\x9b31m"
        masquerade_server.emit("image.generation.started", {"job_id": "1", "user_id": "u", "prompt": prompt})
        masquerade_server.emit("image.generation.progress", {"job_id": "1", "progress": 37, "stage": "sketching"})
        masquerade_server.emit("image.generation.failed", {"job_id": "2", "error": "out of blue"})
        link = {"action_url": "https://gallery.example"}
        masquerade_server.emit("system.notification", {"severity": "warning", "message": "at\x07 noon"} | link)
        for sight in ("sketching", " 37%", "out of blue", "at\\x07 noon <https://gallery.example>", "connected"):
            terminal.wait_for(sight)
        terminal.type("q")

    with at(terminal):
        status = watch(f"{masquerade_server.url}?key=secret-key", play)

    assert status == 0
    terminal.wait_for(LEFT)
    terminal.wait_for("\x1b[?25h")
    assert "a fox \\x1b[2J\\x9b31m" in terminal.text
    assert "\x1b[2J" not in terminal.text
    assert "\x9b" not in terminal.text
    assert "secret" not in terminal.text
    assert terminal.text.partition(LEFT)[2].count("jobs: 1 failed, 1 running; gaps in the connection: none") == 1
    assert terminal.text.count("\x1b[?1049h") == terminal.text.count(LEFT) == 1
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l"), "the cursor is shown again"
    assert settings(terminal) == before


@posix
def test_it_survives_a_lost_connection(terminal: Terminal, masquerade_server: EventServer) -> None:
    def play() -> None:
        masquerade_server.wait_for_connections(1, TIMEOUT)
        terminal.wait_for("q quits")
        masquerade_server.drop()
        terminal.wait_for("disconnected (code 1006), reconnecting")
        terminal.wait_for("connected again after ")
        masquerade_server.emit("image.generation.completed", {"job_id": "late", "image_url": "https://i.example"})
        terminal.wait_for("late")
        terminal.wait_for("done")
        terminal.type("Q")

    with at(terminal):
        assert watch(masquerade_server.url, play) == 0
    assert masquerade_server.tokens == ["secret-token", "secret-token"]


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interruption_leaves_the_terminal_as_it_was(
    terminal: Terminal, masquerade_server: EventServer, name: str
) -> None:
    before = settings(terminal)

    def interrupt() -> None:
        terminal.wait_for("q quits")
        os.kill(os.getpid(), getattr(signal, name))

    with at(terminal):
        assert watch(masquerade_server.url, interrupt) == 130
    terminal.wait_for(LEFT)
    assert settings(terminal) == before


@posix
def test_ctrl_c_leaves_the_terminal_as_it_was(masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl  # noqa: PLC0415 - POSIX only
    import termios  # noqa: PLC0415

    terminal = Terminal(monkeypatch)
    before = settings(terminal)
    code = (
        "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "from masquerade_ws.cli import main; sys.argv[0] = 'masquerade-ws'; main()"
    )
    command = [sys.executable, "-c", code, "watch", masquerade_server.url]
    shown = os.dup(terminal.slave)
    assert fcntl.fcntl(shown, fcntl.F_GETFD) >= 0
    assert termios.ISIG & before[3]
    with subprocess.Popen(command, stdin=shown, stdout=shown, stderr=shown, start_new_session=True) as process:
        os.close(shown)
        terminal.wait_for("q quits")
        terminal.type("\x03")
        status = process.wait(TIMEOUT)
    after = settings(terminal)
    os.close(terminal.slave)
    terminal.close()

    assert status == 130
    assert after == before
    assert "Traceback" not in terminal.text
    assert terminal.text.count(LEFT) == 1


@posix
def test_a_crash_leaves_the_terminal_as_it_was(
    terminal: Terminal, masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = settings(terminal)

    def crash(*_: object) -> None:
        raise ZeroDivisionError

    def play() -> None:
        terminal.wait_for("q quits")
        monkeypatch.setattr("masquerade_ws.cli.watch.live.render", crash)

    with at(terminal):
        assert watch(masquerade_server.url, play) == 2
    terminal.wait_for(LEFT)
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l"), "the cursor is shown again"
    assert settings(terminal) == before


@posix
def test_what_debug_tells_goes_where_standard_error_goes(
    terminal: Terminal, masquerade_server: EventServer, capsys: pytest.CaptureFixture[str]
) -> None:
    def play() -> None:
        masquerade_server.wait_for_connections(1, TIMEOUT)
        masquerade_server.emit("image.generation.started", {"job_id": "fox-1"})
        terminal.wait_for("fox-1")
        terminal.type("q")

    with at(terminal):
        assert watch(masquerade_server.url, play, "--debug") == 0
    assert "received" in capsys.readouterr().err
    assert "DEBUG" not in terminal.text


@posix
def test_without_a_keyboard_it_is_shown_too(
    terminal: Terminal, masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        terminal.wait_for("q quits")
        os.kill(os.getpid(), signal.SIGINT)

    with at(terminal):
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        assert watch(masquerade_server.url, interrupt) == 130


@posix
def test_a_server_that_refuses_never_gets_a_screen(
    terminal: Terminal, masquerade_server: EventServer, capsys: pytest.CaptureFixture[str]
) -> None:
    masquerade_server.refuse(503)

    with at(terminal):
        assert watch(masquerade_server.url) == 3
    assert capsys.readouterr().err.endswith("the server answered with HTTP status 503\n")
    assert terminal.text == ""


# --- without a terminal -----------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("dumb", [False, True])
def test_without_a_terminal_it_prints_lines(
    masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], dumb: bool
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    out, into = os.pipe()
    terminal = Terminal(monkeypatch) if dumb else None
    monkeypatch.setenv("TERM", "dumb")

    def play() -> None:
        masquerade_server.wait_for_connections(1, TIMEOUT)
        masquerade_server.emit("x", {"a": 1})
        if terminal:
            terminal.wait_for("x  a=1")
        else:
            assert os.read(out, 100)[10:] == b"x  a=1\n"
        os.kill(os.getpid(), signal.SIGINT)

    with open(terminal.slave if terminal else into, "w", encoding="utf-8") as shown, contextlib.redirect_stdout(shown):
        status = watch(masquerade_server.url, play)
    if terminal:
        terminal.close()
        os.close(into)
    os.close(out)

    assert status == 130
    assert (
        capsys.readouterr().err.splitlines()[0][10:]
        == "standard output is not a terminal: printing a line for each event"
    )


# --- the keyboard -----------------------------------------------------------------------------------------------------


@posix
def test_a_terminal_that_has_gone_is_a_q(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pty  # noqa: PLC0415 - POSIX only

    master, slave = pty.openpty()
    with open(slave, encoding="utf-8") as keys:
        monkeypatch.setattr(sys, "stdin", keys)
        with keyboard() as wait_for_keys:
            assert wait_for_keys(0) == ""
            os.write(master, b"\x1a")
            assert wait_for_keys(TIMEOUT) == "\x1a", "Ctrl-Z suspends nothing"
            os.write(master, "ä".encode())
            assert wait_for_keys(TIMEOUT) == "ä"
            os.close(master)
            assert wait_for_keys(TIMEOUT) == "q"
        monkeypatch.undo()


@posix
def test_a_terminal_that_cannot_be_read_is_a_q(monkeypatch: pytest.MonkeyPatch, terminal: Terminal) -> None:
    def fail(*_: object) -> bytes:
        raise OSError("gone")

    with at(terminal), keyboard() as wait_for_keys:
        terminal.type("x")
        with monkeypatch.context() as patched:
            patched.setattr("masquerade_ws.cli.watch.keys.os.read", fail)
            assert wait_for_keys(TIMEOUT) == "q"


# --- what it knows ----------------------------------------------------------------------------------------------------


def filled(*events: tuple[str, dict[str, Any]]) -> Board:
    board = Board()
    for kind, payload in events:
        board.take(Event(f"image.generation.{kind}", payload))
    return board


def test_a_job_goes_from_its_start_to_its_end() -> None:
    board = filled(("started", {"job_id": "1", "prompt": "a fox"}), ("progress", {"job_id": "1", "progress": 40}))
    job = board.jobs["1"]
    assert (job.name, job.percent, job.stage, job.end) == ("a fox", 40, "", "")

    board.take(Event("image.generation.completed", {"job_id": "1"}))
    board.take(Event("image.generation.progress", {"job_id": "1", "progress": 50}))
    assert (job.percent, job.stage, job.end) == (100, "done", "done")
    assert job.seconds() == job.seconds()

    board.take(Event("image.generation.started", {"job_id": "1", "prompt": ""}))
    assert board.jobs["1"] is not job
    assert board.jobs["1"].name == "1"


@pytest.mark.parametrize(
    ("progress", "percent"), [(40.5, 40.5), (-1, 0), (10**400, 100), ("60", 20), (None, 20), ([], 20)], ids=repr
)
def test_progress_that_is_not_a_percentage_harms_nobody(progress: object, percent: float) -> None:
    board = filled(
        ("progress", {"job_id": 1, "progress": 20}), ("progress", {"job_id": 1, "progress": progress, "stage": 7})
    )

    assert board.jobs["1"].percent == percent
    assert board.jobs["1"].stage == "7"


def test_what_is_nested_or_endless_is_cut() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = {"a": [deep]}
    board = filled(("progress", {"job_id": deep, "stage": [deep]}), ("failed", {"job_id": deep, "error": "x" * 10**6}))
    board.take(Event("system.notification", {"severity": deep, "message": "y" * 10**6, "action_url": deep}))

    assert board.jobs["{...}"].stage == "x" * 500
    assert board.messages[0].severity == "{...}"
    assert board.messages[0].text == "y" * 500 + " <{...}>"


def test_a_failed_job_says_why_and_keeps_how_far_it_got() -> None:
    board = filled(("progress", {"progress": 20}), ("failed", {"error": "\x1b[31mno blue"}))

    job = board.jobs["None"]
    assert (job.percent, job.stage, job.end) == (20, "\\x1b[31mno blue", "failed")


def test_the_jobs_of_a_server_that_names_too_many_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "_CAPACITY", 3)
    board = filled(*[("started", {"job_id": name}) for name in "abc"], ("completed", {"job_id": "b"}))

    board.take(Event("image.generation.started", {"job_id": "d"}))
    assert list(board.jobs) == ["a", "c", "d"]
    board.take(Event("image.generation.started", {"job_id": "e"}))
    assert list(board.jobs) == ["c", "d", "e"]


def test_jobs_under_way_are_shown_before_those_that_have_ended() -> None:
    board = filled(
        *[("started", {"job_id": name}) for name in "abcd"],
        ("completed", {"job_id": "b"}), ("failed", {"job_id": "d"}),
    )  # fmt: skip

    assert [job.name for job in board.shown_jobs(2)] == ["a", "c"]
    assert [job.name for job in board.shown_jobs(3)] == ["a", "c", "d"]


def test_gaps_are_counted() -> None:
    board = Board()
    board.take(StateChangeEvent("disconnected", "connecting", NOW))
    assert board.attempts == 1
    board.take(ConnectedEvent(NOW, reconnected=False, attempts=1, gap=None))
    board.take(DisconnectedEvent(NOW, 1006, "", will_reconnect=True))
    board.take(ConnectedEvent(NOW, reconnected=True, attempts=2, gap=2.5))
    board.take(Event("anything.else"))

    assert (board.gaps, board.gap_seconds, board.attempts) == (1, 2.5, 0)
    assert [message.text for message in board.messages] == [
        "connected", "disconnected (code 1006), reconnecting", "connected again after 2.5 s",
    ]  # fmt: skip


def test_a_job_that_was_under_way_in_a_gap_is_unknown_until_it_is_heard_of_again() -> None:
    board = filled(("started", {"job_id": "1"}), ("started", {"job_id": "2"}), ("completed", {"job_id": "3"}))
    board.take(ConnectedEvent(NOW, reconnected=False, attempts=1, gap=None))
    assert not any(job.unknown for job in board.jobs.values())

    board.take(DisconnectedEvent(NOW, 1006, "", will_reconnect=True))
    board.take(ConnectedEvent(NOW, reconnected=True, attempts=2, gap=2.5))
    assert [job.unknown for job in board.jobs.values()] == [True, True, False]
    assert re.search(r"\? +1 .* unknown ", drawn(board))
    board.take(Event("image.generation.progress", {"job_id": "1", "progress": 40}))
    assert [job.unknown for job in board.jobs.values()] == [False, True, False]


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://images.example/a%20fox.png", True),
        ("file:///tmp/fox.png", True),
        ("javascript:alert(1)", False),
        ("https://images.example/\x1b\\", False),
        ("https://images.example/a b", False),
        ("http://[::1/fox.png", False),
        ("https://" + "x" * 3000, False),
        (7, False),
    ],
)
def test_a_finished_job_links_to_its_image_unless_that_could_command_the_terminal(url: object, kept: bool) -> None:
    board = filled(("started", {"job_id": "1", "prompt": "a fox"}), ("completed", {"job_id": "1", "image_url": url}))
    shown = io.StringIO()
    console = Console(
        file=shown, force_terminal=True, color_system="standard", width=80, height=16, legacy_windows=False
    )
    console.print(
        render(board, "ws://localhost/ws", "connected", WebSocketClient("ws://localhost/", str).stats, console)
    )

    assert board.jobs["1"].url == (url if kept else "")
    assert (f";{url}\x1b\\" in shown.getvalue()) == kept
    assert ("fox.png" in shown.getvalue()) == kept


def test_a_summary_counts_each_job_once() -> None:
    board = filled(("started", {"job_id": "1"}), *[("completed", {"job_id": "2"})] * 2, ("failed", {"job_id": "3"}))
    assert board.summary() == "jobs: 1 done, 1 failed, 1 running; gaps in the connection: none"
    board.take(DisconnectedEvent(NOW, 1006, "", will_reconnect=True))
    board.take(ConnectedEvent(NOW, reconnected=True, attempts=2, gap=2.5))
    assert board.summary() == "jobs: 1 done, 1 failed, 1 unknown since a gap; gaps in the connection: 1 (2.5 s)"
    assert Board().summary() == "jobs: none; gaps in the connection: none"


# --- how it looks -----------------------------------------------------------------------------------------------------


def drawn(board: Board, state: str = "connected", *, width: int = 80, height: int = 16, encoding: str = "utf-8") -> str:
    shown = io.TextIOWrapper(io.BytesIO(), encoding)
    console = Console(
        file=shown, force_terminal=True, color_system=None, width=width, height=height, legacy_windows=False
    )
    stats = WebSocketClient("ws://localhost/ws", lambda: "").stats
    console.print(render(board, "ws://localhost/ws", state, stats, console))
    shown.seek(0)
    return shown.read()


@pytest.mark.parametrize("width", [1, 5, 20, 80, 300])
@pytest.mark.parametrize("height", [1, 5, 9, 12, 24])
@pytest.mark.parametrize("jobs", [0, 1, 50])
@pytest.mark.parametrize("messages", [0, 1, 50])
def test_the_picture_fits_the_terminal(width: int, height: int, jobs: int, messages: int) -> None:
    board = filled(*[("started", {"job_id": f"{number} " + "狐" * 80}) for number in range(jobs)])
    for _ in range(messages):
        board.take(Event("system.notification", {"message": "x" * 500}))

    lines = drawn(board, width=width, height=height).splitlines()

    assert len(lines) == max(9, height)
    assert all(cell_len(line) <= width for line in lines)
    assert lines[-1].startswith("q quits"[: width - 1])


@pytest.mark.parametrize("width", [14, 20])
def test_the_state_is_shown_before_the_url(width: int) -> None:
    assert drawn(filled(), width=width).startswith("● connected")


def test_a_narrow_terminal_shows_what_matters() -> None:
    board = filled(
        ("started", {"job_id": "1", "prompt": "a fox"}),
        ("progress", {"job_id": "1", "progress": 40, "stage": "sketching"}),
    )
    board.take(Event("system.notification", {"severity": "warning", "message": "blue is running low"}))

    text = drawn(board, width=40, height=20)

    assert re.search(r"● +a fox +40% sketching", text)
    assert "blue is running low" in text
    assert "gaps 0 (0.0 s)" in text
    assert "━" not in text


def test_jobs_without_room_are_counted() -> None:
    text = drawn(filled(*[("started", {"job_id": f"job-{number}"}) for number in range(50)]))

    assert re.search(r"Jobs, 42 more not shown", text)
    assert "job-49" in text


def test_a_lost_connection_is_reported_with_its_time_and_the_attempt() -> None:
    board = Board()
    board.take(DisconnectedEvent(NOW, 1006, "", will_reconnect=True))
    assert re.search(r"disconnected for \d+ s\s", drawn(board, "disconnected"))

    board.take(StateChangeEvent("disconnected", "connecting", NOW))
    assert re.search(r"connecting for \d+ s, attempt 1", drawn(board, "connecting"))


def test_a_long_job_is_reported_in_minutes() -> None:
    board = filled(("started", {"job_id": "1"}))
    board.jobs["1"].begun -= 1260

    assert "21m" in drawn(board)


def test_the_view_is_drawn_in_ascii_alone_on_a_terminal_that_knows_nothing_else() -> None:
    board = filled(("started", {"job_id": "1"}), ("completed", {"job_id": "2"}), ("failed", {"job_id": "3"}))

    assert drawn(board, encoding="ascii").startswith("* connected")
