"""Have several images made at once, and await them in a coroutine; no job takes a thread."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import Sequence

from masquerade_ws import ImageGenerationError, WebSocketClient

URL = os.environ.get("MASQUERADE_URL", "ws://localhost:34076/ws")
PROMPTS = ("a heron in the reeds", "a tram at night", "a kitchen in the morning")


async def make_image(client: WebSocketClient, prompt: str) -> str:
    def start() -> str:
        job_id = str(uuid.uuid4())
        client.emit("image.generate", {"prompt": prompt, "job_id": job_id})
        return job_id

    job = client.submit_image_job(start)
    try:
        event = await asyncio.wait_for(asyncio.wrap_future(job), timeout=60)
    except ImageGenerationError as error:
        return f"failed: {error.reason}"
    except asyncio.TimeoutError:
        return f"no image within a minute: {job}"
    return event.payload["image_url"]


async def make_images(client: WebSocketClient, prompts: Sequence[str]) -> list[str]:
    return await asyncio.gather(*(make_image(client, prompt) for prompt in prompts))


def main() -> None:
    prompts = sys.argv[1:] or PROMPTS
    # Connecting waits, so it comes before the event loop, which a wait would hold up.
    with WebSocketClient(URL, lambda: os.environ.get("MASQUERADE_TOKEN", "my-token")) as client:
        images = asyncio.run(make_images(client, prompts))
    for prompt, image in zip(prompts, images, strict=True):
        print(f"{prompt}: {image}")


if __name__ == "__main__":
    main()
