"""A gateway, relays and workers together: what the gateway says comes to the workers, and the other way round."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from masquerade_ws.relay import RelayClient
from masquerade_ws.testing import EventServer
from tests.support.engines import EngineServer
from tests.support.raw_server import until
from tests.support.relaying import Streams, numbered, relaying
from tests.support.relays import Leader, connected
from tests.support.scenes import TIMEOUT, Record

Make = Callable[..., RelayClient]
COMPLETED = "image.generation.completed"


def test_events_and_sends_go_both_ways(
    engine_server: EngineServer, namespace: str, server: EventServer, new_client: Make
) -> None:
    with relaying(engine_server, server.url, namespace):
        clients = [connected(new_client()) for _ in range(2)]
        got: list[list[Any]] = [[], []]
        for client, each in zip(clients, got, strict=True):
            client.on("*", each.append)
        for n in range(200):
            server.broadcast_raw(numbered(n))
        until(lambda: all(len(each) == 200 for each in got))
        assert got[0] == got[1]
        assert [event.id for event in got[0]] == [event.id for event in got[1]]
        assert len({event.id for event in got[0]}) == 200
        clients[0].emit("image.generate", {"prompt": "a fox"})
        assert server.expect("image.generate", TIMEOUT)["payload"]["prompt"] == "a fox"
        for client in clients:
            client.disconnect()


def test_a_job_is_run_by_way_of_a_relay(
    engine_server: EngineServer, namespace: str, server: EventServer, new_client: Make
) -> None:
    server.paint()
    with relaying(engine_server, server.url, namespace):
        for options in ({}, {"key_events_only": True}):
            client = connected(new_client(**options))

            def start(client: RelayClient = client) -> str:
                client.emit("image.generate", {"job_id": "7", "prompt": "a fox"})
                return "7"

            assert client.run_image_job(start, timeout=TIMEOUT).payload["job_id"] == "7"
            client.disconnect()


def test_a_gateway_that_is_lost_and_a_relay_that_is_stopped_are_told(
    engine_server: EngineServer, namespace: str, server: EventServer, new_client: Make
) -> None:
    with relaying(engine_server, server.url, namespace):
        clients = [connected(new_client(**options)) for options in ({}, {"group": "store"})]
        records = [Record(client) for client in clients]
        server.close(4000, "so long")
        for record in records:
            lost = record.wait("disconnected")
            assert (lost.code, lost.reason) == (4000, "so long")
            again = record.wait("connected")
            assert again.reconnected
            assert again.gap is not None
    for client, record in zip(clients, records, strict=True):
        assert record.wait("disconnected", 2).code == 1001
        client.disconnect()


def test_a_group_handles_each_key_event_once_while_a_worker_leaves(
    engine_server: EngineServer, namespace: str, server: EventServer, new_client: Make
) -> None:
    handled: list[str] = []
    enough = threading.Event()

    def handle(event: Any) -> None:
        handled.append(str(event.payload["job_id"]))
        if len(handled) >= 30:
            enough.set()

    with relaying(engine_server, server.url, namespace):
        clients = [new_client(group="store", retry_after=2.0) for _ in range(3)]
        for client in clients:
            client.on(COMPLETED, handle)
            connected(client)
        for n in range(50):
            server.emit(COMPLETED, {"job_id": str(n), "image_url": "u"})
        assert enough.wait(TIMEOUT)
        clients[0].disconnect()
        for n in range(50, 100):
            server.emit(COMPLETED, {"job_id": str(n), "image_url": "u"})
        until(lambda: len(handled) >= 100)
        for client in clients[1:]:
            client.disconnect()
    assert sorted(map(int, handled)) == [*range(100)]


def test_a_standby_takes_over_without_a_gap(
    engine_server: EngineServer, namespace: str, server: EventServer, new_client: Make, streams: Streams
) -> None:
    with (
        relaying(engine_server, server.url, namespace) as first,
        relaying(engine_server, server.url, namespace, leads=False) as second,
    ):
        until(lambda: engine_server.run("EXISTS", streams.keys.standby))
        alive = streams.status.alive
        until(lambda: streams.status.alive > alive + 2)  # the second has been connected for a while
        client = connected(new_client())
        record = Record(client, "connected", "disconnected")
        got: list[Any] = []
        client.on("*", got.append)
        for n in range(20):
            server.broadcast_raw(numbered(n))
        first.stop()
        until(lambda: second.report().role == "leader")
        for n in range(20, 40):
            server.broadcast_raw(numbered(n))
        until(lambda: len(got) == 40)
        assert [event.payload["n"] for event in got] == [*range(40)]
        assert all(event.resumed for event in record.of("connected"))
        client.disconnect()


WORKER = """
import sys, time
from masquerade_ws.relay import RelayClient

client = RelayClient(sys.argv[1], namespace=sys.argv[2], group="store", retry_after=1.0)

@client.on("image.generation.completed")
def handle(event):
    time.sleep(0.02)
    print(event.payload["job_id"], flush=True)

client.connect()
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="the system stops no processes")
def test_workers_that_are_killed_and_stopped_leave_nothing_undone(engine_server: EngineServer, namespace: str) -> None:
    words = [sys.executable, "-c", WORKER, engine_server.url, namespace]
    with Leader(engine_server, namespace=namespace) as leader:
        workers = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        outputs = [worker.stdout for worker in workers if worker.stdout is not None]
        assert [output.readline() for output in outputs] == ["ready\n"] * 3
        for n in range(300):
            leader.emit(COMPLETED, job_id=str(n), image_url="u")
        workers[0].kill()
        workers[1].send_signal(signal.SIGSTOP)
        time.sleep(3)  # longer than `retry_after`
        workers[1].send_signal(signal.SIGCONT)

        def all_done() -> bool:
            [about] = leader.run("XINFO", "GROUPS", leader.keys.key)
            group = dict(zip(about[::2], about[1::2], strict=True))
            top = leader.run("XREVRANGE", leader.keys.key, "+", "-", "COUNT", 1)[0][0]
            return group[b"pending"] == 0 and group[b"last-delivered-id"] == top

        until(all_done)
        for worker in workers[1:]:
            worker.terminate()
        handled = [line for output in outputs for line in output.read().split()]
        for worker, output in zip(workers, outputs, strict=True):
            worker.wait()
            output.close()
    assert {*handled} == {str(n) for n in range(300)}
    assert len(handled) <= 300 + 2 * 10  # what the two had in hand
