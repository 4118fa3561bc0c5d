"""Connect, start a job, follow its progress, get the image."""

from __future__ import annotations

import os
import uuid

from masquerade_ws import ImageGenerationProgressEvent, WebSocketClient

URL = os.environ.get("MASQUERADE_URL", "ws://localhost:34076/ws")


def get_token() -> str:
    return "my-token"  # here your application asks its authentication service


def start() -> str:
    job_id = str(uuid.uuid4())
    client.emit("image.generate", {"prompt": "a quiet harbour at dawn", "job_id": job_id})
    return job_id


def show(event: ImageGenerationProgressEvent) -> None:
    print(f"{event.payload['progress']:3.0f} %  {event.payload.get('stage', '')}")


client = WebSocketClient(URL, get_token)
with client:
    image = client.run_image_job(start, on_progress=show, timeout=60)
    print(image.payload["image_url"])
