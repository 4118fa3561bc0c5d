"""The options of a connection, checked."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from masquerade_ws.checks import check_count, check_duration
from masquerade_ws.connection.http_head import check_headers, check_subprotocols
from masquerade_ws.connection.proxy import Proxy, parse_proxy

__all__ = ["ConnectionOptions"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ConnectionOptions:
    """What one connection, or all connections of a client, are made with.

    Mappings and sequences are copied, so that what the user changes later has no effect.

    Args:
        headers: Further request headers.
        subprotocols: Names to offer, the preferred one first (RFC 6455, 1.9).
        ssl_context: Replaces the default, which verifies with the system's roots and wants TLS 1.2 or newer.
        proxy: URL of an HTTP, HTTPS or SOCKS proxy; ``None`` takes the environment's, ``False`` none.
        max_message_size: Bytes that a received message may have, after decompression.
        send_timeout: Seconds that a send may take.
        compression: ``"deflate"`` offers permessage-deflate (RFC 7692).

    Attributes:
        given_proxy: The proxy argument, with its URL taken apart.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If an argument has a value that is not allowed.
    """

    headers: Mapping[str, str] | None = None
    subprotocols: Sequence[str] = ()
    ssl_context: ssl.SSLContext | None = None
    proxy: str | Literal[False] | None = None
    max_message_size: int = 16 * 2**20
    send_timeout: float = 10.0
    compression: Literal["deflate"] | None = None
    given_proxy: Proxy | Literal[False] | None = field(init=False)

    def __post_init__(self) -> None:
        if self.headers is not None and not isinstance(self.headers, Mapping):
            raise TypeError(f"headers must be a mapping, not {type(self.headers).__name__}")
        self._set("headers", dict(self.headers or {}))
        check_headers(self.headers or {})
        check_subprotocols(self.subprotocols)
        self._set("subprotocols", tuple(self.subprotocols))
        _check_context(self.ssl_context)
        check_count("max_message_size", self.max_message_size)
        check_duration("send_timeout", self.send_timeout, zero=False)
        if self.compression not in {None, "deflate"}:
            raise ValueError("compression must be None or 'deflate'")
        proxy = self.proxy
        self._set("given_proxy", proxy if proxy is None or proxy is False else parse_proxy(proxy))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def with_headers(self, more: Mapping[str, str]) -> ConnectionOptions:
        """Return the same options with more headers, as one attempt of a client adds them."""
        return replace(self, headers={**(self.headers or {}), **more})


def _check_context(context: ssl.SSLContext | None) -> None:
    if context is not None and not isinstance(context, ssl.SSLContext):
        raise TypeError(f"ssl_context must be an ssl.SSLContext, not {type(context).__name__}")
    if context is not None and context.protocol is ssl.PROTOCOL_TLS_SERVER:
        raise ValueError("ssl_context must be for clients, as ssl.create_default_context() makes it, not for servers")
