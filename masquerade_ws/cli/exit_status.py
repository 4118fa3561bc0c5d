"""How a command ends: its exit status, and one line for what went wrong.

======  =====================================================================
status  meaning
======  =====================================================================
0       done; also when the output was closed, as ``head`` does
1       not in time
2       wrong usage, no token to be had, or another fault on this side
3       the server refused, cannot be reached, or ended the conversation
130     interrupted (Ctrl-C, SIGTERM)
======  =====================================================================
"""

from __future__ import annotations

__all__ = ["DEBUG", "Commands", "explain", "is_closed_pipe"]

import contextlib
import errno
import os
import signal
import sys
import traceback
from collections.abc import Generator
from typing import Any, NoReturn

import click

from masquerade_ws import MasqueradeError
from masquerade_ws.cli.tokens import TokenError
from masquerade_ws.sanitize import clean

DEBUG = "masquerade_ws.debug"  # where a context keeps the option --debug
_LATE, _FAULT, _REFUSED, _INTERRUPTED = 1, 2, 3, 130


class Commands(click.Group):
    """A group whose commands end as the table above says."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the options of the group."""
        with _in_one_line(None):
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _in_one_line(ctx), _interrupted_by_sigterm():
            return super().invoke(ctx)


def explain(error: BaseException) -> str:
    """Return what an exception says, safe to be shown; of a failure to get a token the cause of it."""
    if isinstance(error.__cause__, TokenError):
        error = error.__cause__
    return clean(str(error) or type(error).__name__)


def is_closed_pipe(error: OSError) -> bool:
    """Tell whether nobody reads our output any more."""
    return error.errno == errno.EPIPE or (sys.platform == "win32" and error.errno == errno.EINVAL)


@contextlib.contextmanager
def _in_one_line(ctx: click.Context | None) -> Generator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if sys.stderr is not None and sys.stderr.isatty():
            click.echo(err=True)  # the prompt then has a line of its own, not that of the ^C
        raise click.exceptions.Exit(_INTERRUPTED) from None
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "masquerade-ws"
        _fail(ctx, error, f"{error.format_message()} (see {path} --help)", _FAULT)
    except click.ClickException as error:
        _fail(ctx, error, error.format_message(), _FAULT)
    except MasqueradeError as error:
        status = _LATE if isinstance(error, TimeoutError) else _REFUSED
        _fail(ctx, error, explain(error), _FAULT if isinstance(error.__cause__, TokenError) else status)
    except OSError as error:
        if not is_closed_pipe(error):
            _fail(ctx, error, explain(error), _FAULT)
        _give_up_output()
        raise click.exceptions.Exit(0) from None
    except (click.exceptions.Exit, ModuleNotFoundError):  # the second tells which package to install
        raise
    except Exception as error:
        _fail(ctx, error, f"a fault of this program, {type(error).__name__}: {error} (--debug shows where)", _FAULT)


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Generator[None]:
    """Take SIGTERM for Ctrl-C, so that it leaves everything in order too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(ctx: click.Context | None, error: Exception, line: str, status: int) -> NoReturn:
    if ctx is not None and ctx.meta.get(DEBUG):
        for text in traceback.format_exc().splitlines():
            click.echo(clean(text), err=True)
    click.echo(f"Error: {' '.join(clean(part) for part in line.splitlines())}", err=True)
    raise click.exceptions.Exit(status) from error


def _give_up_output() -> None:
    """Send what is still buffered nowhere, or the interpreter would complain of it as it exits."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
