"""``masquerade-ws serve``: the gateway alone, until it is interrupted."""

from __future__ import annotations

__all__ = ["run"]

import contextlib
import signal
import time
from pathlib import Path

import click

from masquerade_ws.cli.gateway import Gateway


def run(host: str, port: int, output: Path) -> None:
    """Serve until Ctrl-C or SIGTERM, telling each connection and each job in a line."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        with contextlib.suppress(KeyboardInterrupt), _listen(host, port, output) as gateway:
            _report(f"listening on {gateway.url}, pictures go to {output.absolute()}; Ctrl-C ends")
            while True:
                time.sleep(3600)  # unlike an endless wait for a lock, interruptible on Windows too
    finally:
        signal.signal(signal.SIGTERM, before)
    _report("ended")


def _listen(host: str, port: int, output: Path) -> Gateway:
    try:
        return Gateway(output, host=host, port=port, report=_report)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from error


def _report(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')}  {line}")
