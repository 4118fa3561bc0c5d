"""The demo: without a terminal, on one, interrupted, and with what goes wrong."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click", reason="the demo needs the extra demo")
pytest.importorskip("rich", reason="the demo needs the extra demo")
pytest.importorskip("websockets", reason="the demo needs the extra demo")

import click
from click.testing import CliRunner
from rich.console import Console

from masquerade_ws import ImageGenerationCompletedEvent
from masquerade_ws.cli.commands import cli
from masquerade_ws.cli.demo import picture, scenario, studio
from masquerade_ws.cli.demo.gateway import Gateway
from masquerade_ws.cli.demo.picture import SIZE, paint, png, thumbnail
from masquerade_ws.cli.demo.screens import LiveScreen, PlainScreen, open_screen
from masquerade_ws.cli.demo.studio import Job, Studio
from tests.support.terminal import Terminal, posix, shown_on

TIMEOUT = 60.0  # seconds; the demo takes about seven
STEP = 0.03  # seconds; the tests' pace


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(monkeypatch)


@pytest.fixture
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (picture, studio):
        monkeypatch.setattr(module, "SIZE", 48)


@pytest.fixture
def choreography(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two jobs end while there is no connection, and the repeated one when it has been asked for."""
    painted, gone, asked = threading.Semaphore(0), threading.Event(), threading.Event()
    drop, save, ask = Gateway.drop, Studio._save, scenario._Demo._ask

    def drop_and_tell(gateway: Gateway) -> None:
        assert all(painted.acquire(timeout=TIMEOUT) for _ in range(2))
        drop(gateway)
        with gateway._changed:
            assert gateway._changed.wait_for(lambda: not gateway._connections, TIMEOUT)
        gone.set()

    def save_in_time(rooms: Studio, job: Job, data: bytes) -> tuple[str, dict[str, Any]]:
        painted.release()
        assert (asked if job.job_id == "lighthouse-2" else gone).wait(TIMEOUT)
        return save(rooms, job, data)

    def ask_and_tell(play: scenario._Demo, job_id: str) -> ImageGenerationCompletedEvent | None:
        try:
            return ask(play, job_id)
        finally:
            if job_id == "lighthouse-2":
                asked.set()

    monkeypatch.setattr(Gateway, "drop", drop_and_tell)
    monkeypatch.setattr(Studio, "_save", save_in_time)
    monkeypatch.setattr(scenario._Demo, "_ask", ask_and_tell)


def command(output: Path) -> list[str]:
    return [sys.executable, "-m", "masquerade_ws", "demo", "--output", str(output)]


def assert_pictures(lines: list[str]) -> None:
    """The output ends with the paths of three pictures that are there."""
    *_, title, first, second, third = lines
    assert re.fullmatch(r"3 pictures in \d+\.\d s:", title)
    for prompt, line in zip(scenario.PROMPTS, (first, second, third), strict=True):
        path = Path(line.strip())
        assert path.read_bytes() == png(*paint(prompt))


@pytest.mark.slow
def test_the_demo_tells_its_story_in_plain_lines(tmp_path: Path) -> None:
    result = subprocess.run(
        command(tmp_path / "pictures"), capture_output=True, encoding="utf-8", timeout=TIMEOUT, check=False
    )

    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert_pictures(lines)
    assert len(list((tmp_path / "pictures").iterdir())) == 3
    assert "\x1b" not in result.stdout


@pytest.mark.usefixtures("small_pictures", "choreography")
def test_the_demo_shows_a_failure_a_loss_and_a_recovery(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario.run(tmp_path, step=STEP)

    lines = capsys.readouterr().out.splitlines()
    assert_pictures(lines)
    assert [line for line in lines if line.startswith("connection: ")] == [
        "connection: connecting",
        "connection: connected",
        "connection: disconnected (code 1006), next attempt in 1 s",
        "connection: connecting",
        "connection: connected",
        "connection: disconnecting",
        "connection: disconnected",
    ]
    retried = "job lighthouse-1 failed: the painter ran out of blue; the service allows another attempt"
    again = next(line for line in lines if re.fullmatch(r"connected again after \d\.\d s", line))
    missed = {f"job {job} ended in the meantime, the service answers when asked" for job in ("library-1", "fox-1")}
    assert missed <= {*lines}
    assert lines.index(retried) < lines.index(again)
    for prompt in scenario.PROMPTS:
        assert f"{prompt}: 0 % waiting" in lines
        assert f"{prompt}: 100 % done" in lines


@posix
@pytest.mark.usefixtures("small_pictures")
def test_on_a_terminal_the_demo_draws_bars_and_the_pictures(tmp_path: Path, terminal: Terminal) -> None:
    with shown_on(terminal):
        scenario.run(tmp_path, step=STEP)
    terminal.close()

    shown = terminal.text
    for sight in ("● ", "connected again after ", "━", "100%", "done", *scenario.PROMPTS):
        assert sight in shown
    assert shown.count("▀") == 3 * 24 * 12
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h"), "the cursor is shown again"


@posix
def test_ctrl_c_ends_the_demo_with_status_130(tmp_path: Path, terminal: Terminal) -> None:
    shown = terminal.slave
    with subprocess.Popen(command(tmp_path), stdin=shown, stdout=shown, stderr=shown) as process:
        os.close(shown)
        terminal.wait_for("composing")
        process.send_signal(signal.SIGINT)

        assert process.wait(TIMEOUT) == 130

    terminal.close()
    assert "Traceback" not in terminal.text
    assert terminal.text.count("\x1b[?25l") == terminal.text.count("\x1b[?25h"), "the cursor is shown again"


def test_an_interrupted_demo_leaves_no_thread_and_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def be_interrupted(seconds: float) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    before = set(threading.enumerate())
    monkeypatch.setattr(time, "sleep", be_interrupted)

    result = CliRunner().invoke(cli, ["demo", "--output", str(tmp_path)])

    assert result.exit_code == 130
    left = set(threading.enumerate()) - before
    for thread in left:  # the gateway's, which need a moment to see that their clients have gone
        thread.join(TIMEOUT)
    assert not any(thread.is_alive() for thread in left)
    assert "connection: disconnected" in result.output
    assert "Traceback" not in result.output


@pytest.mark.usefixtures("small_pictures", "choreography")
def test_pictures_that_cannot_be_saved_end_the_demo_with_one_message(tmp_path: Path) -> None:
    occupied = tmp_path / "a file, not a folder"
    occupied.touch()

    with pytest.raises(click.ClickException, match="cannot save the picture: ") as caught:
        scenario.run(occupied, step=STEP)

    assert caught.value.exit_code == 1


@posix
def test_a_dumb_terminal_gets_plain_lines(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    with shown_on(terminal):
        assert isinstance(open_screen(), LiveScreen)
        monkeypatch.setenv("TERM", "dumb")
        assert isinstance(open_screen(), PlainScreen)
    terminal.close()


def test_without_colours_no_pictures_are_drawn(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(png(*paint("a fox")))
    output = io.StringIO()

    LiveScreen(Console(file=output, force_terminal=True, color_system=None)).gallery([path])

    assert output.getvalue() == ""


def test_the_demo_draws_ascii_alone_on_a_terminal_that_knows_nothing_else() -> None:
    class AsciiText(io.StringIO):
        encoding = "ascii"

    output = AsciiText()
    with LiveScreen(Console(file=output, force_terminal=True, color_system=None, width=80)) as screen:
        screen.connection("connected")
        screen.job("a fox", 50, "sketching")

    assert "* connected" in output.getvalue()
    assert output.getvalue().isascii()


def test_a_thumbnail_has_the_colours_of_the_picture() -> None:
    palette, rows = paint("a fox")
    drawn = list(rows)

    small = thumbnail(png(palette, drawn), 2)

    middle = (SIZE // 4, 3 * SIZE // 4)
    assert small == [[tuple(palette[3 * drawn[y][x] :][:3]) for x in middle] for y in middle]
