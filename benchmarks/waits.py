"""What an event costs among 2,000 open streams, or futures, for other jobs: ``python -m benchmarks.waits``.

Measured in processor time and twice, in alternating rounds of one run: the whole way from the socket to a listener, and
the part of the reader thread alone, from a message to the queue for listeners. The second is stricter: nothing else
dilutes it.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from benchmarks.server import event_of_size, running
from masquerade_ws import EventStream, WebSocketClient
from masquerade_ws.delivery.blocking import Guard
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import Filter
from masquerade_ws.delivery.futures import EventFuture
from masquerade_ws.delivery.listeners import Listeners
from masquerade_ws.delivery.reader import Intake
from masquerade_ws.delivery.stream_index import StreamIndex
from masquerade_ws.delivery.takers import Takers
from masquerade_ws.stats import Counters

ROUNDS, EVENTS, WAITS, SIZE = 40, 5_000, 2_000, 130
BATCH = 500  # events of that size that arrive in one `recv`
PROGRESS = "image.generation.progress"
OTHERS = [{"job_id": f"other-{number}"} for number in range(WAITS)]

Kind: TypeAlias = str | None  # "streams", "futures", or none


def whole_way(url: str, kind: Kind) -> float:
    """Return the processor seconds that one event takes from the socket to a listener."""
    last, left = threading.Event(), EVENTS

    def count(_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            last.set()

    client = WebSocketClient(f"{url}/blast/{SIZE}/{EVENTS}", lambda: "token")
    client.on(PROGRESS, count)
    client.connect()
    wait: Any = client.events if kind == "streams" else client.future
    kept = [wait(PROGRESS, where=other) for other in OTHERS if kind]
    gc.collect()  # so that no time is taken for the waits that have just been made
    start = time.process_time()
    client.emit("begin")
    last.wait()
    taken = time.process_time() - start
    client.disconnect(timeout=0.1)  # this server answers no close
    del kept
    return taken / EVENTS


def readers_part(kind: Kind) -> float:
    """Return the processor seconds that the reader thread spends on one event."""
    guard, listeners = Guard(), Listeners()
    listeners.add(PROGRESS, lambda event: None)
    index = StreamIndex(guard)
    filters = [Filter([PROGRESS], other, guard) for other in OTHERS if kind]
    kept: list[EventStream[Any] | EventFuture[Any]] = [
        EventStream(index, taken, 1) if kind == "streams" else EventFuture(index, taken, None) for taken in filters
    ]
    for wait in kept:
        index.add(wait)
    intake, dispatcher = Intake(Takers(listeners, index), Counters()), EventQueue(1)
    messages: list[str | bytes] = [event_of_size(SIZE)] * BATCH
    gc.collect()  # so that no time is taken for the waits that have just been made
    start = time.process_time()
    for _ in range(EVENTS // BATCH):
        intake.take(messages, dispatcher)
    return (time.process_time() - start) / EVENTS


def report(what: str, measure: Callable[[Kind], float]) -> None:
    """Print the least of all rounds, to which other programs of the machine have added least, and their ratios."""
    rounds = [(measure(None), measure("streams"), measure("futures")) for _ in range(ROUNDS)]
    alone, streams, futures = (min(column) * 1e6 for column in zip(*rounds, strict=True))
    print(f"{what}: an event costs {alone:.2f} µs alone")
    for kind, among in (("streams", streams), ("futures", futures)):
        print(f"    {among:.2f} µs among {WAITS} {kind}: {among / alone:.2f} times")


def main() -> None:
    """Measure both ways."""
    with running() as url:
        report("the whole way", lambda kind: whole_way(url, kind))
    report("the reader's part", readers_part)


if __name__ == "__main__":
    main()
