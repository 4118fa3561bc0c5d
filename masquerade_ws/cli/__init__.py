"""The command ``masquerade-ws``. Its packages come with an extra, so nothing here is imported by the library."""

from __future__ import annotations

__all__ = ["main"]

import sys

_EXTRA_OF_PACKAGE = {"click": "demo", "rich": "demo", "websockets": "demo"}


def main() -> None:
    """Run the command line, or say in one line how to install what it needs."""
    try:
        from masquerade_ws.cli.commands import cli  # noqa: PLC0415 - click may be missing

        cli(prog_name="masquerade-ws")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRA_OF_PACKAGE:
            raise
        sys.exit(
            f"masquerade-ws needs the package {package}: pip install 'masquerade-ws[{_EXTRA_OF_PACKAGE[package]}]'"
        )
