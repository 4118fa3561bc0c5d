"""The relay, measured: ``python -m benchmarks.relay [--quick]``.

How many events of 130 bytes a second come from a gateway into the stream, and how much later an event is at a client of
the relay than at one that is connected to the gateway itself. Gateway, relay, engine and client are processes of their
own; a figure is the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

from benchmarks.server import running
from masquerade_ws import Event, WebSocketClient
from masquerade_ws.connection.options import ConnectionOptions
from masquerade_ws.relay import RelayClient
from masquerade_ws.relay.engine import EngineUrl
from masquerade_ws.relay.entries import Outgoing, encode_outgoing
from masquerade_ws.relay.gateway import GatewayClient
from masquerade_ws.relay.keys import Keys
from masquerade_ws.relay.process import Relay, Settings
from tests.support.engines import EngineServer

__all__: list[str] = []

SIZE = 130
BEGIN = encode_outgoing(Outgoing(b'{"type":"begin"}', "benchmark", 60_000))  # the gateway's server waits for it
PACE = "system.notification"


def wait_for(condition: Callable[[], object]) -> None:
    """Wait for a condition, without taking much of the processor that is measured."""
    while not condition():
        time.sleep(0.002)


def relay(gateway: str, engine: str, namespace: str, linger_ms: str, count: str) -> None:
    """Relay so many events, and print the seconds and the CPU seconds that they took."""

    def make_client(taking: Any) -> GatewayClient:
        return GatewayClient(
            taking, gateway, lambda: "t", headers=None, token_in="query", options=ConnectionOptions(proxy=False)
        )

    settings = Settings(namespace=namespace, linger=int(linger_ms) / 1000)
    running_relay = Relay(EngineUrl.parse(engine), settings, make_client, gateway)
    running_relay.start()
    wait_for(lambda: running_relay.report().events)
    begin, cpu = time.perf_counter(), time.process_time()
    wait_for(lambda: running_relay.report().events >= int(count) and not running_relay.report().buffered)
    seconds = time.perf_counter() - begin
    print(json.dumps([seconds, time.process_time() - cpu, running_relay.report().flushes]), flush=True)
    sys.stdin.read()
    running_relay.stop()


class Relaying:
    """A relay in a process of its own, as a context manager."""

    def __init__(self, gateway: str, engine: EngineServer, *, count: int, linger_ms: int = 10) -> None:
        self.namespace = uuid.uuid4().hex
        self._engine = engine
        arguments = [gateway, engine.url, self.namespace, str(linger_ms), str(count)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.relay", "--relay", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: engine.run("EXISTS", Keys(self.namespace).ev))

    def begin(self) -> None:
        """Have the gateway begin."""
        self._engine.run("XADD", Keys(self.namespace).out, "*", *BEGIN)

    def figures(self) -> list[float]:
        """Return what the relay says once it has relayed all."""
        assert self._process.stdout is not None
        figures: list[float] = json.loads(self._process.stdout.readline())
        return figures

    def __enter__(self) -> Relaying:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._engine.run("DEL", Keys(self.namespace).ev, Keys(self.namespace).key, Keys(self.namespace).out)


def throughput(server: str, engine: EngineServer, count: int) -> list[float]:
    """Return events a second, microseconds of the relay's CPU for each, and events in each entry."""
    with Relaying(f"{server}/blast/{SIZE}/{count}", engine, count=count) as relaying:
        relaying.begin()
        seconds, cpu, flushes = relaying.figures()
    return [count / seconds, cpu / count * 1e6, count / flushes]


def latency(server: str, engine: EngineServer, count: int, rate: int, linger_ms: int | None) -> float:
    """Return the median of the milliseconds that events took; without a linger, at a client without a relay."""
    taken: list[float] = []

    def note(event: Event) -> None:
        taken.append((time.monotonic_ns() - event.payload["sent"]) / 1e6)

    gateway = f"{server}/pace/{count}/{rate}"
    if linger_ms is None:
        with WebSocketClient(gateway, lambda: "t", proxy=False) as client:
            client.on(PACE, note)
            client.emit("begin")
            wait_for(lambda: len(taken) == count)
    else:
        with (
            Relaying(gateway, engine, count=count, linger_ms=linger_ms) as relaying,
            RelayClient(engine.url, namespace=relaying.namespace) as worker,
        ):
            worker.on(PACE, note)
            worker.emit("begin")
            wait_for(lambda: len(taken) == count)
    return statistics.median(taken)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, once")
    parser.add_argument("--relay", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.relay:
        relay(*options.relay)
        return
    rounds, count, seconds = (1, 100_000, 2) if options.quick else (5, 1_000_000, 10)
    with running() as server, EngineServer() as engine:
        rows = [throughput(server, engine, count) for _ in range(rounds)]
        rate, cpu, each = (statistics.median(column) for column in zip(*rows, strict=True))
        print(
            f"Events of {SIZE} bytes into the stream  {rate:>10,.0f} a second  {cpu:.2f} us of CPU  {each:.0f} an entry"
        )
        for pace, lingers in ((50, (10,)), (500, (10, 1))):
            events = pace * seconds
            direct = statistics.median(latency(server, engine, events, pace, None) for _ in range(rounds))
            for linger in lingers:
                through = statistics.median(latency(server, engine, events, pace, linger) for _ in range(rounds))
                print(
                    f"Latency at {pace} events a second, --linger {linger}: {through:.2f} ms, without a relay "
                    f"{direct:.2f} ms, added {through - direct:.2f} ms"
                )


if __name__ == "__main__":
    main()
