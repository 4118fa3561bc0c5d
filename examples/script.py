"""Make an image of each prompt on the command line, several at a time: script.py [PROMPT ...]

The exit status is 0 if all images were made, 1 if some were not, 2 if the service cannot be reached, 130 on Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from masquerade_ws import ConnectError, ImageGenerationError, MasqueradeError, WebSocketClient

URL = os.environ.get("MASQUERADE_URL", "ws://localhost:34076/ws")
PROMPTS = ("a lighthouse in the rain", "a market by night")


def make_image(client: WebSocketClient, prompt: str) -> str | None:
    """Return the URL of the image, or ``None``; a job that may be retried is retried once."""

    def start() -> str:
        job_id = str(uuid.uuid4())
        client.emit("image.generate", {"prompt": prompt, "job_id": job_id})
        return job_id

    for _ in range(2):
        try:
            return client.run_image_job(start, timeout=60).payload["image_url"]
        except ImageGenerationError as error:
            print(f"{prompt}: {error}", file=sys.stderr)
            if not error.retry_allowed:
                break
        except MasqueradeError as error:  # a time-out, or the connection was lost for good
            print(f"{prompt}: {error}", file=sys.stderr)
    return None


def main(prompts: list[str]) -> int:
    client = WebSocketClient(URL, lambda: os.environ.get("MASQUERADE_TOKEN", "my-token"))
    client.on("error", lambda event: None)  # whatever matters here is raised, too
    with client, ThreadPoolExecutor(4) as pool:  # one client serves all threads
        images = list(pool.map(partial(make_image, client), prompts))
    for prompt, image_url in zip(prompts, images, strict=True):
        print(f"{prompt}: {image_url or 'no image'}")
    return 0 if all(images) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:] or [*PROMPTS]))
    except ConnectError as error:
        print(f"the service cannot be reached: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
