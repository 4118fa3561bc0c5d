"""Wait for events where a WebSocket gets through, and poll where it does not."""

from __future__ import annotations

import json
import os
import time
import uuid
from urllib.error import HTTPError
from urllib.request import urlopen

from masquerade_ws import ConnectError, DisconnectedError, Event, WebSocketClient

URL = os.environ.get("MASQUERADE_URL", "ws://localhost:34076/ws")
JOBS = URL.replace("ws", "http", 1).removesuffix("/ws") + "/jobs/"
UNREACHABLE = "ws://localhost:1/ws"  # nothing listens there
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


def wait_for_end(url: str, job_id: str) -> Event:
    client = WebSocketClient(url, lambda: "my-token", auto_reconnect=False)
    client.on("error", lambda event: print(f"{event.context} error: {event.error}"))
    try:
        with client:
            print("waiting for events")
            return client.wait_for(*ENDS, where={"job_id": job_id}, timeout=60, poll=lambda: ask_for_end(job_id))
    except (ConnectError, DisconnectedError):
        print("polling instead")
    while (event := ask_for_end(job_id)) is None:
        time.sleep(0.5)
    return event


job_id = str(uuid.uuid4())
with WebSocketClient(URL, lambda: "my-token") as client:
    client.emit("image.generate", {"prompt": "a garden behind a wall", "job_id": job_id})

for url in (UNREACHABLE, URL):
    print(wait_for_end(url, job_id).payload["image_url"])
