"""Every member from many threads at once, with a server that resets at random: no deadlock, no surprise, no leak."""

from __future__ import annotations

import faulthandler
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError  # the built-in one from Python 3.11 on
from typing import Any

import pytest

from masquerade_ws import (
    ConnectError,
    DisconnectedError,
    EventsDroppedError,
    ImageGenerationError,
    ImageJob,
    NotConnectedError,
    SendError,
    WaitTimeoutError,
    WebSocketClient,
)
from masquerade_ws.testing import EventServer
from tests.support.scenes import TIMEOUT, names_of_threads

THREADS = 16
EXPECTED = (
    ConnectError,
    DisconnectedError,
    EventsDroppedError,
    ImageGenerationError,
    NotConnectedError,
    SendError,
    WaitTimeoutError,
    FutureTimeoutError,
)
WATCHDOG = 120


@pytest.fixture
def watchdog() -> Iterator[None]:
    """Dump all stacks and exit, should the test hang."""
    faulthandler.dump_traceback_later(WATCHDOG, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(params=[1e-6, 0.005, 0.05], ids=["switching-always", "switching-as-usual", "switching-seldom"])
def switch_interval(request: pytest.FixtureRequest) -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(request.param)
    yield
    sys.setswitchinterval(before)


def members(
    client: WebSocketClient, chance: random.Random, until: float, jobs: list[ImageJob]
) -> list[Callable[[], object]]:
    """Every public member, to be called in any order; image jobs that are futures go into the list."""

    def listener(event: object) -> None:
        if time.monotonic() > until:
            return
        if chance.random() < 0.1:
            client.off("*", listener)
        if chance.random() < 0.02:
            client.disconnect(timeout=0.2)
        if chance.random() < 0.02:
            client.connect(block=False)
        if chance.random() < 0.02:
            raise RuntimeError("a listener may raise")

    def iterate() -> None:
        with client.events("*", "state:change", maxsize=3) as stream:
            stream.get(timeout=0.02)
            stream.wait_for("state:change", timeout=0.02)

    def submit() -> None:
        options: dict[str, Any] = {"on_progress": listener} if chance.random() < 0.3 else {}
        if chance.random() < 0.5:
            options["poll"] = lambda job_id: chance.choice([None, None, 1])
        job = client.submit_image_job(lambda: "job", fail_after_gap=chance.random() < 0.5, **options)
        job.add_done_callback(listener)
        jobs.append(job)
        repr(job)

    return [
        lambda: client.connect(timeout=0.5),
        lambda: client.connect(block=False),
        lambda: client.disconnect(timeout=chance.choice([0, 0.05, 1])),
        lambda: client.on("*", listener),
        lambda: client.once("connected", listener),
        lambda: client.off("*", listener),
        lambda: client.emit("noise", {"n": chance.random()}),
        lambda: client.wait_for("noise", where={"n": 1}, timeout=0.01),
        lambda: client.wait_for("*", where=lambda event: chance.random() < 0.5, timeout=0.02),
        lambda: client.wait_for("connected", poll=lambda: chance.choice([None, 1]), timeout=0.02),
        lambda: client.run_image_job(lambda: "job", timeout=0.01, fail_after_gap=chance.random() < 0.5),
        lambda: client.future("noise", where={"n": 1}),
        lambda: client.future("*", "connected").add_done_callback(listener),
        lambda: client.future("noise").result(timeout=0.01),
        lambda: client.future("never").cancel(),
        submit,
        iterate,
        lambda: (client.state, client.stats, repr(client)),
    ]


def hammer(
    client: WebSocketClient, seed: int, until: float, surprises: list[BaseException], jobs: list[ImageJob]
) -> None:
    chance = random.Random(seed)
    calls = members(client, chance, until, jobs)
    while time.monotonic() < until:
        try:
            chance.choice(calls)()
        except EXPECTED:
            pass
        except BaseException as error:
            surprises.append(error)
            return


def harass(server: EventServer, seed: int, until: float, surprises: list[BaseException]) -> None:
    chance = random.Random(seed)
    faults: list[Callable[[], object]] = [
        server.drop,
        server.close,
        lambda: server.refuse(503, times=2),
        lambda: server.emit("noise", {"n": 1}),
        lambda: server.emit("image.generation.failed", {"job_id": "job", "error": "no"}),
        lambda: server.broadcast_raw("not an event"),
    ]
    try:
        while time.monotonic() < until:
            chance.choice(faults)()
            time.sleep(chance.random() * 0.01)
    except BaseException as error:
        surprises.append(error)


def play(seconds: float, seed: int) -> None:
    surprises: list[BaseException] = []
    jobs: list[ImageJob] = []
    until = time.monotonic() + seconds
    with EventServer() as server:
        client = WebSocketClient(
            server.url,
            lambda: "token",
            initial_reconnect_delay=0.001,
            max_reconnect_delay=0.01,
            heartbeat_interval=0.02,
            queue_size=10,
        )
        client.on("error", lambda event: None)
        threads = [
            threading.Thread(target=hammer, args=(client, seed + number, until, surprises, jobs))
            for number in range(THREADS)
        ]
        threads.append(threading.Thread(target=harass, args=(server, seed, until, surprises)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [traceback.format_exception(surprise) for surprise in surprises] == []
        client.disconnect()
        assert client.state == "disconnected"
        assert jobs
        assert [job for job in jobs if not job.done()] == []
        server._refusals.clear()  # a long run leaves more than a client gets through
        client.connect(block=False)
        client.wait_for("connected", poll=lambda: client.state == "connected" or None, timeout=10)
        client.disconnect()
    for thread in threading.enumerate():  # those of sessions whose disconnect() had no time to wait
        if thread.name.startswith("masquerade-ws"):
            thread.join(TIMEOUT)
    assert names_of_threads() == []


@pytest.mark.usefixtures("watchdog", "switch_interval")
def test_sixteen_threads_cannot_confuse_the_client() -> None:
    play(seconds=1, seed=1)


@pytest.mark.slow
@pytest.mark.usefixtures("watchdog", "switch_interval")
def test_sixteen_threads_cannot_confuse_the_client_for_twenty_seconds() -> None:
    play(seconds=20, seed=int(time.time()))
