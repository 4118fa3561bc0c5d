"""Opening a connection: its options, checked, and the phases of an attempt, one after the other."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from masquerade_ws.errors import ConnectError
from masquerade_ws.handshake import Request, Upgrade, check_headers, check_subprotocols, upgrade
from masquerade_ws.options import check_duration
from masquerade_ws.proxy import Proxy, choose_proxy, open_tunnel, parse_proxy
from masquerade_ws.resolver import resolve
from masquerade_ws.target import parse_target
from masquerade_ws.tls import TLS, default_context
from masquerade_ws.transport import Attempt, Cancelled, Channel, dial

__all__ = ["Options", "open_channel"]


class Options(NamedTuple):
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
    ) -> Options:
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


def open_channel(options: Options, attempt: Attempt) -> tuple[Channel, Upgrade]:
    """Go through all phases of an attempt.

    Raises:
        ConnectError: One of them failed, or the attempt was cancelled.
    """
    try:
        return _open(options, attempt)
    except (OSError, Cancelled, RuntimeError, ValueError) as exc:
        failure = exc.with_traceback(None)  # whose frames hold it in turn, and all that called us
    what, status, cause = str(failure), None, None
    if isinstance(failure, ConnectError):
        status = failure.status
    elif isinstance(failure, Cancelled):
        what = "closed meanwhile"
    elif isinstance(failure, TimeoutError):
        what = f"timed out during {attempt.phase}"
    else:
        cause = failure
    # Raised here, so that none but a cause known to show no secret comes along.
    raise ConnectError(f"cannot connect to {options.request.target.name}: {what}", status) from cause


def _open(options: Options, attempt: Attempt) -> tuple[Channel, Upgrade]:
    target = options.request.target
    proxy = choose_proxy(options.proxy, target)
    hop = proxy or target
    dial(resolve(hop.host, hop.port, attempt), attempt)
    channel = Channel(attempt)
    if proxy is not None:
        open_tunnel(proxy, channel, target)
    if target.secure:
        channel.start_tls(TLS(options.ssl_context or default_context(), target.host.partition("%")[0]))
    agreed = upgrade(channel, options.request)
    channel.sock.setblocking(True)
    return channel, agreed
