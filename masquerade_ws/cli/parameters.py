"""The arguments and options that several commands have."""

from __future__ import annotations

__all__ = [
    "address_of",
    "as_json",
    "check_types",
    "complete_type",
    "events",
    "number",
    "payload_of",
    "size_of",
    "text_of",
    "timeout",
    "where",
]

import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import click
from click.shell_completion import CompletionItem

from masquerade_ws.cli.unicode import text_in
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
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
_PAYLOAD = """the payload must be a JSON object, such as '{"prompt": "a fox"}', or fields, such as prompt="a fox\""""


def complete_type(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the documented types that begin with the incomplete word."""
    return [CompletionItem(name) for name in _SERVER_EVENTS if name.startswith(incomplete)]


def check_types(types: Sequence[str]) -> None:
    """Refuse the events of the client itself, which no server sends.

    Raises:
        click.UsageError: If there is one among the types.
    """
    for name in types:
        if name in _CLIENT_EVENTS:
            raise click.UsageError(
                f"{name} is not an event of the server; changes of the connection go to stderr anyway"
            )


def payload_of(words: Sequence[str]) -> dict[str, Any]:
    """Return the payload that words stand for: a JSON object, ``-`` for one on standard input, or ``KEY=VALUE``.

    Raises:
        click.UsageError: If they are none of these.
    """
    if len(words) == 1 and (words[0] == "-" or words[0].lstrip()[:1] in ("{", "[")):
        value: Any = value_of(text_of(words[0]))
        if not isinstance(value, dict):
            raise click.UsageError(_PAYLOAD)
        return cast("dict[str, Any]", value)
    payload: dict[str, Any] = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not key or not sign:
            raise click.UsageError(_PAYLOAD)
        if key in payload:
            raise click.UsageError(f"{key} is given twice: give it once")
        payload[key] = value_of(text)
    return payload


def text_of(word: str) -> str:
    """Return a word, or for ``-`` what standard input contains.

    Raises:
        click.UsageError: If there is no standard input, or no text in it.
    """
    if word != "-":
        return word
    if sys.stdin is None:
        raise click.UsageError("'-' means standard input, and there is none")
    try:
        return text_in(sys.stdin.buffer.read())
    except UnicodeError:
        raise click.UsageError("standard input is not UTF-8") from None


events = click.option(
    "--event", "types", metavar="PATTERN", multiple=True, shell_complete=complete_type,
    help="A type, or a pattern such as 'image.generation.*'; without it, all events. May be repeated.",
)  # fmt: skip
where = click.option(
    "--where", metavar="KEY=VALUE", multiple=True, callback=collect,
    help="Only events whose payload has this field, as text or as JSON: 42 matches the text and the number, true the "
    "text and the boolean, '\"42\"' the text alone. May be repeated; all must match.",
)  # fmt: skip
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")


def number(
    name: str, metavar: str, low: float, help: str, *, high: float = threading.TIMEOUT_MAX
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds an option for a number from ``low`` to ``high``."""

    def check(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
        if value is not None and not low <= value <= high:  # NaN compares as false
            raise click.BadParameter(f"{value:g} must be a number from {low:g} to {high:g}", ctx, param)
        return value

    return click.option(name, metavar=metavar, type=float, callback=check, help=help)


def timeout(help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds ``--timeout``, whose effect each command describes itself."""
    return number("--timeout", "SECONDS", 0.0, help)


def size_of(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Return the bytes that an option such as ``64M`` stands for."""
    number, unit = value[:-1], value[-1:].upper()
    if unit.isdigit():
        number, unit = value, ""
    if not number.isascii() or not number.isdigit() or unit not in _UNITS or int(number) == 0:
        raise click.BadParameter(f"{value} must be a number of bytes, such as 64M", ctx, param)
    return int(number) * _UNITS[unit]


def address_of(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, int] | None:
    """Return the host and the port that ``[HOST:]PORT`` stands for; the host is this machine's own by default."""
    if value is None:
        return None
    try:
        parts = urlsplit(f"//{value}" if ":" in value else f"//127.0.0.1:{value}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None:
        raise click.BadParameter(f"{value} must be [HOST:]PORT, such as 9100", ctx, param)
    return host, port
