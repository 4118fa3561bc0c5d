"""The completion of commands, options and types, in real shells."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("click", reason="the command line needs the extra cli")

from masquerade_ws.cli.commands import cli
from tests.support.terminal import TIMEOUT, Terminal, posix

STARTS = {
    "bash": ("--norc --noprofile -i", 'eval "$(_MASQUERADE_WS_COMPLETE=bash_source masquerade-ws)"'),
    "zsh": (
        "-f -i",
        'autoload -Uz compinit && compinit -u -D && eval "$(_MASQUERADE_WS_COMPLETE=zsh_source masquerade-ws)"',
    ),
    "fish": ("--no-config -i", "_MASQUERADE_WS_COMPLETE=fish_source masquerade-ws | source"),
}
ON_ITS_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
# Completes as the command does; otherwise tells what it was called with.
COMMAND = """#!/bin/sh
[ -z "$_MASQUERADE_WS_COMPLETE" ] || exec {python} -m masquerade_ws
printf '%s\\n' "$@" >{told}.part && mv {told}.part {told}
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("masquerade-ws wa", ["wait", "watch"]),
        ("masquerade-ws wait ws://localhost:34076/ws image.generation.f", ["image.generation.failed"]),
        ("masquerade-ws listen ws://localhost/ --event sys", ["system.notification"]),
        ("masquerade-ws listen ws://localhost/ --tim", ["--timeout"]),
        ("masquerade-ws wait ws://localhost/ heartbeat sys", ["system.notification"]),
        ("masquerade-ws wait sys", []),
        ("masquerade-ws run ws://localhost/ a", []),
    ],
)
def test_bash_is_told_what_a_line_may_go_on_with(
    line: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_MASQUERADE_WS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_LINE", line)

    with pytest.raises(SystemExit):
        cli.main([], "masquerade-ws")

    assert capsys.readouterr().out == "\n".join(f"plain,{each}" for each in expected) + "\n"


@posix
@pytest.mark.parametrize("shell", STARTS)
def test_the_tab_key_completes_a_type_after_a_url(shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    told, command = tmp_path / "told", tmp_path / "masquerade-ws"
    command.write_text(COMMAND.format(python=shlex.quote(sys.executable), told=shlex.quote(str(told))))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    options, start = STARTS[shell]
    terminal = Terminal(monkeypatch)

    process = subprocess.Popen(
        [sys.executable, "-c", ON_ITS_TERMINAL, shell, *options.split()],
        stdin=terminal.slave, stdout=terminal.slave, stderr=terminal.slave, start_new_session=True,
    )  # fmt: skip
    try:
        terminal.type(f"{start}; echo rea''dy\r")
        terminal.wait_for("ready")
        terminal.type("masquerade-ws wait ws://localhost:34076/ws image.generation.f\t\r")
        deadline = time.monotonic() + TIMEOUT
        while not told.exists():
            assert time.monotonic() < deadline, terminal.text
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
        os.close(terminal.slave)
        terminal.close()

    assert told.read_text().splitlines() == ["wait", "ws://localhost:34076/ws", "image.generation.failed"]
