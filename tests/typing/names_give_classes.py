"""What a known name gives: its event class in handlers, waits, streams and after a comparison."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, as_completed
from typing import Any

from typing_extensions import assert_type

from masquerade_ws import ImageJob
from masquerade_ws.client import WebSocketClient
from masquerade_ws.events import (
    ClientEvent,
    ConnectedEvent,
    ConnectionState,
    DisconnectedEvent,
    ErrorContext,
    ErrorEvent,
    Event,
    HeartbeatEvent,
    ImageGenerationCompletedEvent,
    ImageGenerationFailedEvent,
    ImageGenerationProgressEvent,
    ImageGenerationStartedEvent,
    KnownEvent,
    StateChangeEvent,
    SystemNotificationEvent,
)
from masquerade_ws.relay import RelayClient

client = WebSocketClient("ws://localhost:34076/ws", lambda: "token")


def show(text: str) -> int:
    return len(text)


# Listeners


@client.on("image.generation.completed")
def completed(event: ImageGenerationCompletedEvent) -> int:
    assert_type(event.payload["image_url"], str)
    return 1


@client.once("image.generation.completed")
@client.on("image.generation.failed")
def either(event: ImageGenerationCompletedEvent | ImageGenerationFailedEvent) -> None: ...


@client.on("image.generation.*")
@client.on("image.generation.started")
def anything(event: Event) -> None:
    assert_type(event.payload["job_id"], Any)


@client.on("error")
def failed(event: ErrorEvent) -> None:
    assert_type(event.error, Exception)
    assert_type(event.context, ErrorContext)


class Gallery:
    def __init__(self) -> None:
        client.on("image.generation.completed", self.add)
        client.once("disconnected", self.end)

    def add(self, event: ImageGenerationCompletedEvent) -> None: ...

    def end(self, event: DisconnectedEvent) -> None: ...


assert_type(completed(ImageGenerationCompletedEvent({"job_id": "1", "image_url": "u"})), int)
either(ImageGenerationFailedEvent({"job_id": "1", "error": "e"}))
client.on("image.generation.completed", completed)
client.once("image.generation.completed", lambda event: show(event.payload["image_url"]))
client.on("image.generation.progress", lambda event: event.payload["progress"] / 100)
client.on("state:change", lambda event: show(event.new_state))
client.on("*", lambda event: show(event.type))

# Waits

assert_type(client.wait_for("image.generation.completed").payload["image_url"], str)
assert_type(client.wait_for("image.generation.started"), ImageGenerationStartedEvent)
assert_type(client.wait_for("image.generation.progress"), ImageGenerationProgressEvent)
assert_type(client.wait_for("image.generation.completed", where={"job_id": "1"}), ImageGenerationCompletedEvent)
assert_type(client.wait_for("image.generation.failed", timeout=1.0), ImageGenerationFailedEvent)
assert_type(client.wait_for("system.notification"), SystemNotificationEvent)
assert_type(client.wait_for("heartbeat"), HeartbeatEvent)
assert_type(client.wait_for("connected"), ConnectedEvent)
assert_type(client.wait_for("disconnected").code, int)
assert_type(client.wait_for("state:change"), StateChangeEvent)
assert_type(client.wait_for("error"), ErrorEvent)
assert_type(client.wait_for("image.generation.completed", "image.generation.failed"), KnownEvent)
assert_type(client.wait_for("connected", "error"), ClientEvent)
assert_type(client.wait_for("image.generation.completed", "disconnected"), KnownEvent | ClientEvent)
assert_type(client.wait_for("image.*"), Event)
assert_type(client.wait_for("image.*", "system.notification"), Event)
assert_type(client.wait_for(), Event)
client.wait_for("image.generation.completed", where=lambda event: event.payload["image_url"].endswith(".png"))


def ask() -> bytes | None: ...


assert_type(client.wait_for("image.generation.completed", poll=ask), ImageGenerationCompletedEvent | bytes)

# Image jobs


def ask_about(job_id: str) -> bytes | None: ...


assert_type(client.run_image_job(lambda: "1", timeout=60), ImageGenerationCompletedEvent)
assert_type(client.run_image_job(lambda: "1", poll=ask_about), ImageGenerationCompletedEvent | bytes)
client.run_image_job(lambda: "1", on_progress=lambda event: assert_type(event.payload["progress"], float))

# Futures

assert_type(client.future("image.generation.started"), Future[ImageGenerationStartedEvent])
assert_type(client.future("image.generation.progress"), Future[ImageGenerationProgressEvent])
assert_type(client.future("image.generation.completed"), Future[ImageGenerationCompletedEvent])
assert_type(client.future("image.generation.completed").result(1.0).payload["image_url"], str)
assert_type(client.future("image.generation.failed", where={"job_id": "1"}), Future[ImageGenerationFailedEvent])
assert_type(client.future("system.notification"), Future[SystemNotificationEvent])
assert_type(client.future("heartbeat"), Future[HeartbeatEvent])
assert_type(client.future("connected"), Future[ConnectedEvent])
assert_type(client.future("disconnected").result().code, int)
assert_type(client.future("state:change"), Future[StateChangeEvent])
assert_type(client.future("error"), Future[ErrorEvent])
assert_type(client.future("image.generation.completed", "image.generation.failed"), Future[KnownEvent])
assert_type(client.future("connected", "error"), Future[ClientEvent])
assert_type(client.future("image.generation.completed", "disconnected"), Future[KnownEvent | ClientEvent])
assert_type(client.future("image.*"), Future[Event])
assert_type(client.future(), Future[Event])
client.future("image.generation.completed", where=lambda event: event.payload["image_url"].endswith(".png"))
client.future("connected").add_done_callback(lambda done: assert_type(done.result(), ConnectedEvent))

# Image jobs as futures

job = client.submit_image_job(lambda: "1", fail_after_gap=True)
assert_type(job, ImageJob)
assert_type(job, ImageJob[ImageGenerationCompletedEvent])
assert_type((job.job_id, job.progress, job.stage), tuple[str, float | None, str | None])
assert_type(job.result(), ImageGenerationCompletedEvent)
assert_type(client.submit_image_job(lambda: "1", poll=ask_about).result(), ImageGenerationCompletedEvent | bytes)
client.submit_image_job(lambda: "1", on_progress=lambda event: assert_type(event.payload["progress"], float))
for ended in as_completed([job]):
    assert_type(ended.result(), ImageGenerationCompletedEvent)


async def view() -> None:
    assert_type(await asyncio.wrap_future(client.future("connected")), ConnectedEvent)
    assert_type(await asyncio.wrap_future(job), ImageGenerationCompletedEvent)


# Streams

for image in client.events("image.generation.completed"):
    assert_type(image.payload["image_url"], str)
with client.events("image.generation.progress", where={"job_id": "1"}) as stream:
    assert_type(stream.get(timeout=1.0).payload["progress"], float)
for loss in client.events("disconnected"):
    assert_type(loss, DisconnectedEvent)
for outcome in client.events("image.generation.completed", "image.generation.failed"):
    assert_type(outcome, KnownEvent)
for mixed in client.events("image.generation.completed", "disconnected"):
    assert_type(mixed, KnownEvent | ClientEvent)
    if mixed.type == "disconnected":
        assert_type(mixed, DisconnectedEvent)
for other in client.events("image.generation.*"):
    assert_type(other, Event)
for every in client:
    assert_type(every, Event)
with client as entered:
    assert_type(entered, WebSocketClient)

# Narrowing


def narrow(event: KnownEvent) -> None:
    if event.type == "image.generation.completed":
        assert_type(event, ImageGenerationCompletedEvent)
        assert_type(event.payload["image_url"], str)
        assert_type(event.payload.get("metadata"), dict[str, Any] | None)
    elif event.type == "image.generation.failed":
        assert_type(event.payload["error"], str)


def narrow_by_class(event: Event) -> None:
    if isinstance(event, ImageGenerationProgressEvent):
        assert_type(event.payload["progress"], float)


def narrow_client(event: ClientEvent) -> None:
    if event.type == "error":
        assert_type(event, ErrorEvent)
    elif event.type == "state:change":
        assert_type(event.old_state, ConnectionState)


def match(event: KnownEvent) -> None:
    match event.type:
        case "heartbeat":
            assert_type(event, HeartbeatEvent)
        case "system.notification":
            assert_type(event.payload["message"], str)
        case _:
            pass


# A client of a relay has the same members.

workers_client = RelayClient("redis://localhost:6379/0", group="store")


@workers_client.on("image.generation.completed")
def store(event: ImageGenerationCompletedEvent) -> None:
    assert_type(event.id, str | None)
    assert_type(event.payload["image_url"], str)


assert_type(workers_client.wait_for("image.generation.completed"), ImageGenerationCompletedEvent)
assert_type(next(workers_client.events("image.generation.failed")), ImageGenerationFailedEvent)
