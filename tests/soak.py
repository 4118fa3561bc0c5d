"""A soak: fifty clients wait for jobs through a faulty network; `python -m tests.soak --minutes N --seed S`.

The gateway completes and fails jobs as the seed says, and is stopped and started now and then; the proxy before it does
to each connection what the seed says. Each job's outcome must come exactly once, from an event or, after a gap, from
the poll, or its waiter must be told that the client was stopped. Exits with status 1 if anything else happened.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from masquerade_ws import DisconnectedError, ImageGenerationError, WebSocketClient
from masquerade_ws.testing import EventServer
from tests.support.fault_proxy import FaultProxy, chaos
from tests.support.leaks import descriptors, memory

CLIENTS = 50
PATIENCE = 60.0  # seconds after which a job that should have ended counts as lost
GROWTH = 32 * 2**20  # bytes that the memory may grow after the first half


class Gateway:
    """The image service: runs jobs, tells of them, and answers what became of one, also while its sockets are down."""

    def __init__(self, seed: int) -> None:
        self.server = EventServer()
        self.jobs: dict[str, str | None] = {}  # by id, with the outcome once there is one
        self._chance = random.Random(f"{seed}/gateway")
        self._changed = threading.Condition()  # guards the jobs, the plan, the count and the flag
        self._plan: list[tuple[float, int, str]] = []
        self.submitted = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def submit(self) -> str:
        """Start a job, which ends within seconds, and return its id."""
        with self._changed:
            number, self.submitted = self.submitted, self.submitted + 1
            job_id = f"job-{number}"
            self.jobs[job_id] = None
            heapq.heappush(self._plan, (time.monotonic() + self._chance.uniform(0, 4), number, job_id))
            self._changed.notify_all()
            return job_id

    def outcome(self, job_id: str) -> str | None:
        """Return what became of a job, ``None`` while it is under way."""
        with self._changed:
            return self.jobs[job_id]

    def forget(self, job_id: str) -> None:
        """Keep no memory of a job that nobody will ask about."""
        with self._changed:
            del self.jobs[job_id]

    def restart(self, pause: float) -> None:
        """Stop the server, and start another on its port."""
        self.server.stop()
        time.sleep(pause)
        self.server = EventServer(port=self.server.port)
        self.server.start()

    def __enter__(self) -> Gateway:
        self.server.start()
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()
        self.server.stop()

    def _work(self) -> None:
        emitted = 0
        while (job := self._next_due()) is not None:
            job_id, emitted = job, emitted + 1
            expected = expectation(job_id)
            with self._changed:
                if job_id in self.jobs:
                    self.jobs[job_id] = expected  # ahead of the event, so that who misses that is told when he asks
            payload = {"job_id": job_id, "n": emitted}
            if expected == "failed":
                self.server.emit("image.generation.failed", {**payload, "error": "failed"})
            else:
                self.server.emit("image.generation.completed", {**payload, "image_url": expected})

    def _next_due(self) -> str | None:
        with self._changed:
            while not self._stopped:
                wait = self._plan[0][0] - time.monotonic() if self._plan else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._plan)[2]
                self._changed.wait(wait)
            return None


def expectation(job_id: str) -> str:
    """Return the outcome that a job is known to have."""
    return "failed" if int(job_id.rpartition("-")[2]) % 5 == 0 else f"https://img/{job_id}.png"


class Tally:
    """What all clients saw."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.longest_gap = 0.0
        self.violations: list[str] = []
        self._lock = threading.Lock()  # guards all three

    def add(self, what: str, by: int = 1) -> None:
        """Count something."""
        with self._lock:
            self.counts[what] += by

    def gap(self, seconds: float) -> None:
        """Note a time without a connection."""
        with self._lock:
            self.counts["gaps"] += 1
            self.longest_gap = max(self.longest_gap, seconds)

    def violation(self, text: str) -> None:
        """Note what must not happen."""
        with self._lock:
            self.violations.append(text)


class User(threading.Thread):
    """One client, and the thread that starts jobs and waits for them."""

    def __init__(self, name: str, url: str, gateway: Gateway, tally: Tally, until: float) -> None:
        super().__init__(daemon=True)
        self._gateway = gateway
        self._tally = tally
        self._chance = random.Random(name)
        self._until = until
        self._stopping = threading.Event()
        self._last = 0
        self._unbroken = False  # whether the last event came over the present connection
        self.client = WebSocketClient(
            url,
            lambda: name,
            initial_reconnect_delay=0.05,
            max_reconnect_delay=1.0,
            reconnect_jitter=0.5,
            heartbeat_interval=1.0,
            heartbeat_timeout=2.0,
            connect_timeout=3.0,
        )
        self.client.on("image.generation.*", self._delivered)
        self.client.on("connected", self._connected)
        self.client.on("error", self._failed)

    def run(self) -> None:
        try:
            self.client.connect(block=False)
            while time.monotonic() < self._until:
                if self._chance.random() < 0.03:
                    self._leave_in_the_middle()
                else:
                    self._do_a_job()
        except BaseException as error:
            self._tally.violation(f"a user's thread ended with {error!r}")

    def _do_a_job(self) -> None:
        job_ids: list[str] = []

        def start() -> str:
            job_ids.append(self._gateway.submit())
            return job_ids[0]

        try:
            answer = self.client.run_image_job(start, poll=self._gateway.outcome, timeout=PATIENCE)
            told = answer if isinstance(answer, str) else answer.payload["image_url"]
            self._tally.add("polled" if isinstance(answer, str) else "delivered")
        except ImageGenerationError:
            told = "failed"
            self._tally.add("delivered")
        except DisconnectedError:
            if not self._stopping.is_set():
                self._tally.violation("a wait ended as if the client had been stopped")
            if job_ids:  # otherwise the client was stopped ahead of the job's start
                self._tally.add("told why not")
            return
        except Exception as error:
            told = repr(error)
        finally:
            for job_id in job_ids:
                self._gateway.forget(job_id)
        if told != expectation(job_ids[0]):
            self._tally.violation(f"{job_ids[0]} ended with {told}")

    def _leave_in_the_middle(self) -> None:
        """Call `disconnect` while a job is waited for, and come back."""
        self._stopping.set()
        timer = threading.Timer(self._chance.random(), self.client.disconnect)
        timer.start()
        self._do_a_job()
        timer.join()
        self._stopping.clear()
        self.client.connect(block=False)

    def _connected(self, event: Any) -> None:
        self._unbroken = False
        if event.gap is not None:
            self._tally.gap(event.gap)

    def _delivered(self, event: Any) -> None:
        self._tally.add("events")
        number = event.payload["n"]
        if number <= self._last or (self._unbroken and number != self._last + 1):
            self._tally.violation(f"event {number} was delivered behind {self._last}")
        self._last, self._unbroken = number, True

    def _failed(self, event: Any) -> None:
        self._tally.add(f"errors ({event.context})")
        if event.context not in {"connection", "send"}:
            self._tally.violation(f"an error with context {event.context}: {event.error!r}")


@contextmanager
def jolts(gateway: Gateway, seed: int, until: float) -> Iterator[None]:
    """Restart the server, refuse and freeze, until the time is over."""
    over = threading.Event()

    def jolt() -> None:
        chance = random.Random(f"{seed}/jolts")
        while not over.wait(min(chance.uniform(5, 20), max(0.0, until - time.monotonic()))):
            if time.monotonic() >= until:
                return
            server = gateway.server
            if chance.random() < 0.4:
                gateway.restart(chance.uniform(0, 2))
            elif chance.random() < 0.5:
                server.refuse(chance.choice([401, 403, 429, 500, 503]), times=20)
                server.drop()
            else:
                server.freeze()
                over.wait(chance.uniform(0, 5))
                server.thaw()

    thread = threading.Thread(target=jolt, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def clients_threads() -> int:
    """Return how many threads the clients have."""
    names = [thread.name for thread in threading.enumerate()]
    return sum(name.startswith("masquerade-ws-") and name != "masquerade-ws-testing" for name in names)


def soak(seconds: float, seed: int) -> Tally:
    """Run all that for so many seconds, print what was seen, and return it."""
    tally, before = Tally(), descriptors()
    until = time.monotonic() + seconds
    with Gateway(seed) as gateway, FaultProxy(gateway.server.port, chaos(seed, longest=200_000), seed=seed) as proxy:
        users = [User(f"{seed}/{number}", proxy.url, gateway, tally, until) for number in range(CLIENTS)]
        for user in users:
            user.start()
        with jolts(gateway, seed, until):
            half = samples(seconds / 2, tally)
            samples(until - time.monotonic(), tally)
        for user in users:
            user.join(2 * PATIENCE)
            if user.is_alive():
                tally.violation("a user's thread hangs")
        for user in users:
            user.client.disconnect(timeout=1.0)
        check_rest(tally, [user.client for user in users], half)
        answered = sum(tally.counts[what] for what in ("delivered", "polled", "told why not"))
        if answered != gateway.submitted:
            tally.violation(f"{answered} waits were answered, of {gateway.submitted}")
        print(f"jobs {gateway.submitted}, connections through the proxy {proxy.accepted}")
    del users
    if descriptors() > before + 2:
        tally.violation(f"{descriptors() - before} descriptors were left open")
    return tally


def samples(seconds: float, tally: Tally) -> int:
    """Wait; print a line now and then; return the memory in use at the end."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, max(5.0, seconds / 20)))
        print(
            f"{max(0.0, end - time.monotonic()):6.0f} s left: events {tally.counts['events']},"
            f" gaps {tally.counts['gaps']}, memory {memory() // 2**20} MiB, threads {threading.active_count()},"
            f" descriptors {descriptors()}",
            flush=True,
        )
    return memory()


def check_rest(tally: Tally, clients: Sequence[WebSocketClient], half: int) -> None:
    """Check that nothing of the clients is left, and that memory has not grown."""
    end = time.monotonic() + 10
    while clients_threads() and time.monotonic() < end:
        time.sleep(0.05)
    if clients_threads():
        tally.violation(f"{clients_threads()} threads were left")
    if {client.state for client in clients} != {"disconnected"}:
        tally.violation("a client is not disconnected at the end")
    if memory() > half + GROWTH:
        tally.violation(f"the memory grew by {(memory() - half) // 2**20} MiB in the second half")
    reconnects = sum(client.stats.reconnects for client in clients)
    print(f"reconnects {reconnects}, longest gap {tally.longest_gap:.1f} s, memory {memory() // 2**20} MiB")


def main() -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    tally = soak(arguments.minutes * 60, arguments.seed)
    print(", ".join(f"{what} {number}" for what, number in sorted(tally.counts.items())))
    for violation in tally.violations:
        print(f"VIOLATION: {violation}")
    print("failed" if tally.violations else "nothing was lost, doubled or left behind")
    return int(bool(tally.violations))


if __name__ == "__main__":
    sys.exit(main())
