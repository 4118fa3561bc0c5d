"""The command ``masquerade-ws``. It needs packages of an extra, so the library imports nothing from here."""

from __future__ import annotations

__all__ = ["main"]

import io
import sys
import warnings

_PACKAGES = {"click", "redis", "rich", "websockets"}


def main() -> None:
    """Run the command line; if a package is missing, say in one line how to install it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # rather than fail on a character that the encoding lacks
    try:
        from masquerade_ws.cli.commands import cli  # noqa: PLC0415 - click may be missing

        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            cli(prog_name="masquerade-ws")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        commands = {*sys.argv[1:]}
        extra = "demo" if {"demo", "serve"} & commands else "cli,relay" if "relay" in commands else "cli"
        sys.stderr.write(f"masquerade-ws needs the package {package}: pip install 'masquerade-ws[{extra}]'\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning of the library's in a line: whoever types a command has no line of code to be pointed to."""
    sys.stderr.write(f"Warning: {message}\n")
