"""A Celery task that waits for its image.

::

    masquerade-ws serve                                          # the gateway, in a terminal of its own
    celery -A tasks worker --pool prefork --concurrency 4        # in this folder
    python -c "from tasks import make_image; print(make_image.delay('a harbour').get(timeout=60))"

Messages and results go through a folder here; a real project names its broker instead.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from celery import Celery
from celery.signals import worker_process_shutdown

from masquerade_ws import ImageGenerationError, WebSocketClient

URL = os.environ.get("MASQUERADE_URL", "ws://localhost:34076/ws")
FOLDER = Path(os.environ.get("CELERY_FOLDER", "celery-data")).absolute()

for name in ("queue", "control", "results"):
    (FOLDER / name).mkdir(parents=True, exist_ok=True)

app = Celery("tasks", broker="filesystem://", backend=FOLDER.joinpath("results").as_uri())
app.conf.update(
    broker_transport_options={
        "data_folder_in": str(FOLDER / "queue"),
        "data_folder_out": str(FOLDER / "queue"),
        "control_folder": str(FOLDER / "control"),
        "polling_interval": 0.1,  # seconds; this transport polls for messages
    },
    task_acks_late=True,  # a task whose process dies is run again by another process
    worker_prefetch_multiplier=1,  # these tasks take long, so none should be queued in a busy process
    task_time_limit=120,
)

# Made before the worker forks, which is fine: it starts nothing, and each process connects for itself.
client = WebSocketClient(URL, lambda: os.environ.get("MASQUERADE_TOKEN", "my-token"))


@app.task(autoretry_for=(ConnectionError, TimeoutError), retry_backoff=True, max_retries=5)
def make_image(prompt: str, fail: bool = False) -> str:
    """Return the URL of the image; Celery retries when the service cannot be reached or is late."""

    def start() -> str:
        job_id = str(uuid.uuid4())
        client.emit("image.generate", {"job_id": job_id, "prompt": prompt, "fail": fail})
        return job_id

    client.connect(timeout=10)  # does nothing after the first task of a process
    try:
        return client.run_image_job(start, timeout=60).payload["image_url"]
    except ImageGenerationError as error:
        raise RuntimeError(str(error)) from None  # with nothing but a text, so that every backend can store it


@worker_process_shutdown.connect
def close_client(**_: object) -> None:
    """Close the connection: a process of the pool ends without running exit handlers."""
    client.disconnect()
