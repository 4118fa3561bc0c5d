"""Proxies: which one to use, and the tunnel through it."""

from __future__ import annotations

import base64
import importlib.util
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import unquote

from masquerade_ws.connection.http_head import read_head
from masquerade_ws.connection.no_proxy import bypasses_proxy
from masquerade_ws.connection.resolver import resolve
from masquerade_ws.errors import ConnectError
from masquerade_ws.protocol.uri import host_and_port, split_url

if TYPE_CHECKING:
    from collections.abc import Generator

    from masquerade_ws.connection.channel import Channel
    from masquerade_ws.protocol.uri import WebSocketURI

__all__ = ["Proxy", "choose_proxy", "open_tunnel", "parse_proxy"]

_PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}


class Proxy(NamedTuple):
    """A proxy and what it wants to know about us."""

    scheme: str
    host: str
    port: int
    username: str | None
    password: str | None
    source: str = "the argument proxy"

    @property
    def name(self) -> str:
        """The proxy, and who named it, to be shown."""
        return f"the proxy {self.scheme}://{host_and_port(self.host, self.port)} (from {self.source})"

    def __repr__(self) -> str:
        return f"<Proxy {self.scheme}://{host_and_port(self.host, self.port)}>"


def parse_proxy(url: str, variable: str | None = None) -> Proxy:
    """Read a proxy's URL; errors show nothing of it.

    Args:
        url: The URL.
        variable: The environment variable that it comes from; ``None``: it is the argument ``proxy``.

    Raises:
        TypeError: If it is not a ``str``.
        ValueError: If it is not the URL of a proxy that is supported here.
    """
    argument = "proxy" if variable is None else f"the environment's {variable}"
    parts, host, port = split_url(url, argument, _PORTS)
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(f"{argument} must not contain a path, a query or a fragment")
    if parts.scheme.startswith("socks") and importlib.util.find_spec("python_socks") is None:
        raise ValueError(f"{argument}: a SOCKS proxy needs python-socks; run: pip install masquerade-ws[socks]")
    username = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    source = "the argument proxy" if variable is None else variable
    return Proxy(parts.scheme, host, port or _PORTS[parts.scheme], username, password, source)


def choose_proxy(proxy: Proxy | Literal[False] | None, target: WebSocketURI) -> Proxy | None:
    """Return the proxy to use: the one given, none, or the environment's.

    Raises:
        ValueError: If the environment names a proxy that is not supported.
    """
    if proxy is not None:
        return proxy or None
    variable = "https_proxy" if target.secure else "http_proxy"
    url = _from_environment(variable)
    if not url or bypasses_proxy(_from_environment("no_proxy") or "", target.host, target.port):
        return None
    return parse_proxy(url if "://" in url else f"http://{url}", variable)


def _from_environment(variable: str) -> str | None:
    """Look a variable up as ``urllib.request.getproxies`` does, which reads all of the environment."""
    url = os.environ.get(variable)
    # Where a web server runs us by CGI, it sets HTTP_PROXY to the request's header Proxy.
    if url is None and not (variable == "http_proxy" and "REQUEST_METHOD" in os.environ):
        url = os.environ.get(variable.upper())
    return url


def open_tunnel(proxy: Proxy, channel: Channel, target: WebSocketURI) -> None:
    """Have the proxy, to which the channel leads, connect to the target.

    Raises:
        ConnectError: If it refused.
        OSError: If the connection broke.
        OutOfTime: If the attempt's deadline has come.
        Cancelled: If another thread ended the attempt.
    """
    if proxy.scheme in {"http", "https"}:
        _connect(proxy, channel, target)
    else:
        _socks(proxy, channel, target)


def _connect(proxy: Proxy, channel: Channel, target: WebSocketURI) -> None:
    """Ask an HTTP proxy (RFC 9110, 9.3.6)."""
    channel.attempt.phase = "the proxy's CONNECT"
    authority = host_and_port(target.host, target.port)
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.username is not None:
        credentials = f"{proxy.username}:{proxy.password or ''}".encode()
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(credentials).decode()}")
    channel.sendall("\r\n".join([*lines, "", ""]).encode())
    head, glued = read_head(channel, "the proxy")
    if not 200 <= head.status < 300:
        raise ConnectError(f"the proxy answered with HTTP status {head.status}")
    if glued:
        raise ConnectError("the proxy sent more than its response")


def _socks(proxy: Proxy, channel: Channel, target: WebSocketURI) -> None:
    """Ask a SOCKS proxy, through python-socks."""
    from python_socks import ProxyType  # noqa: PLC0415 - an optional dependency
    from python_socks.sync import Proxy as SocksProxy  # noqa: PLC0415

    channel.attempt.phase = "the proxy's SOCKS handshake"
    socks4 = proxy.scheme.startswith("socks4")
    by_name = proxy.scheme in {"socks4a", "socks5h"}
    host = target.host if by_name else _resolved(channel, target, socket.AF_INET if socks4 else None)
    hop: Any = _Hop(channel)
    kind = ProxyType.SOCKS4 if socks4 else ProxyType.SOCKS5
    try:
        # The hop stands where python-socks takes a proxy before this one, so that all goes over our own channel.
        socks = SocksProxy(kind, proxy.host, proxy.port, proxy.username, proxy.password, rdns=True, forward=hop)
        socks.connect(host, target.port)
    except Exception as error:
        failure = hop.failure or ConnectError(f"the proxy refused or broke its protocol ({type(error).__name__})")
    else:
        return
    # Raised here, since the context could show the password.
    raise failure


class _Hop:
    """What python-socks sees: a way to the proxy, and the socket at its end, both of them ours."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.failure: Exception | None = None

    def connect(self, **_: object) -> _Hop:
        return self

    def sendall(self, data: bytes) -> None:
        with self._noting():
            self._channel.sendall(data)

    def recv(self, size: int) -> bytes:
        with self._noting():
            return self._channel.recv(size)

    def close(self) -> None:
        """Do nothing: the attempt closes the socket."""

    @contextmanager
    def _noting(self) -> Generator[None, None, None]:
        try:
            yield
        except Exception as error:
            self.failure = error
            raise


def _resolved(channel: Channel, target: WebSocketURI, family: int | None) -> str:
    for address in resolve(target.host, target.port, channel.attempt):
        if family in {None, address[0]}:
            return str(address[4][0])
    raise ConnectError("the host has no address that the proxy's protocol can name")
