"""The option ``--debug``: the log of the library on standard error, and tracebacks."""

from __future__ import annotations

__all__ = ["debug"]

import contextlib
import functools
import logging
from collections.abc import Callable, Generator
from typing import Any

import click

from masquerade_ws.cli.exit_status import DEBUG
from masquerade_ws.sanitize import clean


class _SafeHandler(logging.Handler):
    """Prints log records; unsafe characters that came from the network are escaped."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # the reader of standard error has gone
            for line in self.format(record).splitlines():
                click.echo(clean(line), err=True)


@contextlib.contextmanager
def _log(shown: bool) -> Generator[None]:
    logger = logging.getLogger("masquerade_ws")
    handler = _SafeHandler() if shown else logging.NullHandler()  # without a handler, logging prints warnings unescaped
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s [%(threadName)s] %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    if shown:
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


def _remember(ctx: click.Context, _: click.Parameter, shown: bool) -> bool:
    ctx.meta[DEBUG] = shown
    return shown


def debug(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option to a command."""

    @click.option(
        "--debug",
        is_flag=True,
        is_eager=True,
        callback=_remember,
        help="Show the log of the library and tracebacks on stderr.",
    )
    @functools.wraps(command)
    def with_log(*, debug: bool, **arguments: Any) -> None:
        with _log(debug):
            command(**arguments)

    return with_log
