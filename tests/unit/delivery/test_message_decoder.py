from __future__ import annotations

import enum
from collections import UserDict
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import pytest

from masquerade_ws.delivery.blocking import DECODE, Guard
from masquerade_ws.delivery.message_decoder import MessageDecoder
from masquerade_ws.errors import ParseError
from masquerade_ws.events import (
    ErrorEvent,
    Event,
    HeartbeatEvent,
    ImageGenerationProgressEvent,
    StateChangeEvent,
)

NOON = "2026-11-22T12:00:00.000Z"
MESSAGE = "a message of 27 characters."


class Names(str, enum.Enum):
    """Types as members of an enumeration."""

    NEWS = "news"


class OwnEvent(Event):
    """A class of the user's own."""


def decoded(decode: Callable[[Any], Any], *messages: str | bytes) -> list[Event | ErrorEvent]:
    """Return what becomes of messages, one if none is given."""
    return list(MessageDecoder(decode, Guard()).decode_each(messages or (MESSAGE,), lambda: NOON))


def outcomes(decode: Callable[[Any], Any], *messages: str | bytes) -> list[str]:
    """Return the same as types, or as what the errors say before the message."""
    return [
        str(event.error).partition(":")[0] if isinstance(event, ErrorEvent) else event.type
        for event in decoded(decode, *messages)
    ]


def test_a_message_becomes_any_number_of_events() -> None:
    def lines(message: str) -> Iterator[Event]:
        return (Event(line, {}, NOON) for line in message.split())

    assert outcomes(lines, "a b", "", "c") == ["a", "b", "c"]
    assert outcomes(lambda message: [], MESSAGE) == []


def test_text_and_binary_messages_come_as_they_are() -> None:
    seen: list[object] = []
    decoded(lambda message: seen.append(message) or (), "text", b"\xff")
    assert seen == ["text", b"\xff"]


@pytest.mark.parametrize("make", [dict, UserDict, MappingProxyType])
def test_a_mapping_or_an_event_alone_counts_as_one(make: Callable[[dict[str, Any]], Any]) -> None:
    assert decoded(lambda _: make({"type": "x", "payload": make({"a": 1})})) == [Event("x", {"a": 1}, NOON)]
    assert decoded(lambda _: Event("x", {}, NOON)) == [Event("x", {}, NOON)]


def test_an_item_is_read_as_a_message_is() -> None:
    items = [
        {"type": "image.generation.progress", "payload": {"job_id": "1"}, "timestamp": 0, "id": 7},
        {"type": Names.NEWS, "timestamp": True, "payload": None},
    ]
    progress, news = decoded(lambda _: items)
    assert progress == ImageGenerationProgressEvent({"job_id": "1"}, "1970-01-01T00:00:00.000Z", {"id": 7})  # type: ignore[typeddict-item]
    assert type(progress) is ImageGenerationProgressEvent
    assert news == Event("news", {}, NOON)
    assert type(news.type) is str


def test_an_event_gets_the_class_of_its_type_and_may_have_the_user_s() -> None:
    own = OwnEvent("x", {}, NOON)
    heartbeat, other = decoded(lambda _: [Event("heartbeat", {}, NOON, {"id": 1}), own])
    assert heartbeat == HeartbeatEvent({}, NOON, {"id": 1})
    assert type(heartbeat) is HeartbeatEvent
    assert other is own


class Unreadable(UserDict[str, Any]):
    """A mapping that raises."""

    def __getitem__(self, key: str) -> Any:
        raise LookupError(key)


def explode(*_: object) -> Any:
    raise SystemExit


def stop(*_: object) -> Any:
    raise StopIteration


def half(_: object) -> Iterator[Event]:
    yield Event("a")
    raise KeyError("half")


def endless(_: object) -> Iterator[Event]:
    while True:
        yield Event("a")


GOOD = Event("b")
STATE = StateChangeEvent("connecting", "connected", NOON)


@pytest.mark.parametrize(
    ("decode", "outcome"),
    [
        (lambda _: None, ["decode returned NoneType, not events"]),
        (lambda message: message, ["decode returned str, not events"]),
        (lambda message: message.encode(), ["decode returned bytes, not events"]),
        (lambda _: 7, ["decode returned int, not events"]),
        (lambda _: STATE, ["decode returned StateChangeEvent, not events"]),
        (explode, ["decode raised SystemExit"]),
        (stop, ["decode raised StopIteration"]),
        (half, ["a", "decode raised KeyError"]),
        (lambda _: map(explode, "ab"), ["decode raised SystemExit"]),
        (lambda _: [None, GOOD], ["decode returned an item of type NoneType, not an event", "b"]),
        (lambda _: ["x", GOOD], ["decode returned an item of type str, not an event", "b"]),
        (lambda _: [STATE, GOOD], ["decode returned an item of type StateChangeEvent, not an event", "b"]),
        (lambda _: [{}, GOOD], ["a message has no type, or one that is not a non-empty string", "b"]),
        (lambda _: [{"type": "x", "payload": []}, GOOD], ["the payload of a message is not an object", "b"]),
        (lambda _: [{"type": "error"}, GOOD], ["a message has a type that is one of the client's own", "b"]),
        (
            lambda _: [Event("error"), GOOD],
            ["decode returned an event with a type that is one of the client's own", "b"],
        ),
        (lambda _: [{"type": "x", 1: 2}, GOOD], ["decode returned a mapping with a key that is not a str", "b"]),
        (lambda _: [Unreadable(a=1), GOOD], ["an item that decode returned cannot be read (LookupError)", "b"]),
        (endless, ["a"] * len(MESSAGE) + ["decode returned more items than the message has characters"]),
    ],
)
def test_what_is_not_an_event_is_a_parse_error_in_its_place(decode: Any, outcome: list[str]) -> None:
    for _ in range(2):
        assert outcomes(decode) == outcome
    for event in decoded(decode):
        if isinstance(event, ErrorEvent):
            assert isinstance(event.error, ParseError)
            assert (event.error.data, event.context) == (MESSAGE, "parse")


def test_the_next_message_follows_whatever_one_was() -> None:
    def decode(message: str) -> Any:
        return explode() if message == "bad" else Event(message)

    assert outcomes(decode, "a", "bad", "b") == ["a", "decode raised SystemExit", "b"]


def test_an_exception_is_the_cause_of_its_error() -> None:
    mishap = KeyError("mine")

    def decode(message: object) -> Any:
        raise mishap

    (event,) = decoded(decode)
    assert isinstance(event, ErrorEvent)
    assert event.error.__cause__ is mishap


def test_a_parse_error_of_the_user_s_gets_the_message_as_well() -> None:
    def decode(message: object) -> Any:
        raise ParseError("mine")

    (event,) = decoded(decode)
    assert isinstance(event, ErrorEvent)
    assert isinstance(event.error, ParseError)
    assert event.error.data == MESSAGE


def test_waits_are_refused_while_it_runs_and_not_while_events_are_delivered() -> None:
    guard = Guard()
    roles: list[str | None] = []

    def decode(message: object) -> Iterator[Event]:
        for _ in range(2):
            roles.append(guard.role)
            yield Event("a")

    events = MessageDecoder(decode, guard).decode_each([MESSAGE], lambda: NOON)
    roles.extend(guard.role for _ in events)
    assert roles == [DECODE, None] * 2
