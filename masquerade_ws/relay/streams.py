"""What the leading relay appends: one entry after the other, under ids of its own.

The id is the fence. An append whose id is not above the top of its stream is refused, so a relay that does not lead any
more cannot append, and a repeat after a time-out changes nothing. At most one append is under way, the *flight*. It
ends in one of three ways:

- Taken: both streams have it. A repeat that is refused had been taken, if the top is its id.
- `Fenced`: the top is above it, so that another relay leads. What is in flight goes back into the buffer.
- `EpochEnded`: a stream is gone, or is not as it was: somebody flushed it, or the engine was set back. A new epoch
  begins, with a `start` that says so, and only what was not taken is appended again.

Any other error counts as the engine being away: the flight stays, and is repeated.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from masquerade_ws.relay.buffer import Batch, Note
from masquerade_ws.relay.engine import Engine, EngineRefusal
from masquerade_ws.relay.entries import (
    BACK,
    FORMAT,
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
from masquerade_ws.relay.key_events import KeyEvents
from masquerade_ws.relay.keys import Keys
from masquerade_ws.relay.status import Status
from masquerade_ws.relay.trimming import Trim

__all__ = ["CONSUMER", "EpochEnded", "Fenced", "Stream", "Streams", "top_of"]

CONSUMER = "relay"  # the group of the out stream, and its one consumer
_ENTRY = 80  # bytes that an entry takes beside its values, about


class Fenced(Exception):  # noqa: N818 - it reports no error
    """Another relay leads."""


class EpochEnded(Exception):  # noqa: N818 - likewise
    """A stream is not as this relay left it."""


@dataclass(slots=True)
class Stream:
    """One of the two streams, as the leader knows it.

    Attributes:
        key: Its key.
        trim: How far it reaches.
        last: The last id that it has taken from this relay; where a relay that stands by has read to.
        following: The next id.
        control: The id of its last control entry.
    """

    key: str
    trim: Trim
    last: EntryId = ZERO
    following: EntryId = ZERO
    control: EntryId = ZERO

    def take(self, ids: Sequence[EntryId], size: int) -> None:
        """Note that the stream has taken entries."""
        self.last = ids[-1]
        for entry in ids:
            self.trim.add(entry, time.monotonic(), size // len(ids))


@dataclass(slots=True)
class _Part:
    """What a flight appends to one stream.

    Attributes:
        stream: The stream.
        ids: The ids of the entries, in the epoch of the commands.
        size: Their bytes.
        taken: Whether the stream has it.
    """

    stream: Stream
    ids: list[EntryId] = field(default_factory=list[EntryId])
    size: int = 0
    taken: bool = False


@dataclass(slots=True)
class _Flight:
    """An append that is under way.

    Attributes:
        item: What is appended.
        ev: Its part for the stream of everything.
        key: Its part for the stream of key events.
        commands: What is sent, and to which part each reply belongs; empty until it is written for an epoch.
    """

    item: Batch | Note
    ev: _Part
    key: _Part
    commands: list[tuple[_Part | None, tuple[Any, ...]]] = field(default_factory=list[Any])


class Streams:
    """The two streams, as the leading relay writes them, and the status that goes with them. One thread uses it.

    Args:
        keys: Those of the namespace.
        key_events: Which types go into the stream ``key``.
        relay: The relay's id.
        ev: How far the stream of everything reaches.
        key: How far that of the key events reaches.

    Attributes:
        epoch: The epoch of this relay; 0 before its first.
        leads: Whether it leads, as far as it knows.
        alive: The counter of the status and of the lock.
        sure: The engine's time at which everything received was in the streams.
        gateway: Whether the streams say that the gateway is connected.
        flushes: How many entries with messages were appended.
    """

    def __init__(self, keys: Keys, key_events: KeyEvents, relay: str, ev: Trim, key: Trim) -> None:
        self._keys = keys
        self._key_events = key_events
        self._relay = relay
        self.ev = Stream(keys.ev, ev)
        self.key = Stream(keys.key, key)
        self._flight: _Flight | None = None
        self._lost_at: float | None = None
        self._code: int | None = None
        self._reason = ""
        self.epoch = 0
        self.leads = False
        self.alive = 0
        self.sure = 0
        self.gateway = False
        self.flushes = 0

    @property
    def status(self) -> Status:
        """How the relay is."""
        return Status(
            relay=self._relay,
            epoch=self.epoch,
            key_events=self._key_events.types,
            gateway=self.gateway,
            code=self._code,
            reason=self._reason,
            ev=self.ev.control,
            key=self.key.control,
            alive=self.alive,
            sure=self.sure,
        )

    @property
    def flying_since(self) -> float | None:
        """When what is under way was received, by the monotonic clock."""
        return None if self._flight is None else self._flight.item.received_at

    # Epochs

    def begin(self, engine: Engine, gap: float | None) -> EntryId | None:
        """Begin an epoch. If this relay has no gateway at the moment, that is said again, directly after the `start`.

        Args:
            engine: The connection.
            gap: Seconds for which it is not sure that nothing is missing; ``None`` if it is. A relay that leads already
                knows that itself.

        Returns:
            The top of ``ev`` before it; ``None`` if another relay was quicker.
        """
        watched, ev_top, key_top, (seconds, microseconds) = _values(
            engine.pipeline([("WATCH", self.ev.key, self.key.key), *self._tops(), ("TIME",)])
        )
        del watched
        now_ms = int(seconds) * 1000 + int(microseconds) // 1000
        tops = top_of(ev_top), top_of(key_top)
        epoch = max(now_ms, self.epoch + 1, *(top.epoch + 1 for top in tops))
        first = EntryId(epoch, 0)
        before = self.epoch, self.ev.control, self.key.control
        if self.leads:
            self._note_arrival(tops)
        else:
            self.gateway, self._code, self._reason, self._lost_at = True, None, "", None
        self.epoch = epoch
        ids = [first] if self.gateway or self._is_losing() else [first, first.after()]
        lost = encode_control(LOST, code=self._code, reason=self._reason)
        self.ev.control = self.key.control = ids[-1]
        commands: list[tuple[str | bytes | int, ...]] = []
        for stream, top in zip((self.ev, self.key), tops, strict=True):
            missing = self._missing(stream, top) if self.leads else gap
            start = encode_control(START, previous=str(top), relay=self._relay, format=FORMAT, gap=missing)
            said = (start, lost)[: len(ids)]
            commands += [("XADD", stream.key, str(entry), *fields) for entry, fields in zip(ids, said, strict=True)]
        result = engine.transaction([*commands, ("SET", self._keys.status, self.status.write())])
        if result is None:
            self.epoch, self.ev.control, self.key.control = before
            return None
        _values(result)
        for stream in (self.ev, self.key):
            stream.trim.begin()
            stream.take(ids, _ENTRY)
            stream.following = ids[-1].after()
        self.leads = True
        if self._flight is not None:
            self._flight.commands = []
        return tops[0]

    def _is_losing(self) -> bool:
        """Return whether the note that the gateway is lost is under way, to both streams."""
        flight = self._flight
        if flight is None or flight.ev.taken or flight.key.taken:
            return False
        return isinstance(flight.item, Note) and flight.item.kind == LOST

    def _note_arrival(self, tops: tuple[EntryId, EntryId]) -> None:
        """Note which parts of the append under way a stream had taken, though its answer did not come."""
        flight = self._flight
        if flight is None:
            return
        for part, top in zip((flight.ev, flight.key), tops, strict=True):
            if not part.taken and part.ids and part.ids[-1] == top:
                part.taken = True
                part.stream.take(part.ids, part.size)
        if flight.ev.taken and (flight.key.taken or not flight.key.ids):
            self._flight = None

    def _missing(self, stream: Stream, top: EntryId) -> float | None:
        """Return for how many seconds a stream has lost what it had taken."""
        if top >= stream.last:
            return None
        since = stream.trim.lost_since(top)
        return 0.0 if since is None else round(time.monotonic() - since, 3)

    def leave(self) -> Batch | Note | None:
        """Stop leading; return what was under way and may not have been taken."""
        self.leads = False
        flight, self._flight = self._flight, None
        return None if flight is None or flight.ev.taken else flight.item

    # Checks

    def _tops(self) -> list[tuple[str | int, ...]]:
        return [("XREVRANGE", stream.key, "+", "-", "COUNT", 1) for stream in (self.ev, self.key)]

    def look(self, engine: Engine, *more: tuple[str | int, ...]) -> list[Any]:
        """Check that both streams are as this relay left them, and return the replies to more commands.

        Raises:
            EpochEnded: If one was set back, or is gone.
            Fenced: If one has what another relay appended.
        """
        ev_top, key_top, *others = _values(engine.pipeline([*self._tops(), *more]))
        flight = self._flight
        for stream, reply, part in (
            (self.ev, ev_top, flight and flight.ev),
            (self.key, key_top, flight and flight.key),
        ):
            top = top_of(reply)
            possible = part.ids[-1] if part and part.ids and not part.taken else stream.last
            if top > max(possible, stream.last):
                raise Fenced
            if top < stream.last:
                raise EpochEnded
        return others

    # Appending

    def append(self, engine: Engine, item: Batch | Note) -> None:
        """Append what was received, or a note of the relay's own.

        Raises:
            EpochEnded: If a stream did not take it, since it is not as this relay left it.
            Fenced: If another relay leads.
            EngineError: If the engine is away; `finish` repeats it.
        """
        self._flight = _Flight(item, _Part(self.ev), _Part(self.key))
        self.finish(engine)

    def finish(self, engine: Engine) -> None:
        """Complete the append that is under way, if there is one; raises as `append` does."""
        flight = self._flight
        if flight is None:
            return
        if not flight.commands:
            self._write(flight)
        replies = self._sent(engine, flight)
        by_part = [(part, reply) for (part, _), reply in zip(flight.commands, replies, strict=True)]
        _values([reply for part, reply in by_part if part is None])
        outcomes = [
            self._outcome(engine, part, [reply for each, reply in by_part if each is part])
            for part in (flight.ev, flight.key)
            if part.ids and not part.taken
        ]
        if all(outcomes):
            self._flight = None
            self.flushes += isinstance(flight.item, Batch)
            return
        if None in outcomes and not any(outcomes):
            raise Fenced
        raise EpochEnded

    def _sent(self, engine: Engine, flight: _Flight) -> list[Any]:
        """Send an append and return the replies.

        The status goes with a note, and is no entry that an id would fence: so the streams are looked at before that,
        and nothing is done if another relay appends in between.
        """
        commands = [command for _, command in flight.commands]
        if len(commands) == 1:
            return engine.pipeline(commands)
        while True:
            if isinstance(flight.item, Note):
                engine.call("WATCH", self.ev.key, self.key.key)
                self.look(engine)
            replies = engine.transaction(commands)
            if replies is not None:
                return replies

    def _outcome(self, engine: Engine, part: _Part, replies: Sequence[Any]) -> bool | None:
        """Return whether a stream has taken its part; ``None`` if it has what another relay appended."""
        if not all(isinstance(reply, bytes) for reply in replies):
            refusals = [reply for reply in replies if isinstance(reply, EngineRefusal)]
            for refusal in refusals:
                if not (refusal.code == "ERR" and "equal or smaller" in refusal.reply):
                    raise refusal
            if not refusals:
                return False
            [reply] = engine.pipeline([("XREVRANGE", part.stream.key, "+", "-", "COUNT", 1)])
            [entries] = _values([reply])
            top = top_of(entries)
            if top != part.ids[-1]:
                return None if top > part.ids[-1] else False
        part.taken = True
        part.stream.take(part.ids, part.size)
        return True

    # Writing an append for the present epoch

    def _write(self, flight: _Flight) -> None:
        item = flight.item
        if isinstance(item, Batch):
            self._write_batch(flight, item)
        else:
            self._write_note(flight, item)

    def _write_batch(self, flight: _Flight, batch: Batch) -> None:
        if not flight.ev.taken:
            self._add(flight, flight.ev, [encode_blob([batch.texts], batch.received_ms)])
        if not flight.key.taken:
            where = flight.ev.ids[0]
            found = [
                encode_key_event(KeyEvent(batch.received_ms, one.type, one.job, one.text, place(where, one.number)))
                for one in self._key_events.find(batch.texts)
            ]
            self._add(flight, flight.key, found)

    def _write_note(self, flight: _Flight, note: Note) -> None:
        fields = self._say(note)
        for part in (flight.ev, flight.key):
            if not part.taken:
                self._add(flight, part, [encode_control(note.kind, **fields)])
                part.stream.control = part.ids[0]
        flight.commands.append((None, ("SET", self._keys.status, self.status.write())))
        if note.outgoing is not None:
            flight.commands.append((None, ("XACK", self._keys.out, CONSUMER, note.outgoing)))
            flight.commands.append((None, ("XTRIM", self._keys.out, "MINID", "~", note.outgoing)))

    def _say(self, note: Note) -> dict[str, Any]:
        """Have the status say what a note says; return the fields of the note."""
        if note.kind == LOST:
            self.gateway, self._code, self._reason = False, note.fields["code"], note.fields["reason"]
            self._lost_at = note.received_at
        elif note.kind == BACK:
            self.gateway, self._code, self._reason = True, None, ""
            lost_at = note.received_at if self._lost_at is None else self._lost_at
            return {"gap": round(note.received_at - lost_at, 3)}
        return note.fields

    def _add(self, flight: _Flight, part: _Part, entries: Sequence[list[bytes]]) -> None:
        part.ids, part.size = [], 0
        stream = part.stream
        for entry in entries:
            words = ("XADD", stream.key, "NOMKSTREAM", *stream.trim.words(), str(stream.following), *entry)
            flight.commands.append((part, words))
            part.ids.append(stream.following)
            part.size += sum(map(len, entry)) + _ENTRY
            stream.following = stream.following.after()


def top_of(entries: Sequence[Sequence[Any]]) -> EntryId:
    """Return the id of the one entry of an ``XREVRANGE + - COUNT 1``; `ZERO` if there is none."""
    return EntryId.parse(entries[0][0]) if entries else ZERO


def _values(replies: Sequence[Any]) -> list[Any]:
    """Return the replies, unless one is a refusal, which is raised."""
    for reply in replies:
        if isinstance(reply, EngineRefusal):
            raise reply
    return [*replies]
