from __future__ import annotations

import copy
import pickle
import typing
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any

import pytest
import typing_extensions
from typing_extensions import NotRequired

from masquerade_ws import events
from masquerade_ws.events import (
    CLIENT_EVENT_TYPES,
    EVENT_CLASSES,
    ClientEvent,
    ConnectedEvent,
    ConnectionState,
    DisconnectedEvent,
    ErrorContext,
    ErrorEvent,
    Event,
    HeartbeatEvent,
    HeartbeatPayload,
    ImageGenerationCompletedEvent,
    ImageGenerationCompletedPayload,
    ImageGenerationFailedPayload,
    ImageGenerationProgressPayload,
    ImageGenerationStartedPayload,
    KnownEvent,
    StateChangeEvent,
    SystemNotificationPayload,
)
from masquerade_ws.protocol.codec import decode_each
from masquerade_ws.timestamps import timestamp_now

NOON = "2026-11-22T12:00:00.000Z"
COMPLETED = "image.generation.completed"


class OwnEvent(Event):
    """What a user may derive."""


class OwnCompletedEvent(ImageGenerationCompletedEvent):
    """What a user may derive from a known event."""


def decoded(text: str) -> Event:
    """Return the event that a message carries."""
    (event,) = decode_each([text], timestamp_now)
    assert isinstance(event, Event)
    return event


SAMPLES = [
    Event("x", {"a": [1]}, NOON),
    OwnEvent("x", {"a": 1}, NOON),
    ImageGenerationCompletedEvent({"job_id": "1", "image_url": "u"}, NOON),
    OwnCompletedEvent({"job_id": "1", "image_url": "u"}, NOON),
    Event("x", {}, NOON, {"id": 1, "trace": {"a": 1}}),
    ImageGenerationCompletedEvent({"job_id": "1", "image_url": "u"}, NOON, {"id": 1}),
    decoded('{"type": "heartbeat", "timestamp": "' + NOON + '"}'),
    decoded('{"type": "x", "timestamp": "' + NOON + '", "id": 1}'),
]
CLIENT_SAMPLES: list[ClientEvent] = [
    ConnectedEvent(NOON, reconnected=True, attempts=2, gap=1.5),
    DisconnectedEvent(NOON, code=1006, reason="", will_reconnect=True),
    StateChangeEvent("connecting", "connected", NOON),
    ErrorEvent(ValueError("no"), "parse", NOON),
]


def test_an_event_keeps_what_it_was_made_of() -> None:
    event = Event("x", {"a": 1}, NOON)
    assert (event.type, event.payload, event.timestamp) == ("x", {"a": 1}, NOON)


def test_an_event_without_payload_and_timestamp_is_empty_and_of_now() -> None:
    before = timestamp_now()
    event = Event("x")
    assert event.payload == {}
    assert before <= event.timestamp <= timestamp_now()


def test_an_event_takes_any_mapping_and_stays_as_it_is_when_that_changes() -> None:
    source = {"a": 1}
    event = Event("x", MappingProxyType(source))
    source["a"] = 2
    assert event.payload == {"a": 1}
    assert isinstance(event.payload, dict)


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ((1,), TypeError, "type must be a str, not int"),
        (("",), ValueError, "type must not be empty"),
        (("x", [("a", 1)]), TypeError, "payload must be a mapping, not list"),
        (("x", {}, 12.5), TypeError, "timestamp must be a str, not float"),
        (("x", {}, NOON, [("a", 1)]), TypeError, "extra must be a mapping, not list"),
        (("x", {}, NOON, {1: 1}), TypeError, "extra must have keys of type str, not int"),
        (
            ("x", {}, NOON, {"type": 1}),
            ValueError,
            "extra must not have the key 'type': that is an argument of its own",
        ),
        (("x", {}, NOON, {"payload": 1}), ValueError, "extra must not have the key 'payload': .*"),
        (("x", {}, NOON, {"timestamp": 1}), ValueError, "extra must not have the key 'timestamp': .*"),
    ],
)
def test_a_bad_argument_is_refused_by_name(args: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}$"):
        Event(*args)


@pytest.mark.parametrize("name", EVENT_CLASSES)
def test_a_known_class_implies_its_type(name: str) -> None:
    cls: Any = EVENT_CLASSES[name]
    event = cls({"a": 1}, NOON)
    assert (event.type, event.payload, event.timestamp) == (name, {"a": 1}, NOON)


@pytest.mark.parametrize("name", EVENT_CLASSES)
def test_the_literal_type_of_a_known_class_is_the_name_it_is_found_by(name: str) -> None:
    literal, _ = typing.get_args(EVENT_CLASSES[name].__orig_bases__[0])  # type: ignore[attr-defined]
    assert typing.get_args(literal) == (name,)


def test_a_class_derived_from_a_known_one_implies_the_same_type() -> None:
    assert OwnCompletedEvent({"job_id": "1", "image_url": "u"}).type == COMPLETED


@pytest.mark.parametrize("name", [*EVENT_CLASSES, "image.generation", "other"])
def test_the_codec_finds_the_class(name: str) -> None:
    event = decoded(f'{{"type": "{name}", "payload": {{"a": 1}}, "timestamp": "{NOON}"}}')
    assert type(event) is EVENT_CLASSES.get(name, Event)
    assert (event.type, event.payload, event.timestamp) == (name, {"a": 1}, NOON)


@pytest.mark.parametrize("event", SAMPLES, ids=repr)
@pytest.mark.parametrize("name", ["type", "payload", "timestamp", "extra", "time", "id", "__class__", "new"])
def test_an_event_cannot_be_changed(event: Event, name: str) -> None:
    before = copy.deepcopy(event)
    with pytest.raises(AttributeError, match=f"cannot set '{name}': an event is immutable"):
        setattr(event, name, "y")
    with pytest.raises(AttributeError, match=f"cannot delete '{name}': an event is immutable"):
        delattr(event, name)
    assert event == before


def test_an_event_has_no_dict() -> None:
    assert not any(hasattr(event, "__dict__") for event in (decoded('{"type": "x"}'), Event("x"), HeartbeatEvent({})))


WITH_MORE = Event("x", {"a": 1}, NOON, {"b": 1})


def test_events_of_equal_type_payload_and_timestamp_are_equal_whatever_their_class() -> None:
    payload: ImageGenerationCompletedPayload = {"job_id": "1", "image_url": "u"}
    assert Event(COMPLETED, payload, NOON) == ImageGenerationCompletedEvent(payload, NOON)
    text = f'{{"type": "{COMPLETED}", "payload": {{"job_id": "1", "image_url": "u"}}, "timestamp": "{NOON}"}}'
    assert decoded(text) == ImageGenerationCompletedEvent(payload, NOON)


@pytest.mark.parametrize(
    "other",
    [
        Event("y", {"a": 1}, NOON),
        Event("x", {"a": 2}, NOON),
        Event("x", {"a": 1}, ""),
        ("x", {"a": 1}, NOON),
        Event("x", {"a": 1}, NOON, {"b": 1}),
    ],
)
def test_events_that_differ_are_unequal(other: object) -> None:
    assert Event("x", {"a": 1}, NOON) != other


@pytest.mark.parametrize("event", SAMPLES, ids=repr)
def test_an_event_has_no_hash(event: Event) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(event)


def test_a_repr_shows_everything() -> None:
    assert repr(Event("x", {"a": 1}, NOON)) == f"Event('x', payload={{'a': 1}}, timestamp='{NOON}')"
    assert repr(HeartbeatEvent({}, NOON)) == f"HeartbeatEvent(payload={{}}, timestamp='{NOON}')"


@pytest.mark.parametrize("event", SAMPLES, ids=repr)
def test_a_repr_reads_as_the_call_that_makes_the_event(event: Event) -> None:
    again = eval(repr(event), {**vars(events), **globals()})
    assert again == event
    assert type(again) is type(event)


def test_a_repr_shows_further_members_if_there_are_any() -> None:
    assert repr(Event("x", {}, NOON, {"id": 1})) == f"Event('x', payload={{}}, timestamp='{NOON}', extra={{'id': 1}})"


@pytest.mark.parametrize("cls", [Event, OwnEvent, HeartbeatEvent], ids=lambda cls: cls.__name__)
def test_an_event_that_is_half_made_has_a_repr(cls: type[Event]) -> None:
    """As a debugger sees it when the constructor refuses its arguments."""
    assert repr(cls.__new__(cls)) == f"{cls.__name__}(...)"


def test_further_members_are_copied_and_none_by_default() -> None:
    source = {"id": 1}
    event = Event("x", {}, NOON, source)
    source["id"] = 2
    assert event.extra == {"id": 1}
    assert event.to_dict() == {"type": "x", "payload": {}, "timestamp": NOON, "id": 1}
    assert Event("x").extra == {}
    with pytest.raises(TypeError):
        Event("x").extra["id"] = 1  # type: ignore[index]


def test_an_event_knows_its_instant() -> None:
    assert Event("x", {}, NOON).time == datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
    assert Event("x", {}, "yesterday").time is None


def test_an_event_has_no_id_without_a_relay() -> None:
    assert Event("x").id is None
    assert decoded('{"type": "x", "id": "7"}').id is None


def test_a_dict_of_an_event_is_the_callers_own() -> None:
    event = Event("x", {"a": 1}, NOON)
    found = event.to_dict()
    assert found == {"type": "x", "payload": {"a": 1}, "timestamp": NOON}
    found["payload"]["a"] = 2
    assert event.payload == {"a": 1}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("event", [*SAMPLES, *CLIENT_SAMPLES[:3]], ids=repr)
def test_an_event_survives_pickling(event: object, protocol: int) -> None:
    again = pickle.loads(pickle.dumps(event, protocol))
    assert again == event
    assert type(again) is type(event)


def test_an_error_event_survives_pickling() -> None:
    again = pickle.loads(pickle.dumps(CLIENT_SAMPLES[3]))
    assert (repr(again.error), again.context, again.timestamp) == ("ValueError('no')", "parse", NOON)


@pytest.mark.parametrize("event", SAMPLES, ids=repr)
def test_a_copy_is_equal_and_a_deep_copy_shares_nothing(event: Event) -> None:
    assert copy.copy(event) == event
    deep = copy.deepcopy(event)
    assert deep == event
    assert type(deep) is type(event)
    assert deep.payload is not event.payload


def test_each_name_has_one_class_in_the_union_of_known_events() -> None:
    assert set(EVENT_CLASSES.values()) == set(typing.get_args(KnownEvent))
    assert len(EVENT_CLASSES) == 6


def test_the_clients_own_events_are_told_apart_by_type() -> None:
    assert [event.type for event in CLIENT_SAMPLES] == ["connected", "disconnected", "state:change", "error"]
    assert frozenset(event.type for event in CLIENT_SAMPLES) == CLIENT_EVENT_TYPES
    assert tuple(type(event) for event in CLIENT_SAMPLES) == typing.get_args(ClientEvent)


@pytest.mark.parametrize("event", CLIENT_SAMPLES, ids=lambda event: event.type)
def test_a_client_event_cannot_be_changed(event: ClientEvent) -> None:
    with pytest.raises(AttributeError):
        event.timestamp = ""  # type: ignore[misc]
    assert event.timestamp == NOON
    assert not hasattr(event, "__dict__")


def test_a_client_event_shows_its_fields() -> None:
    expected = f"DisconnectedEvent(timestamp='{NOON}', code=1006, reason='', will_reconnect=True)"
    assert repr(CLIENT_SAMPLES[1]) == expected


@pytest.mark.parametrize(
    ("payload", "required", "optional"),
    [
        (ImageGenerationStartedPayload, {"job_id", "user_id"}, {"prompt"}),
        (ImageGenerationProgressPayload, {"job_id", "progress"}, {"stage"}),
        (ImageGenerationCompletedPayload, {"job_id", "image_url"}, {"metadata"}),
        (ImageGenerationFailedPayload, {"job_id", "error"}, {"retry_allowed"}),
        (SystemNotificationPayload, {"severity", "message"}, {"action_url"}),
        (HeartbeatPayload, set(), set()),
    ],
)
def test_a_payload_type_has_the_fields_of_the_wire(payload: Any, required: set[str], optional: set[str]) -> None:
    hints: dict[str, Any] = typing_extensions.get_type_hints(payload, include_extras=True)
    left_out = {name for name, hint in hints.items() if getattr(hint, "__origin__", None) is NotRequired}
    assert (set(hints) - left_out, left_out) == (required, optional)


def test_the_states_and_contexts_are_literals() -> None:
    assert typing.get_args(ConnectionState) == ("connecting", "connected", "disconnecting", "disconnected")
    assert typing.get_args(ErrorContext) == ("connection", "send", "parse", "handler")


def test_every_public_name_exists() -> None:
    assert all(hasattr(events, name) for name in events.__all__)


def html_of(**payload: Any) -> str:
    """Return what a notebook shows of a completed event."""
    return ImageGenerationCompletedEvent(payload)._repr_html_()  # type: ignore[arg-type]


def test_a_notebook_shows_the_link_to_an_image_and_loads_nothing() -> None:
    url = "https://images.example/1?a=1&b=2"
    assert html_of(job_id="1", image_url=url) == (
        'image of job 1: <a href="https://images.example/1?a=1&amp;b=2" target="_blank" rel="noopener noreferrer">'
        "https://images.example/1?a=1&amp;b=2</a>"
    )


def test_no_url_of_an_image_gets_out_of_its_link() -> None:
    html = html_of(job_id="<script>", image_url="https://x/\"><script>alert('1')</script>\u202e")
    assert html.count("<") == html.count(">") == 2
    assert "<script" not in html
    assert "\u202e" not in html


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", " https://x/", "data:image/png;base64,AA", "//x/1.png", 5, None, ["https://x/"]]
)
def test_what_is_not_the_url_of_a_web_page_is_not_a_link(url: object) -> None:
    html = html_of(job_id="1", image_url=url)
    assert html.startswith("<code>ImageGenerationCompletedEvent(")
    assert "<a" not in html


def test_a_long_url_is_a_whole_link_and_a_short_text() -> None:
    url = "https://images.example/" + "x" * 5000
    html = html_of(job_id="1", image_url=url)
    assert f'href="{url}"' in html
    assert len(html) < len(url) + 1000
    assert len(html_of(job_id="1", image_url="x" * 5000)) < 1000
