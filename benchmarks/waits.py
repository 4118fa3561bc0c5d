"""What an event costs with 2,000 open streams for other jobs and without any: ``python -m benchmarks.waits``.

Measured twice, in alternating rounds of one run: the whole way from the socket to a listener, and the part of the
reader thread alone, from a message to the queue for listeners. The second is stricter: nothing else dilutes it.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

from benchmarks.server import event_of_size, running
from masquerade_ws import EventStream, WebSocketClient
from masquerade_ws.delivery.blocking import Guard
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import Filter
from masquerade_ws.delivery.listeners import Listeners
from masquerade_ws.delivery.reader import Intake
from masquerade_ws.delivery.stream_index import StreamIndex
from masquerade_ws.delivery.takers import Takers
from masquerade_ws.stats import Counters

ROUNDS, EVENTS, STREAMS, SIZE = 15, 20_000, 2_000, 130
PROGRESS = "image.generation.progress"
OTHERS = [{"job_id": f"other-{number}"} for number in range(STREAMS)]


def whole_way(url: str, streams: int) -> float:
    """Return the seconds that one event takes from the socket to a listener."""
    last, left = threading.Event(), EVENTS

    def count(_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            last.set()

    client = WebSocketClient(f"{url}/blast/{SIZE}/{EVENTS}", lambda: "token")
    client.on(PROGRESS, count)
    kept = [client.events(PROGRESS, where=other) for other in OTHERS[:streams]]
    client.connect()
    start = time.perf_counter()
    client.emit("begin")
    last.wait()
    taken = time.perf_counter() - start
    client.disconnect(timeout=0.1)  # this server answers no close
    del kept
    return taken / EVENTS


def readers_part(streams: int) -> float:
    """Return the seconds that the reader thread spends on one event."""
    guard, listeners = Guard(), Listeners()
    listeners.add(PROGRESS, lambda event: None)
    index = StreamIndex(guard)
    kept: list[EventStream] = [EventStream(index, Filter([PROGRESS], other, guard), 1) for other in OTHERS[:streams]]
    for stream in kept:
        index.add(stream)
    intake, dispatcher = Intake(Takers(listeners, index), Counters()), EventQueue(1)
    messages: list[str | bytes] = [event_of_size(SIZE)] * EVENTS
    start = time.perf_counter()
    intake.take(messages, dispatcher)
    return (time.perf_counter() - start) / EVENTS


def report(what: str, measure: Callable[[int], float]) -> None:
    """Print the medians and their ratio."""
    rounds = [(measure(0), measure(STREAMS)) for _ in range(ROUNDS)]
    alone, among = (statistics.median(column) * 1e6 for column in zip(*rounds, strict=True))
    print(f"{what}: an event costs {alone:.2f} µs alone, {among:.2f} µs among {STREAMS}: {among / alone:.2f} times")


def main() -> None:
    """Measure both ways."""
    with running() as url:
        report("the whole way", lambda streams: whole_way(url, streams))
    report("the reader's part", readers_part)


if __name__ == "__main__":
    main()
