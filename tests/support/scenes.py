"""What the scenario tests of the client share: clients that leave nothing behind, and a record of their events."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from masquerade_ws import WebSocketClient
from masquerade_ws.events import CLIENT_EVENT_TYPES

__all__ = [
    "CLOSING",
    "CONNECTING",
    "FOUR",
    "PATIENCE",
    "TIMEOUT",
    "Hang",
    "Record",
    "Worker",
    "client_of",
    "closed_port_url",
    "elapsed",
    "flood",
    "names_of_threads",
    "running",
]

TIMEOUT = 30.0  # seconds, for what is bound to happen
PATIENCE = 20.0  # seconds that a slow machine may take for what it does at once
FOUR = ["masquerade-ws-dispatcher", "masquerade-ws-heartbeat", "masquerade-ws-reader", "masquerade-ws-supervisor"]
CONNECTING = ["disconnected > connecting", "connecting > connected", "connected"]
CLOSING = ["connected > disconnecting", "disconnecting > disconnected", "disconnected"]
T = TypeVar("T")


def names_of_threads() -> list[str]:
    """Return the names of the library's threads, without that of the test server, sorted."""
    names = (thread.name for thread in threading.enumerate())
    return sorted(name for name in names if name.startswith("masquerade-ws-") and name != "masquerade-ws-testing")


def elapsed(action: Callable[[], object]) -> float:
    """Return how many seconds ``action`` took."""
    start = time.monotonic()
    action()
    return time.monotonic() - start


def closed_port_url() -> str:
    """Return a URL at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"ws://127.0.0.1:{listener.getsockname()[1]}/ws"


def flood(client: WebSocketClient) -> None:
    """Send more than any socket takes whose peer does not read."""
    for _ in range(1000):
        client.emit("filler", {"x": "x" * 100_000})


@contextmanager
def client_of(url: str, get_token: Callable[[], str] = lambda: "token", **options: Any) -> Iterator[WebSocketClient]:
    """Make a client that retries quickly; check that it leaves no thread behind."""
    options.setdefault("initial_reconnect_delay", 0.01)
    options.setdefault("max_reconnect_delay", 0.05)
    client = WebSocketClient(url, get_token, **options)
    try:
        yield client
    finally:
        client.disconnect(timeout=TIMEOUT)
        deadline = time.monotonic() + TIMEOUT
        for thread in threading.enumerate():
            if thread.name.startswith("masquerade-ws-") and thread.name != "masquerade-ws-testing":
                thread.join(max(0.0, deadline - time.monotonic()))
        assert names_of_threads() == []


class Hang:
    """User code that hangs until it is let go, for longer than anything that may not wait for it."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.over = threading.Event()

    def __call__(self, *_: object) -> str:
        self.entered.set()
        assert self.over.wait(2 * TIMEOUT)
        return "token"


class Record:
    """What a client tells its listeners, in order.

    Args:
        client: Whose.
        types: What to listen to; all four events of the client's own by default.
    """

    def __init__(self, client: WebSocketClient, *types: str) -> None:
        self.events: list[Any] = []
        self._changed = threading.Condition()
        for name in types or sorted(CLIENT_EVENT_TYPES):
            client.on(name, self._note)

    def _note(self, event: Any) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def of(self, type: str) -> list[Any]:
        """Return the events of one type so far."""
        return [event for event in self.events if event.type == type]

    def wait(self, type: str, count: int = 1) -> Any:
        """Wait for so many events of one type, and return the last of them."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.of(type)) >= count, TIMEOUT), self.events
            return self.of(type)[count - 1]

    @property
    def story(self) -> list[str]:
        """The events, each in a word or two."""
        return [
            f"{event.old_state} > {event.new_state}" if event.type == "state:change" else event.type
            for event in self.events
        ]


class Worker(threading.Thread):
    """A thread that keeps what its function returns or raises."""

    def __init__(self, action: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._action = action
        self._returned: Any = None
        self.raised: BaseException | None = None

    def run(self) -> None:
        try:
            self._returned = self._action()
        except BaseException as error:
            self.raised = error

    def result(self) -> Any:
        """Wait for the end of the function, and return or raise what it did."""
        self.join(TIMEOUT)
        assert not self.is_alive(), "the function did not come back"
        if self.raised is not None:
            raise self.raised
        return self._returned


def running(action: Callable[[], Any]) -> Worker:
    """Run a function on a thread of its own."""
    worker = Worker(action)
    worker.start()
    return worker
