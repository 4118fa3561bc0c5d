"""Which event class belongs to which name: the types of the members that take a name.

Each protocol is a table with one overload per name. The decorator that goes with it gives a method that type::

    @typed_as_on
    def on(self, type: str, handler: Callable[[Any], object] | None = None) -> Any: ...

Any other ``str``, such as a pattern, stands for events of the server: for `Event`.
"""
# mypy: disable-error-code="overload-overlap"
# pyright: reportOverlappingOverload=false
# A known name is a str as well: the tables are read from the top, and the line for any other str comes last.

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
    from concurrent.futures import Future

    from masquerade_ws.delivery.streams import EventStream

__all__ = [
    "Events",
    "FutureOf",
    "On",
    "WaitFor",
    "typed_as_events",
    "typed_as_future",
    "typed_as_on",
    "typed_as_wait_for",
]

_StartedName: TypeAlias = Literal["image.generation.started"]
_ProgressName: TypeAlias = Literal["image.generation.progress"]
_CompletedName: TypeAlias = Literal["image.generation.completed"]
_FailedName: TypeAlias = Literal["image.generation.failed"]
_NotificationName: TypeAlias = Literal["system.notification"]
_HeartbeatName: TypeAlias = Literal["heartbeat"]
_ConnectedName: TypeAlias = Literal["connected"]
_DisconnectedName: TypeAlias = Literal["disconnected"]
_StateChangeName: TypeAlias = Literal["state:change"]
_ErrorName: TypeAlias = Literal["error"]
_ServerName: TypeAlias = (
    _StartedName | _ProgressName | _CompletedName | _FailedName | _NotificationName | _HeartbeatName
)
_ClientName: TypeAlias = _ConnectedName | _DisconnectedName | _StateChangeName | _ErrorName
_AnyName: TypeAlias = _ServerName | _ClientName

_EventT = TypeVar("_EventT")
_R = TypeVar("_R")
PolledT = TypeVar("PolledT", default=Never)  # without poll, the event is the only answer

_OnStartedT = TypeVar("_OnStartedT", bound="Callable[[Started], object]")
_OnProgressT = TypeVar("_OnProgressT", bound="Callable[[Progress], object]")
_OnCompletedT = TypeVar("_OnCompletedT", bound="Callable[[Completed], object]")
_OnFailedT = TypeVar("_OnFailedT", bound="Callable[[Failed], object]")
_OnNotificationT = TypeVar("_OnNotificationT", bound="Callable[[Notification], object]")
_OnHeartbeatT = TypeVar("_OnHeartbeatT", bound="Callable[[Heartbeat], object]")
_OnConnectedT = TypeVar("_OnConnectedT", bound="Callable[[Connected], object]")
_OnDisconnectedT = TypeVar("_OnDisconnectedT", bound="Callable[[Disconnected], object]")
_OnStateChangeT = TypeVar("_OnStateChangeT", bound="Callable[[StateChange], object]")
_OnErrorT = TypeVar("_OnErrorT", bound="Callable[[Error], object]")
_OnEventT = TypeVar("_OnEventT", bound="Callable[[Event], object]")

_Handler: TypeAlias = Callable[[_EventT], _R]
_Where: TypeAlias = Mapping[str, Any] | Callable[[_EventT], object] | None
_Poll: TypeAlias = Callable[[], PolledT | None] | None
_Timeout: TypeAlias = float | None


class On(Protocol):
    """Register a handler, or return the decorator that does; either gives the handler back."""

    @overload
    def __call__(self, type: _StartedName, handler: _Handler[Started, _R]) -> _Handler[Started, _R]: ...
    @overload
    def __call__(self, type: _StartedName) -> Callable[[_OnStartedT], _OnStartedT]: ...
    @overload
    def __call__(self, type: _ProgressName, handler: _Handler[Progress, _R]) -> _Handler[Progress, _R]: ...
    @overload
    def __call__(self, type: _ProgressName) -> Callable[[_OnProgressT], _OnProgressT]: ...
    @overload
    def __call__(self, type: _CompletedName, handler: _Handler[Completed, _R]) -> _Handler[Completed, _R]: ...
    @overload
    def __call__(self, type: _CompletedName) -> Callable[[_OnCompletedT], _OnCompletedT]: ...
    @overload
    def __call__(self, type: _FailedName, handler: _Handler[Failed, _R]) -> _Handler[Failed, _R]: ...
    @overload
    def __call__(self, type: _FailedName) -> Callable[[_OnFailedT], _OnFailedT]: ...
    @overload
    def __call__(self, type: _NotificationName, handler: _Handler[Notification, _R]) -> _Handler[Notification, _R]: ...
    @overload
    def __call__(self, type: _NotificationName) -> Callable[[_OnNotificationT], _OnNotificationT]: ...
    @overload
    def __call__(self, type: _HeartbeatName, handler: _Handler[Heartbeat, _R]) -> _Handler[Heartbeat, _R]: ...
    @overload
    def __call__(self, type: _HeartbeatName) -> Callable[[_OnHeartbeatT], _OnHeartbeatT]: ...
    @overload
    def __call__(self, type: _ConnectedName, handler: _Handler[Connected, _R]) -> _Handler[Connected, _R]: ...
    @overload
    def __call__(self, type: _ConnectedName) -> Callable[[_OnConnectedT], _OnConnectedT]: ...
    @overload
    def __call__(self, type: _DisconnectedName, handler: _Handler[Disconnected, _R]) -> _Handler[Disconnected, _R]: ...
    @overload
    def __call__(self, type: _DisconnectedName) -> Callable[[_OnDisconnectedT], _OnDisconnectedT]: ...
    @overload
    def __call__(self, type: _StateChangeName, handler: _Handler[StateChange, _R]) -> _Handler[StateChange, _R]: ...
    @overload
    def __call__(self, type: _StateChangeName) -> Callable[[_OnStateChangeT], _OnStateChangeT]: ...
    @overload
    def __call__(self, type: _ErrorName, handler: _Handler[Error, _R]) -> _Handler[Error, _R]: ...
    @overload
    def __call__(self, type: _ErrorName) -> Callable[[_OnErrorT], _OnErrorT]: ...
    @overload
    def __call__(self, type: str, handler: _Handler[Event, _R]) -> _Handler[Event, _R]: ...
    @overload
    def __call__(self, type: str) -> Callable[[_OnEventT], _OnEventT]: ...


class WaitFor(Protocol):
    """Return the next event that matches, or what ``poll`` found."""

    @overload
    def __call__(
        self,
        type: _StartedName,
        /,
        *,
        where: _Where[Started] = None,
        timeout: _Timeout = None,
        poll: _Poll[PolledT] = None,
    ) -> Started | PolledT: ...
    @overload
    def __call__(
        self,
        type: _ProgressName,
        /,
        *,
        where: _Where[Progress] = None,
        timeout: _Timeout = None,
        poll: _Poll[PolledT] = None,
    ) -> Progress | PolledT: ...
    @overload
    def __call__(
        self,
        type: _CompletedName,
        /,
        *,
        where: _Where[Completed] = None,
        timeout: _Timeout = None,
        poll: _Poll[PolledT] = None,
    ) -> Completed | PolledT: ...
    @overload
    def __call__(
        self,
        type: _FailedName,
        /,
        *,
        where: _Where[Failed] = None,
        timeout: _Timeout = None,
        poll: _Poll[PolledT] = None,
    ) -> Failed | PolledT: ...
    @overload
    def __call__(
        self,
        type: _NotificationName,
        /,
        *,
        where: _Where[Notification] = None,
        timeout: _Timeout = None,
        poll: _Poll[PolledT] = None,
    ) -> Notification | PolledT: ...
    @overload
    def __call__(
        self,
        type: _HeartbeatName,
        /,
        *,
        where: _Where[Heartbeat] = None,
        timeout: _Timeout = None,
        poll: _Poll[PolledT] = None,
    ) -> Heartbeat | PolledT: ...
    @overload
    def __call__(
        self,
        type: _ConnectedName,
        /,
        *,
        where: _Where[Connected] = None,
        timeout: _Timeout = None,
        poll: _Poll[PolledT] = None,
    ) -> Connected | PolledT: ...
    @overload
    def __call__(
        self,
        type: _DisconnectedName,
        /,
        *,
        where: _Where[Disconnected] = None,
        timeout: _Timeout = None,
        poll: _Poll[PolledT] = None,
    ) -> Disconnected | PolledT: ...
    @overload
    def __call__(
        self,
        type: _StateChangeName,
        /,
        *,
        where: _Where[StateChange] = None,
        timeout: _Timeout = None,
        poll: _Poll[PolledT] = None,
    ) -> StateChange | PolledT: ...
    @overload
    def __call__(
        self, type: _ErrorName, /, *, where: _Where[Error] = None, timeout: _Timeout = None, poll: _Poll[PolledT] = None
    ) -> Error | PolledT: ...
    @overload
    def __call__(
        self,
        type: _ServerName,
        /,
        *types: _ServerName,
        where: _Where[KnownEvent] = None,
        timeout: _Timeout = None,
        poll: _Poll[PolledT] = None,
    ) -> KnownEvent | PolledT: ...
    @overload
    def __call__(
        self,
        type: _ClientName,
        /,
        *types: _ClientName,
        where: _Where[ClientEvent] = None,
        timeout: _Timeout = None,
        poll: _Poll[PolledT] = None,
    ) -> ClientEvent | PolledT: ...
    @overload
    def __call__(
        self,
        type: _AnyName,
        /,
        *types: _AnyName,
        where: _Where[KnownEvent | ClientEvent] = None,
        timeout: _Timeout = None,
        poll: _Poll[PolledT] = None,
    ) -> KnownEvent | ClientEvent | PolledT: ...
    @overload
    def __call__(
        self, *types: str, where: _Where[Event] = None, timeout: _Timeout = None, poll: _Poll[PolledT] = None
    ) -> Event | PolledT: ...


class Events(Protocol):
    """Return a stream of the events that match."""

    @overload
    def __call__(
        self, type: _StartedName, /, *, where: _Where[Started] = None, maxsize: int = 10_000
    ) -> EventStream[Started]: ...
    @overload
    def __call__(
        self, type: _ProgressName, /, *, where: _Where[Progress] = None, maxsize: int = 10_000
    ) -> EventStream[Progress]: ...
    @overload
    def __call__(
        self, type: _CompletedName, /, *, where: _Where[Completed] = None, maxsize: int = 10_000
    ) -> EventStream[Completed]: ...
    @overload
    def __call__(
        self, type: _FailedName, /, *, where: _Where[Failed] = None, maxsize: int = 10_000
    ) -> EventStream[Failed]: ...
    @overload
    def __call__(
        self, type: _NotificationName, /, *, where: _Where[Notification] = None, maxsize: int = 10_000
    ) -> EventStream[Notification]: ...
    @overload
    def __call__(
        self, type: _HeartbeatName, /, *, where: _Where[Heartbeat] = None, maxsize: int = 10_000
    ) -> EventStream[Heartbeat]: ...
    @overload
    def __call__(
        self, type: _ConnectedName, /, *, where: _Where[Connected] = None, maxsize: int = 10_000
    ) -> EventStream[Connected]: ...
    @overload
    def __call__(
        self, type: _DisconnectedName, /, *, where: _Where[Disconnected] = None, maxsize: int = 10_000
    ) -> EventStream[Disconnected]: ...
    @overload
    def __call__(
        self, type: _StateChangeName, /, *, where: _Where[StateChange] = None, maxsize: int = 10_000
    ) -> EventStream[StateChange]: ...
    @overload
    def __call__(
        self, type: _ErrorName, /, *, where: _Where[Error] = None, maxsize: int = 10_000
    ) -> EventStream[Error]: ...
    @overload
    def __call__(
        self, type: _ServerName, /, *types: _ServerName, where: _Where[KnownEvent] = None, maxsize: int = 10_000
    ) -> EventStream[KnownEvent]: ...
    @overload
    def __call__(
        self, type: _ClientName, /, *types: _ClientName, where: _Where[ClientEvent] = None, maxsize: int = 10_000
    ) -> EventStream[ClientEvent]: ...
    @overload
    def __call__(
        self, type: _AnyName, /, *types: _AnyName, where: _Where[KnownEvent | ClientEvent] = None, maxsize: int = 10_000
    ) -> EventStream[KnownEvent | ClientEvent]: ...
    @overload
    def __call__(self, *types: str, where: _Where[Event] = None, maxsize: int = 10_000) -> EventStream[Event]: ...


class FutureOf(Protocol):
    """Return the next event that matches, as a future."""

    @overload
    def __call__(self, type: _StartedName, /, *, where: _Where[Started] = None) -> Future[Started]: ...
    @overload
    def __call__(self, type: _ProgressName, /, *, where: _Where[Progress] = None) -> Future[Progress]: ...
    @overload
    def __call__(self, type: _CompletedName, /, *, where: _Where[Completed] = None) -> Future[Completed]: ...
    @overload
    def __call__(self, type: _FailedName, /, *, where: _Where[Failed] = None) -> Future[Failed]: ...
    @overload
    def __call__(self, type: _NotificationName, /, *, where: _Where[Notification] = None) -> Future[Notification]: ...
    @overload
    def __call__(self, type: _HeartbeatName, /, *, where: _Where[Heartbeat] = None) -> Future[Heartbeat]: ...
    @overload
    def __call__(self, type: _ConnectedName, /, *, where: _Where[Connected] = None) -> Future[Connected]: ...
    @overload
    def __call__(self, type: _DisconnectedName, /, *, where: _Where[Disconnected] = None) -> Future[Disconnected]: ...
    @overload
    def __call__(self, type: _StateChangeName, /, *, where: _Where[StateChange] = None) -> Future[StateChange]: ...
    @overload
    def __call__(self, type: _ErrorName, /, *, where: _Where[Error] = None) -> Future[Error]: ...
    @overload
    def __call__(
        self, type: _ServerName, /, *types: _ServerName, where: _Where[KnownEvent] = None
    ) -> Future[KnownEvent]: ...
    @overload
    def __call__(
        self, type: _ClientName, /, *types: _ClientName, where: _Where[ClientEvent] = None
    ) -> Future[ClientEvent]: ...
    @overload
    def __call__(
        self, type: _AnyName, /, *types: _AnyName, where: _Where[KnownEvent | ClientEvent] = None
    ) -> Future[KnownEvent | ClientEvent]: ...
    @overload
    def __call__(self, *types: str, where: _Where[Event] = None) -> Future[Event]: ...


def _unchanged(method: Any) -> Any:
    return method


typed_as_on: Callable[[Callable[..., Any]], On] = _unchanged
typed_as_wait_for: Callable[[Callable[..., Any]], WaitFor] = _unchanged
typed_as_events: Callable[[Callable[..., Any]], Events] = _unchanged
typed_as_future: Callable[[Callable[..., Any]], FutureOf] = _unchanged
