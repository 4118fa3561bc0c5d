"""Where a client connects to, and how it shows its token."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import quote

from masquerade_ws.connection.connection import Connection
from masquerade_ws.connection.options import ConnectionOptions
from masquerade_ws.errors import ConnectError
from masquerade_ws.protocol.uri import parse_uri

__all__ = ["Connector"]

_HEADER_TEXT = re.compile(r"[\x20-\x7e]*")


class Connector:
    """Makes the connections of a client.

    Args:
        url: Where to.
        token_in: Where the token goes: into the query or into the header ``Authorization``.
        options: What each connection is made with, beside URL and token.

    Attributes:
        name: The URL without its query, to be shown.

    Raises:
        TypeError: If ``url`` is of the wrong type.
        ValueError: If ``url`` has a value that is not allowed, or the headers leave no room for the token.
    """

    def __init__(self, url: str, token_in: Literal["query", "header"], options: ConnectionOptions) -> None:
        self.name = parse_uri(url).name
        self._url = url
        self._token_in = token_in
        self._options = options
        if token_in == "header" and any(name.lower() == "authorization" for name in options.headers or ()):
            raise ValueError("headers must not have Authorization, since token_in='header' makes it of the token")

    def connection(self, token: str) -> Connection:
        """Return a connection, not yet opened, that shows ``token``.

        Raises:
            ConnectError: If a URL or a header cannot carry the token.
        """
        if self._token_in == "query":
            encoded = _percent_encode(token)
            separator = "" if self._url.endswith(("?", "&")) else "&" if "?" in self._url else "?"
            return Connection(f"{self._url}{separator}token={encoded}", self._options)
        if not _HEADER_TEXT.fullmatch(token):
            raise ConnectError("get_token returned a token with characters that a header cannot carry")
        return Connection(self._url, self._options.with_headers({"Authorization": f"Bearer {token}"}))


def _percent_encode(token: str) -> str:
    try:
        return quote(token, safe="")
    except UnicodeEncodeError:
        pass  # it holds the token, so that what follows must not be raised in its context
    raise ConnectError("get_token returned a token with characters that UTF-8 cannot encode")
