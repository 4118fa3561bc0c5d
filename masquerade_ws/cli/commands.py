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
from masquerade_ws.cli.parameters import (
    address_of,
    as_json,
    check_types,
    complete_type,
    events,
    number,
    payload_of,
    size_of,
    text_of,
    timeout,
    where,
)  # fmt: skip
from masquerade_ws.cli.target import Target, target, url
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
      export MASQUERADE_URL=ws://localhost:34076/ws MASQUERADE_TOKEN=my-token
      masquerade-ws run "a fox made of autumn leaves"

    The URL of the gateway may be left out where MASQUERADE_URL is set.

    The token comes from --token-command, --token-file or the environment variable MASQUERADE_TOKEN, and is read anew
    before each attempt to connect. It is never an argument, because other users of the machine could see that.

    \b
    Exit statuses:
      0    done; also when the reader of the output has gone
      1    timed out
      2    wrong usage, no token available, or another error on this side
      3    the server refused the connection or cannot be reached
      4    the image job failed
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
@target()
@debug
def listen(
    *,
    target: Target,
    types: tuple[str, ...],
    where: Mapping[str, Wanted],
    count: int | None,
    timeout: float | None,
    as_json: bool,
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

    check_types(types)
    listen(target, types, where, count=count, timeout=timeout, as_json=as_json)


@cli.command()
@url
@target()
@debug
def watch(target: Target) -> None:
    """Show jobs, notifications and the connection, live.

    Ends with q or Ctrl-C. A lost connection is replaced. Without a terminal it prints lines, as listen does.

    \b
    Example:
      masquerade-ws watch ws://localhost:34076/ws --token-file ~/.masquerade-token
    """
    from masquerade_ws.cli.watch.live import run  # noqa: PLC0415 - its packages may be missing

    run(target)


@cli.command()
@url
@click.argument("types", metavar="TYPE...", nargs=-1, shell_complete=complete_type)
@where
@timeout("Give up after this many seconds, with status 1.")
@as_json
@target("types")
@debug
def wait(
    *, target: Target, types: tuple[str, ...], where: Mapping[str, Wanted], timeout: float | None, as_json: bool
) -> None:
    """Wait for an event of one of several types and print it.

    TYPE is the type of an event, or a pattern. A wait for events of the job that --where job_id=ID names also ends when
    that job fails, with status 4. A connection lost in the meantime is replaced.

    \b
    Examples:
      masquerade-ws wait ws://localhost:34076/ws image.generation.completed --where job_id=fox-1 --timeout 60
      masquerade-ws wait ws://localhost:34076/ws 'image.generation.*' --json | jq -r .payload.job_id
      masquerade-ws wait ws://localhost:34076/ws image.generation.completed system.notification
    """
    from masquerade_ws.cli.event_commands import wait  # noqa: PLC0415 - as in the other commands

    if not types:
        raise click.UsageError(
            "Missing argument 'TYPE...': give the type of an event, such as image.generation.completed"
        )
    check_types(types)
    wait(target, types, where, timeout=timeout, as_json=as_json)


@cli.command()
@url
@click.argument("types", metavar="TYPE [JSON | KEY=VALUE... | -]", nargs=-1, shell_complete=complete_type)
@number("--wait", "SECONDS", 0.0, "Print the events that come within this many seconds after it.")
@as_json
@target("types")
@debug
def send(*, target: Target, types: tuple[str, ...], wait: float | None, as_json: bool) -> None:
    """Send an event.

    The payload is a JSON object, or its fields as KEY=VALUE, each value as JSON if it is JSON and as text otherwise.
    With - it is read from standard input. Without any it is empty.

    \b
    Examples:
      masquerade-ws send ws://localhost:34076/ws image.generate '{"prompt": "a fox made of autumn leaves"}'
      masquerade-ws send ws://localhost:34076/ws image.generate prompt="a fox" job_id=fox-1 --wait 10
      jq -n '{prompt: "a fox"}' | masquerade-ws send ws://localhost:34076/ws image.generate -
    """
    from masquerade_ws.cli.event_commands import send  # noqa: PLC0415 - as in the other commands

    if not types:
        raise click.UsageError("Missing argument 'TYPE': give the type of the event, such as image.generate")
    send(target, types[0], payload_of(types[1:]), seconds=wait, as_json=as_json)


@cli.command()
@url
@click.argument("words", metavar="PROMPT|JSON", nargs=-1)
@timeout("Give up after this many seconds, with status 1.")
@click.option("--json", "as_json", is_flag=True, help="Print the event of the completion as JSON.")
@click.option(
    "--save", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Fetch the image into this file."
)
@click.option("--force", is_flag=True, help="Let --save overwrite a file.")
@target("words")
@debug
def run(
    *, target: Target, words: tuple[str, ...], timeout: float | None, as_json: bool, save: Path | None, force: bool
) -> None:
    """Have an image made, and print its URL.

    PROMPT is a text; JSON is the whole payload of image.generate, an object. With - either is read from standard input.
    The progress goes to stderr. If the job fails, the status is 4.

    \b
    Examples:
      masquerade-ws run ws://localhost:34076/ws "a fox made of autumn leaves"
      masquerade-ws run ws://localhost:34076/ws '{"prompt": "a fox", "job_id": "fox-1"}' --save fox.png
    """
    from masquerade_ws.cli.image_command import run  # noqa: PLC0415 - its packages may be missing

    if len(words) != 1:
        raise click.UsageError(
            "give the prompt as one argument, in quotes" if words else "Missing argument 'PROMPT|JSON'"
        )
    run(target, text_of(words[0]), timeout=timeout, as_json=as_json, save=save, force=force)


@cli.command()
@url
@click.option("--engine", metavar="URL", help="The engine, by a URL without a password; other users can see arguments.")
@click.option(
    "--engine-file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Read the engine's URL from this file. Without either option it comes from MASQUERADE_ENGINE.",
)
@click.option("--namespace", default="default", show_default=True, help="The namespace of its keys.")
@click.option(
    "--standby",
    type=click.Choice(["hot", "cold"]),
    default="hot",
    show_default=True,
    help="Whether this relay has its own connection to the gateway while another one leads.",
)
@number("--linger", "MILLISECONDS", 0.0, "From one append to the next, at least, unless there is much.", high=1000.0)
@number("--keep-seconds", "SECONDS", 1.0, "How long events are kept for workers that are away.")
@click.option(
    "--keep-bytes", metavar="SIZE", default="64M", show_default=True, callback=size_of, help="How much of them."
)
@number("--keep-key-seconds", "SECONDS", 1.0, "How long key events are kept.")
@click.option(
    "--keep-key-bytes", metavar="SIZE", default="256M", show_default=True, callback=size_of, help="How much of them."
)
@click.option(
    "--key-event",
    "key_events",
    metavar="TYPE",
    multiple=True,
    shell_complete=complete_type,
    help="A type that groups of workers share; without it image.generation.completed and .failed. May be repeated.",
)
@click.option(
    "--metrics", metavar="[HOST:]PORT", callback=address_of, help="Serve /metrics and /healthz there, to Prometheus."
)
@target(relayed=False)
@debug
def relay(
    *,
    target: Target,
    engine: str | None,
    engine_file: Path | None,
    linger: float | None,
    metrics: tuple[str, int] | None,
    **options: Any,
) -> None:
    """Keep one connection to the gateway for any number of workers.

    What comes is appended to streams in Redis or Valkey, from which clients of the relay read. Of several relays of a
    namespace one leads and the others stand by. Ends with Ctrl-C or SIGTERM.

    \b
    Examples:
      export MASQUERADE_ENGINE=redis://localhost:6379/0
      masquerade-ws relay ws://localhost:34076/ws
      masquerade-ws relay ws://localhost:34076/ws --namespace shop --metrics 9100
    """
    from masquerade_ws.cli.relay_command import engine_url, run  # noqa: PLC0415 - its packages may be missing

    run(target, engine_url(engine, engine_file), options, linger, metrics)


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
@number("--notify", "SECONDS", 0.1, "Send a notification to all clients this often.")
@number("--drop-every", "SECONDS", 0.1, "Reset all connections this often, as a broken network would.")
@number("--fail-rate", "SHARE", 0.0, "Let this share of the jobs fail, 0 to 1; they may be tried again.", high=1.0)
@_output
@debug
def serve(
    *,
    host: str,
    port: int,
    allow_host: tuple[str, ...],
    notify: float | None,
    drop_every: float | None,
    fail_rate: float | None,
    output: Path,
) -> None:
    """Run the gateway of the demo alone, to try clients against.

    A client starts a job by sending image.generate. Of the payload only prompt is required; job_id names the job, and
    "fail": true lets it fail. All clients get the events of all jobs, and http://localhost:34076/jobs/<job id> answers
    with the latest one. An empty token, and one that begins with "expired", is refused with HTTP 401; web pages of
    other sites are refused with 403. Ends with Ctrl-C.

    \b
    Examples:
      masquerade-ws serve --port 8000
      masquerade-ws serve --notify 5 --drop-every 20 --fail-rate 0.3
    """
    from masquerade_ws.cli.demo.serve import Faults, run  # noqa: PLC0415 - its packages may be missing

    run(host, port, output, allow_host, Faults(notify, drop_every, fail_rate or 0.0))
