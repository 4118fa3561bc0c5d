"""The command line as a whole: missing packages, and how it is started."""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

pytest.importorskip("click", reason="the command line needs the extra demo")
pytest.importorskip("rich", reason="the command line needs the extra demo")
pytest.importorskip("websockets", reason="the gateway needs the extra demo")


import masquerade_ws
from masquerade_ws import cli
from masquerade_ws.cli import commands

TIMEOUT = 30.0  # seconds; for what ought to come at once


@pytest.mark.parametrize(
    ("package", "command", "extra"),
    [("click", "demo", "demo"), ("rich", "demo", "demo"), ("websockets", "serve", "demo"), ("rich", "watch", "cli"),
     ("click", "listen", "cli")],
)  # fmt: skip
def test_a_missing_package_is_reported_in_a_line(
    package: str, command: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=f"{package}.module")

    monkeypatch.setattr(commands, "cli", fail)
    monkeypatch.setattr(sys, "argv", ["masquerade-ws", command])

    with pytest.raises(SystemExit) as caught:
        cli.main()

    assert caught.value.code == 2
    message = f"masquerade-ws needs the package {package}: pip install 'masquerade-ws[{extra}]'\n"
    assert capsys.readouterr() == ("", message)


def test_an_output_that_is_not_a_file_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "argv", ["masquerade-ws", "--version"])

    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit) as caught:
        cli.main()

    assert caught.value.code == 0
    assert shown.getvalue() == f"masquerade-ws, version {masquerade_ws.__version__}\n"


def test_a_warning_of_the_library_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "cli", lambda **_: warnings.warn("did you mean 'connected'?", stacklevel=1))

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        cli.main()

    assert capsys.readouterr() == ("", "Warning: did you mean 'connected'?\n")


def test_another_missing_module_is_a_bug_and_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "masquerade_ws.cli.commands")
    monkeypatch.setitem(sys.modules, "masquerade_ws.cli.commands", None)

    with pytest.raises(ModuleNotFoundError):
        cli.main()


def test_an_interruption_while_it_is_still_loading_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "cli", interrupt)

    with pytest.raises(SystemExit) as caught:
        cli.main()

    assert caught.value.code == 130


@pytest.mark.parametrize(
    ("package", "command", "extra"),
    [("click", ["listen", "ws://localhost/"], "cli"), ("rich", ["watch", "ws://localhost/"], "cli"),
     ("websockets", ["serve"], "demo")],
)  # fmt: skip
def test_the_missing_extra_reaches_the_shell_as_one_line_and_status_2(
    tmp_path: Path, package: str, command: list[str], extra: str
) -> None:
    blocked = tmp_path / package
    blocked.mkdir()
    (blocked / "__init__.py").write_text(f"raise ModuleNotFoundError('No module named {package}', name={package!r})")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    result = subprocess.run(
        [sys.executable, "-m", "masquerade_ws", *command],
        env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip

    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == f"masquerade-ws needs the package {package}: pip install 'masquerade-ws[{extra}]'\n"


def test_the_module_runs_as_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["masquerade_ws", "--help"])

    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(Path(cli.__file__).parents[1] / "__main__.py"))

    assert caught.value.code == 0
    assert re.findall(r"^  (\w+)  ", capsys.readouterr().out, re.MULTILINE) == [
        "demo", "listen", "relay", "run", "send", "serve", "wait", "watch",
    ]  # fmt: skip
