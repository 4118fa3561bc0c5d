"""``masquerade-ws serve``: the gateway alone, until it is interrupted."""

from __future__ import annotations

__all__ = ["run"]

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from masquerade_ws.cli.conversation import WAKE_INTERVAL
from masquerade_ws.cli.demo.gateway import Gateway
from masquerade_ws.cli.exit_status import is_closed_pipe
from masquerade_ws.cli.output import check_output
from masquerade_ws.sanitize import clean


def run(host: str, port: int, output: Path, names: Sequence[str]) -> None:
    """Serve until Ctrl-C, SIGTERM, or the reader of the output has gone; print a line per connection and job.

    Args:
        host: The name or address to listen on.
        port: The port to listen on; 0 for a free one.
        output: The folder for the pictures.
        names: Further names of this machine that requests may come under.

    Raises:
        click.ClickException: If it cannot listen there.
    """
    report = _Report()
    with (
        contextlib.suppress(KeyboardInterrupt),
        _listen(host, port, output, names, report) as gateway,
    ):
        report(f"listening on {gateway.url}, pictures go to {output.absolute()}; stop with Ctrl-C")
        while not report.closed.wait(WAKE_INTERVAL):
            check_output()
    _print("ended")  # without a reader this raises, and so ends the command quietly


def _listen(host: str, port: int, output: Path, names: Sequence[str], report: Callable[[str], None]) -> Gateway:
    try:
        return Gateway(output, host=host, port=port, names=names, report=report)
    except OSError as error:
        why = str(error.strerror).partition(" (while ")[0]  # `socket.create_server` adds the address
        raise click.ClickException(f"cannot listen on {host}:{port}: {why}") from error


def _print(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')}  {clean(line)}")


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
