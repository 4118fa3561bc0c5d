"""Where to connect: the URL, checked, and split into what may be shown and what may not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urlsplit

from masquerade_ws.protocol.hosts import HostError, read_host

__all__ = ["WebSocketURI", "host_and_port", "parse_uri", "split_url"]

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")
_HOST_AND_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::[0-9]*)?")
_PORTS = {"ws": 80, "wss": 443}
# What has a meaning in a path or a query already; anything else outside of ASCII's unreserved is percent-encoded.
_SAFE = "/?:@!$&'()*+,;=%"


class WebSocketURI(NamedTuple):
    """The parts of a WebSocket URI (RFC 6455, 3).

    Attributes:
        resource: Path and query for the request line; the query may hold the token.
        name: The URL without its query, to be shown.
    """

    scheme: str
    host: str
    port: int
    resource: str
    name: str

    def __repr__(self) -> str:
        return f"<WebSocketURI {self.name}>"

    @property
    def secure(self) -> bool:
        """Whether TLS is used."""
        return self.scheme == "wss"

    @property
    def authority(self) -> str:
        """The value of the Host header, without a default port (RFC 9110, 7.2)."""
        text = host_and_port(self.host, self.port)
        return text.removesuffix(f":{_PORTS[self.scheme]}")


def host_and_port(host: str, port: int) -> str:
    """Return an authority, an IPv6 literal in its brackets and without its zone (RFC 9110, 7.2)."""
    host = host.partition("%")[0]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_url(url: str, argument: str, schemes: Iterable[str]) -> tuple[SplitResult, str, int | None]:
    """Split a URL and return it with its host, in ASCII, and port; errors show nothing of it.

    Raises:
        TypeError: If it is not a ``str``.
        ValueError: If it is not a URL, has another scheme, or has no host.
    """
    if not isinstance(url, str):
        raise TypeError(f"{argument} must be a str, not {type(url).__name__}")
    if _FORBIDDEN.search(url):
        raise ValueError(f"{argument} contains white space, control characters or lone surrogates")
    parts = _split(url)
    # Raised here, since a context would show parts of the URL.
    if isinstance(parts, str):
        raise ValueError(f"{argument} {parts}")
    if parts[0].scheme not in schemes:
        *most, last = (f"{scheme}://" for scheme in schemes)
        raise ValueError(f"{argument} must begin with {', '.join(most)} or {last}")
    if not parts[1]:
        raise ValueError(f"{argument} has no host")
    if parts[2] == 0:
        raise ValueError(f"{argument} has port 0")
    return parts


def _split(url: str) -> tuple[SplitResult, str, int | None] | str:
    """Split a URL; or return what is wrong with it, in words that follow the argument's name and show nothing."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a valid URL"
    authority = _HOST_AND_PORT.fullmatch(parts.netloc.rpartition("@")[2])
    if authority is None:
        return "is not a valid URL"
    try:
        return parts, read_host(authority[1]) if authority[1] else "", port
    except HostError as error:
        return str(error)


def parse_uri(url: str) -> WebSocketURI:
    """Read a WebSocket URL.

    Raises:
        TypeError: If it is not a ``str``.
        ValueError: If it is not an absolute ``ws://`` or ``wss://`` URL, or has a user name or a fragment.
    """
    parts, host, port = split_url(url, "url", _PORTS)
    if "@" in parts.netloc:
        raise ValueError("url must not contain a user name")
    if "#" in url:
        raise ValueError("url must not contain a fragment")
    port = _PORTS[parts.scheme] if port is None else port
    path = quote(parts.path or "/", safe=_SAFE)
    resource = f"{path}?{quote(parts.query, safe=_SAFE)}" if parts.query else path
    return WebSocketURI(parts.scheme, host, port, resource, f"{parts.scheme}://{host_and_port(host, port)}{path}")
