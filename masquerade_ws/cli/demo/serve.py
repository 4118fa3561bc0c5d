"""``masquerade-ws serve``: the gateway alone, until it is interrupted."""

from __future__ import annotations

__all__ = ["run"]

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import click

from masquerade_ws.cli.demo.gateway import Gateway
from masquerade_ws.cli.exit_status import is_closed_pipe
from masquerade_ws.cli.output import check_output
from masquerade_ws.cli.session import BEAT
from masquerade_ws.sanitize import clean


def run(host: str, port: int, output: Path) -> None:
    """Serve until Ctrl-C or SIGTERM, telling each connection and each job in a line, as long as somebody reads it."""
    report = _Report()
    with (
        contextlib.suppress(KeyboardInterrupt),
        _listen(host, port, output, report) as gateway,
    ):
        report(f"listening on {gateway.url}, pictures go to {output.absolute()}; Ctrl-C ends")
        while not report.closed.wait(BEAT):
            check_output()
    _print("ended")  # fails, and so ends quietly, if nobody reads


def _listen(host: str, port: int, output: Path, report: Callable[[str], None]) -> Gateway:
    try:
        return Gateway(output, host=host, port=port, report=report)
    except OSError as error:
        why = str(error.strerror).partition(" (while ")[0]  # `socket.create_server` adds the address
        raise click.ClickException(f"cannot listen on {host}:{port}: {why}") from error


def _print(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')}  {clean(line)}")


class _Report:
    """Prints lines, from any thread, until nobody reads them any more."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __call__(self, line: str) -> None:
        try:
            _print(line)
        except OSError as error:
            if not is_closed_pipe(error):
                raise
            self.closed.set()  # wakes the main thread, which then ends
