"""Where a client connects to, and how it shows its token."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import quote

from masquerade_ws.connection.connection import Connection
from masquerade_ws.errors import ConnectError
from masquerade_ws.protocol.uri import parse_target

__all__ = ["Connector"]

HEADER_TEXT = re.compile(r"[\x20-\x7e]*")


class Connector:
    """Makes the connections of a client.

    Args:
        url: Where to.
        token_in: Where the token goes: into the query or into the header ``Authorization``.
        transport: The other arguments of a connection.

    Raises:
        TypeError: If one of them is of the wrong type.
        ValueError: If one of them has a value that is not allowed.
    """

    def __init__(self, url: str, token_in: Literal["query", "header"], transport: dict[str, Any]) -> None:
        Connection(url, **transport)  # checks them all
        self.name = parse_target(url).name
        self._url = url
        self._token_in = token_in
        copied: dict[str, Any] = {
            "headers": dict(transport["headers"] or {}),
            "subprotocols": tuple(transport["subprotocols"]),
        }
        self._transport: dict[str, Any] = {**transport, **copied}  # the user's own may change after the check
        if token_in == "header" and any(name.lower() == "authorization" for name in self._transport["headers"]):
            raise ValueError("headers must not have Authorization, since token_in='header' makes it of the token")

    def connection(self, token: str) -> Connection:
        """Return a connection, not yet opened, that shows ``token``.

        Raises:
            ConnectError: If a URL or a header cannot carry the token.
        """
        if self._token_in == "query":
            encoded = _percent_encode(token)
            separator = "" if self._url.endswith(("?", "&")) else "&" if "?" in self._url else "?"
            return Connection(f"{self._url}{separator}token={encoded}", **self._transport)
        if not HEADER_TEXT.fullmatch(token):
            raise ConnectError("get_token returned a token with characters that a header cannot carry")
        transport = dict(self._transport)
        transport["headers"] = {**transport["headers"], "Authorization": f"Bearer {token}"}
        return Connection(self._url, **transport)


def _percent_encode(token: str) -> str:
    try:
        return quote(token, safe="")
    except UnicodeEncodeError:
        pass  # it holds the token, so that what follows must not be raised in its context
    raise ConnectError("get_token returned a token with characters that UTF-8 cannot encode")
