"""A relay's part in the engine, played by a test: it leads, and appends what the test says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import redis

from masquerade_ws.relay import RelayClient
from masquerade_ws.relay.entries import (
    BACK,
    LOST,
    START,
    ZERO,
    EntryId,
    KeyEvent,
    encode_blob,
    encode_control,
    encode_key_event,
    place,
)
from masquerade_ws.relay.keys import Keys
from masquerade_ws.relay.status import Status
from tests.support.engines import EngineServer
from tests.support.scenes import TIMEOUT

__all__ = ["Leader", "connected", "wire_of"]

KEY_EVENTS = ("image.generation.completed", "image.generation.failed")


def connected(client: RelayClient) -> RelayClient:
    """Connect a client, and wait until its listeners know."""
    told = threading.Event()
    client.once("connected", lambda _: told.set())
    client.connect()
    assert told.wait(TIMEOUT)
    return client


def wire_of(type: str, **payload: Any) -> str:
    """Return a message as the gateway writes it, with a timestamp of its own."""
    return json.dumps({"type": type, "payload": payload, "timestamp": "2026-11-22T12:00:00.000Z"})


class Leader:
    """A relay that leads, as the engine shows it. As a context manager it renews its status and its lock meanwhile.

    Args:
        engine: Where it writes.
        namespace: Its own.
        epoch: Its epoch; the present time by default.
        gap: What its ``start`` says.
        gateway: Whether it is connected to the gateway.
        key_events: The types that it writes into the stream of key events.
    """

    def __init__(
        self,
        engine: EngineServer,
        *,
        namespace: str = "default",
        epoch: int | None = None,
        gap: float | None = None,
        gateway: bool = True,
        key_events: Sequence[str] = KEY_EVENTS,
    ) -> None:
        self.keys = Keys(namespace)
        self._redis = redis.Redis(unix_socket_path=str(engine.path), protocol=2)
        self._redis.response_callbacks.clear()
        self._epoch = int(time.time() * 1000) if epoch is None else epoch
        self._gap = gap
        self._key_events = tuple(key_events)
        self._gateway = gateway
        self._said: tuple[int | None, str] = None, ""
        self._next = {self.keys.ev: EntryId(self._epoch, 0), self.keys.key: EntryId(self._epoch, 0)}
        self._last = {self.keys.ev: ZERO, self.keys.key: ZERO}
        self._alive = 0
        self._pipeline: Any = None
        self._changing = threading.RLock()  # the status is written with each control entry and by the thread
        self._over = threading.Event()
        self._paused = False
        self._thread = threading.Thread(target=self._renew, daemon=True)

    # Leading

    def __enter__(self) -> Leader:
        self.start()
        self._thread.start()
        return self

    def start(self) -> None:
        """Begin an epoch, after whatever the streams hold."""
        previous = {}
        for stream in (self.keys.ev, self.keys.key):
            top = self.run("XREVRANGE", stream, "+", "-", "COUNT", 1)
            previous[stream] = str(EntryId.parse(top[0][0])) if top else "0-0"
        with self._at_once():
            for stream, before in previous.items():
                said = encode_control(START, previous=before, relay="it", format=1, gap=self._gap)
                self._last[stream] = self._next[stream]
                self._append(stream, said, make=True)
            self.show()

    def anew(self, gap: float | None = None) -> None:
        """End the epoch and begin another one."""
        with self._changing:
            self._epoch = max(self._epoch, int(time.time() * 1000)) + 1000
            self._gap = gap
            self._next = {stream: EntryId(self._epoch, 0) for stream in self._next}
            self.start()

    def _renew(self) -> None:
        while not self._over.wait(0.2):
            if not self._paused:
                try:
                    self.show()
                except redis.RedisError:
                    continue  # the engine is away

    def show(self) -> None:
        """Renew the status and the lock."""
        with self._changing:
            self._alive += 1
            code, reason = self._said
            status = Status(
                relay="it",
                epoch=self._epoch,
                key_events=self._key_events,
                gateway=self._gateway,
                code=code,
                reason=reason,
                ev=self._last[self.keys.ev],
                key=self._last[self.keys.key],
                alive=self._alive,
                sure=0,
            )
            self.run("SET", self.keys.status, status.write())
            self.run("SET", self.keys.leader, f"it:{self._alive}", "PX", 4000)

    def pause(self) -> None:
        """Show no sign of life any more."""
        with self._changing:
            self._paused = True

    def resume(self) -> None:
        """Go on, under the old epoch."""
        with self._changing:
            self._paused = False
            self.show()

    def vanish(self) -> None:
        """Crash, and let the lock run out."""
        self.pause()
        self.run("DEL", self.keys.leader)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._redis.close()

    # Appending

    def append(self, *texts: str | bytes, received_ms: int = 1_700_000_000_000) -> str:
        """Append texts as one entry, and those that are key events to their stream; return the entry's id."""
        with self._changing:
            raw = [text.encode() if isinstance(text, str) else text for text in texts]
            entry = self._next[self.keys.ev]
            self._append(self.keys.ev, encode_blob(raw, received_ms))
            for index, text in enumerate(raw):
                kind, job = _named(text)
                if kind in self._key_events:
                    event = KeyEvent(received_ms, kind, job, text, place(entry, index))
                    self._append(self.keys.key, encode_key_event(event))
            return str(entry)

    def emit(self, type: str, **payload: Any) -> str:
        """Append an event; return the entry's id."""
        return self.append(wire_of(type, **payload))

    def note(self, kind: str, **fields: Any) -> None:
        """Append a control entry to both streams, and show it in the status."""
        with self._changing, self._at_once():
            for stream in self._next:
                self._last[stream] = self._next[stream]
                self._append(stream, encode_control(kind, **fields))
            if kind == LOST:
                self._gateway, self._said = False, (fields["code"], fields["reason"])
            elif kind == BACK:
                self._gateway, self._said = True, (None, "")
            self.show()

    def skip(self, stream: str, count: int) -> None:
        """Leave out so many ids, as if their entries had been trimmed."""
        self._next[stream] = EntryId(self._epoch, self._next[stream].n + count)

    def _append(self, stream: str, fields: Sequence[bytes], *, make: bool = False) -> None:
        entry = self._next[stream]
        self.run("XADD", stream, *(() if make else ("NOMKSTREAM",)), str(entry), *fields)
        self._next[stream] = entry.after()

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        """Run what is run within in one ``MULTI``."""
        with self._redis.pipeline(transaction=True) as self._pipeline:
            yield
            self._pipeline.execute()
        self._pipeline = None

    def run(self, *command: Any) -> Any:
        """Run a command and return the raw reply."""
        return (self._redis if self._pipeline is None else self._pipeline).execute_command(*command)


def _named(text: bytes) -> tuple[str, str]:
    try:
        value = json.loads(text)
        return str(value["type"]), str(value["payload"].get("job_id", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""
