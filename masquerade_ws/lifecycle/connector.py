"""What an attempt asks the user for, and the connection that it makes of that."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeVar, cast
from urllib.parse import quote

from masquerade_ws.checks import check_callable
from masquerade_ws.connection.connection import Connection
from masquerade_ws.connection.options import ConnectionOptions
from masquerade_ws.delivery.blocking import GET_TOKEN, HEADERS, URL, Guard
from masquerade_ws.errors import ConnectError
from masquerade_ws.protocol.uri import parse_uri

__all__ = ["Connector"]

_T = TypeVar("_T")
_U = TypeVar("_U")

_HEADER_TEXT = re.compile(r"[\x20-\x7e]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # Unicode's Cc, and what ends a line or a paragraph


class Connector:
    """Makes the connections of a client, each with a URL, headers and a token of its own if these are callables.

    Args:
        url: Where to, or what returns that for each attempt.
        get_token: Returns the token for each attempt.
        headers: Further request headers, or what returns them for each attempt.
        token_in: Where the token goes: into the query or into the header ``Authorization``.
        options: What each connection is made with beside that; without headers.
        guard: Refuses waits in the callables.
        make: Makes a connection of a URL and its options.

    Attributes:
        name: The URL without its query, to be shown: that of the last attempt, if it changes.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If an argument or a header has a value that is not allowed, or the headers leave no room for the
            token.
    """

    def __init__(
        self,
        url: str | Callable[[], str],
        get_token: Callable[[], str],
        *,
        headers: Mapping[str, str] | Callable[[], Mapping[str, str]] | None,
        token_in: Literal["query", "header"],
        options: ConnectionOptions,
        guard: Guard,
        make: Callable[[str, ConnectionOptions], Connection] = Connection,
    ) -> None:
        self._make = make
        check_callable("get_token", get_token)
        if token_in not in ("query", "header"):
            raise ValueError(f"token_in must be 'query' or 'header', not {token_in!r}")
        self._get_token = get_token
        self._token_in = token_in
        self._guard = guard
        self._url = url
        self._headers: Callable[[], Mapping[str, str]] | None = None
        self._options = options
        if callable(url):
            check_callable("url", url)
            self.name = "(with a URL for each attempt)"
        else:
            self.name = parse_uri(url).name
        if isinstance(headers, Mapping):
            self._options = self._with_headers(options, cast("Mapping[Any, Any]", headers))
        elif headers is not None:
            check_callable("headers", headers)
            self._headers = headers

    def prepare(self) -> Connection:
        """Ask for what an attempt needs; return the connection, not yet opened.

        Raises:
            ConnectError: If a callable raised, or returned what cannot be used.
        """
        token = self._asked(GET_TOKEN, self._get_token, _check_token)
        url = self._asked(URL, self._url, _check_url) if callable(self._url) else self._url
        self.name = parse_uri(url).name
        options = self._options
        if self._headers is not None:
            options = self._asked(HEADERS, self._headers, partial(self._with_headers, options))
        if self._token_in == "query":
            separator = "" if url.endswith(("?", "&")) else "&" if "?" in url else "?"
            return self._make(f"{url}{separator}token={_percent_encode(token)}", options)
        if not _HEADER_TEXT.fullmatch(token):
            raise ConnectError("get_token returned a token with characters that a header cannot carry")
        return self._make(url, options.with_headers({"Authorization": f"Bearer {token}"}))

    def _asked(self, name: str, function: Callable[[], _T], checked: Callable[[_T], _U]) -> _U:
        """Call a callable of the user, and check what it returns."""
        try:
            with self._guard.running(name):
                answer = function()
        except BaseException as error:
            users = error.__traceback__ and error.__traceback__.tb_next  # without our frame, which keeps us alive
            raise ConnectError(f"{name} raised {type(error).__name__}") from error.with_traceback(users)
        try:
            return checked(answer)
        except Exception as error:
            raise ConnectError(str(error)) from error.with_traceback(None)

    def _with_headers(self, options: ConnectionOptions, headers: Mapping[str, str] | None) -> ConnectionOptions:
        if headers is None:
            raise TypeError("headers must be a mapping, not NoneType")
        made = replace(options, headers=headers)
        if self._token_in == "header" and any(name.lower() == "authorization" for name in made.headers or ()):
            raise ValueError("headers must not have Authorization, since token_in='header' makes it of the token")
        return made


def _check_token(token: object) -> str:
    if not isinstance(token, str):
        raise TypeError(f"get_token must return a str, not {type(token).__name__}")
    if _CONTROL.search(token):
        raise TypeError("get_token must return a token without control characters and line separators")
    return token


def _check_url(url: str) -> str:
    parse_uri(url)
    return url


def _percent_encode(token: str) -> str:
    try:
        return quote(token, safe="")
    except UnicodeEncodeError:
        pass  # it holds the token, so that what follows must not be raised in its context
    raise ConnectError("get_token returned a token with characters that UTF-8 cannot encode")
