"""The command ``masquerade-ws``. Its packages come with an extra, so nothing here is imported by the library."""

from __future__ import annotations

__all__ = ["main"]

import io
import sys

_PACKAGES = {"click", "rich", "websockets"}


def main() -> None:
    """Run the command line, or say in one line how to install what it needs."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # rather than fail at what its encoding has not
    try:
        from masquerade_ws.cli.commands import cli  # noqa: PLC0415 - click may be missing

        cli(prog_name="masquerade-ws")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        extra = "demo" if {"demo", "serve"} & {*sys.argv[1:]} else "cli"
        sys.stderr.write(f"masquerade-ws needs the package {package}: pip install 'masquerade-ws[{extra}]'\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
