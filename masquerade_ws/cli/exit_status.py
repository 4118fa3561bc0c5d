"""How a command ends: its exit status, and one line that says what went wrong.

======  =====================================================================
status  meaning
======  =====================================================================
0       done; also when the reader of the output has gone, as with ``head``
1       timed out
2       wrong usage, no token available, or another error on this side
3       the server refused, cannot be reached, or closed the connection
4       the image job failed
130     interrupted (Ctrl-C, SIGTERM, SIGHUP)
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

from masquerade_ws import ImageGenerationError, MasqueradeError
from masquerade_ws.cli.tokens import TokenError
from masquerade_ws.sanitize import clean

DEBUG = "masquerade_ws.debug"  # the key of --debug in the `meta` of a context
_TIMED_OUT, _ERROR, _REFUSED, _JOB_FAILED, _INTERRUPTED = 1, 2, 3, 4, 130
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has the first


class Commands(click.Group):
    """A group whose commands end as the table of this module says."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the options of the group."""
        with _errors_in_one_line(None):
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _errors_in_one_line(ctx), _interrupted_by_signals():
            return super().invoke(ctx)


def explain(error: BaseException) -> str:
    """Return the text of an exception, safe to print; if no token could be read, the reason for that."""
    if isinstance(error.__cause__, TokenError):
        error = error.__cause__
    return clean(str(error) or type(error).__name__)


def is_closed_pipe(error: OSError) -> bool:
    """Return whether an error means that the reader of our output has gone."""
    return error.errno == errno.EPIPE or (sys.platform == "win32" and error.errno == errno.EINVAL)


@contextlib.contextmanager
def _errors_in_one_line(ctx: click.Context | None) -> Generator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if sys.stderr is not None and sys.stderr.isatty():
            click.echo(err=True)  # puts the prompt of the shell on a new line, after the ^C
        raise click.exceptions.Exit(_INTERRUPTED) from None
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "masquerade-ws"
        _fail(ctx, error, f"{error.format_message()} (see {path} --help)", _ERROR)
    except click.ClickException as error:
        _fail(ctx, error, error.format_message(), _ERROR)
    except ImageGenerationError as error:
        _fail(ctx, error, explain(error), _JOB_FAILED)
    except MasqueradeError as error:
        status = _TIMED_OUT if isinstance(error, TimeoutError) else _REFUSED
        _fail(ctx, error, explain(error), _ERROR if isinstance(error.__cause__, TokenError) else status)
    except OSError as error:
        if not is_closed_pipe(error):
            _fail(ctx, error, explain(error), _ERROR)
        _give_up_output()
        raise click.exceptions.Exit(0) from None
    except (click.exceptions.Exit, ModuleNotFoundError):  # `main` turns the second into advice on what to install
        raise
    except Exception as error:
        _fail(
            ctx,
            error,
            f"internal error, {type(error).__name__}: {error} (run it with --debug for the traceback)",
            _ERROR,
        )


@contextlib.contextmanager
def _interrupted_by_signals() -> Generator[None]:
    """Treat SIGTERM, and SIGHUP of a terminal that is closed, as Ctrl-C, so that they clean up as well."""
    before = {name: signal.getsignal(name) for name in _ENDING}
    for name, handler in before.items():
        if handler is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(name, signal.default_int_handler)
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _fail(ctx: click.Context | None, error: Exception, line: str, status: int) -> NoReturn:
    if ctx is not None and ctx.meta.get(DEBUG):
        for text in traceback.format_exc().splitlines():
            click.echo(clean(text), err=True)
    click.echo(f"Error: {' '.join(clean(part) for part in line.splitlines())}", err=True)
    raise click.exceptions.Exit(status) from error


def _give_up_output() -> None:
    """Discard what is still buffered; otherwise the interpreter reports it as it exits."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
