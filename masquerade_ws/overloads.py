"""Which event class belongs to which name: the types of the members that take a name.

Each protocol is a table with one overload a name. The decorator that goes with it gives a method that type::

    @typed_as_on
    def on(self, type: str, handler: Callable[[Any], object] | None = None) -> Any: ...

A ``str`` that is no known name, a pattern for instance, stands for server events: for `Event`.
"""
# mypy: disable-error-code="overload-overlap"
# pyright: reportOverlappingOverload=false
# A known name is a str as well; the tables read from the top, and the line for any other str comes last.

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, overload

from typing_extensions import Never, TypeVar

from masquerade_ws.events import ClientEvent, Event, KnownEvent
from masquerade_ws.events import ConnectedEvent as Connected
from masquerade_ws.events import DisconnectedEvent as Disconnected
from masquerade_ws.events import ErrorEvent as Error
from masquerade_ws.events import HeartbeatEvent as Heartbeat
from masquerade_ws.events import ImageGenerationCompletedEvent as Completed
from masquerade_ws.events import ImageGenerationFailedEvent as Failed
from masquerade_ws.events import ImageGenerationProgressEvent as Progress
from masquerade_ws.events import ImageGenerationStartedEvent as Started
from masquerade_ws.events import StateChangeEvent as StateChange
from masquerade_ws.events import SystemNotificationEvent as Notification

if TYPE_CHECKING:
    from masquerade_ws.delivery.streams import EventStream

__all__ = ["Events", "On", "WaitFor", "typed_as_events", "typed_as_on", "typed_as_wait_for"]

StartedName: TypeAlias = Literal["image.generation.started"]
ProgressName: TypeAlias = Literal["image.generation.progress"]
CompletedName: TypeAlias = Literal["image.generation.completed"]
FailedName: TypeAlias = Literal["image.generation.failed"]
NotificationName: TypeAlias = Literal["system.notification"]
HeartbeatName: TypeAlias = Literal["heartbeat"]
ConnectedName: TypeAlias = Literal["connected"]
DisconnectedName: TypeAlias = Literal["disconnected"]
StateChangeName: TypeAlias = Literal["state:change"]
ErrorName: TypeAlias = Literal["error"]
ServerName: TypeAlias = StartedName | ProgressName | CompletedName | FailedName | NotificationName | HeartbeatName
ClientName: TypeAlias = ConnectedName | DisconnectedName | StateChangeName | ErrorName
AnyName: TypeAlias = ServerName | ClientName

EventT = TypeVar("EventT")
R = TypeVar("R")
PolledT = TypeVar("PolledT", default=Never)  # without poll there is no other answer than the event

OnStartedT = TypeVar("OnStartedT", bound="Callable[[Started], object]")
OnProgressT = TypeVar("OnProgressT", bound="Callable[[Progress], object]")
OnCompletedT = TypeVar("OnCompletedT", bound="Callable[[Completed], object]")
OnFailedT = TypeVar("OnFailedT", bound="Callable[[Failed], object]")
OnNotificationT = TypeVar("OnNotificationT", bound="Callable[[Notification], object]")
OnHeartbeatT = TypeVar("OnHeartbeatT", bound="Callable[[Heartbeat], object]")
OnConnectedT = TypeVar("OnConnectedT", bound="Callable[[Connected], object]")
OnDisconnectedT = TypeVar("OnDisconnectedT", bound="Callable[[Disconnected], object]")
OnStateChangeT = TypeVar("OnStateChangeT", bound="Callable[[StateChange], object]")
OnErrorT = TypeVar("OnErrorT", bound="Callable[[Error], object]")
OnEventT = TypeVar("OnEventT", bound="Callable[[Event], object]")

Handler: TypeAlias = Callable[[EventT], R]
Where: TypeAlias = Mapping[str, Any] | Callable[[EventT], object] | None
Poll: TypeAlias = Callable[[], PolledT | None] | None
Timeout: TypeAlias = float | None


class On(Protocol):
    """Register a handler, or return the decorator that does; either gives the handler back."""

    @overload
    def __call__(self, type: StartedName, handler: Handler[Started, R]) -> Handler[Started, R]: ...
    @overload
    def __call__(self, type: StartedName) -> Callable[[OnStartedT], OnStartedT]: ...
    @overload
    def __call__(self, type: ProgressName, handler: Handler[Progress, R]) -> Handler[Progress, R]: ...
    @overload
    def __call__(self, type: ProgressName) -> Callable[[OnProgressT], OnProgressT]: ...
    @overload
    def __call__(self, type: CompletedName, handler: Handler[Completed, R]) -> Handler[Completed, R]: ...
    @overload
    def __call__(self, type: CompletedName) -> Callable[[OnCompletedT], OnCompletedT]: ...
    @overload
    def __call__(self, type: FailedName, handler: Handler[Failed, R]) -> Handler[Failed, R]: ...
    @overload
    def __call__(self, type: FailedName) -> Callable[[OnFailedT], OnFailedT]: ...
    @overload
    def __call__(self, type: NotificationName, handler: Handler[Notification, R]) -> Handler[Notification, R]: ...
    @overload
    def __call__(self, type: NotificationName) -> Callable[[OnNotificationT], OnNotificationT]: ...
    @overload
    def __call__(self, type: HeartbeatName, handler: Handler[Heartbeat, R]) -> Handler[Heartbeat, R]: ...
    @overload
    def __call__(self, type: HeartbeatName) -> Callable[[OnHeartbeatT], OnHeartbeatT]: ...
    @overload
    def __call__(self, type: ConnectedName, handler: Handler[Connected, R]) -> Handler[Connected, R]: ...
    @overload
    def __call__(self, type: ConnectedName) -> Callable[[OnConnectedT], OnConnectedT]: ...
    @overload
    def __call__(self, type: DisconnectedName, handler: Handler[Disconnected, R]) -> Handler[Disconnected, R]: ...
    @overload
    def __call__(self, type: DisconnectedName) -> Callable[[OnDisconnectedT], OnDisconnectedT]: ...
    @overload
    def __call__(self, type: StateChangeName, handler: Handler[StateChange, R]) -> Handler[StateChange, R]: ...
    @overload
    def __call__(self, type: StateChangeName) -> Callable[[OnStateChangeT], OnStateChangeT]: ...
    @overload
    def __call__(self, type: ErrorName, handler: Handler[Error, R]) -> Handler[Error, R]: ...
    @overload
    def __call__(self, type: ErrorName) -> Callable[[OnErrorT], OnErrorT]: ...
    @overload
    def __call__(self, type: str, handler: Handler[Event, R]) -> Handler[Event, R]: ...
    @overload
    def __call__(self, type: str) -> Callable[[OnEventT], OnEventT]: ...


class WaitFor(Protocol):
    """Return the next event that matches, or what ``poll`` found."""

    @overload
    def __call__(
        self, type: StartedName, /, *, where: Where[Started] = None, timeout: Timeout = None, poll: Poll[PolledT] = None
    ) -> Started | PolledT: ...
    @overload
    def __call__(
        self,
        type: ProgressName,
        /,
        *,
        where: Where[Progress] = None,
        timeout: Timeout = None,
        poll: Poll[PolledT] = None,
    ) -> Progress | PolledT: ...
    @overload
    def __call__(
        self,
        type: CompletedName,
        /,
        *,
        where: Where[Completed] = None,
        timeout: Timeout = None,
        poll: Poll[PolledT] = None,
    ) -> Completed | PolledT: ...
    @overload
    def __call__(
        self, type: FailedName, /, *, where: Where[Failed] = None, timeout: Timeout = None, poll: Poll[PolledT] = None
    ) -> Failed | PolledT: ...
    @overload
    def __call__(
        self,
        type: NotificationName,
        /,
        *,
        where: Where[Notification] = None,
        timeout: Timeout = None,
        poll: Poll[PolledT] = None,
    ) -> Notification | PolledT: ...
    @overload
    def __call__(
        self,
        type: HeartbeatName,
        /,
        *,
        where: Where[Heartbeat] = None,
        timeout: Timeout = None,
        poll: Poll[PolledT] = None,
    ) -> Heartbeat | PolledT: ...
    @overload
    def __call__(
        self,
        type: ConnectedName,
        /,
        *,
        where: Where[Connected] = None,
        timeout: Timeout = None,
        poll: Poll[PolledT] = None,
    ) -> Connected | PolledT: ...
    @overload
    def __call__(
        self,
        type: DisconnectedName,
        /,
        *,
        where: Where[Disconnected] = None,
        timeout: Timeout = None,
        poll: Poll[PolledT] = None,
    ) -> Disconnected | PolledT: ...
    @overload
    def __call__(
        self,
        type: StateChangeName,
        /,
        *,
        where: Where[StateChange] = None,
        timeout: Timeout = None,
        poll: Poll[PolledT] = None,
    ) -> StateChange | PolledT: ...
    @overload
    def __call__(
        self, type: ErrorName, /, *, where: Where[Error] = None, timeout: Timeout = None, poll: Poll[PolledT] = None
    ) -> Error | PolledT: ...
    @overload
    def __call__(
        self,
        type: ServerName,
        /,
        *types: ServerName,
        where: Where[KnownEvent] = None,
        timeout: Timeout = None,
        poll: Poll[PolledT] = None,
    ) -> KnownEvent | PolledT: ...
    @overload
    def __call__(
        self,
        type: ClientName,
        /,
        *types: ClientName,
        where: Where[ClientEvent] = None,
        timeout: Timeout = None,
        poll: Poll[PolledT] = None,
    ) -> ClientEvent | PolledT: ...
    @overload
    def __call__(
        self,
        type: AnyName,
        /,
        *types: AnyName,
        where: Where[KnownEvent | ClientEvent] = None,
        timeout: Timeout = None,
        poll: Poll[PolledT] = None,
    ) -> KnownEvent | ClientEvent | PolledT: ...
    @overload
    def __call__(
        self, *types: str, where: Where[Event] = None, timeout: Timeout = None, poll: Poll[PolledT] = None
    ) -> Event | PolledT: ...


class Events(Protocol):
    """Return a stream of the events that match."""

    @overload
    def __call__(
        self, type: StartedName, /, *, where: Where[Started] = None, maxsize: int = 10_000
    ) -> EventStream[Started]: ...
    @overload
    def __call__(
        self, type: ProgressName, /, *, where: Where[Progress] = None, maxsize: int = 10_000
    ) -> EventStream[Progress]: ...
    @overload
    def __call__(
        self, type: CompletedName, /, *, where: Where[Completed] = None, maxsize: int = 10_000
    ) -> EventStream[Completed]: ...
    @overload
    def __call__(
        self, type: FailedName, /, *, where: Where[Failed] = None, maxsize: int = 10_000
    ) -> EventStream[Failed]: ...
    @overload
    def __call__(
        self, type: NotificationName, /, *, where: Where[Notification] = None, maxsize: int = 10_000
    ) -> EventStream[Notification]: ...
    @overload
    def __call__(
        self, type: HeartbeatName, /, *, where: Where[Heartbeat] = None, maxsize: int = 10_000
    ) -> EventStream[Heartbeat]: ...
    @overload
    def __call__(
        self, type: ConnectedName, /, *, where: Where[Connected] = None, maxsize: int = 10_000
    ) -> EventStream[Connected]: ...
    @overload
    def __call__(
        self, type: DisconnectedName, /, *, where: Where[Disconnected] = None, maxsize: int = 10_000
    ) -> EventStream[Disconnected]: ...
    @overload
    def __call__(
        self, type: StateChangeName, /, *, where: Where[StateChange] = None, maxsize: int = 10_000
    ) -> EventStream[StateChange]: ...
    @overload
    def __call__(
        self, type: ErrorName, /, *, where: Where[Error] = None, maxsize: int = 10_000
    ) -> EventStream[Error]: ...
    @overload
    def __call__(
        self, type: ServerName, /, *types: ServerName, where: Where[KnownEvent] = None, maxsize: int = 10_000
    ) -> EventStream[KnownEvent]: ...
    @overload
    def __call__(
        self, type: ClientName, /, *types: ClientName, where: Where[ClientEvent] = None, maxsize: int = 10_000
    ) -> EventStream[ClientEvent]: ...
    @overload
    def __call__(
        self, type: AnyName, /, *types: AnyName, where: Where[KnownEvent | ClientEvent] = None, maxsize: int = 10_000
    ) -> EventStream[KnownEvent | ClientEvent]: ...
    @overload
    def __call__(self, *types: str, where: Where[Event] = None, maxsize: int = 10_000) -> EventStream[Event]: ...


def _unchanged(method: Any) -> Any:
    return method


typed_as_on: Callable[[Callable[..., Any]], On] = _unchanged
typed_as_wait_for: Callable[[Callable[..., Any]], WaitFor] = _unchanged
typed_as_events: Callable[[Callable[..., Any]], Events] = _unchanged
