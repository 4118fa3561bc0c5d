"""The relay that leads: it appends what comes, keeps the lock, and says how it is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

from masquerade_ws.log import logger
from masquerade_ws.relay.buffer import Batch, Note
from masquerade_ws.relay.engine import Engine
from masquerade_ws.relay.entries import BACK, LOST
from masquerade_ws.relay.lock import RENEWAL, owner_of
from masquerade_ws.relay.parts import Parts
from masquerade_ws.relay.status import Expiry
from masquerade_ws.relay.streams import EpochEnded, Fenced

__all__ = ["Leader"]

_GOING_AWAY = 1001  # RFC 6455, 7.4.1
_CLOSING = 2.0  # seconds for the gateway to answer the close, within the time for which the lock is held


class Leader:
    """Leads, from one connection to the engine to the next.

    Args:
        parts: Those of the relay.
        complete: Completes a take-over that the loss of the engine had broken off.
    """

    def __init__(self, parts: Parts, complete: Callable[[Engine], object]) -> None:
        self._parts = parts
        self._complete = complete
        self._standby = Expiry()
        self._renewed_at = -math.inf
        self._flushed_at = -math.inf

    def lead(self, engine: Engine) -> None:
        """Lead until the relay is stopped, or does not lead any more.

        Raises:
            EngineError: If the engine is away; call it again with the next connection.
        """
        parts, streams = self._parts, self._parts.streams
        try:
            self._complete(engine)
            self._renew(engine)
            self._within_epochs(engine, partial(streams.finish, engine))
            while streams.leads and not parts.stopping.is_set():
                due = self._flushed_at + parts.linger
                if parts.buffer.wait(self._renewed_at + RENEWAL, due):
                    self._flush(engine, time.monotonic())
                if time.monotonic() >= self._renewed_at + RENEWAL:
                    self._renew(engine)
            if streams.leads:
                self._stop(engine)
        except Fenced:
            logger.warning("another relay leads namespace %s; standing by", parts.keys.namespace)
            self._step_down(engine)

    # Appending

    def _flush(self, engine: Engine, before: float) -> None:
        """Append all that came before a time."""
        parts = self._parts
        while (item := parts.buffer.take(before)) is not None:
            self._flushed_at = time.monotonic()
            if isinstance(item, Note):
                parts.view.learn(item)
            self._append_unseen(engine, item)

    def _append_unseen(self, engine: Engine, item: Batch | Note) -> None:
        """Append an item, but for what the leader before this one had appended."""
        parts = self._parts
        unseen = [item]
        if item.count and parts.tail.awaits(time.monotonic()):
            unseen = parts.tail.without_seen(item)
        try:
            while unseen:
                self._append(engine, unseen.pop(0))
        finally:
            parts.buffer.put_back(unseen)

    def _append(self, engine: Engine, item: Batch | Note) -> None:
        self._within_epochs(engine, partial(self._parts.streams.append, engine, item))

    def _within_epochs(self, engine: Engine, action: Callable[[], object]) -> None:
        """Do something, and go on with it in a new epoch should a stream not be as it was left."""
        streams = self._parts.streams
        while True:
            try:
                action()
            except EpochEnded:
                self._begin(engine)
                action = partial(streams.finish, engine)
            else:
                return

    def _begin(self, engine: Engine) -> None:
        """Begin a new epoch, unless another relay has the lock by now."""
        logger.warning("the engine has lost entries, or was set back; workers are told of a gap")
        parts = self._parts
        while parts.streams.begin(engine, None) is None:
            if owner_of(engine.call("GET", parts.keys.leader)) not in ("", parts.relay):
                raise Fenced

    # Keeping the lead

    def _renew(self, engine: Engine) -> None:
        """Prolong the lock, check the streams, and say how the relay is."""
        parts, streams = self._parts, self._parts.streams
        ask: tuple[tuple[str | int, ...], ...] = (
            ("WATCH", parts.keys.leader),
            ("GET", parts.keys.leader),
            ("GET", parts.keys.standby),
            ("TIME",),
        )
        try:
            _, holder, standby, (seconds, microseconds) = streams.look(engine, *ask)
        except EpochEnded:
            self._begin(engine)
            self._within_epochs(engine, partial(streams.finish, engine))
            return  # with the old time of the last renewal, so that the next follows at once
        now = time.monotonic()
        if owner_of(holder) not in ("", parts.relay):
            raise Fenced
        self._standby.look(standby if owner_of(standby) != parts.relay else None, now)
        engine_ms = int(seconds) * 1000 + int(microseconds) // 1000
        parts.clock.set(engine_ms, now)
        parts.view.set_clock(engine_ms, now)
        self._note_sure(engine_ms, now)
        streams.alive += 1
        if engine.transaction([parts.lock.renewal(), ("SET", parts.keys.status, streams.status.write())]) is None:
            return  # likewise
        self._renewed_at = now
        if not streams.gateway and self._standby.moving and parts.buffer.empty:
            logger.info("the gateway is lost and another relay has it; handing over")
            self._step_down(engine)
            parts.lock.give_back(engine)

    def _note_sure(self, engine_ms: int, now: float) -> None:
        """Note up to when all that was received is in the streams."""
        streams = self._parts.streams
        waiting = [at for at in (self._parts.buffer.oldest_at(), streams.flying_since) if at is not None]
        if streams.gateway:
            streams.sure = (
                max(streams.sure, int(engine_ms - (now - min(now, *waiting)) * 1000)) if waiting else engine_ms
            )

    # Ending

    def _stop(self, engine: Engine) -> None:
        """Hand over to a relay that stands by, or append what there is and say that nobody leads."""
        parts = self._parts
        done = parts.outbox.stop()
        if done:
            engine.pipeline(done)
        if self._standby.moving:
            self._flush(engine, math.inf)
        else:
            parts.client.disconnect(timeout=_CLOSING)
            while (item := parts.buffer.take(math.inf)) is not None:
                if not (isinstance(item, Note) and item.kind in (LOST, BACK)):
                    self._append_unseen(engine, item)
            said = {"code": _GOING_AWAY, "reason": "the relay was stopped"}
            self._append(engine, Note(LOST, said, time.monotonic()))
        parts.streams.leave()
        parts.lock.give_back(engine)

    def _step_down(self, engine: Engine) -> None:
        """Stand by from now on, with what was not appended."""
        parts = self._parts
        done = parts.outbox.stop()
        item = parts.streams.leave()
        if item is not None and item.count:
            parts.buffer.put_back([item])
        engine.pipeline([*done, ("UNWATCH",)])
