"""The gateway that a command talks to, and how it gets there: what ``curl`` would call its connection options."""

from __future__ import annotations

__all__ = ["URL_VARIABLE", "Target", "target", "url"]

import functools
import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from masquerade_ws.cli.parameters import complete_type
from masquerade_ws.cli.tokens import VARIABLE, TokenSource
from masquerade_ws.cli.unicode import text_in

URL_VARIABLE = "MASQUERADE_URL"

_NO_PROXY = "none"


class Target(NamedTuple):
    """A gateway.

    Attributes:
        url: Its URL.
        token: Where the token comes from.
        options: Arguments of the client that say how to connect.
    """

    url: str
    token: TokenSource
    options: Mapping[str, Any]


def _complete_url(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the word that follows the URL where that may be left out."""
    words = any(each.name == "types" for each in ctx.command.params if isinstance(each, click.Argument))
    return complete_type(ctx, param, incomplete) if words and os.environ.get(URL_VARIABLE) else []


url = click.argument("url", required=False, shell_complete=_complete_url)


def _headers(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Return all headers; errors show none of their values, which may be secret."""
    headers: dict[str, str] = {}
    for line in [line for value in values for line in _lines_of(ctx, param, value)]:
        name, colon, text = line.partition(":")
        if not colon or not name.strip():
            raise click.BadParameter("a header must be of the form 'Name: value'", ctx, param)
        if name.strip().lower() in {each.lower() for each in headers}:
            raise click.BadParameter(f"{name.strip()} is given twice: give it once", ctx, param)
        headers[name.strip()] = text.strip()
    return headers


def _lines_of(ctx: click.Context, param: click.Parameter, value: str) -> list[str]:
    if not value.startswith("@"):
        return [value]
    text = _content_of(ctx, param, Path(value[1:]))
    return [line for line in text.splitlines() if line.strip()]


def _context(ctx: click.Context, param: click.Parameter, file: Path | None) -> ssl.SSLContext | None:
    if file is None:
        return None
    pem = _content_of(ctx, param, file) or " "  # an empty text would stand for the certificates of the system
    try:
        return ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise click.BadParameter(f"{file} contains no certificate in PEM format", ctx, param) from None


def _content_of(ctx: click.Context, param: click.Parameter, file: Path) -> str:
    try:
        return text_in(file.read_bytes())
    except OSError as error:
        raise click.BadParameter(f"cannot read {file}: {error.strerror}", ctx, param) from error
    except UnicodeError:
        raise click.BadParameter(f"{file} is not UTF-8", ctx, param) from None


_OPTIONS = (
    click.option(
        "--token-command", metavar="COMMAND",
        help="Run this shell command before each attempt to connect; it prints the token. It has no terminal and ends "
        "with this one.",
    ),
    click.option(
        "--token-file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
        help=f"Read the token from this file before each attempt. Without either option it comes from {VARIABLE}.",
    ),
    click.option(
        "--token-in", type=click.Choice(["query", "header"]), default="query", show_default=True,
        help="Send the token in the query of the URL or as Authorization: Bearer.",
    ),
    click.option(
        "--header", "headers", metavar="'NAME: VALUE'", multiple=True, callback=_headers,
        help="Send this header, or those of a file, one per line, with @FILE; other users can see arguments. May be "
        "repeated.",
    ),
    click.option(
        "--cacert", "ssl_context", metavar="FILE", type=click.Path(path_type=Path), callback=_context,
        help="Trust the certificates in this PEM file instead of those of the system.",
    ),
    click.option(
        "--proxy", metavar="URL",
        help=f"Connect through this proxy; '{_NO_PROXY}' for none. Without it, http_proxy, https_proxy and no_proxy "
        "of the environment apply.",
    ),
    click.option("--compression", is_flag=True, help="Offer to compress messages (permessage-deflate)."),
)  # fmt: skip


def target(first: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds the options of a `Target` to a command, which gets it as the argument ``target``.

    Args:
        first: The argument, of any number of words, that takes the place of a URL that is left out.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_target(
            *,
            url: str | None,
            token_command: str | None,
            token_file: Path | None,
            proxy: str | None,
            compression: bool,
            **arguments: Any,
        ) -> None:
            if token_command is not None and token_file is not None:
                raise click.UsageError("--token-command and --token-file cannot be combined: give one of them")
            if first is not None and url is not None and "://" not in url:
                arguments[first] = (url, *arguments[first])
                url = None
            options = {name: arguments.pop(name) for name in ("headers", "ssl_context", "token_in")}
            options["proxy"] = False if proxy == _NO_PROXY else proxy
            options["compression"] = "deflate" if compression else None
            token = TokenSource(token_command, token_file)
            command(target=Target(url or _default_url(), token, options), **arguments)

        decorated: Callable[..., Any] = with_target
        for option in reversed(_OPTIONS):
            decorated = option(decorated)
        return decorated

    return decorate


def _default_url() -> str:
    url = os.environ.get(URL_VARIABLE, "")
    if not url:
        raise click.UsageError(
            f"Missing argument 'URL', such as ws://localhost:34076/ws: give it, or set {URL_VARIABLE}"
        )
    return url
