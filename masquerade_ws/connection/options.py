"""The options of a connection, checked."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from masquerade_ws.checks import check_duration
from masquerade_ws.connection.handshake import Request, check_headers, check_subprotocols
from masquerade_ws.connection.proxy import Proxy, parse_proxy
from masquerade_ws.protocol.uri import parse_target

__all__ = ["ConnectionOptions"]


class ConnectionOptions(NamedTuple):
    """The arguments of a connection, checked."""

    request: Request
    ssl_context: ssl.SSLContext | None
    proxy: Proxy | Literal[False] | None
    max_message_size: int
    send_timeout: float

    @classmethod
    def checked(
        cls,
        url: str,
        *,
        headers: Mapping[str, str] | None,
        subprotocols: Sequence[str],
        ssl_context: ssl.SSLContext | None,
        proxy: str | Literal[False] | None,
        max_message_size: int,
        send_timeout: float,
        compression: str | None,
    ) -> ConnectionOptions:
        """Check the arguments of a connection.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument has a value that is not allowed.
        """
        target = parse_target(url)
        if headers is not None and not isinstance(headers, Mapping):
            raise TypeError(f"headers must be a mapping, not {type(headers).__name__}")
        headers = dict(headers or {})
        check_headers(headers)
        check_subprotocols(subprotocols)
        if ssl_context is not None and not isinstance(ssl_context, ssl.SSLContext):
            raise TypeError(f"ssl_context must be an ssl.SSLContext, not {type(ssl_context).__name__}")
        if isinstance(max_message_size, bool) or not isinstance(max_message_size, int):
            raise TypeError("max_message_size must be an int")
        if max_message_size < 1:
            raise ValueError("max_message_size must be positive")
        check_duration("send_timeout", send_timeout, zero=False)
        if compression not in {None, "deflate"}:
            raise ValueError("compression must be None or 'deflate'")
        request = Request(target, headers, tuple(subprotocols), compression is not None)
        parsed = parse_proxy(proxy) if proxy is not None and proxy is not False else proxy
        return cls(request, ssl_context, parsed, max_message_size, send_timeout)
