"""``paint``: a whole job for each request."""

from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed

from masquerade_ws import ImageGenerationError

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

    from masquerade_ws import ImageGenerationProgressEvent, WebSocketClient
    from masquerade_ws.testing import EventServer

TIMEOUT = 20.0  # seconds, for what is bound to happen
ENDS = ("image.generation.completed", "image.generation.failed")


def ask(client: ClientConnection, payload: object) -> list[tuple[str, dict[str, Any]]]:
    """Request an image; return the events of its job, without what their types have in common."""
    client.send(json.dumps({"type": "image.generate", "payload": payload}))
    story: list[tuple[str, dict[str, Any]]] = []
    while not story or story[-1][0] not in ("completed", "failed"):
        event = json.loads(client.recv(timeout=TIMEOUT))
        story.append((event["type"].removeprefix("image.generation."), event["payload"]))
    return story


def test_a_request_is_answered_by_a_whole_job_under_its_id(server: EventServer, client: ClientConnection) -> None:
    server.paint()

    started, *progress, completed = ask(client, {"prompt": "a harbour", "job_id": "a job/7"})

    assert started == ("started", {"job_id": "a job/7", "user_id": "tester", "prompt": "a harbour"})
    assert [(kind, payload["job_id"], payload["progress"]) for kind, payload in progress] == [
        ("progress", "a job/7", percent) for percent in (20, 40, 60, 80, 100)
    ]
    assert completed == (
        "completed",
        {"job_id": "a job/7", "image_url": "https://images.example/a%20job%2F7.png"},
    )
    assert server.assert_sent("image.generate", {"prompt": "a harbour"})


@pytest.mark.parametrize("payload", [{}, {"job_id": 7}, [], None, "a harbour"], ids=repr)
def test_a_request_without_an_id_gets_one(server: EventServer, client: ClientConnection, payload: object) -> None:
    server.paint(steps=0)

    first, second = ask(client, payload), ask(client, payload)

    assert [kind for kind, _ in first] == ["started", "completed"]
    assert len({payload["job_id"] for _, payload in first}) == 1
    assert first[0][1]["job_id"] != second[0][1]["job_id"]
    assert "prompt" not in first[0][1]


@pytest.mark.parametrize(
    ("fail", "payload", "reason"),
    [
        (None, {}, None),
        (None, {"fail": True}, "the painter ran out of blue"),
        (None, {"fail": "yes"}, None),
        (False, {"fail": True}, None),
        (True, {}, "the painter ran out of blue"),
        ("no paint", {}, "no paint"),
        (lambda payload: payload.get("prompt"), {"prompt": "too dark"}, "too dark"),
        (lambda payload: payload.get("prompt"), {}, None),
        (lambda payload: len(payload) > 1, {"prompt": "a"}, "the painter ran out of blue"),
    ],
)
def test_a_job_fails_half_way_through_when_it_shall(
    server: EventServer, client: ClientConnection, fail: Any, payload: dict[str, Any], reason: str | None
) -> None:
    server.paint(steps=4, fail=fail)

    story = ask(client, {"job_id": "1", **payload})

    if reason is None:
        assert [kind for kind, _ in story] == ["started", *4 * ["progress"], "completed"]
    else:
        assert [kind for kind, _ in story] == ["started", *2 * ["progress"], "failed"]
        assert story[-1][1] == {"job_id": "1", "error": reason, "retry_allowed": True}


def test_many_threads_get_their_own_images(
    server: EventServer, masquerade_server: EventServer, masquerade_client: WebSocketClient
) -> None:
    masquerade_server.paint()

    def make(number: int) -> tuple[str, list[float]]:
        def start() -> str:
            masquerade_client.emit("image.generate", {"job_id": f"job-{number}"})
            return f"job-{number}"

        def show(event: ImageGenerationProgressEvent) -> None:
            shown.append(event.payload["progress"])

        shown: list[float] = []
        event = masquerade_client.run_image_job(start, timeout=TIMEOUT, on_progress=show)
        return event.payload["image_url"], shown

    with ThreadPoolExecutor(8) as threads:
        images = list(threads.map(make, range(40)))

    assert images == [(f"https://images.example/job-{number}.png", [20, 40, 60, 80, 100]) for number in range(40)]


def test_a_script_takes_the_request_that_it_waits_for(server: EventServer, client: ClientConnection) -> None:
    server.paint()
    server.script(
        [(ENDS[1], lambda event: {"job_id": event["payload"]["job_id"], "error": "scripted"})], on="image.generate"
    )

    assert ask(client, {"job_id": "1"}) == [("failed", {"job_id": "1", "error": "scripted"})]
    assert ask(client, {"job_id": "2"})[-1][0] == "completed"


def test_painting_again_replaces_how_jobs_go_and_outlasts_a_restart(
    masquerade_server: EventServer, masquerade_client: WebSocketClient
) -> None:
    def start() -> str:
        masquerade_client.emit("image.generate", {"job_id": "1"})
        return "1"

    masquerade_server.paint()
    masquerade_server.paint(fail="no paint")
    with masquerade_client.events("connected") as connections:
        masquerade_server.stop()
        masquerade_server.start()
        connections.get(timeout=TIMEOUT)

    with pytest.raises(ImageGenerationError, match="no paint") as caught:
        masquerade_client.run_image_job(start, timeout=TIMEOUT)
    assert caught.value.retry_allowed


def test_other_events_paint_nothing_and_a_handler_is_called_as_well(
    client: ClientConnection, server: EventServer
) -> None:
    handled: list[str] = []
    both = threading.Event()

    def handle(_: object, event: dict[str, Any]) -> None:
        handled.append(event["type"])
        if len(handled) == 2:
            both.set()

    server._handler = handle
    server.paint(steps=0)
    client.send(json.dumps({"type": "heartbeat"}))
    assert [kind for kind, _ in ask(client, {})] == ["started", "completed"]
    assert both.wait(TIMEOUT)
    assert handled == ["heartbeat", "image.generate"]


def test_a_function_that_raises_closes_the_connection_as_a_handler_does(
    server: EventServer, client: ClientConnection, caplog: pytest.LogCaptureFixture
) -> None:
    server.paint(fail=lambda payload: payload["missing"])
    with caplog.at_level(logging.ERROR, "masquerade_ws.testing"), pytest.raises(ConnectionClosed) as caught:
        ask(client, {})
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1011
    assert "the handler of the test server raised" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"steps": -1}, ValueError, "steps must not be negative, not -1"),
        ({"steps": 2.5}, TypeError, "steps must be an int, not float"),
        ({"steps": True}, TypeError, "steps must be an int, not bool"),
        ({"fail": 3}, TypeError, "fail must be a reason, a bool or a function, not int"),
    ],
)
def test_a_wrong_argument_is_refused(
    arguments: dict[str, Any], error: type[Exception], message: str, server: EventServer
) -> None:
    with pytest.raises(error, match=message):
        server.paint(**arguments)
