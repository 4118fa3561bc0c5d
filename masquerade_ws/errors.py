"""The exceptions of the library.

::

    MasqueradeError
    ├── ConnectError            (ConnectionError)  an attempt to connect failed
    ├── NotConnectedError       (ConnectionError)  there is no connection to send on
    ├── DisconnectedError       (ConnectionError)  the connection, or the client, has ended
    ├── SendError               (ConnectionError)  the transport did not take a message
    ├── ParseError              (ValueError)       a message is not an event
    ├── WaitTimeoutError        (TimeoutError)     what was waited for did not come in time
    ├── StopReconnecting                           raised by ``get_token`` to end the attempts
    ├── EventsDroppedError                         a stream overflowed
    └── ImageGenerationError                       an image job failed

All of them can be pickled, and so sent to another process.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

__all__ = [
    "ConnectError",
    "DisconnectedError",
    "EventsDroppedError",
    "ImageGenerationError",
    "MasqueradeError",
    "NotConnectedError",
    "ParseError",
    "Response",
    "SendError",
    "StopReconnecting",
    "WaitTimeoutError",
    "copy_of",
]

_ErrorT = TypeVar("_ErrorT", bound="MasqueradeError")


class MasqueradeError(Exception):
    """Base of every exception that the library defines."""


@dataclass(frozen=True, slots=True, repr=False)
class Response:
    """The rest of the HTTP response that refused a handshake; it may hold secrets, so that its repr shows nothing.

    Attributes:
        headers: By their names in lower case.
        body: Its beginning.
        retry_after: Seconds to wait, if the server says so.
    """

    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    retry_after: float | None = None

    def __repr__(self) -> str:
        return "<Response>"


class ConnectError(MasqueradeError, ConnectionError):
    """An attempt to connect failed.

    Args:
        message: What happened, to which peer.
        status: The HTTP status, if the server answered the handshake with one.
        response: The rest of that answer.
    """

    def __init__(self, message: str, status: int | None = None, response: Response | None = None) -> None:
        super().__init__(message)
        self.status = status
        self._response = response or Response()

    @property
    def headers(self) -> Mapping[str, str]:
        """The server's response headers, names in lower case, what is given twice joined by commas; read-only."""
        return MappingProxyType(self._response.headers)

    @property
    def body(self) -> bytes:
        """The beginning of the response's body, at most 4 KiB, without transfer coding."""
        return self._response.body

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait (``Retry-After``), or ``None``."""
        return self._response.retry_after


class NotConnectedError(MasqueradeError, ConnectionError):
    """There is no connection to send on."""


class DisconnectedError(MasqueradeError, ConnectionError):
    """The connection has ended, or the client that was waited on.

    Args:
        message: What ended it.
        code: The close code (RFC 6455, sections 7.1.5 and 7.4).
        reason: The close reason (RFC 6455, section 7.1.6).
    """

    def __init__(self, message: str, code: int = 1006, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class SendError(MasqueradeError, ConnectionError):
    """The transport did not take a message, wholly or in time."""


class ParseError(MasqueradeError, ValueError):
    """A message is not an event.

    Args:
        message: What is wrong with it.
        data: The message as it came, ``str`` (text) or ``bytes`` (binary).
    """

    def __init__(self, message: str, data: str | bytes = "") -> None:
        super().__init__(message)
        self.data = data


class WaitTimeoutError(MasqueradeError, TimeoutError):
    """What was waited for did not come within the time given."""


class StopReconnecting(MasqueradeError):  # noqa: N818 - the name is an imperative, as StopIteration is
    """Raise it in ``get_token`` to end the attempts to connect."""


class EventsDroppedError(MasqueradeError):
    """A stream overflowed and dropped its oldest events.

    Args:
        count: How many events are missing since the last report.
    """

    def __init__(self, count: int) -> None:
        events_were = "event was" if count == 1 else "events were"
        super().__init__(f"{count} {events_were} dropped because the stream was full; read faster or raise maxsize")
        self.count = count

    def __reduce__(self) -> tuple[type[EventsDroppedError], tuple[int]]:
        return type(self), (self.count,)


class ImageGenerationError(MasqueradeError):
    """An image job failed.

    Args:
        message: What happened, to which job.
        job_id: The job.
        retry_allowed: Whether the service would accept the job again.
        reason: The error that the service reported, in its own words.
    """

    def __init__(self, message: str, job_id: str = "", retry_allowed: bool = False, reason: str = "") -> None:
        super().__init__(message)
        self.job_id = job_id
        self.retry_allowed = retry_allowed
        self.reason = reason


def copy_of(error: _ErrorT) -> _ErrorT:
    """Return a copy of a stored error, to be raised.

    Whoever raises the stored one itself adds to its traceback, and several threads would do so at once. ``copy.copy``
    leaves out the causes, since pickling does.

    Args:
        error: The error of the library that is stored.

    Returns:
        A new error with the same arguments, fields, cause and context, and without a traceback.
    """
    twin = copy(error)
    twin.__cause__, twin.__context__ = error.__cause__, error.__context__
    twin.__suppress_context__ = error.__suppress_context__
    return twin
