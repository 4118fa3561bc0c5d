"""Iterate over the events of several jobs until all have ended."""

from __future__ import annotations

import os

from masquerade_ws import WebSocketClient

URL = os.environ.get("MASQUERADE_URL", "ws://localhost:34076/ws")

with WebSocketClient(URL, lambda: "my-token") as client, client.events("image.generation.*") as events:
    # The stream buffers from here on, so that nothing slips between the start of a job and the loop.
    client.emit("image.generate", {"prompt": "a bridge of glass", "job_id": "bridge"})
    client.emit("image.generate", {"prompt": "a desert at night", "job_id": "desert", "fail": True})
    waiting = {"bridge", "desert"}

    for event in events:
        job = event.payload["job_id"]
        if event.type == "image.generation.started":
            print(f"{job}: started")
        elif event.type == "image.generation.completed":
            print(f"{job}: {event.payload['image_url']}")
            waiting.discard(job)
        elif event.type == "image.generation.failed":
            print(f"{job}: {event.payload['error']}")
            waiting.discard(job)
        if not waiting:
            break
