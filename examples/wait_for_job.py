"""Wait for a job that other code has started, without missing its end."""

from __future__ import annotations

import json
import os
import uuid
from urllib.error import HTTPError
from urllib.request import urlopen

from masquerade_ws import Event, WaitTimeoutError, WebSocketClient

URL = os.environ.get("MASQUERADE_URL", "ws://localhost:34076/ws")
JOBS = URL.replace("ws", "http", 1).removesuffix("/ws") + "/jobs/"
ENDS = ("image.generation.completed", "image.generation.failed")


def ask_for_end(job_id: str) -> Event | None:
    """Ask the service how the job ended; ``None`` while it has not."""
    try:
        with urlopen(JOBS + job_id, timeout=5) as response:
            event = Event(**json.load(response))
    except HTTPError as error:  # 404: the job has not begun
        error.close()
        return None
    return event if event.type in ENDS else None


with WebSocketClient(URL, lambda: "my-token") as client:
    job_id = str(uuid.uuid4())
    client.emit("image.generate", {"prompt": "a clock tower in the fog", "job_id": job_id})

    # The job may end before this wait begins, or while there is no connection; hence poll.
    try:
        event = client.wait_for(*ENDS, where={"job_id": job_id}, timeout=60, poll=lambda: ask_for_end(job_id))
    except WaitTimeoutError:
        raise SystemExit("no news within a minute") from None

    if event.type == "image.generation.completed":
        print("the image:", event.payload["image_url"])
    elif event.type == "image.generation.failed":
        print("failed:", event.payload["error"], "- try again" if event.payload.get("retry_allowed") else "")
