"""The commands and their options. Each imports what it runs when called, so that none needs another's packages."""

from __future__ import annotations

__all__ = ["cli"]

from pathlib import Path

import click

_output = click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("masquerade-images"),
    show_default=True,
    help="The folder for the pictures.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="masquerade-ws")
def cli() -> None:
    """The synchronous event client of the Masquerade image service."""


@cli.command()
@_output
def demo(output: Path) -> None:
    """Watch three image jobs, a failure and a lost connection.

    Everything happens in this process: a gateway that paints the pictures, and the client that waits for them.
    """
    from masquerade_ws.cli.demo import run  # noqa: PLC0415 - its packages may be missing

    run(output)


@cli.command()
@click.option("--host", default="localhost", show_default=True, help="The name or address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=34076, show_default=True, help="The port; 0 for a free one."
)
@_output
def serve(host: str, port: int, output: Path) -> None:
    """Run the demo's gateway alone, for playing with.

    A client starts a job by sending image.generate with the payload {"prompt": "..."}. Ends with Ctrl-C.
    """
    from masquerade_ws.cli.serve import run  # noqa: PLC0415 - its packages may be missing

    run(host, port, output)
