"""What must not pass: each line marked is an error, and a mark without its error is one too."""

from __future__ import annotations

from masquerade_ws.client import WebSocketClient
from masquerade_ws.events import (
    DisconnectedEvent,
    Event,
    ImageGenerationCompletedEvent,
    ImageGenerationFailedEvent,
    KnownEvent,
)


def show(text: str) -> None: ...


def number() -> int:
    return 1


WebSocketClient("ws://localhost:34076/ws", number)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def token() -> str:
    return "token"


WebSocketClient("ws://localhost:34076/ws", token)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

client = WebSocketClient("ws://localhost:34076/ws", lambda: "token")


def on_failed(event: ImageGenerationFailedEvent) -> None: ...


def on_disconnected(event: DisconnectedEvent) -> None: ...


client.on("image.generation.completed", on_failed)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
client.once("image.generation.completed", on_disconnected)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
client.on("connected", on_disconnected)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
client.on("image.generation.*", on_failed)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]


@client.on("image.generation.completed")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
def wrong(event: ImageGenerationFailedEvent) -> None: ...


@client.on("image.generation.completed")
def misspelt(event: ImageGenerationCompletedEvent) -> None:
    show(event.payload["image_ulr"])  # type: ignore[typeddict-item]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownArgumentType]


show(client.wait_for("image.generation.completed").payload["image_ulr"])  # type: ignore[typeddict-item]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownArgumentType]
client.wait_for("image.generation.completed", where=show)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
client.wait_for("image.generation.completed", poll=1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
client.future("image.generation.completed", where=show)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
client.future(1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
client.submit_image_job(number)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
client.submit_image_job(str, on_progress=on_failed)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
client.run_image_job(number)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
client.run_image_job(str, on_progress=on_failed)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
client.send("image.generate")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
show(client.wait_for("disconnected").payload)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]

for image in client.events("image.generation.completed"):
    show(image.payload["image_ulr"])  # type: ignore[typeddict-item]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownArgumentType]


def narrow(event: KnownEvent) -> None:
    if event.type == "image.generation.completed":
        show(event.payload["image_ulr"])  # type: ignore[typeddict-item]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownArgumentType]
    elif event.type == "image.generation.complete":  # type: ignore[comparison-overlap]  # pyright: ignore[reportUnnecessaryComparison]
        pass


def change(event: Event, loss: DisconnectedEvent) -> None:
    event.type = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    event.payload["key"] = 1  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
    loss.code = 1000  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


ImageGenerationCompletedEvent({"job_id": "1"})  # type: ignore[typeddict-item]  # pyright: ignore[reportArgumentType]
