"""``masquerade-ws serve``: the gateway alone, until it is interrupted."""

from __future__ import annotations

__all__ = ["Faults", "run"]

import contextlib
import math
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from masquerade_ws.cli.conversation import WAKE_INTERVAL
from masquerade_ws.cli.demo.gateway import Gateway
from masquerade_ws.cli.exit_status import is_closed_pipe
from masquerade_ws.cli.output import check_output
from masquerade_ws.sanitize import clean


class Faults(NamedTuple):
    """What the gateway does by itself.

    Attributes:
        notify_every: Seconds from one notification to the next; ``None`` sends none.
        drop_every: Seconds from one loss of all connections to the next; ``None`` loses none.
        fail_rate: The share of jobs (0 to 1) that fail.
    """

    notify_every: float | None
    drop_every: float | None
    fail_rate: float


def run(host: str, port: int, output: Path, names: Sequence[str], faults: Faults) -> None:
    """Serve until Ctrl-C, SIGTERM, or the reader of the output has gone; print a line per connection and job.

    Args:
        host: The name or address to listen on.
        port: The port to listen on; 0 for a free one.
        output: The folder for the pictures.
        names: Further names of this machine that requests may come under.
        faults: What it does by itself.

    Raises:
        click.ClickException: If it cannot listen there, or cannot write into the folder.
    """
    _check_folder(output)
    report = _Report()
    with (
        contextlib.suppress(KeyboardInterrupt),
        _listen(output, host, port, names=names, fail_rate=faults.fail_rate, report=report) as gateway,
    ):
        report(f"listening on {gateway.url}, pictures go to {output.absolute()}; stop with Ctrl-C")
        chores = [
            _Chore(faults.notify_every, gateway.notify),
            _Chore(faults.drop_every, lambda: _drop(gateway, report)),
        ]
        while not report.closed.wait(min(WAKE_INTERVAL, *(chore.seconds_left() for chore in chores))):
            check_output()
            for chore in chores:
                chore.do_if_due()
    _print("ended")  # without a reader this raises, and so ends the command quietly


def _check_folder(folder: Path) -> None:
    """Find out at once whether pictures can be saved, not when the first one is painted."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise click.ClickException(
            f"cannot write into the folder {folder}: {error.strerror}; choose another with --output"
        ) from error


def _drop(gateway: Gateway, report: Callable[[str], None]) -> None:
    report("dropping all connections")
    gateway.drop()


def _listen(output: Path, host: str, port: int, **arguments: Any) -> Gateway:
    try:
        return Gateway(output, host=host, port=port, **arguments)
    except OSError as error:
        why = str(error.strerror).partition(" (while ")[0]  # `socket.create_server` adds the address
        raise click.ClickException(f"cannot listen on {host}:{port}: {why}") from error


def _print(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')}  {clean(line)}")


class _Chore:
    """Something to be done again and again, or never."""

    def __init__(self, every: float | None, do: Callable[[], object]) -> None:
        self._every = math.inf if every is None else every
        self._do = do
        self._due = time.monotonic() + self._every

    def seconds_left(self) -> float:
        """Return how long it has time."""
        return max(0.0, self._due - time.monotonic())

    def do_if_due(self) -> None:
        """Do it if its time has come."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + self._every
            self._do()


class _Report:
    """Prints lines, from any thread, until their reader has gone."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __call__(self, line: str) -> None:
        try:
            _print(line)
        except OSError as error:
            if not is_closed_pipe(error):
                raise
            self.closed.set()  # wakes the main thread, which then ends
