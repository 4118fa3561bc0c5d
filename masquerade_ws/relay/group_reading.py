"""The connection of a client of a group, which shares the key events with the other clients of the group."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.errors import DisconnectedError, MasqueradeError
from masquerade_ws.events import ErrorEvent, timestamp_now
from masquerade_ws.relay.chain import Gap
from masquerade_ws.relay.engine import EngineError, EngineRefusal
from masquerade_ws.relay.entries import START, Control, EntryId, KeyEvent, decode
from masquerade_ws.relay.group_place import GroupPlace
from masquerade_ws.relay.hand import Hold
from masquerade_ws.relay.reading import LOOK, OVERDUE, PAUSE, Reading, Taken
from masquerade_ws.sanitize import excerpt
from masquerade_ws.user_code import as_exception

__all__ = ["GroupReading", "tend_group"]

_PAGE = 100  # entries that are read at once while control entries are looked for
_HOUR = 3600.0  # seconds, after which a consumer that has nothing and does nothing is deleted


class GroupReading(Reading):
    """One connection of a client of a group.

    New entries come by ``XREADGROUP``. Of control entries each client gets only some, and acknowledges them unread: it
    learns from the status that there are any, and reads them by ``XRANGE``.

    Args:
        place: Where the session has read to.
        send_timeout: Seconds that a send may take.
    """

    def __init__(self, place: GroupPlace, send_timeout: float) -> None:
        super().__init__(place, send_timeout)
        self._group = place
        self._keeper = place.keeper
        self._looked_at = 0.0
        self._recovered = False  # whether what an earlier connection was given and did not receive is taken

    # Connecting

    def _first_look(self) -> bool:
        if not super()._first_look() and self._chain.last is None:
            return False
        assert self._place.status is not None
        self._group.told = self._place.status.key
        return self._join() and self._chain.led and not self._place.gone

    def _look_again(self) -> bool:
        return self._join() and self._wait(0.0)

    def _join(self) -> bool:
        """Make the group, if need be; return whether there is a stream for it."""
        place, keeper = self._group, self._keeper
        keeper.hand.stopping, keeper.hand.tell = False, None
        try:
            self._call(0.0, "XGROUP", "CREATE", place.stream, keeper.group, "0" if place.rebuilt else "$")
        except EngineRefusal as refusal:
            if refusal.code == "ERR":
                return False  # the stream is missing: a relay makes it
            if refusal.code != "BUSYGROUP":
                raise
        place.rebuilt = False
        self._tidy()
        return True

    def _wait(self, seconds: float) -> bool:
        if self._chain.last is None:
            self._sleep(seconds, str(self._chain.cursor))
            return self._first_look()
        top = self._call(0.0, "XREVRANGE", self._place.stream, "+", "-", "COUNT", 1)
        if not top:
            self._group.rebuilt = True
        moved = self._place.look(self._call(0.0, "GET", self._place.keys.status))
        leader = self._call(0.0, "GET", self._place.keys.leader)
        for _, gap in self._news():
            self._note(gap)
        self._place.gone = self._place.gone and not (leader is not None and moved)
        status = self._place.status
        if status is not None and status.gateway and leader is not None and self._chain.led and not self._place.gone:
            return True
        self._sleep(seconds, top[0][0] if top else "0-0")
        return False

    def _sleep(self, seconds: float, after: str | bytes) -> None:
        """Wait until something comes after an entry, but not for longer than so many seconds."""
        block = max(1, int(seconds * 1000))
        self._call(seconds, "XREAD", "COUNT", 1, "BLOCK", block, "STREAMS", self._place.stream, after)

    def _news(self) -> Iterator[tuple[Control, Gap | None]]:
        """Yield the control entries since the last one that was read, and what each says is missing."""
        place = self._group
        status = place.status
        if status is None or status.key == place.told:
            return
        after, last = place.told, status.key
        while True:
            page = self._call(0.0, "XRANGE", place.stream, f"({after}", str(last), "COUNT", _PAGE)
            for name, fields in page:
                entry = decode(fields)
                if isinstance(entry, Control):
                    place.told = EntryId.parse(name)
                    yield entry, self._heed(entry)
            if len(page) < _PAGE:
                break
            after = EntryId.parse(page[-1][0])
        place.told = last

    def _heed(self, entry: Control) -> Gap | None:
        if entry.kind == START and entry.fields.get("previous") == "0-0":
            self._chain.heed(entry)
            return Gap("the engine has lost the history of the stream; how many entries are missing is not known")
        return self._chain.heed(entry)

    # Reading

    def _next_batch(self) -> list[Taken]:
        if not self._recovered:
            self._recovered = True
            return self._recover()
        return self._look_in_time() or self._take_over_in_time() or self._read_new()

    def _loss_by(self, error: Exception) -> DisconnectedError:
        if isinstance(error, EngineRefusal) and error.code in {"NOGROUP", "UNBLOCKED"}:
            self._group.rebuilt = True
            return DisconnectedError("the engine has lost the history of the stream, and the group with it")
        return super()._loss_by(error)

    def _look_in_time(self) -> list[Taken]:
        """Look at the status, if it is time, and read the control entries that it names."""
        if time.monotonic() - self._looked_at < LOOK / 2:
            return []
        self._looked_at = time.monotonic()
        self._look()
        news: list[Taken] = []
        for entry, gap in self._news():
            said = entry if self._place.concerns(entry) else None
            if said is not None or gap is not None:
                news.append(Taken(self._group.told, said, gap, self._seconds_of(gap) if gap else 0.0))
            if not self._chain.led:
                self._lose_gateway()
                break
        return news

    def _check_top(self) -> None:
        """Do nothing: a stream that is gone takes the group with it, which the next read shows."""

    def _read_new(self) -> list[Taken]:
        """Return entries that were delivered to nobody before, as many as there is room for."""
        place, keeper = self._group, self._keeper
        pause = max(0.001, min(LOOK / 2, keeper.retry_after / 2))
        room = min(place.count, keeper.hand.room())
        if not room or not place.wants() or keeper.hand.stopping:
            keeper.hand.wait_for_room(pause)
            return []
        sent = time.monotonic()
        reply = self._call(
            pause,
            *("XREADGROUP", "GROUP", keeper.group, keeper.name, "COUNT", room, "BLOCK", max(1, int(pause * 1000))),
            *("STREAMS", place.stream, ">"),
        )
        entries: list[Any] = reply[0][1] if reply else []
        return self._take_in([(name, fields, 1) for name, fields in entries], sent)

    def _take_in(self, entries: list[tuple[bytes, list[bytes], int]], sent: float) -> list[Taken]:
        """Take entries into the hand; acknowledge those that are no key events."""
        batch: list[Taken] = []
        others: list[str] = []
        for name, fields, tries in entries:
            entry_id, entry = EntryId.parse(name), decode(fields)
            self.bytes_received += sum(map(len, fields))
            if isinstance(entry, KeyEvent):
                self._keeper.left.discard(entry_id)
                self._keeper.hand.take(Hold(entry_id, entry, tries, sent))
                batch.append(Taken(entry_id, entry, None, 0.0))
            else:
                others.append(str(entry_id))
                if not isinstance(entry, Control):
                    batch.append(Taken(entry_id, entry, None, 0.0))
        if others:
            self._call(0.0, "XACK", self._place.stream, self._keeper.group, *others)
        return batch

    def _take_over_in_time(self) -> list[Taken]:
        """Look, if it is time, for entries that nobody keeps, and take some over."""
        place, keeper = self._group, self._keeper
        now = time.monotonic()
        if now - place.taken_over_at < keeper.retry_after / 2 or not place.wants() or keeper.hand.stopping:
            return []
        place.taken_over_at = now
        room = keeper.hand.room()
        if not room:
            return []
        idle = self._call(0.0, "XPENDING", place.stream, keeper.group, "IDLE", keeper.retry_ms, "-", "+", room)
        tries = {EntryId.parse(name): count for name, _, _, count in idle if not keeper.hand.holds(EntryId.parse(name))}
        worn = [entry_id for entry_id, count in tries.items() if count >= keeper.max_deliveries]
        taken = self._claim([entry_id for entry_id in tries if entry_id not in worn], tries)
        self._bury(worn, tries)
        if now - place.tidied_at >= _HOUR:
            self._tidy()
        return taken

    def _claim(self, ids: list[EntryId], tries: dict[EntryId, int]) -> list[Taken]:
        if not ids:
            return []
        place, keeper = self._group, self._keeper
        sent = time.monotonic()
        reply = self._call(
            0.0,
            *("XCLAIM", place.stream, keeper.group, keeper.name, keeper.retry_ms),
            *map(str, ids),
        )
        claimed = [(name, fields, tries[EntryId.parse(name)] + 1) for name, fields in filter(None, reply)]
        batch = self._take_in(claimed, sent)
        got = {EntryId.parse(name) for name, _, _ in claimed}
        return batch + self._give_up_trimmed([entry_id for entry_id in ids if entry_id not in got])

    def _give_up_trimmed(self, ids: list[EntryId]) -> list[Taken]:
        """Acknowledge entries that the stream does not hold any more; the others have gone to another client."""
        stream = self._place.stream
        trimmed = [entry_id for entry_id in ids if not self._call(0.0, "XRANGE", stream, str(entry_id), str(entry_id))]
        if not trimmed:
            return []
        self._call(0.0, "XACK", stream, self._keeper.group, *map(str, trimmed))
        named = ", ".join(map(str, trimmed))
        reason = f"the stream was trimmed before the group had handled {len(trimmed)} of its entries: {named}"
        return [Taken(trimmed[0], None, Gap(reason), 0.0, MasqueradeError(reason))]

    def _bury(self, ids: list[EntryId], tries: dict[EntryId, int]) -> None:
        """Take entries that were tried often enough out of the group; the heartbeat thread does the rest."""
        if not ids:
            return
        place, keeper = self._group, self._keeper
        claim = ("XCLAIM", place.stream, keeper.group, keeper.name, keeper.retry_ms)
        won = [EntryId.parse(name) for name in self._call(0.0, *claim, *map(str, ids), "JUSTID")]
        for taken in self._take_in(self._fetch({entry_id: tries[entry_id] for entry_id in won}), time.monotonic()):
            keeper.hand.let_go(keeper.hand.holding(taken.id), failed=True)

    def _recover(self) -> list[Taken]:
        """Take what the engine has delivered and this client has not received: that was no try."""
        place, keeper = self._group, self._keeper
        mine = self._call(0.0, "XPENDING", place.stream, keeper.group, "-", "+", 1000, keeper.name)
        pending = {EntryId.parse(name): count for name, _, _, count in mine}
        keeper.left &= pending.keys()
        lost = {entry_id: tries for entry_id, tries in pending.items() if not self._knows(entry_id)}
        if not lost:
            return []
        sent = time.monotonic()
        # What the heartbeat thread has acknowledged since the first look cannot be claimed.
        names = self._call(0.0, "XCLAIM", place.stream, keeper.group, keeper.name, 0, *map(str, lost), "JUSTID")
        claimed = [EntryId.parse(name) for name in names]
        return self._take_in(self._fetch({entry_id: lost[entry_id] for entry_id in claimed}), sent)

    def _knows(self, entry_id: EntryId) -> bool:
        """Return whether an entry that is this client's to the engine is in hand, or is left for another try."""
        return self._keeper.hand.holds(entry_id) or entry_id in self._keeper.left

    def _fetch(self, tries: dict[EntryId, int]) -> list[tuple[bytes, list[bytes], int]]:
        """Return entries with how often each was delivered; those that were trimmed are left out."""
        replies = [(self._call(0.0, "XRANGE", self._place.stream, str(one), str(one)), tries[one]) for one in tries]
        return [(reply[0][0], reply[0][1], count) for reply, count in replies if reply]

    def _tidy(self) -> None:
        """Delete consumers that have nothing and have done nothing for an hour."""
        place, keeper = self._group, self._keeper
        place.tidied_at = time.monotonic()
        for reply in self._call(0.0, "XINFO", "CONSUMERS", place.stream, keeper.group):
            about = dict(zip(reply[::2], reply[1::2], strict=True))
            if not about[b"pending"] and about[b"idle"] >= _HOUR * 1000 and about[b"name"].decode() != keeper.name:
                self._call(0.0, "XGROUP", "DELCONSUMER", place.stream, keeper.group, about[b"name"])

    # Ending

    def close(self, code: int = 1000, reason: str = "", timeout: float = 2.0) -> None:
        """End it, and begin with nothing any more."""
        self._keeper.hand.stop()
        super().close(code, reason, timeout)

    def _close(self) -> None:
        super()._close()
        self._keeper.hand.ring()  # the heartbeat thread finds that TCP is closed

    def wait_bell(self, seconds: float) -> None:
        """Wait for news of what is in hand, or for the end, but not for longer than so many seconds."""
        self._keeper.hand.wait(seconds)

    def tend_hand(self, event_queue: EventQueue) -> float:
        """Tell the engine what has become of what is in hand, and keep the rest; return the seconds until it is due.

        Args:
            event_queue: Where dead letters are told.
        """
        keeper = self._keeper
        with suppress(EngineError):  # it is told another time
            keeper.tell()
            pause = keeper.keep()
            for hold in keeper.buried:
                error = _burial_of(hold, keeper.keys.dead(keeper.group))
                event_queue.post(ErrorEvent(error, "handler", timestamp_now()))
            keeper.buried = []
            event_queue.wake()
            return pause
        return min(PAUSE, keeper.retry_after / 3)


def _burial_of(hold: Hold, stream: str) -> Exception:
    error = MasqueradeError(
        f"event {hold.event.place} ({excerpt(hold.event.type)}) failed {hold.tries} times, and was moved to {stream}"
    )
    if hold.error is not None:
        error.__cause__ = as_exception(hold.error, "a listener")
    return error


def tend_group(connection: GroupReading, event_queue: EventQueue) -> None:
    """Run the heartbeat thread of a connection of a group, which ends with it, and which a bell wakes besides."""
    while not connection.wait_tcp_closed(0):
        seconds = min(connection.tend(), connection.tend_hand(event_queue), OVERDUE)
        connection.wait_bell(seconds)
