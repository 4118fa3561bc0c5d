"""The arguments and options that several commands have."""

from __future__ import annotations

__all__ = ["as_json", "event_type", "events", "payload", "timeout", "token", "url", "where"]

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import click
from click.shell_completion import CompletionItem

from masquerade_ws.cli.tokens import VARIABLE, TokenSource
from masquerade_ws.cli.where import collect, value_of

_SERVER_EVENTS = (
    "image.generation.*",
    "image.generation.started",
    "image.generation.progress",
    "image.generation.completed",
    "image.generation.failed",
    "system.notification",
    "heartbeat",
)
_CLIENT_EVENTS = ("connected", "disconnected", "state:change", "error")


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the documented types that begin with the incomplete word."""
    return [CompletionItem(name) for name in _SERVER_EVENTS if name.startswith(incomplete)]


def _refuse_client_events(ctx: click.Context, param: click.Parameter, value: str | tuple[str, ...]) -> Any:
    """Refuse the events of the client itself, which no server sends."""
    for name in (value,) if isinstance(value, str) else value:
        if name in _CLIENT_EVENTS:
            raise click.BadParameter(
                f"{name} is not an event of the server; changes of the connection go to stderr anyway", ctx, param
            )
    return value


def _object(ctx: click.Context, param: click.Parameter, text: str) -> Any:
    value: Any = value_of(text)
    if not isinstance(value, dict):
        raise click.BadParameter('it must be a JSON object, such as \'{"prompt": "a fox"}\'', ctx, param)
    return cast("dict[str, Any]", value)


def _in_range(ctx: click.Context, param: click.Parameter, seconds: float | None) -> float | None:
    if seconds is not None and not 0 <= seconds <= threading.TIMEOUT_MAX:  # NaN compares as false
        raise click.BadParameter(f"{seconds:g} is not a number of seconds to wait", ctx, param)
    return seconds


url = click.argument("url")
event_type = click.argument("type", shell_complete=_complete, callback=_refuse_client_events)
payload = click.argument("payload", metavar="[JSON]", default="{}", callback=_object)
events = click.option(
    "--event", "types", metavar="PATTERN", multiple=True, shell_complete=_complete, callback=_refuse_client_events,
    help="A type, or a pattern such as 'image.generation.*'; without it, all events. May be repeated.",
)  # fmt: skip
where = click.option(
    "--where", metavar="KEY=VALUE", multiple=True, callback=collect,
    help="Only events whose payload has this field, as text or as JSON: 42 matches the text and the number, true the "
    "text and the boolean, '\"42\"' the text alone. May be repeated; all must match.",
)  # fmt: skip
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")


def timeout(help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds ``--timeout``, whose effect each command describes itself."""
    return click.option("--timeout", metavar="SECONDS", type=float, callback=_in_range, help=help)


def token(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for the token to a command, which gets a `TokenSource` as the argument ``token``."""

    @click.option(
        "--token-command",
        metavar="COMMAND",
        help="Run this shell command before each attempt to connect; it prints the token. It has no "
        "terminal and ends with this one.",
    )
    @click.option(
        "--token-file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
        help=f"Read the token from this file before each attempt. Without either option it comes from {VARIABLE}.",
    )  # fmt: skip
    @functools.wraps(command)
    def with_token(*, token_command: str | None, token_file: Path | None, **arguments: Any) -> None:
        if token_command is not None and token_file is not None:
            raise click.UsageError("--token-command and --token-file cannot be combined: give one of them")
        command(token=TokenSource(token_command, token_file), **arguments)

    return with_token
