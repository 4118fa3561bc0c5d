"""The relay that stands by: it follows the stream, and takes over when nobody leads."""

from __future__ import annotations

import math
import time

from masquerade_ws.log import logger
from masquerade_ws.relay.buffer import OVERHEAD, Batch, Note
from masquerade_ws.relay.engine import Engine
from masquerade_ws.relay.entries import BAD, ZERO, Blob, Control, EntryId, decode
from masquerade_ws.relay.lock import RENEWAL, owner_of
from masquerade_ws.relay.parts import Parts
from masquerade_ws.relay.status import Expiry, Status
from masquerade_ws.relay.streams import top_of

__all__ = ["Standby", "WrongGateway"]

_POLL = 0.1  # seconds from one look at the stream to the next
_ASK = 0.5  # seconds from one try to lead to the next
_COUNT = 8  # entries in one answer, each of which may have hundreds of kilobytes


class WrongGateway(Exception):  # noqa: N818 - the name says what is wrong
    """The relay that leads the namespace has another gateway."""


class Standby:
    """Stands by, from one connection to the engine to the next.

    Args:
        parts: Those of the relay.

    Attributes:
        position: Up to which entry the stream was read; ``None`` before the first look.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.position: EntryId | None = None
        self._previous: EntryId | None = None  # up to where the stream is to be read to complete a take-over
        self._leader = Expiry()
        self._status: Status | None = None
        self._sure_moved_at = -math.inf
        self._asked_at = -math.inf
        self._shown_at = -math.inf
        self._connecting = False

    def stand_by(self, engine: Engine) -> None:
        """Stand by until the relay leads, or is stopped.

        Raises:
            EngineError: If the engine is away; call it again with the next connection.
            WrongGateway: If the relay that leads has another gateway.
        """
        parts = self._parts
        if self.position is None:
            self.position = top_of(engine.call("XREVRANGE", parts.keys.ev, "+", "-", "COUNT", 1))
        self.position = max(self.position, parts.streams.ev.last)
        if not parts.cold:
            self._connect()
        while not parts.stopping.is_set():
            now = time.monotonic()
            self._drain()
            leader, status, (seconds, microseconds) = engine.pipeline(
                [("GET", parts.keys.leader), ("GET", parts.keys.status), ("TIME",)]
            )
            self._follow(engine)
            engine_ms = int(seconds) * 1000 + int(microseconds) // 1000
            parts.clock.set(engine_ms, now)
            if parts.view.connected:
                parts.view.set_clock(engine_ms, now)
            self._note_status(status, now)
            free = not self._leader.look(leader or None, now)
            self._check_gateway(leader)
            if parts.cold:
                self._connect() if free else self._disconnect()
            if parts.view.connected:
                self._show(engine, now)
                if now - self._asked_at >= _ASK:
                    self._asked_at = now
                    if self._ask(engine, leader, free=free) and self._take_over(engine):
                        return
            parts.stopping.wait(_POLL)

    # The gateway

    def _connect(self) -> None:
        if not self._connecting:
            self._connecting = True
            self._parts.client.connect(block=False)

    def _disconnect(self) -> None:
        if self._connecting:
            self._connecting = False
            self._parts.client.disconnect()

    def _check_gateway(self, leader: bytes | None) -> None:
        """Refuse to stand by a relay of another gateway, the digest of whose URL its id begins with."""
        theirs, ours = owner_of(leader).partition("-")[0], self._parts.relay.partition("-")[0]
        if self._leader.moving and theirs != ours:
            raise WrongGateway(
                f"the relay that leads namespace {self._parts.keys.namespace!r} has another gateway; "
                "give this one a namespace of its own (--namespace)"
            )

    # Following

    def _drain(self) -> None:
        """Take what came from the gateway."""
        parts = self._parts
        while True:
            received = self._receive()
            note = parts.buffer.take_note()
            if note is not None:
                parts.view.learn(note)
            elif not received:
                break
        parts.buffer.elsewhere = parts.tail.size

    def _receive(self) -> bool:
        """Take the messages that came until the gateway's next end or return; return whether there are any."""
        items, dropped = self._parts.buffer.take_messages()
        self._parts.tail.receive(items, dropped)
        return bool(items)

    def _follow(self, engine: Engine, last: EntryId | None = None) -> None:
        """Read on in the stream, up to an entry or to its end, and strike what is there."""
        parts = self._parts
        end = "+" if last is None else str(last)
        while True:
            entries = engine.call("XRANGE", parts.keys.ev, f"({self.position or ZERO}", end, "COUNT", _COUNT)
            for entry, fields in entries:
                self._strike(fields)
                self.position = EntryId.parse(entry)
            if len(entries) < _COUNT:
                return

    def _strike(self, fields: list[bytes]) -> None:
        parts, now, entry = self._parts, time.monotonic(), decode(fields)
        if isinstance(entry, Blob):
            item: Batch | Note = Batch(entry.texts, 1, entry.received_ms, now)
        elif isinstance(entry, Control) and entry.kind == BAD and isinstance(entry.fields.get("data"), str):
            item = Note(BAD, dict(entry.fields), now, time.time_ns() // 1_000_000, OVERHEAD, 1)
        else:
            return
        remember = parts.view.connected and item.received_ms >= parts.view.opened_ms
        parts.tail.see(item, remember=remember)

    def _note_status(self, value: bytes | None, now: float) -> None:
        """Note how the leader is, and when it was last seen to be sure."""
        if value is None:
            return
        try:
            status = Status.read(value)
        except ValueError:
            return
        if self._status is not None and status.sure > self._status.sure:
            self._sure_moved_at = now
        self._status = status

    # Leading

    def _show(self, engine: Engine, now: float) -> None:
        """Show that this relay is connected to the gateway."""
        if now - self._shown_at >= RENEWAL:
            self._shown_at = now
            engine.call("SET", self._parts.keys.standby, self._parts.lock.value())

    def _ask(self, engine: Engine, leader: bytes | None, *, free: bool) -> bool:
        """Ask for the lead; return whether the lock is ours."""
        lock = self._parts.lock
        if owner_of(leader) == self._parts.relay:
            return True
        if leader is None:
            return lock.acquire(engine)
        return free and lock.take_from(engine, leader)

    def _take_over(self, engine: Engine) -> bool:
        """Begin to lead; return whether that worked. Only then is the rest of the stream read, and struck."""
        parts = self._parts
        if self._status is not None:
            parts.streams.sure = self._status.sure
        previous = parts.streams.begin(engine, self._gap())
        if previous is None:
            return False
        logger.info("leading namespace %s", parts.keys.namespace)
        self._previous = previous
        parts.outbox.start()
        return True

    def complete(self, engine: Engine) -> None:
        """Complete a take-over: strike what the stream has, and leave the rest to be appended first."""
        if self._previous is None:
            return
        parts = self._parts
        self._receive()
        self._follow(engine, self._previous)
        self._previous = None
        parts.buffer.put_back(parts.tail.take())
        parts.buffer.note_dropped(parts.tail.dropped)
        parts.buffer.elsewhere = parts.tail.dropped = 0

    def _gap(self) -> float | None:
        """Return for how many seconds something may be missing; ``None`` if nothing can be."""
        view, status = self._parts.view, self._status
        if status is None or not status.sure or view.opened_engine_ms is None:
            return 0.0
        whole = self._sure_moved_at > view.opened_at and not self._parts.tail.dropped
        if whole and view.opened_engine_ms <= status.sure:
            return None
        return round(max(0.0, view.opened_engine_ms - status.sure) / 1000, 3)

    def leave(self, engine: Engine) -> None:
        """Show no longer that this relay is there."""
        key = self._parts.keys.standby
        if owner_of(engine.call("GET", key)) == self._parts.relay:
            engine.call("SET", key, "", "PX", 1)
