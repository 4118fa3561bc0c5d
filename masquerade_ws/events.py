"""The events of the server and of the client, and the types of their payloads.

A server event is an :class:`Event`: of its own class if the gateway documents its type, of :class:`Event` itself
otherwise. It cannot be changed, and its payload, shared by all who get the event, is to be treated as read-only.
Two of them are equal if type, payload and timestamp are. As a tuple that holds a dict, they have no hash.

The client's own events (:class:`ConnectedEvent`, :class:`DisconnectedEvent`, :class:`StateChangeEvent`,
:class:`ErrorEvent`) are frozen dataclasses. They have a ``type`` too, so that mixed events can be told apart by it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NoReturn, TypeAlias

from typing_extensions import NotRequired, TypedDict, TypeVar

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
    "make_event",
    "timestamp_now",
    "timestamp_of",
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


TypeT_co = TypeVar("TypeT_co", bound=str, covariant=True)
PayloadT_co = TypeVar("PayloadT_co", bound=Mapping[str, Any], covariant=True)


def timestamp_of(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as the wire has it: UTC with milliseconds and a ``Z`` (ISO 8601)."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"


def timestamp_now() -> str:
    """Return the present time as the wire has it."""
    return timestamp_of(time.time())


class Draft:
    """The storage of an event while it can still be written; `make_event` says why it is a class."""

    __slots__ = ("payload", "timestamp", "type")


class Event(Draft):
    """Something that the server tells, or is told; it cannot be changed.

    Args:
        type: The name, not empty.
        payload: What it carries, nothing by default; its top level is copied.
        timestamp: ISO 8601; the present time by default.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If ``type`` is empty.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def type(self) -> str: ...
        @property
        def payload(self) -> Mapping[str, Any]: ...
        @property
        def timestamp(self) -> str: ...

    def __init__(
        self,
        type: str,
        payload: Mapping[str, Any] | None = None,
        timestamp: str | None = None,
    ) -> None:
        payload = {} if payload is None else payload
        timestamp = timestamp_now() if timestamp is None else timestamp
        _validate(type, payload, timestamp)
        object.__setattr__(self, "type", type)
        object.__setattr__(self, "payload", dict(payload))
        object.__setattr__(self, "timestamp", timestamp)

    def to_dict(self) -> dict[str, Any]:
        """Return a new dict of ``type``, ``payload`` (its top level copied) and ``timestamp``."""
        return {"type": self.type, "payload": dict(self.payload), "timestamp": self.timestamp}

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"cannot set {name!r}: an event is immutable; make a new {self.__class__.__name__}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"cannot delete {name!r}: an event is immutable")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        return (self.type, self.timestamp, self.payload) == (other.type, other.timestamp, other.payload)

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.type!r}, payload={self.payload!r}, timestamp={self.timestamp!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, (self.type, self.payload, self.timestamp)


def _validate(type_: object, payload: object, timestamp: object) -> None:
    if not isinstance(type_, str):
        raise TypeError(f"type must be a str, not {type(type_).__name__}")
    if not type_:
        raise ValueError("type must not be empty")
    if not isinstance(payload, Mapping):
        raise TypeError(f"payload must be a mapping, not {type(payload).__name__}")
    if not isinstance(timestamp, str):
        raise TypeError(f"timestamp must be a str, not {type(timestamp).__name__}")


class _KnownEvent(Event, Generic[TypeT_co, PayloadT_co]):
    """An event that the gateway documents; its class implies its type."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def type(self) -> TypeT_co: ...
        @property
        def payload(self) -> PayloadT_co: ...

    def __init__(self, payload: PayloadT_co, timestamp: str | None = None) -> None:
        super().__init__(next(name for name, cls in EVENT_CLASSES.items() if isinstance(self, cls)), payload, timestamp)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(payload={self.payload!r}, timestamp={self.timestamp!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, (self.payload, self.timestamp)


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


def make_event(type: str, payload: Mapping[str, Any], timestamp: str) -> Event:
    """Return the event of the class that fits ``type``, without validating or copying anything.

    The codec's way, made for speed: plain attribute writes on an unlocked object, which then becomes an event,
    cost about half of what writing past a locked ``__setattr__`` does.

    Args:
        type: The name, not empty.
        payload: What it carries; the event keeps this very object.
        timestamp: ISO 8601.
    """
    draft: Any = Draft()
    draft.type = type
    draft.payload = payload
    draft.timestamp = timestamp
    draft.__class__ = EVENT_CLASSES.get(type, Event)
    event: Event = draft
    return event


@dataclass(frozen=True, slots=True)
class ConnectedEvent:
    """The client has connected.

    Attributes:
        timestamp: When, ISO 8601.
        reconnected: Whether there was a connection before.
        attempts: How many attempts it took, this one included.
        gap: Seconds without a connection; ``None`` for the first one.
    """

    type: ClassVar[Literal["connected"]] = "connected"
    timestamp: str
    reconnected: bool
    attempts: int
    gap: float | None


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
    """Something went wrong that no caller was there to be told.

    Attributes:
        error: The exception.
        context: What it happened to.
        timestamp: When, ISO 8601.
    """

    type: ClassVar[Literal["error"]] = "error"
    error: Exception
    context: ErrorContext
    timestamp: str


ClientEvent: TypeAlias = ConnectedEvent | DisconnectedEvent | StateChangeEvent | ErrorEvent

CLIENT_EVENT_TYPES: frozenset[str] = frozenset({"connected", "disconnected", "state:change", "error"})
