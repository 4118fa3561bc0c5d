"""Opening a connection: the phases of an attempt, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from masquerade_ws.connection.attempt import Cancelled, OutOfTime
from masquerade_ws.connection.channel import Channel
from masquerade_ws.connection.dialing import dial
from masquerade_ws.connection.handshake import upgrade
from masquerade_ws.connection.proxy import Proxy, choose_proxy, open_tunnel
from masquerade_ws.connection.resolver import resolve
from masquerade_ws.connection.tls import TLS, default_context
from masquerade_ws.errors import ConnectError, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from masquerade_ws.connection.attempt import Attempt
    from masquerade_ws.connection.handshake import Upgrade
    from masquerade_ws.connection.options import ConnectionOptions
    from masquerade_ws.protocol.uri import WebSocketURI

__all__ = ["open_channel"]


def open_channel(
    uri: WebSocketURI, options: ConnectionOptions, attempt: Attempt, publish: Callable[[Channel, Upgrade], None]
) -> None:
    """Go through all phases of an attempt.

    Args:
        uri: Where to.
        options: Those of the connection.
        attempt: Its deadline and cancellation.
        publish: Takes the open channel, and what was agreed on; may raise `Cancelled`.

    Raises:
        ConnectError: If anything raised an `Exception`, or the attempt was cancelled. Other bases are not failures of
            the attempt and pass.
    """
    try:
        return publish(*_open(uri, options, attempt))
    except Exception as error:
        failure = error.with_traceback(None)  # whose frames hold it in turn, and all that called us
    # Raised here, so that none but a cause known to show no secret comes along.
    raise _connect_error(failure, uri, attempt) from (failure.__cause__ if _is_explained(failure) else failure)


def _is_explained(failure: Exception) -> bool:
    """Return whether a failure is our own, so that the error of the attempt says all of it."""
    return isinstance(failure, (ConnectError, Cancelled, OutOfTime))


def _connect_error(failure: Exception, uri: WebSocketURI, attempt: Attempt) -> ConnectError:
    status = response = None
    if isinstance(failure, ConnectError):
        status = failure.status
        response = Response(dict(failure.headers), failure.body, failure.retry_after)
    if isinstance(failure, Cancelled):
        what = "closed meanwhile"
    elif isinstance(failure, OutOfTime):
        what = f"timed out during {attempt.phase}"
    elif isinstance(failure, (OSError, RuntimeError, ValueError)) and str(failure):
        what = str(failure)
    else:  # foreign code's, whose text alone may say little
        what = f"{type(failure).__name__}: {failure}".removesuffix(": ")
    aim = attempt.aim or f"connect to {uri.name}"
    return ConnectError(f"cannot {aim}: {what}", status, response)


def _open(uri: WebSocketURI, options: ConnectionOptions, attempt: Attempt) -> tuple[Channel, Upgrade]:
    attempt.aim = f"connect to {uri.name}"
    proxy = choose_proxy(options.given_proxy, uri)
    if proxy is not None:
        channel = _through(proxy, uri, attempt)
    else:
        dial(resolve(uri.host, uri.port, attempt), attempt)
        channel = Channel(attempt)
    if uri.secure:
        tls = TLS(options.ssl_context or default_context(), uri.host)
        channel.start_tls(tls, "if it is not meant to, use ws:// instead of wss://")
    try:
        agreed = upgrade(channel, uri, options)
    except BaseException:
        channel.end_tls()
        raise
    channel.sock.setblocking(True)
    return channel, agreed


def _through(proxy: Proxy, uri: WebSocketURI, attempt: Attempt) -> Channel:
    """Return a channel to the server that leads through a proxy, whose failures name the proxy."""
    aim, attempt.aim = attempt.aim, f"reach {proxy.name}"
    dial(resolve(proxy.host, proxy.port, attempt), attempt)
    channel = Channel(attempt)
    if proxy.scheme == "https":
        channel.start_tls(TLS(default_context(), proxy.host), "if it is not meant to, use http:// for the proxy")
    attempt.aim = f"{aim} through {proxy.name}"
    open_tunnel(proxy, channel, uri)
    attempt.aim = aim
    return channel
