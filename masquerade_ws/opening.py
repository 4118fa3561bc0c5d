"""Opening a connection: its options, checked, and the phases of an attempt, one after the other."""

from __future__ import annotations

import math
import ssl
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from masquerade_ws.errors import ConnectError
from masquerade_ws.handshake import Request, Upgrade, check_headers, check_subprotocols, upgrade
from masquerade_ws.resolver import resolve
from masquerade_ws.target import parse_target
from masquerade_ws.tls import TLS, default_context
from masquerade_ws.transport import Attempt, Cancelled, Channel, dial

__all__ = ["Options", "open_channel"]


class Options(NamedTuple):
    """The arguments of a connection, checked."""

    request: Request
    ssl_context: ssl.SSLContext | None
    proxy: str | Literal[False] | None
    max_message_size: int
    send_timeout: float

    @classmethod
    def checked(
        cls,
        url: str,
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
        check_seconds("send_timeout", send_timeout)
        if compression not in {None, "deflate"}:
            raise ValueError("compression must be None or 'deflate'")
        request = Request(target, headers, tuple(subprotocols), compression is not None)
        return cls(request, ssl_context, proxy, max_message_size, send_timeout)


def check_seconds(argument: str, value: Any) -> None:
    """Refuse what is no positive, finite number.

    Raises:
        TypeError: Not a number.
        ValueError: Not positive or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{argument} must be a number of seconds, not {type(value).__name__}")
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{argument} must be positive and finite")


def open_channel(options: Options, attempt: Attempt) -> tuple[Channel, Upgrade]:
    """Go through all phases of an attempt.

    Raises:
        ConnectError: One of them failed, or the attempt was cancelled.
    """
    name = options.request.target.name
    try:
        return _open(options, attempt)
    except ConnectError as exc:
        failure, cause = ConnectError(f"cannot connect to {name}: {exc}", exc.status), None
    except Cancelled:
        failure, cause = ConnectError(f"cannot connect to {name}: closed meanwhile"), None
    except TimeoutError as exc:
        failure, cause = ConnectError(f"cannot connect to {name}: timed out during {attempt.phase}"), exc
    except (OSError, RuntimeError, ValueError) as exc:
        failure, cause = ConnectError(f"cannot connect to {name}: {exc}"), exc
    # Raised here, so that only a cause that is known to show no secret goes with it.
    raise failure from cause


def _open(options: Options, attempt: Attempt) -> tuple[Channel, Upgrade]:
    target = options.request.target
    dial(resolve(target.host, target.port, attempt), attempt)
    channel = Channel(attempt)
    if target.secure:
        channel.start_tls(TLS(options.ssl_context or default_context(), target.host))
    return channel, upgrade(channel, options.request)
