"""The streams of a client, found by type and by the payload values that they wait for.

The index holds streams weakly, so that one which nothing refers to any more costs nothing.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from masquerade_ws.delivery.blocking import Guard
from masquerade_ws.delivery.filters import AnyEvent, Filter, fields_of
from masquerade_ws.delivery.patterns import is_pattern, matches
from masquerade_ws.delivery.streams import EventStream

__all__ = ["RECONNECTED", "StreamIndex"]

RECONNECTED = object()  # put into each stream whose reader polls after a connection


class Entry(weakref.ref[EventStream[Any]]):
    """A stream, and where the index has it."""

    __slots__ = ("filter", "polls", "serial")

    filter: Filter
    polls: bool
    serial: int


class Table:
    """The streams that wait for values of the same payload fields."""

    __slots__ = ("entries", "values_of")

    def __init__(self, fields: tuple[str, ...]) -> None:
        self.entries: dict[Any, dict[Entry, None]] = {}
        self.values_of: Callable[[Mapping[str, Any]], Any] = itemgetter(*fields) if fields else lambda _: ()


class StreamIndex:
    """Who waits for what: by name, then by names of payload fields, then by their values."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.dropped = 0
        self._all: weakref.WeakSet[EventStream[Any]] = weakref.WeakSet()  # ended ones too: they can still be read
        self._reset()

    def _reset(self) -> None:
        # Guards the tables and counts below; never held while user code runs, but for what the collector finalizes
        # at any line: it is reentrant for that, and `_changing` tells that the tables are in between.
        self._lock = threading.RLock()
        self._changing = False
        self._serial = 0
        self._entries: dict[Entry, Entry] = {}
        self._by_name: dict[str, dict[tuple[str, ...], Table]] = {}
        self._patterns: tuple[str, ...] = ()
        self._dead: deque[Entry] = deque()  # filled without the lock: the collector may run inside it

    def __bool__(self) -> bool:
        with self._lock:  # a stream that is narrowed is out for a moment
            return bool(self._entries)

    def add(self, stream: EventStream[Any], *, polls: bool = False) -> None:
        """Put events into ``stream`` from now on; with ``polls`` a mark now and after each connection too."""
        entry = Entry(stream, self._dead.append)
        entry.polls = polls
        if polls:
            stream.offer(RECONNECTED)
        with self._lock:
            self._bury()
            self._all.add(stream)
            self._serial = entry.serial = self._serial + 1
            self._insert(entry, stream.filter)

    def narrow(self, stream: EventStream[Any], taken: Filter) -> None:
        """Give ``stream`` another filter; no event that both take is missed or doubled."""
        with self._lock:
            entry = self._entries.get(Entry(stream))
            if entry is not None:  # otherwise it has ended
                self._dead.append(entry)
                self._bury()
                self._insert(entry, taken)
                stream.filter = taken

    def discard(self, stream: EventStream[Any]) -> None:
        """Put nothing into ``stream`` any more."""
        with self._lock:
            if (entry := self._entries.get(Entry(stream))) is not None:
                self._dead.append(entry)
            self._bury()

    def deliver(self, event: AnyEvent, *, asking: bool = True) -> bool:
        """Put ``event`` into each stream that takes it; tell whether there was one. ``asking``: by its predicate."""
        with self._lock:
            self._bury()
            found = self._find(event)
        if not found:
            return False
        taken = dropped = 0
        for stream in sorted(found, key=_asks):  # the predicates last: one that hangs holds up no other stream
            if not _asks(stream) or (asking and self._accepts(stream, event)):
                taken += 1
                dropped += stream.offer(event)
        if dropped:
            with self._lock:
                self.dropped += dropped
        return taken > 0

    def mark_reconnection(self) -> None:
        """Wake each wait that polls."""
        with self._lock:
            polling = [entry() for entry in list(self._entries) if entry.polls]
        for stream in polling:
            if stream is not None:
                stream.offer(RECONNECTED)

    def newest(self) -> int:
        """Return the serial number of the newest stream, for `end`."""
        return self._serial  # without the lock, since the life cycle's is held

    def end(self, newest: int, cause: Exception) -> None:
        """End each stream up to the one with the serial number ``newest``."""
        with self._lock:
            ended = [entry for entry in list(self._entries) if entry.serial <= newest]
            self._dead.extend(ended)
            self._bury()
        for entry in ended:
            stream = entry()
            if stream is not None:
                stream.end(cause)

    def after_fork(self, cause: Exception) -> None:
        """Start anew in a forked child, whose streams have ended."""
        self._reset()
        for stream in self._all:
            stream.after_fork(cause)

    def _accepts(self, stream: EventStream[Any], event: AnyEvent) -> bool:
        try:
            return stream.filter.accepts(event)
        except BaseException as error:  # the predicate's own: it ends the wait that gave it and nothing else
            self.discard(stream)
            stream.end(error)
            return False

    def _find(self, event: AnyEvent) -> list[EventStream[Any]]:
        fields = fields_of(event)
        found: list[Entry] = []
        names = [event.type]
        if self._patterns:
            names += (name for name in self._patterns if matches(name, event.type))
        for name in names:
            for table in tuple(self._by_name.get(name, {}).values()):  # a finalizer may bury meanwhile
                try:
                    found += table.entries.get(table.values_of(fields), ())
                except (KeyError, TypeError):  # the event lacks a field, or has an array or an object there
                    continue
        return [stream for entry in dict.fromkeys(found) if (stream := entry()) is not None] if found else []

    def _insert(self, entry: Entry, taken: Filter) -> None:
        self._changing = True
        try:
            entry.filter = taken
            self._entries[entry] = entry
            for name in taken.names:
                if name not in self._by_name and is_pattern(name):
                    self._patterns = (*self._patterns, name)
                tables = self._by_name.setdefault(name, {})
                table = tables.get(taken.fields) or tables.setdefault(taken.fields, Table(taken.fields))
                table.entries.setdefault(taken.values, {})[entry] = None
        finally:
            self._changing = False

    def _bury(self) -> None:
        """Remove the dead, unless that is a finalizer's wish in the middle of another change; the next does it then."""
        if self._dead and not self._changing:
            self._changing = True
            try:
                while self._dead:
                    self._remove(self._dead[0])
                    self._dead.popleft()
            finally:
                self._changing = False

    def _remove(self, entry: Entry) -> None:
        """Take out ``entry``, or the one for the same stream, and each table that is empty then.

        An interrupt may have cut an insertion or a removal short, so each part may be missing; what is left of one is
        removed once the stream is forgotten.
        """
        known = self._entries.get(entry)
        if known is None:
            return
        for name in known.filter.names:
            tables = self._by_name.get(name, {})
            if (table := tables.get(known.filter.fields)) is not None:
                entries = table.entries
                entries.get(known.filter.values, {}).pop(known, None)
                if not entries.get(known.filter.values):
                    entries.pop(known.filter.values, None)
                if not entries:
                    del tables[known.filter.fields]
            if not tables:
                self._by_name.pop(name, None)
                self._patterns = tuple(pattern for pattern in self._patterns if pattern != name)
        del self._entries[known]


def _asks(stream: EventStream[Any]) -> bool:
    return stream.filter.asks
