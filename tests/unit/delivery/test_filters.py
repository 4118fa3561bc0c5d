from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from masquerade_ws.delivery.blocking import PREDICATE, Guard
from masquerade_ws.delivery.filters import AnyEvent, Filter, Where, fields_of
from masquerade_ws.events import (
    ConnectedEvent,
    DisconnectedEvent,
    ErrorEvent,
    Event,
    ImageGenerationProgressEvent,
    StateChangeEvent,
)

NOON = "2026-11-22T12:00:00.000Z"


def covers(event: AnyEvent, *names: str, where: Where = None) -> bool:
    return Filter(names, where, Guard()).covers(event)


def test_no_names_mean_every_event_of_the_server() -> None:
    assert covers(Event("a.b"))
    assert not covers(StateChangeEvent("connecting", "connected", NOON))


def test_one_of_several_names_is_enough() -> None:
    assert covers(Event("a"), "b", "a")
    assert covers(Event("a.b"), "b", "a.*")
    assert covers(ConnectedEvent(NOON, False, 1, None), "a", "connected")
    assert not covers(Event("c"), "b", "a", "c.*")


def test_a_name_given_twice_counts_once() -> None:
    assert Filter(["b", "a", "b"], None, Guard()).names == ("b", "a")


@pytest.mark.parametrize(
    ("where", "covered"),
    [
        ({}, True),
        ({"a": 1}, True),
        ({"a": 1.0}, True),
        ({"a": True}, True),
        ({"a": 2}, False),
        ({"a": "1"}, False),
        ({"a": None}, False),
        ({"b": "x", "a": 1}, True),
        ({"b": "y", "a": 1}, False),
        ({"c": 1}, False),
        ({"c": None}, False),
        ({"a": 1, "c": None}, False),
        ({"d": [1, {"e": 2}]}, True),
        ({"d": [1, {"e": 3}]}, False),
        ({"d": (1, {"e": 2})}, False),
        ({"d": [1, {"e": 2}], "a": 1}, True),
        ({"d": [1, {"e": 2}], "a": 2}, False),
        ({"c": []}, False),
        ({"d": 1}, False),
        ({"n": None}, True),
        (MappingProxyType({"a": 1}), True),
    ],
)
def test_a_mapping_names_payload_fields_that_must_be_equal(where: Where, covered: bool) -> None:
    event = Event("x", {"a": 1, "b": "x", "d": [1, {"e": 2}], "n": None})
    assert covers(event, where=where) is covered


def test_a_mapping_that_changes_later_changes_nothing() -> None:
    where = {"a": 1}
    filter_ = Filter((), where, Guard())
    where["a"] = 2
    assert filter_.covers(Event("x", {"a": 1}))


def test_a_value_of_a_class_of_the_user_s_own_is_compared_by_it() -> None:
    class Anything:
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    assert covers(Event("x", {"a": 1}), where={"a": Anything()})
    assert not covers(Event("x", {"b": 1}), where={"a": Anything()})


def test_a_mapping_names_the_fields_of_a_client_event() -> None:
    gone = DisconnectedEvent(NOON, 1006, "", will_reconnect=True)
    assert covers(gone, "disconnected", where={"code": 1006, "will_reconnect": True})
    assert not covers(gone, "disconnected", where={"code": 1000})
    assert not covers(gone, "disconnected", where={"job_id": "1"})
    error = ValueError("no")
    assert covers(ErrorEvent(error, "parse", NOON), "error", where={"error": error, "context": "parse"})


def test_the_fields_of_a_server_event_are_its_payload() -> None:
    assert fields_of(ImageGenerationProgressEvent({"job_id": "1", "progress": 5})) == {"job_id": "1", "progress": 5}


def test_a_predicate_decides_on_events_of_the_right_name_alone() -> None:
    asked: list[Event] = []

    def is_late(event: Event) -> Any:
        asked.append(event)
        return event.payload.get("late")

    late, early, other = Event("a", {"late": "yes"}), Event("a"), Event("b", {"late": True})
    assert [covers(event, "a", where=is_late) for event in (late, early, other)] == [True, False, False]
    assert asked == [late, early]


def test_a_predicate_runs_where_waits_are_refused() -> None:
    guard = Guard()
    roles: list[str | None] = []
    assert not Filter((), lambda event: roles.append(guard.role), guard).covers(Event("a"))
    assert roles == [PREDICATE]
    assert guard.role is None


def test_what_a_predicate_raises_is_raised() -> None:
    guard = Guard()
    with pytest.raises(KeyError, match=r"late"):
        Filter((), lambda event: event.payload["late"], guard).covers(Event("a"))
    assert guard.role is None


@pytest.mark.parametrize("where", [1, "a", ["a"], True])
def test_a_condition_of_another_kind_is_refused(where: Any) -> None:
    with pytest.raises(TypeError, match=rf"^where must be a mapping, a callable or None, not {type(where).__name__}$"):
        Filter((), where, Guard())


def test_a_mapping_with_keys_that_name_no_field_is_refused() -> None:
    where: Any = {"a": 1, 2: 3}
    with pytest.raises(TypeError, match=r"^where must have the names of payload fields as its keys$"):
        Filter((), where, Guard())


@pytest.mark.parametrize(("name", "error"), [("", ValueError), ("a*", ValueError), (None, TypeError)])
def test_a_name_that_is_not_a_type_is_refused(name: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^type "):
        Filter(["a", name], None, Guard())


def test_a_filter_shows_its_names() -> None:
    assert str(Filter(["a", "b.*"], None, Guard())) == "a, b.*"
    assert str(Filter([], {"token": "secret"}, Guard())) == "*"
