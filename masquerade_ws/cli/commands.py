"""The commands and their options. Each imports what it runs when called, so no command needs another's packages."""

from __future__ import annotations

__all__ = ["cli"]

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import add_completion_class

from masquerade_ws import __version__
from masquerade_ws.cli.completion import BashCompletion
from masquerade_ws.cli.debugging import debug
from masquerade_ws.cli.exit_status import Commands
from masquerade_ws.cli.parameters import as_json, event_type, events, payload, timeout, token, url, where
from masquerade_ws.cli.tokens import TokenSource
from masquerade_ws.cli.where import Wanted

add_completion_class(BashCompletion)

_output = click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="masquerade-images",
    show_default=True,
    help="The folder for the pictures.",
)


@click.group(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """The synchronous event client of the Masquerade image service.

    \b
    Try it, in two terminals:
      masquerade-ws serve
      export MASQUERADE_TOKEN=my-token
      masquerade-ws watch ws://localhost:34076/ws

    \b
    And in a third one:
      export MASQUERADE_TOKEN=my-token
      masquerade-ws send ws://localhost:34076/ws image.generate '{"prompt": "a fox made of autumn leaves"}'

    The token comes from --token-command, --token-file or the environment variable MASQUERADE_TOKEN, and is read anew
    before each attempt to connect. It is never an argument, because other users of the machine could see that.

    \b
    Exit statuses:
      0    done; also when the reader of the output has gone
      1    timed out
      2    wrong usage, no token available, or another error on this side
      3    the server refused the connection or cannot be reached
      130  interrupted

    \b
    Completion, in the startup file of bash, zsh or fish:
      eval "$(_MASQUERADE_WS_COMPLETE=bash_source masquerade-ws)"
      eval "$(_MASQUERADE_WS_COMPLETE=zsh_source masquerade-ws)"
      _MASQUERADE_WS_COMPLETE=fish_source masquerade-ws | source
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@cli.command()
@url
@events
@where
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after this many events.")
@timeout("End after this many seconds; with --count, status 1 if there were fewer events.")
@as_json
@token
@debug
def listen(
    *,
    url: str,
    types: tuple[str, ...],
    where: Mapping[str, Wanted],
    count: int | None,
    timeout: float | None,
    as_json: bool,
    token: TokenSource,
) -> None:
    """Print events as they arrive, one line each.

    Changes of the connection go to stderr. A lost connection is replaced.

    \b
    Examples:
      masquerade-ws listen ws://localhost:34076/ws
      masquerade-ws listen ws://localhost:34076/ws --event 'image.generation.*' --where job_id=42
      masquerade-ws listen ws://localhost:34076/ws --json | jq .payload
    """
    from masquerade_ws.cli.event_commands import listen  # noqa: PLC0415 - as in the other commands

    listen(url, token, types, where, count=count, timeout=timeout, as_json=as_json)


@cli.command()
@url
@token
@debug
def watch(url: str, token: TokenSource) -> None:
    """Show jobs, notifications and the connection, live.

    Ends with q or Ctrl-C. A lost connection is replaced. Without a terminal it prints lines, as listen does.

    \b
    Example:
      masquerade-ws watch ws://localhost:34076/ws --token-file ~/.masquerade-token
    """
    from masquerade_ws.cli.watch.live import run  # noqa: PLC0415 - its packages may be missing

    run(url, token)


@cli.command()
@url
@event_type
@where
@timeout("Give up after this many seconds, with status 1.")
@as_json
@token
@debug
def wait(
    *, url: str, type: str, where: Mapping[str, Wanted], timeout: float | None, as_json: bool, token: TokenSource
) -> None:
    """Wait for an event and print it.

    TYPE is the type of the event, or a pattern. A connection lost in the meantime is replaced.

    \b
    Examples:
      masquerade-ws wait ws://localhost:34076/ws image.generation.completed --where job_id=fox-1 --timeout 60
      masquerade-ws wait ws://localhost:34076/ws 'image.generation.*' --json | jq -r .payload.job_id
    """
    from masquerade_ws.cli.event_commands import wait  # noqa: PLC0415 - as in the other commands

    wait(url, token, type, where, timeout=timeout, as_json=as_json)


@cli.command()
@url
@event_type
@payload
@token
@debug
def send(*, url: str, type: str, payload: Mapping[str, Any], token: TokenSource) -> None:
    """Send an event.

    JSON is the payload, an object; without it the payload is empty.

    \b
    Example:
      masquerade-ws send ws://localhost:34076/ws image.generate '{"prompt": "a fox made of autumn leaves"}'
    """
    from masquerade_ws.cli.event_commands import send  # noqa: PLC0415 - as in the other commands

    send(url, token, type, payload)


@cli.command()
@_output
@debug
def demo(output: Path) -> None:
    """Watch three image jobs, a failure and a lost connection.

    Everything runs in this process: a gateway that paints the pictures and a client that waits for them.

    \b
    Example:
      masquerade-ws demo --output /tmp/pictures
    """
    from masquerade_ws.cli.demo.scenario import run  # noqa: PLC0415 - its packages may be missing

    run(output)


@cli.command()
@click.option("--host", default="localhost", show_default=True, help="The name or address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=34076, show_default=True, help="The port; 0 for a free one."
)
@click.option(
    "--allow-host", metavar="NAME", multiple=True,
    help="Another name of this machine that requests may come under, such as that of a container. May be repeated.",
)  # fmt: skip
@_output
@debug
def serve(*, host: str, port: int, allow_host: tuple[str, ...], output: Path) -> None:
    """Run the gateway of the demo alone, to try clients against.

    A client starts a job by sending image.generate with the payload {"prompt": "..."}. Web pages of other sites are
    refused. Ends with Ctrl-C.

    \b
    Example:
      masquerade-ws serve --port 8000
    """
    from masquerade_ws.cli.demo.serve import run  # noqa: PLC0415 - its packages may be missing

    run(host, port, output, allow_host)
