"""Answers requests for images with whole jobs, without an image."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["REQUEST", "Fail", "Painter"]

REQUEST = "image.generate"

Fail: TypeAlias = "str | bool | Callable[[dict[str, Any]], str | bool | None] | None"
"""Why jobs fail: a reason, ``True`` for any, or a function that returns either or ``None`` for the payload of a job."""

_REASON = "the painter ran out of blue"


class Painter:
    """Makes up the events of a job for each request.

    Args:
        steps: How many times a job reports progress.
        fail: Why jobs fail; ``None`` leaves it to ``"fail": true`` in the payload of a job.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If ``steps`` is negative.
    """

    def __init__(self, steps: int, fail: Fail) -> None:
        if isinstance(steps, bool) or not isinstance(steps, int):
            raise TypeError(f"steps must be an int, not {type(steps).__name__}")
        if steps < 0:
            raise ValueError(f"steps must not be negative, not {steps}")
        if not (fail is None or isinstance(fail, (str, bool)) or callable(fail)):
            raise TypeError(f"fail must be a reason, a bool or a function, not {type(fail).__name__}")
        self._steps = steps
        self._fail = fail

    def job(self, event: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield type and payload of each event of a job; a job fails half way through.

        Args:
            event: The request; its ``job_id`` is that of the job, which gets a new one without.
        """
        payload = _payload_of(event)
        job_id = payload.get("job_id")
        if not isinstance(job_id, str):
            job_id = str(uuid.uuid4())
        reason = self._reason(payload)
        prompt = {"prompt": payload["prompt"]} if isinstance(payload.get("prompt"), str) else {}
        yield "image.generation.started", {"job_id": job_id, "user_id": "tester", **prompt}
        for step in range(1, self._steps + 1 if reason is None else self._steps // 2 + 1):
            percent = 100 * step // self._steps
            yield "image.generation.progress", {"job_id": job_id, "progress": percent, "stage": "painting"}
        if reason is not None:
            yield "image.generation.failed", {"job_id": job_id, "error": reason, "retry_allowed": True}
        else:
            url = f"https://images.example/{quote(job_id, safe='')}.png"
            yield "image.generation.completed", {"job_id": job_id, "image_url": url}

    def _reason(self, payload: dict[str, Any]) -> str | None:
        fail = self._fail(payload) if callable(self._fail) else self._fail
        if self._fail is None:
            fail = payload.get("fail") is True
        return fail if isinstance(fail, str) else _REASON if fail else None


def _payload_of(event: Mapping[str, Any]) -> dict[str, Any]:
    payload: object = event.get("payload")
    return cast("dict[str, Any]", payload) if isinstance(payload, dict) else {}
