"""Opening a connection: the phases of an attempt, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from masquerade_ws.connection.attempt import Cancelled
from masquerade_ws.connection.channel import Channel
from masquerade_ws.connection.dialing import dial
from masquerade_ws.connection.handshake import upgrade
from masquerade_ws.connection.proxy import choose_proxy, open_tunnel
from masquerade_ws.connection.resolver import resolve
from masquerade_ws.connection.tls import TLS, default_context
from masquerade_ws.errors import ConnectError

if TYPE_CHECKING:
    from masquerade_ws.connection.attempt import Attempt
    from masquerade_ws.connection.handshake import Upgrade
    from masquerade_ws.connection.options import ConnectionOptions
    from masquerade_ws.protocol.uri import WebSocketURI

__all__ = ["open_channel"]


def open_channel(uri: WebSocketURI, options: ConnectionOptions, attempt: Attempt) -> tuple[Channel, Upgrade]:
    """Go through all phases of an attempt.

    Raises:
        ConnectError: If one of them failed, or the attempt was cancelled.
    """
    try:
        return _open(uri, options, attempt)
    except (OSError, Cancelled, RuntimeError, ValueError) as error:
        failure = error.with_traceback(None)  # whose frames hold it in turn, and all that called us
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
    raise ConnectError(f"cannot connect to {uri.name}: {what}", status) from cause


def _open(uri: WebSocketURI, options: ConnectionOptions, attempt: Attempt) -> tuple[Channel, Upgrade]:
    proxy = choose_proxy(options.given_proxy, uri)
    hop = proxy or uri
    dial(resolve(hop.host, hop.port, attempt), attempt)
    channel = Channel(attempt)
    if proxy is not None:
        open_tunnel(proxy, channel, uri)
    if uri.secure:
        channel.start_tls(TLS(options.ssl_context or default_context(), uri.host.partition("%")[0]))
    try:
        agreed = upgrade(channel, uri, options)
    except BaseException:
        channel.end_tls()
        raise
    channel.sock.setblocking(True)
    return channel, agreed
