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
_OF_GATEWAYS = ("headers", "ssl_context", "proxy", "compression")  # arguments that are None or empty by default


class Target(NamedTuple):
    """A gateway.

    Attributes:
        url: Its URL; or that of the engine of a relay, by way of which it is reached.
        token: Where the token comes from.
        options: Arguments of the client that say how to connect.
        namespace: That of the relay.
    """

    url: str
    token: TokenSource
    options: Mapping[str, Any]
    namespace: str = "default"

    @property
    def relayed(self) -> bool:
        """Whether it is reached by way of a relay."""
        return _is_engine(self.url)


def _is_engine(url: str) -> bool:
    return url.partition("://")[0].lower() in {"redis", "rediss", "unix"}


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


_NAMESPACE = click.option(
    "--namespace", default="default", show_default=True,
    help="The namespace of the relay, where the URL is that of its engine (redis://, rediss://, unix://).",
)  # fmt: skip


def target(first: str | None = None, *, relayed: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds the options of a `Target` to a command, which gets it as the argument ``target``.

    Args:
        first: The argument, of any number of words, that takes the place of a URL that is left out.
        relayed: Whether the URL may be that of a relay's engine.
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
            made = Target(url or _default_url(), token, options)
            if relayed:
                made = made._replace(namespace=arguments.pop("namespace"))
                _check_relayed(made, given=url, has_token=token_command is not None or token_file is not None)
            command(target=made, **arguments)

        decorated: Callable[..., Any] = with_target
        for option in reversed((*_OPTIONS, _NAMESPACE) if relayed else _OPTIONS):
            decorated = option(decorated)
        return decorated

    return decorate


def _check_relayed(target: Target, *, given: str | None, has_token: bool) -> None:
    """Refuse what cannot go with the URL of an engine."""
    if not target.relayed:
        return
    if given is not None and "@" in given:
        raise click.UsageError(
            f"an engine's URL with a password must not be an argument, which other users can see: set {URL_VARIABLE}"
        )
    options = target.options
    if has_token or options["token_in"] != "query" or any(options[name] not in (None, {}) for name in _OF_GATEWAYS):
        raise click.UsageError(
            "options of the connection to the gateway do not go with an engine's URL: give them to the relay"
        )


def _default_url() -> str:
    url = os.environ.get(URL_VARIABLE, "")
    if not url:
        raise click.UsageError(
            f"Missing argument 'URL', such as ws://localhost:34076/ws: give it, or set {URL_VARIABLE}"
        )
    return url
