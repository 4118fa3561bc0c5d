"""The arguments and options that commands share."""

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

_KNOWN = (
    "image.generation.*",
    "image.generation.started",
    "image.generation.progress",
    "image.generation.completed",
    "image.generation.failed",
    "system.notification",
    "heartbeat",
)
_OF_THE_CLIENT = ("connected", "disconnected", "state:change", "error")


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the documented types that begin so."""
    return [CompletionItem(name) for name in _KNOWN if name.startswith(incomplete)]


def _refuse_client_events(ctx: click.Context, param: click.Parameter, value: str | tuple[str, ...]) -> Any:
    """Refuse the client's own events, which no server sends."""
    for name in (value,) if isinstance(value, str) else value:
        if name in _OF_THE_CLIENT:
            raise click.BadParameter(f"{name} is no event of the server; stderr tells of the connection", ctx, param)
    return value


def _object(ctx: click.Context, param: click.Parameter, text: str) -> Any:
    value: Any = value_of(text)
    if not isinstance(value, dict):
        raise click.BadParameter('it must be a JSON object, such as \'{"prompt": "a fox"}\'', ctx, param)
    return cast("dict[str, Any]", value)


def _in_range(ctx: click.Context, param: click.Parameter, seconds: float | None) -> float | None:
    if seconds is not None and not 0 <= seconds <= threading.TIMEOUT_MAX:  # NaN compares as false
        raise click.BadParameter(f"{seconds:g} is no number of seconds to wait", ctx, param)
    return seconds


url = click.argument("url")
event_type = click.argument("type", shell_complete=_complete, callback=_refuse_client_events)
payload = click.argument("payload", metavar="[JSON]", default="{}", callback=_object)
events = click.option(
    "--event", "types", metavar="PATTERN", multiple=True, shell_complete=_complete, callback=_refuse_client_events,
    help="A type, or a pattern such as 'image.generation.*'; all events without it. May be repeated.",
)  # fmt: skip
where = click.option(
    "--where", metavar="KEY=VALUE", multiple=True, callback=collect,
    help="Only events with this in their payload, as a text or as JSON: 42 is the text or the number, true the text or "
    "the truth value, '\"42\"' the text alone. May be repeated; all must hold.",
)  # fmt: skip
as_json = click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")


def timeout(help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command a time-out that ends it in its own way."""
    return click.option("--timeout", metavar="SECONDS", type=float, callback=_in_range, help=help)


def token(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options for a token, and what they say as the argument ``token``."""

    @click.option(
        "--token-command",
        metavar="COMMAND",
        help="Run this in a shell before each attempt to connect; it prints the token.",
    )
    @click.option(
        "--token-file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
        help=f"Read the token from this file before each attempt. Without either it is that of {VARIABLE}.",
    )  # fmt: skip
    @functools.wraps(command)
    def with_token(*, token_command: str | None, token_file: Path | None, **arguments: Any) -> None:
        if token_command is not None and token_file is not None:
            raise click.UsageError("--token-command and --token-file exclude each other")
        command(token=TokenSource(token_command, token_file), **arguments)

    return with_token
