"""Runs one measurement of one contender in this process, and prints its figures as JSON.

``python -m benchmarks.contenders MEASURE CONTENDER URL ARGUMENT...``, where the contender may be followed by the
modules that it is to do without: ``masquerade-orjson``.
"""

from __future__ import annotations

import contextlib
import gc
import json
import socket
import statistics
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__: list[str] = []

_now = time.perf_counter


def _token() -> str:
    return "token"


@contextlib.contextmanager
def _busy_thread(wanted: bool) -> Iterator[None]:
    """Compute in Python beside the client."""
    running = wanted

    def compute() -> None:
        number = 0
        while running:
            number += 1

    thread = threading.Thread(target=compute, daemon=True)
    thread.start()
    try:
        yield
    finally:
        running = False
        thread.join()


# Floods: seconds from the word "go" until all is done, and seconds of CPU time for each event.


class _Stopwatch:
    """Runs from its making on."""

    def __init__(self) -> None:
        self._start, self._cpu = _now(), time.process_time()

    def figures(self, count: int) -> list[float]:
        seconds = _now() - self._start
        return [seconds, (time.process_time() - self._cpu) / count]


def _count_down(count: int) -> tuple[Callable[[object], None], threading.Event]:
    done = threading.Event()
    left = count

    def handler(event: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    return handler, done


def _json_loads() -> Callable[[Any], Any]:
    """Return the function of orjson, or of the standard library if that is missing."""
    try:
        from orjson import loads  # noqa: PLC0415 - each process imports its own contender alone
    except ImportError:
        return json.loads
    return loads


# Throughput: `count` events in the callback, decoded.


def throughput_masquerade(url: str, size: int, count: int) -> list[float]:
    """Measure the client with a listener to everything."""
    return _listen(url, size, count, "*")


def throughput_masqueradenamed(url: str, size: int, count: int) -> list[float]:
    """Measure it with a listener to the type of the events, at most 256 bytes each."""
    return _listen(url, size, count, "image.generation.progress")


def _listen(url: str, size: int, count: int, name: str) -> list[float]:
    from masquerade_ws import WebSocketClient  # noqa: PLC0415

    handler, done = _count_down(count)
    client = WebSocketClient(f"{url}/blast/{size}/{count}", _token)
    client.on(name, handler)
    with client:
        watch = _Stopwatch()
        client.emit("go")
        done.wait()
        return watch.figures(count)


def throughput_websocketapp(url: str, size: int, count: int) -> list[float]:
    """Measure websocket-client's callback client."""
    import websocket  # noqa: PLC0415

    handler, done = _count_down(count)
    app = websocket.WebSocketApp(
        f"{url}/blast/{size}/{count}",
        on_open=lambda app: opened.set(),
        on_message=lambda app, message: handler(json.loads(message)),
    )
    opened = threading.Event()
    thread = threading.Thread(target=app.run_forever, daemon=True)
    thread.start()
    opened.wait()
    watch = _Stopwatch()
    app.send("go")
    done.wait()
    figures = watch.figures(count)
    app.close()
    return figures


def throughput_websockets(url: str, size: int, count: int) -> list[float]:
    """Measure the threaded client of websockets."""
    from websockets.sync.client import connect  # noqa: PLC0415

    handler, _ = _count_down(count)
    with connect(f"{url}/blast/{size}/{count}", compression=None) as connection:
        watch = _Stopwatch()
        connection.send("go")
        for _ in range(count):
            handler(json.loads(connection.recv()))
        figures = watch.figures(count)
        connection.close_socket()
    return figures


def throughput_websocketrs(url: str, size: int, count: int) -> list[float]:
    """Measure the synchronous client in Rust."""
    from websocket_rs.sync.client import connect  # noqa: PLC0415

    handler, loads = _count_down(count)[0], _json_loads()
    with connect(f"{url}/blast/{size}/{count}") as connection:
        watch = _Stopwatch()
        connection.send("go")
        for _ in range(count):
            handler(loads(connection.recv()))
        return watch.figures(count)


def throughput_picowsbytes(url: str, size: int, count: int) -> list[float]:
    """Measure it with JSON read from bytes, as frames have them."""
    return throughput_picows(url, size, count, binary=True)


def throughput_picows(url: str, size: int, count: int, binary: bool = False) -> list[float]:
    """Measure the Cython client for asyncio."""
    import asyncio  # noqa: PLC0415

    import picows  # noqa: PLC0415

    loads = _json_loads()

    async def main() -> list[float]:
        finished = asyncio.get_running_loop().create_future()
        left = count

        class Listener(picows.WSListener):  # type: ignore[misc]
            def on_ws_frame(self, transport: Any, frame: Any) -> None:
                nonlocal left
                loads(frame.get_payload_as_bytes() if binary else frame.get_payload_as_utf8_text())
                left -= 1
                if not left:
                    finished.set_result(watch.figures(count))

        transport, _ = await picows.ws_connect(Listener, f"{url}/blast/{size}/{count}")
        watch = _Stopwatch()
        transport.send(picows.WSMsgType.TEXT, b"go")
        figures: list[float] = await finished
        transport.disconnect()
        return figures

    return asyncio.run(main())


# Waiting: one event after `count` of another type, which nobody waits for.


def waiting_masquerade(url: str, size: int, count: int) -> list[float]:
    """Measure a wait."""
    from masquerade_ws import WebSocketClient  # noqa: PLC0415

    with WebSocketClient(f"{url}/flood/{size}/{count}", _token) as client, client.events("last") as stream:
        watch = _Stopwatch()
        client.emit("go")
        stream.get()
        return watch.figures(count)


def waiting_websocketrs(url: str, size: int, count: int) -> list[float]:
    """Measure a loop that decodes what comes to see whether it is the one."""
    from websocket_rs.sync.client import connect  # noqa: PLC0415

    loads = _json_loads()
    with connect(f"{url}/flood/{size}/{count}") as connection:
        watch = _Stopwatch()
        connection.send("go")
        while loads(connection.recv())["type"] != "last":
            pass
        return watch.figures(count)


# Iterating: `count` events in a loop of the program's own thread.


def iterating_masquerade(url: str, size: int, count: int) -> list[float]:
    """Measure a loop over a stream of everything."""
    from masquerade_ws import WebSocketClient  # noqa: PLC0415

    handler, _ = _count_down(count)
    with WebSocketClient(f"{url}/blast/{size}/{count}", _token) as client, client.events(maxsize=count) as stream:
        watch = _Stopwatch()
        client.emit("go")
        for _ in range(count):
            handler(next(stream))
        return watch.figures(count)


def iterating_websockets(url: str, size: int, count: int) -> list[float]:
    """Measure what is a loop for a listener, too."""
    return throughput_websockets(url, size, count)


def iterating_websocketrs(url: str, size: int, count: int) -> list[float]:
    """Measure what is a loop for a listener, too."""
    return throughput_websocketrs(url, size, count)


# Latency: median and 99th percentile, in seconds, from before the server's send to the event in the user's hands.


def _percentiles(nanoseconds: list[int]) -> list[float]:
    points = statistics.quantiles(nanoseconds, n=100)
    return [points[49] / 1e9, points[98] / 1e9]


def latency_masquerade(url: str, count: int, rate: int, busy: int) -> list[float]:
    """Measure from the server to a listener."""
    from masquerade_ws import Event, WebSocketClient  # noqa: PLC0415

    latencies: list[int] = []
    done = threading.Event()

    def handler(event: Event) -> None:
        latencies.append(time.monotonic_ns() - event.payload["sent"])
        if len(latencies) == count:
            done.set()

    client = WebSocketClient(f"{url}/pace/{count}/{rate}", _token)
    client.on("*", handler)
    with client, _busy_thread(bool(busy)):
        client.emit("go")
        done.wait()
    return _percentiles(latencies)


def latency_websockets(url: str, count: int, rate: int, busy: int) -> list[float]:
    """Measure from the server to the return of recv, JSON not counted."""
    from websockets.sync.client import connect  # noqa: PLC0415

    latencies = []
    with connect(f"{url}/pace/{count}/{rate}", compression=None) as connection, _busy_thread(bool(busy)):
        connection.send("go")
        for _ in range(count):
            message = connection.recv()
            received = time.monotonic_ns()
            latencies.append(received - json.loads(message)["payload"]["sent"])
        connection.close_socket()
    return _percentiles(latencies)


# Sending: seconds until all is handed to the kernel.


def _expected(size: int, count: int) -> int:
    return count * (size + 8)  # each frame has a header of four bytes and a mask of four


def send_masquerade(url: str, size: int, count: int) -> float:
    """Send events, which become JSON on the way."""
    from benchmarks.server import event_of_size  # noqa: PLC0415
    from masquerade_ws import Event, WebSocketClient  # noqa: PLC0415

    event = Event(**json.loads(event_of_size(size)))
    with WebSocketClient(f"{url}/sink/{_expected(size, count)}", _token) as client, client.events() as answers:
        start = _now()
        for _ in range(count):
            client.send(event)
        seconds = _now() - start
        answers.get()
    return seconds


def send_connection(url: str, size: int, count: int) -> float:
    """Send text that is JSON already."""
    from benchmarks.server import event_of_size  # noqa: PLC0415
    from masquerade_ws.connection import Connection  # noqa: PLC0415

    text = event_of_size(size)
    with Connection.open(f"{url}/sink/{_expected(size, count)}") as connection:
        start = _now()
        for _ in range(count):
            connection.send(text)
        seconds = _now() - start
        next(iter(connection))
    return seconds


def send_websocketclient(url: str, size: int, count: int) -> float:
    """Send text that is JSON already."""
    import websocket  # noqa: PLC0415

    from benchmarks.server import event_of_size  # noqa: PLC0415

    text = event_of_size(size)
    connection = websocket.create_connection(f"{url}/sink/{_expected(size, count)}")
    start = _now()
    for _ in range(count):
        connection.send(text)
    seconds = _now() - start
    connection.recv()
    connection.close()
    return seconds


# Connecting: the median of the seconds, and the calls of recv for one handshake.


def _count_recv() -> list[int]:
    """Count the calls of recv from now on."""
    calls = [0]

    class Counted(socket.socket):
        def recv(self, *arguments: Any) -> bytes:
            calls[0] += 1
            return super().recv(*arguments)

    socket.socket = Counted  # type: ignore[misc]
    return calls


def _connect(open_one: Callable[[], Callable[[], None]], count: int) -> list[float]:
    times = []
    for _ in range(count):
        start = _now()
        close = open_one()
        times.append(_now() - start)
        close()
    calls = _count_recv()
    close = open_one()
    counted = calls[0]
    close()
    return [statistics.median(times), counted]


def connect_masquerade(url: str, count: int) -> list[float]:
    """Connect a client, its four threads included."""
    from masquerade_ws import WebSocketClient  # noqa: PLC0415

    def open_one() -> Callable[[], None]:
        client = WebSocketClient(f"{url}/idle", _token)
        client.connect()
        return lambda: client.disconnect(timeout=0.0)

    return _connect(open_one, count)


def connect_connection(url: str, count: int) -> list[float]:
    """Open a connection alone."""
    from masquerade_ws.connection import Connection  # noqa: PLC0415

    def open_one() -> Callable[[], None]:
        connection = Connection.open(f"{url}/idle?token=token")
        return lambda: connection.close(timeout=0.0)

    return _connect(open_one, count)


def connect_websocketclient(url: str, count: int, **options: float) -> list[float]:
    """Connect websocket-client's plain connection."""
    import websocket  # noqa: PLC0415

    def open_one() -> Callable[[], None]:
        connection: Any = websocket.create_connection(f"{url}/idle?token=token", **options)
        return connection.shutdown

    return _connect(open_one, count)


def connect_websocketclienttimeout(url: str, count: int) -> list[float]:
    """Connect it with the time limit that our client has by default."""
    return connect_websocketclient(url, count, timeout=10.0)


def connect_websockets(url: str, count: int) -> list[float]:
    """Connect the threaded client of websockets."""
    from websockets.sync.client import connect  # noqa: PLC0415

    def open_one() -> Callable[[], None]:
        connection = connect(f"{url}/idle?token=token", compression=None)
        return connection.close_socket

    return _connect(open_one, count)


# Idle: wake-ups and milliseconds of CPU time in a minute, and the bytes of heap that a client adds.


def _wakeups() -> int:
    own = threading.get_native_id()
    total = 0
    for status in Path("/proc/self/task").glob("*/status"):
        if int(status.parent.name) != own:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            total += int(fields["voluntary_ctxt_switches"])
    return total


def _idle(open_one: Callable[[], object], seconds: int) -> list[float]:
    open_one()  # what is made once per process does not count
    gc.collect()
    tracemalloc.start()
    kept = open_one()
    gc.collect()
    heap = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    time.sleep(1)
    wakeups, cpu = _wakeups(), time.process_time()
    time.sleep(seconds)
    figures = [(_wakeups() - wakeups) * 60 / seconds / 2, (time.process_time() - cpu) * 60000 / seconds / 2, heap]
    del kept
    return figures


def idle_masquerade(url: str, seconds: int) -> list[float]:
    """Measure a client with its default heartbeat."""
    from masquerade_ws import WebSocketClient  # noqa: PLC0415

    clients = []

    def open_one() -> object:
        clients.append(client := WebSocketClient(f"{url}/idle", _token))
        client.connect()
        return client

    return _idle(open_one, seconds)


def idle_websocketapp(url: str, seconds: int) -> list[float]:
    """Measure WebSocketApp with as many pings."""
    import websocket  # noqa: PLC0415

    def open_one() -> object:
        opened = threading.Event()
        app = websocket.WebSocketApp(f"{url}/idle", on_open=lambda app: opened.set())
        keywords = {"ping_interval": 30, "ping_timeout": 10}
        threading.Thread(target=app.run_forever, kwargs=keywords, daemon=True).start()
        opened.wait()
        return app

    return _idle(open_one, seconds)


def idle_websockets(url: str, seconds: int) -> list[float]:
    """Measure the threaded client of websockets with as many pings."""
    from websockets.sync.client import connect  # noqa: PLC0415

    connections = []

    def open_one() -> object:
        connections.append(connection := connect(f"{url}/idle", compression=None, ping_interval=30))
        return connection

    return _idle(open_one, seconds)


# Memory: the peak of the heap while one large message is received, as a multiple of its size.


def peak_masquerade(url: str, size: int) -> float:
    """Measure a client, its decoded event included."""
    from masquerade_ws import WebSocketClient  # noqa: PLC0415

    done = threading.Event()
    client = WebSocketClient(f"{url}/message/{size}", _token)
    client.on("*", lambda event: done.set())
    with client:
        return _peak(lambda: (client.emit("go"), done.wait()), size)


def peak_websocketclient(url: str, size: int) -> float:
    """Measure websocket-client, without JSON."""
    import websocket  # noqa: PLC0415

    connection = websocket.create_connection(f"{url}/message/{size}")
    peak = _peak(lambda: (connection.send("go"), connection.recv()), size)
    connection.close()
    return peak


def peak_websockets(url: str, size: int) -> float:
    """Measure the threaded client of websockets, without JSON."""
    from websockets.sync.client import connect  # noqa: PLC0415

    with connect(f"{url}/message/{size}", compression=None, max_size=2 * size) as connection:
        peak = _peak(lambda: (connection.send("go"), connection.recv()), size)
        connection.close_socket()
    return peak


def _peak(receive: Callable[[], object], size: int) -> float:
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    receive()
    return (tracemalloc.get_traced_memory()[1] - before) / size


def main() -> None:
    """Run one measurement."""
    measure, contender, url, *numbers = sys.argv[1:]
    name, *missing = contender.split("-")
    for module in missing:
        sys.modules[module] = None  # type: ignore[assignment] - importing it fails then, as if it were not installed
    figures = globals()[f"{measure}_{name}"](url, *map(int, numbers))
    sys.stdout.write(json.dumps(figures if isinstance(figures, list) else [figures]) + "\n")


if __name__ == "__main__":
    main()
