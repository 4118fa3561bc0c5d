"""Gateways with a wire format of their own: ``decode=``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from masquerade_ws import Event, ImageGenerationProgressEvent, WaitTimeoutError, WebSocketClient
from masquerade_ws.testing import EventServer
from tests.support.scenes import TIMEOUT, Hang, Record, client_of


def batches(message: str | bytes) -> Iterator[Any]:
    """Read a message that is an array of events, or in binary one event a line."""
    yield from json.loads(message) if isinstance(message, str) else map(json.loads, message.splitlines())


def test_a_gateway_that_batches_is_read(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, decode=batches) as client:
        record = Record(client, "*", "error")
        client.connect()
        stream = client.events("image.generation.progress")
        masquerade_server.broadcast_raw(json.dumps([{"type": "a"}, {"payload": 1}, {"type": "b", "seq": 1}]))
        masquerade_server.broadcast_raw(
            b'{"type": "c"}\n{"type": "image.generation.progress", "payload": {"job_id": "1"}}'
        )
        masquerade_server.broadcast_raw("no array")
        masquerade_server.broadcast_raw('[{"type": "end"}]')
        record.wait("end")
        assert [event.type for event in record.events] == [
            *("a", "error", "b", "c", "image.generation.progress", "error", "end")
        ]
        assert record.of("b")[0].extra == {"seq": 1}
        assert isinstance(stream.get(TIMEOUT), ImageGenerationProgressEvent)
        assert {event.context for event in record.of("error")} == {"parse"}
        assert client.stats.messages_received == 4


def test_a_generator_waits_for_slow_listeners(masquerade_server: EventServer) -> None:
    made = 0
    ahead: list[int] = []

    def many(message: str | bytes) -> Iterator[Event]:
        nonlocal made
        for made in range(1, 5001):  # noqa: B007 - it is counted
            yield Event("news")

    with client_of(masquerade_server.url, decode=many, queue_size=10) as client:
        seen: list[object] = []

        @client.on("news")
        def listen(event: object) -> None:
            seen.append(event)
            ahead.append(made - len(seen))

        record = Record(client, "connected")
        client.connect()
        record.wait("connected")
        masquerade_server.broadcast_raw("x" * 5000)
        while len(seen) < 5000:
            with pytest.raises(WaitTimeoutError):
                client.wait_for("never", timeout=0.01)
    assert max(ahead) <= 10 + 2 * 100


def test_a_wait_in_it_is_refused_and_a_disconnect_in_it_is_not(masquerade_server: EventServer) -> None:
    outcome: list[Exception] = []

    def decode(message: str | bytes) -> list[Event]:
        try:
            client.wait_for("never", timeout=TIMEOUT)
        except RuntimeError as error:
            outcome.append(error)
        client.disconnect()
        return []

    with client_of(masquerade_server.url, decode=decode) as client:
        record = Record(client)
        client.connect()
        masquerade_server.broadcast_raw("now")
        record.wait("disconnected")
    assert ["decode" in str(error) for error in outcome] == [True]


def test_one_that_hangs_holds_no_disconnect_up_and_comes_back_to_nothing(masquerade_server: EventServer) -> None:
    hang = Hang()

    def decode(message: str | bytes) -> list[Event]:
        hang()
        return [Event("late")]

    with client_of(masquerade_server.url, decode=decode) as client:
        record = Record(client, "late", "error")
        client.connect()
        masquerade_server.broadcast_raw("now")
        assert hang.entered.wait(TIMEOUT)
        client.disconnect(timeout=0.1)
        assert client.state == "disconnected"
        client.connect()  # a session of its own
        hang.over.set()
        client.disconnect(timeout=TIMEOUT)
        assert record.events == []


@pytest.mark.parametrize("decode", [1, "json", [json.loads]])
def test_what_cannot_be_called_is_refused(decode: Any) -> None:
    with pytest.raises(TypeError, match=r"^decode must be callable or None, not "):
        WebSocketClient("ws://localhost/ws", str, decode=decode)
