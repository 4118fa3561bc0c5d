"""The user's own wire format: a function that turns one message into any number of events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, cast

from masquerade_ws.delivery.blocking import DECODE, Guard
from masquerade_ws.errors import ParseError
from masquerade_ws.events import CLIENT_EVENT_TYPES, EVENT_CLASSES, ErrorEvent, Event
from masquerade_ws.protocol.codec import read_fields, refusal

__all__ = ["Decode", "MessageDecoder"]

_Item: TypeAlias = Event | Mapping[str, Any]
Decode: TypeAlias = Callable[[Any], Iterable[_Item] | _Item]

_END = object()


class MessageDecoder:
    """Calls the user's function, and checks what it returns (contract, section 1).

    Whatever is wrong is a parse error with the message as its data. After an item that is not an event the others
    follow. After an exception, a result that cannot be iterated, or more items than the message has characters, the
    next message follows.

    Args:
        decode: The user's function.
        guard: Refuses waits while it runs.
    """

    def __init__(self, decode: Decode, guard: Guard) -> None:
        self._decode = decode
        self._guard = guard

    def decode_each(self, messages: Iterable[str | bytes], received: Callable[[], str]) -> Iterator[Event | ErrorEvent]:
        """Yield what each message carries. A generator of the user's goes on only as this one does.

        Args:
            messages: The messages as they came.
            received: Returns the time of their receipt.
        """
        for message in messages:
            try:
                for item in self._items_of(message):
                    try:
                        event = _event_of(item, message, received)
                    except ParseError as error:
                        yield ErrorEvent(error, "parse", received())
                    else:
                        yield event
            except ParseError as error:
                yield ErrorEvent(error, "parse", received())

    def _items_of(self, message: str | bytes) -> Iterator[object]:
        result: object = self._run(lambda: self._decode(message), message)
        if isinstance(result, Event | Mapping):
            result = (cast("object", result),)
        if isinstance(result, str | bytes) or not isinstance(result, Iterable):
            raise refusal(f"decode returned {type(result).__name__}, not events", message)
        iterable = cast("Iterable[object]", result)
        items: Iterator[object] = self._run(lambda: iter(iterable), message)
        left = len(message)
        while (item := self._run(lambda: next(items, _END), message)) is not _END:
            if not left:
                raise refusal("decode returned more items than the message has characters", message)
            left -= 1
            yield item

    def _run(self, code: Callable[[], Any], message: str | bytes) -> Any:
        """Run user code; whatever it raises, an exit too, concerns the message alone."""
        try:
            with self._guard.running(DECODE):
                return code()
        except BaseException as error:
            raise refusal(f"decode raised {type(error).__name__}", message) from error


def _event_of(item: object, message: str | bytes, received: Callable[[], str]) -> Event:
    """Return the event that an item is, of the class of its type."""
    try:
        if isinstance(item, Event):
            return _of_its_class(item, message)
        if isinstance(item, Mapping):
            return _from_mapping(dict(cast("Mapping[str, Any]", item)), message, received)
    except ParseError:
        raise
    except BaseException as error:  # a mapping of the user's own kind
        raise refusal(f"an item that decode returned cannot be read ({type(error).__name__})", message) from error
    raise refusal(f"decode returned an item of type {type(item).__name__}, not an event", message)


def _of_its_class(event: Event, message: str | bytes) -> Event:
    if event.type in CLIENT_EVENT_TYPES:
        raise refusal("decode returned an event with a type that is one of the client's own", message)
    cls = EVENT_CLASSES.get(event.type, Event)
    return event if isinstance(event, cls) else _make(cls, event.type, event.payload, event.timestamp, event.extra)


def _from_mapping(fields: dict[Any, Any], message: str | bytes, received: Callable[[], str]) -> Event:
    if not all(isinstance(key, str) for key in fields):
        raise refusal("decode returned a mapping with a key that is not a str", message)
    if isinstance(fields.get("type"), str):
        fields["type"] = str.__str__(fields["type"])  # it may be a member of an enumeration
    if isinstance(fields.get("payload"), Mapping):
        fields["payload"] = dict(fields["payload"])
    cls, kind, payload, timestamp, extra = read_fields(fields, message, received)
    return _make(cls, kind, payload, timestamp, extra)


def _make(
    cls: type[Event], kind: str, payload: Mapping[str, Any], timestamp: str, extra: Mapping[str, Any] | None
) -> Event:
    if cls is Event:
        return Event(kind, payload, timestamp, extra)
    return cast("Callable[..., Event]", cls)(payload, timestamp, extra)  # a known class takes no type
