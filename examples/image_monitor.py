"""Watch a client shared with other code: the state of its connection and the images made so far."""

from __future__ import annotations

import os
import uuid

from masquerade_ws import ConnectionState, ImageGenerationCompletedEvent, StateChangeEvent, WebSocketClient

URL = os.environ.get("MASQUERADE_URL", "ws://localhost:34076/ws")


class ImageMonitor:
    """Follows the state of the connection and collects the images between entry and exit."""

    def __init__(self, client: WebSocketClient) -> None:
        self._client = client
        self.state: ConnectionState = client.state
        self.images: list[str] = []

    def __enter__(self) -> ImageMonitor:
        self._client.on("state:change", self._change_state)
        self._client.on("image.generation.completed", self._add_image)
        return self

    def __exit__(self, *error: object) -> None:
        # The client outlives the monitor; without this it would keep the monitor alive and continue to call it.
        self._client.off("state:change", self._change_state)
        self._client.off("image.generation.completed", self._add_image)

    def _change_state(self, event: StateChangeEvent) -> None:
        print(f"{event.old_state} -> {event.new_state}")
        self.state = event.new_state

    def _add_image(self, event: ImageGenerationCompletedEvent) -> None:
        self.images.append(event.payload["image_url"])
        print(f"image {len(self.images)}: {event.payload['image_url']}")


def generate(prompt: str) -> None:
    def start() -> str:
        job_id = str(uuid.uuid4())
        client.emit("image.generate", {"prompt": prompt, "job_id": job_id})
        return job_id

    client.run_image_job(start, timeout=60)


client = WebSocketClient(URL, lambda: "my-token")
with ImageMonitor(client) as monitor:
    with client:
        generate("a cat on a roof")
        generate("a roof without a cat")
    print(f"{monitor.state}, {len(monitor.images)} images")

with client:  # nobody watches any more
    generate("a second cat")
print(f"{len(monitor.images)} images")
