"""The events of the server and of the client, and the types of their payloads.

A server event is an :class:`Event`: of its own class if the gateway documents its type, of :class:`Event` itself
otherwise. It cannot be changed. Its payload is shared by all who get the event: treat it as read-only. Two events are
equal if their type, payload, timestamp and extra are. Like a tuple that holds a dict, they have no hash.

The client's own events (:class:`ConnectedEvent`, :class:`DisconnectedEvent`, :class:`StateChangeEvent`,
:class:`ErrorEvent`) are frozen dataclasses. They have a ``type`` too, so that mixed events can be told apart by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NoReturn, TypeAlias

from typing_extensions import NotRequired, TypedDict, TypeVar

from masquerade_ws.sanitize import excerpt, to_html
from masquerade_ws.timestamps import time_of, timestamp_now

__all__ = [
    "CLIENT_EVENT_TYPES",
    "EVENT_CLASSES",
    "ClientEvent",
    "ConnectedEvent",
    "ConnectionState",
    "DisconnectedEvent",
    "Draft",
    "ErrorContext",
    "ErrorEvent",
    "Event",
    "HeartbeatEvent",
    "HeartbeatPayload",
    "ImageGenerationCompletedEvent",
    "ImageGenerationCompletedPayload",
    "ImageGenerationFailedEvent",
    "ImageGenerationFailedPayload",
    "ImageGenerationProgressEvent",
    "ImageGenerationProgressPayload",
    "ImageGenerationStartedEvent",
    "ImageGenerationStartedPayload",
    "KnownEvent",
    "StateChangeEvent",
    "SystemNotificationEvent",
    "SystemNotificationPayload",
    "timestamp_now",
]

ConnectionState: TypeAlias = Literal["connecting", "connected", "disconnecting", "disconnected"]
ErrorContext: TypeAlias = Literal["connection", "send", "parse", "handler"]


class ImageGenerationStartedPayload(TypedDict):
    """What ``image.generation.started`` carries."""

    job_id: str
    user_id: str
    prompt: NotRequired[str]


class ImageGenerationProgressPayload(TypedDict):
    """What ``image.generation.progress`` carries; ``progress`` is a percentage."""

    job_id: str
    progress: float
    stage: NotRequired[str]


class ImageGenerationCompletedPayload(TypedDict):
    """What ``image.generation.completed`` carries."""

    job_id: str
    image_url: str
    metadata: NotRequired[dict[str, Any]]


class ImageGenerationFailedPayload(TypedDict):
    """What ``image.generation.failed`` carries."""

    job_id: str
    error: str
    retry_allowed: NotRequired[bool]


class SystemNotificationPayload(TypedDict):
    """What ``system.notification`` carries."""

    severity: Literal["info", "warning", "error"]
    message: str
    action_url: NotRequired[str]


class HeartbeatPayload(TypedDict):
    """What ``heartbeat`` carries: nothing."""


_TypeT_co = TypeVar("_TypeT_co", bound=str, covariant=True)
_PayloadT_co = TypeVar("_PayloadT_co", bound=Mapping[str, Any], covariant=True)


_NO_EXTRA: Mapping[str, Any] = MappingProxyType({})
_OWN_KEYS = ("type", "payload", "timestamp")


class Draft:
    """The storage of an event while it can still be written.

    The codec writes the attributes of a draft, and then gives it the class of its event. That makes it 1.15 times as
    fast as writing past the event's own `__setattr__` by way of the slots (decoding included, CPython 3.11), which it
    does only where threads run at once. It leaves the slots with an underscore empty unless there is something to
    keep, since each one costs 2 %.
    """

    __slots__ = ("_extra", "_id", "payload", "timestamp", "type")


class Event(Draft):
    """Something that the server says, or that is said to it; it cannot be changed.

    Args:
        type: The name, not empty.
        payload: What it carries, nothing by default; its top level is copied.
        timestamp: ISO 8601; the present time by default.
        extra: Further members of the message, none by default; its top level is copied.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If ``type`` is empty, or ``extra`` has a key ``type``, ``payload`` or ``timestamp``.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def type(self) -> str:
            """The name."""
            ...

        @property
        def payload(self) -> Mapping[str, Any]:
            """What the event carries, to be treated as read-only."""
            ...

        @property
        def timestamp(self) -> str:
            """When, ISO 8601, as the server wrote it, or the time of receipt if it gave none."""
            ...

    def __init__(
        self,
        type: str,
        payload: Mapping[str, Any] | None = None,
        timestamp: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        payload = {} if payload is None else payload
        timestamp = timestamp_now() if timestamp is None else timestamp
        _validate(type, payload, timestamp)
        object.__setattr__(self, "type", type)
        object.__setattr__(self, "payload", dict(payload))
        object.__setattr__(self, "timestamp", timestamp)
        object.__setattr__(self, "_extra", None if extra is None else _checked_extra(extra))

    @property
    def extra(self) -> Mapping[str, Any]:
        """The members of the message beside ``type``, ``payload`` and ``timestamp``; mostly none."""
        return getattr(self, "_extra", None) or _NO_EXTRA

    @property
    def time(self) -> datetime | None:
        """The timestamp as an aware ``datetime``, UTC if it has no offset; ``None`` if it is not ISO 8601."""
        return time_of(self.timestamp)

    @property
    def id(self) -> str | None:
        """The id that a relay gave the event; ``None`` without a relay."""
        return getattr(self, "_id", None)

    def to_dict(self) -> dict[str, Any]:
        """Return a new dict of ``type``, ``payload`` (its top level copied), ``timestamp`` and what ``extra`` holds."""
        return {"type": self.type, "payload": dict(self.payload), "timestamp": self.timestamp, **self.extra}

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"cannot set {name!r}: an event is immutable; make a new {self.__class__.__name__}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"cannot delete {name!r}: an event is immutable")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        mine = self.type, self.timestamp, self.payload, self.extra
        return mine == (other.type, other.timestamp, other.payload, other.extra)

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({_arguments_of(self)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, (self.type, self.payload, self.timestamp, *([dict(self.extra)] if self.extra else ()))


def _arguments_of(event: Event) -> str:
    """Return what a `repr` shows, also if the constructor refused its arguments and so left the event half made."""
    if not hasattr(event, "timestamp"):
        return "..."
    fields = event.to_dict()
    name, payload, timestamp = (fields.pop(key) for key in _OWN_KEYS)
    type_ = "" if isinstance(event, _KnownEvent) else f"{name!r}, "
    extra = f", extra={fields!r}" if fields else ""
    return f"{type_}payload={payload!r}, timestamp={timestamp!r}{extra}"


def _validate(type_: object, payload: object, timestamp: object) -> None:
    if not isinstance(type_, str):
        raise TypeError(f"type must be a str, not {type(type_).__name__}")
    if not type_:
        raise ValueError("type must not be empty")
    if not isinstance(payload, Mapping):
        raise TypeError(f"payload must be a mapping, not {type(payload).__name__}")
    if not isinstance(timestamp, str):
        raise TypeError(f"timestamp must be a str, not {type(timestamp).__name__}")


def _checked_extra(extra: Mapping[Any, Any]) -> dict[str, Any]:
    if not isinstance(extra, Mapping):
        raise TypeError(f"extra must be a mapping, not {type(extra).__name__}")
    for key in extra:
        if not isinstance(key, str):
            raise TypeError(f"extra must have keys of type str, not {type(key).__name__}")
        if key in _OWN_KEYS:
            raise ValueError(f"extra must not have the key {key!r}: that is an argument of its own")
    return dict(extra)


class _KnownEvent(Event, Generic[_TypeT_co, _PayloadT_co]):
    """An event that the gateway documents; its class implies its type."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def type(self) -> _TypeT_co: ...
        @property
        def payload(self) -> _PayloadT_co: ...

    def __init__(
        self, payload: _PayloadT_co, timestamp: str | None = None, extra: Mapping[str, Any] | None = None
    ) -> None:
        name = next(name for name, cls in EVENT_CLASSES.items() if isinstance(self, cls))
        super().__init__(name, payload, timestamp, extra)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, (self.payload, self.timestamp, *([dict(self.extra)] if self.extra else ()))


class ImageGenerationStartedEvent(_KnownEvent[Literal["image.generation.started"], ImageGenerationStartedPayload]):
    """An image job has begun."""

    __slots__ = ()


class ImageGenerationProgressEvent(_KnownEvent[Literal["image.generation.progress"], ImageGenerationProgressPayload]):
    """An image job has come further."""

    __slots__ = ()


class ImageGenerationCompletedEvent(
    _KnownEvent[Literal["image.generation.completed"], ImageGenerationCompletedPayload]
):
    """An image is ready."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """Return what a notebook shows: a link to the image, which nothing follows or loads by itself.

        What is not the URL of a web page, such as ``javascript:``, is shown as text.
        """
        url: object = self.payload.get("image_url")
        if not (isinstance(url, str) and url.startswith(("https://", "http://"))):
            return f"<code>{to_html(excerpt(repr(self)))}</code>"
        link = f'<a href="{to_html(url)}" target="_blank" rel="noopener noreferrer">{to_html(excerpt(url))}</a>'
        return f"image of job {to_html(excerpt(str(self.payload.get('job_id'))))}: {link}"


class ImageGenerationFailedEvent(_KnownEvent[Literal["image.generation.failed"], ImageGenerationFailedPayload]):
    """An image job has failed."""

    __slots__ = ()


class SystemNotificationEvent(_KnownEvent[Literal["system.notification"], SystemNotificationPayload]):
    """The service has something to say to people."""

    __slots__ = ()


class HeartbeatEvent(_KnownEvent[Literal["heartbeat"], HeartbeatPayload]):
    """A sign of life."""

    __slots__ = ()


KnownEvent: TypeAlias = (
    ImageGenerationStartedEvent
    | ImageGenerationProgressEvent
    | ImageGenerationCompletedEvent
    | ImageGenerationFailedEvent
    | SystemNotificationEvent
    | HeartbeatEvent
)

EVENT_CLASSES: dict[str, type[Event]] = {
    "image.generation.started": ImageGenerationStartedEvent,
    "image.generation.progress": ImageGenerationProgressEvent,
    "image.generation.completed": ImageGenerationCompletedEvent,
    "image.generation.failed": ImageGenerationFailedEvent,
    "system.notification": SystemNotificationEvent,
    "heartbeat": HeartbeatEvent,
}


@dataclass(frozen=True, slots=True)
class ConnectedEvent:
    """The client has connected.

    Attributes:
        timestamp: When, ISO 8601.
        reconnected: Whether there was a connection before.
        attempts: How many attempts it took, this one included.
        gap: Seconds without a connection; ``None`` for the first one, and if it resumed.
        resumed: Whether there was a connection before and nothing can have been missed since; a gateway's never does.
    """

    type: ClassVar[Literal["connected"]] = "connected"
    timestamp: str
    reconnected: bool
    attempts: int
    gap: float | None
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class DisconnectedEvent:
    """The client has lost or closed its connection.

    Attributes:
        timestamp: When, ISO 8601.
        code: The close code (RFC 6455, section 7.1.5).
        reason: The close reason (RFC 6455, section 7.1.6).
        will_reconnect: Whether the client goes on by itself.
    """

    type: ClassVar[Literal["disconnected"]] = "disconnected"
    timestamp: str
    code: int
    reason: str
    will_reconnect: bool


@dataclass(frozen=True, slots=True)
class StateChangeEvent:
    """The client's state has changed.

    Attributes:
        old_state: What it was.
        new_state: What it is now.
        timestamp: When, ISO 8601.
    """

    type: ClassVar[Literal["state:change"]] = "state:change"
    old_state: ConnectionState
    new_state: ConnectionState
    timestamp: str


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """Something went wrong for which there was no caller to raise it to.

    Attributes:
        error: The exception.
        context: What failed: the ``"connection"``, a ``"send"``, to ``"parse"`` a message, or a ``"handler"``.
        timestamp: When, ISO 8601.
    """

    type: ClassVar[Literal["error"]] = "error"
    error: Exception
    context: ErrorContext
    timestamp: str


ClientEvent: TypeAlias = ConnectedEvent | DisconnectedEvent | StateChangeEvent | ErrorEvent

CLIENT_EVENT_TYPES: frozenset[str] = frozenset({"connected", "disconnected", "state:change", "error"})
