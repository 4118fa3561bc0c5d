"""Messages to events and back: the one place where JSON is read and written."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from json.encoder import encode_basestring_ascii as quote
from math import isinf
from typing import Any, NoReturn, Protocol, cast

from masquerade_ws.errors import ParseError
from masquerade_ws.events import (
    CLIENT_EVENT_TYPES,
    EVENT_CLASSES,
    ClientEvent,
    Draft,
    ErrorEvent,
    Event,
)
from masquerade_ws.sanitize import excerpt
from masquerade_ws.timestamps import timestamp_of_number

__all__ = ["Fronts", "Takers", "decode_each", "encode", "named_type", "read_fields", "refusal", "type_of_front"]

_ESCAPED_LETTER = re.compile(r"\\u00(?:74|79|70|65)")  # of a key that reads "type" and is not written so
_BEGINNINGS = ('{"type":"', '{"type": "')  # of what JavaScript and Python write
_KEYS = frozenset({"type", "payload", "timestamp"})
_SHOWN = 120  # characters of a message in the text of its error (contract, section 3)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON (RFC 8259, section 6)")


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise ValueError("a number is too large")
    return number


class _Reading:
    """What reads JSON.

    Attributes:
        decoder: A strict decoder.
        scan: Its scanner, without the two searches for white space that ``decode`` makes for every text.
    """

    def __init__(self) -> None:
        self.decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
        self.scan: Callable[[str, int], tuple[Any, int]] = vars(self.decoder)["scan_once"]


class _ReadingOfThread(_Reading, threading.local):
    """One for each thread: a scanner keeps the keys of a text in a table, which two threads must not use at once."""


# Whether there is a global interpreter lock.
_ONE_THREAD_AT_A_TIME: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
_reading = _Reading() if _ONE_THREAD_AT_A_TIME else _ReadingOfThread()
_encoder = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_make_writer: Any = getattr(json.encoder, "c_make_encoder", None)
_writers: list[Any] = []

_fast_loads: Callable[[str], Any] | None
try:
    from orjson import loads as _fast_loads
except ImportError:
    _fast_loads = None


def _standard_loads(text: str) -> Any:
    try:
        value, end = _reading.scan(text, 0)
    except StopIteration:
        value, end = None, -1
    return value if end == len(text) else _reading.decoder.decode(text)


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
_CLASSES: dict[str, type[Event] | None] = {**EVENT_CLASSES, **dict.fromkeys(CLIENT_EVENT_TYPES), "": None}


# Without a global interpreter lock, to change the class of an object stops all threads. An event is then written past
# its own `__setattr__` by way of the slots, which with the lock would be 1.04 times as dear.
_SET = [vars(Draft)[name].__set__ for name in ("type", "payload", "timestamp", "_extra")]


class Fronts:
    """What is known of the fronts of texts, until who takes what changes.

    The front of a text is all that stands before its first quotation mark with a comma after it. If that is
    ``{"type":"`` and a name, and no key after it can be a second type, the name is the type of the event.

    Attributes:
        unwanted: Whether nobody takes the type that a front names; false if it names none plainly.
        worth_a_look: Whether an event that nobody takes has ever come. Until then to look at fronts saves nothing, and
            makes an event that is listened to 1.15 times as dear.
    """

    __slots__ = ("unwanted", "worth_a_look")

    def __init__(self) -> None:
        self.unwanted: dict[str, bool] = {}
        self.worth_a_look = False

    def forget(self) -> None:
        """Know nothing any more; who is about to note an older answer notes it where nobody looks."""
        self.unwanted = {}


class Takers(Protocol):
    """Who takes events."""

    fronts: Fronts

    def passes_over(self, front: str) -> bool:
        """Return what `Fronts.unwanted` is to say of a front, and note it there."""
        ...


def type_of_front(front: str) -> str | None:
    """Return the type that the front of a text names plainly, or ``None``: then the whole text has to be decoded.

    The client's own names are not returned: a message with one of them is a parse error, whoever takes what.
    """
    for beginning in _BEGINNINGS:
        if front.startswith(beginning):
            name = front[len(beginning) :]
            return None if not name or '"' in name or "\\" in name or name in CLIENT_EVENT_TYPES else name
    return None


def named_type(message: str | bytes) -> str | None:
    """Return the type that the front of a message names plainly, or ``None``."""
    text = message if isinstance(message, str) else _text_of(message)
    return type_of_front(text.partition('",')[0])


def decode_each(  # noqa: PLR0912, PLR0915 - calls would cost too much
    messages: Iterable[str | bytes | Event | ClientEvent], received: Callable[[], str], takers: Takers | None = None
) -> Iterator[Event | ClientEvent]:
    """Yield what each message carries: its event, or an `ErrorEvent` with context ``parse`` that says what is wrong.

    What is plainly an event is decoded in this loop, since a call for each would cost 1.09 times as much; `read_fields`
    has the rules for the rest. Once an event has come that nobody takes, what is plainly of such a type is passed over,
    for a sixth of the cost, and nobody learns what may be wrong with the rest of it.

    Args:
        messages: The messages as they came; events among them, decoded before, stay as they are.
        received: Returns the time of their receipt.
        takers: Who takes events, asked about each message when its turn comes; ``None``: somebody takes all.
    """
    scan = _reading.scan if _fast_loads is None else _fast_scan
    find_class, one_at_a_time, new = _CLASSES.get, _ONE_THREAD_AT_A_TIME, object.__new__
    set_type, set_payload, set_timestamp, set_extra = _SET
    value: Any = None
    for message in messages:
        if isinstance(message, str):
            text = message
        elif isinstance(message, bytes):
            text = _text_of(message)
        else:
            yield message
            continue
        if takers is not None and takers.fronts.worth_a_look:
            front, _, rest = text.partition('",')
            try:
                unwanted = takers.fronts.unwanted[front]
            except KeyError:
                unwanted = takers.passes_over(front)
            if unwanted and '"type"' not in rest and ("\\" not in rest or not _ESCAPED_LETTER.search(rest)):
                continue
            del rest  # it may be large
        end = -1
        try:
            value, end = scan(text, 0)
            kind, payload, timestamp = value["type"], value["payload"], value["timestamp"]
            cls = find_class(kind, Event) if end == len(text) else None
            extra = None if len(value) == 3 else _extra_of(value)
        except (ValueError, LookupError, TypeError, RecursionError, MemoryError, StopIteration):
            cls = extra = kind = payload = timestamp = None
        if cls is None or type(kind) is not str or type(payload) is not dict or type(timestamp) is not str:
            try:
                value = value if end == len(text) else _parse(message)
                cls, kind, payload, timestamp, extra = read_fields(value, message, received)
            except ParseError as error:
                yield ErrorEvent(error, "parse", received())
                continue
        draft: Any
        if one_at_a_time:
            draft = Draft()
            draft.type = kind
            draft.payload = payload
            draft.timestamp = timestamp
            if extra is not None:
                draft._extra = extra
            draft.__class__ = cls
        else:
            draft = new(cls)
            set_type(draft, kind)
            set_payload(draft, payload)
            set_timestamp(draft, timestamp)
            set_extra(draft, extra)
        yield draft


def _text_of(message: bytes) -> str:
    try:
        return str(message, "utf-8")
    except ValueError:
        return ""  # which is not JSON either; `_parse` says what is wrong


def _parse(message: str | bytes) -> Any:
    try:
        return _loads(message if isinstance(message, str) else str(message, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise refusal(f"a message is not JSON: {error}", message) from error
    except MemoryError as error:
        raise refusal("there is not enough memory to decode a message", message) from error


def read_fields(
    value: Any, message: str | bytes, received: Callable[[], str]
) -> tuple[type[Event], str, dict[str, Any], str, dict[str, Any] | None]:
    """Return the class, type, payload, timestamp and extra of the event that a JSON value is (contract, section 3).

    Args:
        value: The value.
        message: What it was read from.
        received: Returns the time of its receipt, for an event that has no timestamp.

    Raises:
        ParseError: If the value is not an event.
    """
    if type(value) is not dict:
        raise refusal("a message is not a JSON object", message)
    fields = cast("dict[str, Any]", value)
    kind: object = fields.get("type")
    payload: object = fields.get("payload")
    timestamp: object = fields.get("timestamp")
    if type(kind) is not str or not kind:
        raise refusal("a message has no type, or one that is not a non-empty string", message)
    if kind in CLIENT_EVENT_TYPES:
        raise refusal("a message has a type that is one of the client's own", message)
    if payload is None:
        payload = {}
    if type(payload) is not dict:
        raise refusal("the payload of a message is not an object", message)
    if type(timestamp) in {int, float}:
        timestamp = timestamp_of_number(cast("float", timestamp))
    if type(timestamp) is not str:
        timestamp = received()
    return EVENT_CLASSES.get(kind, Event), kind, cast("dict[str, Any]", payload), timestamp, _extra_of(fields)


def _extra_of(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the members of a message beside the three, or ``None`` if there are none."""
    return None if fields.keys() <= _KEYS else {key: value for key, value in fields.items() if key not in _KEYS}


def refusal(problem: str, message: str | bytes) -> ParseError:
    """Return the error of a message, with its beginning in the text.

    Args:
        problem: What is wrong; nothing of the message stands before its first colon.
        message: The message as it came.
    """
    return ParseError(f"{problem}: {excerpt(message, _SHOWN)}", message)


def encode(event: Event | Mapping[str, Any]) -> str:
    """Return the text of an event.

    Args:
        event: An `Event`, or a mapping with ``type`` and, if wanted, ``payload``, ``timestamp`` and further members.

    Raises:
        TypeError: If a part is of the wrong type or cannot be written as JSON.
        ValueError: If ``type`` is missing or empty, or a number is not finite.
    """
    if not isinstance(event, Event):
        event = _from_mapping(event)
    payload = _encode_object("payload", event.payload)
    extra = event.extra
    more = f",{_encode_object('extra', extra)[1:-1]}" if extra else ""
    return f'{{"type":{quote(event.type)},"payload":{payload},"timestamp":{quote(event.timestamp)}{more}}}'


def _write(value: Mapping[str, Any]) -> str:
    """Do what `_encoder.encode` does, 1.5 times as fast, by keeping the writer that it makes anew for each text.

    A writer rests in `_writers` while nobody uses it: two threads never share one, since it notes in a table what it
    is writing, to find cycles.
    """
    try:
        write = _writers.pop()
    except IndexError:
        write = _make_writer({}, _encoder.default, quote, None, ":", ",", False, False, False)
    text = "".join(write(value, 0))
    _writers.append(write)  # unlike one that failed, whose table may not be empty
    return text


def _can_write() -> bool:
    """Return whether `_write` works here: CPython has a writer in C, but does not promise to keep its arguments."""
    try:
        return _write({"a": [None, True, 1.5, "\ud800", {}]}) == r'{"a":[null,true,1.5,"\ud800",{}]}'
    except Exception:
        return False


_encode = _write if _can_write() else _encoder.encode


def _encode_object(name: str, value: Mapping[str, Any]) -> str:
    try:
        return _encode(value)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} cannot be written as JSON: {error}") from error
    except RecursionError:
        pass  # its traceback would be a thousand lines long
    raise ValueError(f"{name} cannot be written as JSON: it is nested too deep")


def _from_mapping(event: Mapping[str, Any]) -> Event:
    if not isinstance(event, Mapping):
        raise TypeError(f"event must be an Event or a mapping, not {type(event).__name__}")
    if "type" not in event:
        raise ValueError("event has no type")
    return Event(event["type"], event.get("payload"), event.get("timestamp"), _extra_of(event))
