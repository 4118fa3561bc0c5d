"""Messages to events and back: the one place where JSON is read and written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from json.encoder import encode_basestring_ascii as quote
from math import isinf
from typing import Any, NoReturn, cast

from masquerade_ws.errors import ParseError
from masquerade_ws.events import (
    CLIENT_EVENT_TYPES,
    EVENT_CLASSES,
    ClientEvent,
    Draft,
    ErrorEvent,
    Event,
    make_event,
    timestamp_now,
)

__all__ = ["decode", "decode_each", "encode"]

KEYS = frozenset({"type", "payload", "timestamp"})


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON (RFC 8259, section 6)")


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise ValueError("a number is too large")
    return number


_decoder: Any = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_scan = _decoder.scan_once  # without the two searches for white space that `decode` makes for every text
_encoder = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_make_writer: Any = getattr(json.encoder, "c_make_encoder", None)  # what `_encoder` uses if there is the C accelerator
_writers: list[Any] = []  # those that rest, each with the table in which it finds cycles, empty then

_fast_loads: Callable[[str], Any] | None
try:
    from orjson import loads as _fast_loads
except ImportError:
    _fast_loads = None


def _standard_loads(text: str) -> Any:
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        value, end = None, -1
    return value if end == len(text) else _decoder.decode(text)


def _loads_with_fallback(text: str) -> Any:
    assert _fast_loads is not None
    try:
        return _fast_loads(text)
    except ValueError:
        return _standard_loads(text)


def _fast_scan(text: str, start: int) -> tuple[Any, int]:
    assert _fast_loads is not None
    return _fast_loads(text), len(text)


_loads = _standard_loads if _fast_loads is None else _loads_with_fallback
_first_scan: Callable[[Any, int], tuple[Any, int]] = _scan if _fast_loads is None else _fast_scan
_CLASSES: dict[str, type[Event] | None] = {**EVENT_CLASSES, **dict.fromkeys(CLIENT_EVENT_TYPES), "": None}


def decode(message: str | bytes, received: Callable[[], str] = timestamp_now) -> Event:
    """Return the event that a message carries.

    Args:
        message: The message as it came: text, or binary that must be UTF-8.
        received: Returns the time of its receipt, for an event that has no timestamp.

    Raises:
        ParseError: If it is no event, or too much for the memory; its ``data`` is the message.
    """
    try:
        value = _loads(message if isinstance(message, str) else str(message, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise ParseError(f"a message is not JSON: {error}", message) from error
    except MemoryError as error:
        raise ParseError("there is not enough memory to decode a message", message) from error
    if type(value) is not dict:
        raise ParseError("a message is not a JSON object", message)
    fields = cast("dict[str, Any]", value)
    kind, payload, timestamp = fields.get("type"), fields.get("payload"), fields.get("timestamp")
    if type(kind) is not str or not kind:
        raise ParseError("a message has no type, or one that is not a non-empty string", message)
    if type(payload) is not dict:
        if payload is not None:
            raise ParseError(f"the payload of a message of type {kind!r} is not an object", message)
        payload = {}
    if kind in CLIENT_EVENT_TYPES:
        raise ParseError(f"a message has the type {kind!r}, which is the client's own", message)
    return make_event(kind, cast("dict[str, Any]", payload), timestamp if type(timestamp) is str else received())


def decode_each(
    messages: Iterable[str | bytes | Event | ClientEvent], received: Callable[[], str]
) -> Iterator[Event | ClientEvent]:
    """Yield what each message carries: its event, or an `ErrorEvent` that says why it is none.

    It takes one loop for all of them, and leaves to `decode` what is not plainly an event.

    Args:
        messages: The messages as they came; events among them, decoded before, stay as they are.
        received: Returns the time of their receipt.
    """
    scan, find_class = _first_scan, _CLASSES.get
    for message in messages:
        if not isinstance(message, str):
            yield _decode_or_error(message, received) if isinstance(message, bytes) else message
            continue
        try:
            value, end = scan(message, 0)
            kind, payload, timestamp = value["type"], value["payload"], value["timestamp"]
            cls = find_class(kind, Event) if end == len(message) else None
        except (ValueError, LookupError, TypeError, RecursionError, MemoryError, StopIteration):
            cls = kind = payload = timestamp = None
        if cls is None or type(kind) is not str or type(payload) is not dict or type(timestamp) is not str:
            yield _decode_or_error(message, received)
            continue
        draft: Any = Draft()  # what `make_event` does
        draft.type = kind
        draft.payload = payload
        draft.timestamp = timestamp
        draft.__class__ = cls
        yield draft


def _decode_or_error(message: str | bytes, received: Callable[[], str]) -> Event | ErrorEvent:
    try:
        return decode(message, received)
    except ParseError as error:
        return ErrorEvent(error, "parse", received())


def encode(event: Event | Mapping[str, Any]) -> str:
    """Return the text of an event.

    Args:
        event: An `Event`, or a mapping with ``type`` and, if wanted, ``payload`` and ``timestamp``.

    Raises:
        TypeError: If a part is of the wrong type or cannot be written as JSON.
        ValueError: If ``type`` is missing or empty, a key is unknown, or a number is not finite.
    """
    if not isinstance(event, Event):
        event = _from_mapping(event)
    payload = _encode_payload(event.payload)
    return f'{{"type":{quote(event.type)},"payload":{payload},"timestamp":{quote(event.timestamp)}}}'


def _write(payload: Mapping[str, Any]) -> str:
    """Do what `_encoder.encode` does, without all that it does anew for each text."""
    try:
        write = _writers.pop()
    except IndexError:
        write = _make_writer({}, _encoder.default, quote, None, ":", ",", False, False, False)
    text = "".join(write(payload, 0))
    _writers.append(write)  # unlike one that failed, whose table may not be empty
    return text


_encode = _encoder.encode if _make_writer is None else _write


def _encode_payload(payload: Mapping[str, Any]) -> str:
    try:
        return _encode(payload)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"payload cannot be written as JSON: {error}") from error
    except RecursionError:
        pass  # its traceback would be a thousand lines long
    raise ValueError("payload cannot be written as JSON: it is nested too deep")


def _from_mapping(event: Mapping[str, Any]) -> Event:
    if not isinstance(event, Mapping):
        raise TypeError(f"event must be an Event or a mapping, not {type(event).__name__}")
    if "type" not in event:
        raise ValueError("event has no type")
    if unknown := set(event) - KEYS:
        raise ValueError(f"event has unknown keys: {', '.join(sorted(map(repr, unknown)))}")
    return Event(event["type"], event.get("payload"), event.get("timestamp"))
