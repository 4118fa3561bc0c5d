"""What tests assert of the clients' events, and what a failure says."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from websockets.sync.client import ClientConnection

from masquerade_ws.testing import EventServer, ExpectationError
from masquerade_ws.testing.difference import closest, describe, fits
from masquerade_ws.testing.record import Record

if TYPE_CHECKING:
    pass

TIMEOUT = 20.0  # seconds, for what is bound to happen


def message_of(type: str, payload: object) -> str:
    return json.dumps({"type": type, "payload": payload, "timestamp": "2026-11-22T12:00:00.000Z"})


def failure(record: EventServer, type: str, subset: dict[str, Any] | None = None) -> str:
    with pytest.raises(ExpectationError) as caught:
        record.assert_sent(type, subset, timeout=0)
    return str(caught.value)


def send(server: EventServer, client: ClientConnection, *messages: tuple[str, object]) -> None:
    """Send, and wait until all is recorded."""
    for name, payload in messages:
        client.send(message_of(name, payload))
    client.send(message_of("mark", {}))
    server.expect("mark", TIMEOUT)


# Asserting


def test_an_assertion_waits_for_the_event_that_fits(server: EventServer, client: ClientConnection) -> None:
    send(server, client, ("job", {"number": 1}))
    timer = threading.Timer(0.05, client.send, [message_of("job", {"number": 2, "size": 3})])
    timer.start()

    assert server.assert_sent("job", {"number": 2}, TIMEOUT)["payload"] == {"number": 2, "size": 3}
    timer.join()


def test_an_assertion_takes_nothing_away(server: EventServer, client: ClientConnection) -> None:
    send(server, client, ("job", {"number": 1}))

    for _ in range(2):
        server.assert_sent("job", {"number": 1}, timeout=0)
    server.expect("job", timeout=0)
    server.assert_sent("job", timeout=0)


def test_an_event_without_a_payload_has_an_empty_one(server: EventServer, client: ClientConnection) -> None:
    client.send('{"type": "bare"}')

    assert server.assert_sent("bare", {}, TIMEOUT) == {"type": "bare"}


def test_a_failure_names_what_differs_from_the_closest(server: EventServer, client: ClientConnection) -> None:
    send(server, client, ("job", {"a": 1, "b": 2}), ("job", {"a": 9, "b": 9}), ("job", {"a": 1, "b": 3, "c": 4}))

    assert failure(server, "job", {"a": 1, "b": 7}) == (
        "no 'job' event with this payload within 0 s; the closest of 3:\n"
        "  b: expected 7, sent 3\n"
        "  a: 1, as expected\n"
        "  also sent: c"
    )


def test_a_failure_says_that_there_was_only_one(server: EventServer, client: ClientConnection) -> None:
    send(server, client, ("job", [1]))

    assert failure(server, "job", {"a": 1}) == (
        "no 'job' event with this payload within 0 s; the only one:\n"
        "  a: expected 1, not sent\n"
        "  the payload is not an object: [1]"
    )


def test_a_failure_lists_what_came_instead(server: EventServer, client: ClientConnection) -> None:
    assert failure(server, "job") == "no 'job' event within 0 s; nothing was received"

    send(server, client, ("jobs", {"a": 1}), ("heartbeat", {}), ("heartbeat", {}))

    assert failure(server, "job") == (
        "no 'job' event within 0 s; received are 4: jobs {\"a\": 1}, heartbeat {} (2 times), mark {}"
    )


# Subsets


@pytest.mark.parametrize(
    ("subset", "payload", "expected"),
    [
        ({}, {"a": 1}, True),
        ({}, [1], True),
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": None}, {}, False),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, True),
        ({"a": {}}, {"a": {"b": 1}}, True),
        ({"a": {}}, {"a": 1}, False),
        ({"a": [1]}, {"a": [1, 2]}, False),
        ({"a": mock.ANY}, {"a": [1, 2]}, True),
        ({"a": pytest.approx(0.3)}, {"a": 0.1 + 0.2}, True),
        ({"a": 1}, "a", False),
    ],
)
def test_a_payload_fits_if_it_has_every_field(subset: dict[str, Any], payload: object, expected: bool) -> None:
    assert fits(subset, payload) is expected


def test_the_closest_differs_in_the_fewest_fields_and_is_the_latest() -> None:
    payloads: list[object] = [{"a": 1}, {"a": 1, "b": 2}, {"a": 3, "c": 3}, 7]

    assert closest({"a": 1, "b": 3, "c": 3}, payloads) == {"a": 3, "c": 3}


def test_long_values_are_cut_around_the_first_difference() -> None:
    there, expected = "x" * 1000, "x" * 500 + "y" + "x" * 499

    line = describe({"a": expected}, {"a": there})

    assert line == f"  a: expected ...{'x' * 20}y{'x' * 59}..., sent ...{'x' * 80}..."


@pytest.mark.parametrize(
    ("subset", "payload", "line"),
    [
        ({"a": "x" * 200}, {"a": "x" * 200}, f"  a: '{'x' * 79}..., as expected"),
        ({"a": "x" * 200}, {}, f"  a: expected '{'x' * 79}..., not sent"),
        ({"a": 1}, {"a": "1"}, "  a: expected 1, sent '1'"),
        ({"a": "one\ntwo"}, {"a": "one"}, r"  a: expected 'one\ntwo', sent 'one'"),
    ],
)
def test_values_are_shown_on_one_line(subset: dict[str, Any], payload: object, line: str) -> None:
    assert describe(subset, payload) == line


# Many


def test_waiting_among_many_events_looks_at_each_once() -> None:
    record = Record(threading.Condition())
    looked = 0

    class Counting:
        def __eq__(self, other: object) -> bool:
            nonlocal looked
            looked += 1
            return other == 999

        __hash__ = None  # type: ignore[assignment]

    def flood() -> None:
        for number in range(1000):
            record.add({"type": "heartbeat", "payload": {"number": number}})

    flooding = threading.Thread(target=flood)
    flooding.start()
    assert record.assert_sent("heartbeat", {"number": Counting()}, TIMEOUT)["payload"] == {"number": 999}
    flooding.join()

    assert looked == 1000


def test_equal_events_are_expected_one_by_one(server: EventServer, client: ClientConnection) -> None:
    send(server, client, *[("heartbeat", {})] * 3)

    for _ in range(3):
        server.expect("heartbeat", timeout=0)
    with pytest.raises(ExpectationError, match="nothing else is waiting"):
        server.expect("heartbeat", timeout=0)


def test_several_threads_expect_different_events(server: EventServer, client: ClientConnection) -> None:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(server.expect("job", TIMEOUT)["payload"]["number"]))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for number in range(20):
        client.send(message_of("job", {"number": number}))
    for thread in threads:
        thread.join(TIMEOUT)

    assert sorted(found) == list(range(20))
