"""What an event costs with 2,000 open streams on other jobs, against none: ``python -m benchmarks.waits``.

The reader's part of the way is measured, from a message to its listener's queue, in alternating rounds of one run.
"""

from __future__ import annotations

import json
import statistics
import time

from masquerade_ws import EventStream
from masquerade_ws.filters import Filter
from masquerade_ws.guard import Guard
from masquerade_ws.index import StreamIndex
from masquerade_ws.listeners import Listeners
from masquerade_ws.reader import Intake
from masquerade_ws.stats import Counters

ROUNDS, EVENTS, STREAMS = 15, 2_000, 2_000
PROGRESS = "image.generation.progress"


def cost(intake: Intake, messages: list[str | bytes]) -> float:
    """Return the seconds that one event takes."""
    start = time.perf_counter()
    intake.take(messages)
    return (time.perf_counter() - start) / len(messages)


def main() -> None:
    """Print the medians and their ratio."""
    guard, listeners = Guard(), Listeners()
    listeners.add(PROGRESS, lambda event: None)
    empty, crowded = StreamIndex(guard), StreamIndex(guard)
    streams: list[EventStream] = []
    for number in range(STREAMS):
        streams.append(EventStream(crowded, Filter([PROGRESS], {"job_id": f"other-{number}"}, guard), 10_000))
        crowded.add(streams[-1])
    payload = {"job_id": "mine", "progress": 42.5, "stage": "painting"}
    message = json.dumps({"type": PROGRESS, "payload": payload, "timestamp": "2026-11-22T12:00:00.000Z"})
    messages: list[str | bytes] = [message] * EVENTS
    rounds = [
        (cost(Intake(listeners, empty, Counters()), messages), cost(Intake(listeners, crowded, Counters()), messages))
        for _ in range(ROUNDS)
    ]
    alone, among = (statistics.median(column) * 1e6 for column in zip(*rounds, strict=True))
    print(f"an event costs {alone:.2f} µs alone, {among:.2f} µs among {len(streams)}: {among / alone:.2f} times")


if __name__ == "__main__":
    main()
