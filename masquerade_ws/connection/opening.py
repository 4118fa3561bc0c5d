"""Opening a connection: its options, checked, and the phases of an attempt, one after the other."""

from __future__ import annotations

from masquerade_ws.connection.attempt import Attempt, dial
from masquerade_ws.connection.channel import Channel
from masquerade_ws.connection.handshake import Upgrade, upgrade
from masquerade_ws.connection.options import ConnectionOptions
from masquerade_ws.connection.proxy import choose_proxy, open_tunnel
from masquerade_ws.connection.resolver import resolve
from masquerade_ws.connection.sockets import Cancelled
from masquerade_ws.connection.tls import TLS, default_context
from masquerade_ws.errors import ConnectError

__all__ = ["open_channel"]


def open_channel(options: ConnectionOptions, attempt: Attempt) -> tuple[Channel, Upgrade]:
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


def _open(options: ConnectionOptions, attempt: Attempt) -> tuple[Channel, Upgrade]:
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
