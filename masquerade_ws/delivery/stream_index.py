"""The streams of a client, found by type and by the payload values that they wait for.

The index holds streams weakly, so that one which nothing refers to any more costs nothing. No thread waits here: the
reader thread and the dispatcher thread put events in, and any thread adds and removes streams.
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
from masquerade_ws.errors import DisconnectedError

__all__ = ["RECONNECTED", "StreamIndex"]

RECONNECTED = object()  # put into each stream whose reader polls, after a connection


class _Entry(weakref.ref[EventStream[Any]]):
    """A stream, and where the index has it."""

    __slots__ = ("filter", "polls")

    filter: Filter
    polls: bool


class _Table:
    """The streams that wait for values of the same payload fields."""

    __slots__ = ("entries", "values_of")

    def __init__(self, fields: tuple[str, ...]) -> None:
        self.entries: dict[Any, dict[_Entry, None]] = {}
        self.values_of: Callable[[Mapping[str, Any]], Any] = itemgetter(*fields) if fields else lambda _: ()


class StreamIndex:
    """Who waits for what: by name, then by names of payload fields, then by their values.

    Args:
        guard: Refuses waits on a thread that others wait for.

    Attributes:
        dropped: How many events full streams have dropped.
        newest_event: The type of the last event that the server sent, and when it came by the monotonic clock; not
            kept up while nobody waits.
        why_idle: Returns why the stream with a serial number gets no event until the next ``connect()``, if so.
    """

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.dropped = 0
        self.newest_event: tuple[str, float] | None = None
        self.why_idle: Callable[[int], DisconnectedError | None] = _never
        self._all: weakref.WeakSet[EventStream[Any]] = weakref.WeakSet()  # ended ones too: they can still be read
        self._reset()

    def _reset(self) -> None:
        # Guards the tables and counts below. No user code runs under it but finalizers, which the collector may call at
        # any line: it is reentrant for them, and `_changing` says that the tables are in the middle of a change.
        self._lock = threading.RLock()
        self._changing = False
        self._serial = 0
        self._entries: dict[_Entry, _Entry] = {}
        self._by_name: dict[str, dict[tuple[str, ...], _Table]] = {}
        self._patterns: tuple[str, ...] = ()
        self._dead: deque[_Entry] = deque()  # filled without the lock: the collector may run inside it

    def __bool__(self) -> bool:
        with self._lock:  # a stream that is narrowed is out for a moment
            return bool(self._entries)

    def add(self, stream: EventStream[Any], *, polls: bool = False) -> None:
        """Put events into a stream from now on.

        Args:
            stream: The stream.
            polls: Whether to put `RECONNECTED` into it as well, now and after each connection.
        """
        entry = _Entry(stream, self._dead.append)
        entry.polls = polls
        if polls:
            stream.offer(RECONNECTED)
        with self._lock:
            self._bury()
            self._all.add(stream)
            self._serial = stream.serial = self._serial + 1
            self._insert(entry, stream.filter)

    def narrow(self, stream: EventStream[Any], taken: Filter) -> None:
        """Give a stream another filter; no event that both take is missed or doubled."""
        with self._lock:
            entry = self._entries.get(_Entry(stream))
            if entry is not None:  # otherwise it has ended
                self._dead.append(entry)
                self._bury()
                self._insert(entry, taken)
                stream.filter = taken

    def discard(self, stream: EventStream[Any]) -> None:
        """Put nothing into a stream any more."""
        with self._lock:
            if (entry := self._entries.get(_Entry(stream))) is not None:
                self._dead.append(entry)
            self._bury()

    def deliver(self, event: AnyEvent, *, asking: bool = True) -> bool:
        """Put an event into each stream that takes it.

        Args:
            event: What to deliver.
            asking: Whether to ask predicates; otherwise their streams do not take it.

        Returns:
            Whether a stream took it.
        """
        with self._lock:
            self._bury()
            found = self._find(event)
        if not found:
            return False
        taken = dropped = 0
        for stream in sorted(found, key=_asks):  # the predicates last: one that hangs holds up no other stream
            if stream.ended:  # while a predicate hung: the others are not asked any more
                continue
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

    def end(self, newest: int, cause: DisconnectedError) -> None:
        """End the streams that were there at some time.

        Args:
            newest: The serial number of the newest of them.
            cause: Why they end.
        """
        with self._lock:
            present = [(entry, entry()) for entry in list(self._entries)]
            ended = [(entry, stream) for entry, stream in present if stream is not None and stream.serial <= newest]
            self._dead.extend(entry for entry, _ in ended)
            self._bury()
        for _, stream in ended:
            stream.end(cause)

    def after_fork(self, cause: DisconnectedError) -> None:
        """Start anew in a forked child, whose streams have ended."""
        self._reset()
        for stream in self._all:
            stream.after_fork(cause)

    def _accepts(self, stream: EventStream[Any], event: AnyEvent) -> bool:
        try:
            return stream.filter.accepts(event)
        except BaseException as error:  # the predicate's own, an exit too: it ends its own wait and nothing else
            self.discard(stream)
            stream.fail(error)
            return False

    def _find(self, event: AnyEvent) -> list[EventStream[Any]]:
        fields = fields_of(event)
        found: list[_Entry] = []
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

    def _insert(self, entry: _Entry, taken: Filter) -> None:
        self._changing = True
        try:
            entry.filter = taken
            self._entries[entry] = entry
            for name in taken.names:
                if name not in self._by_name and is_pattern(name):
                    self._patterns = (*self._patterns, name)
                tables = self._by_name.setdefault(name, {})
                table = tables.get(taken.fields) or tables.setdefault(taken.fields, _Table(taken.fields))
                table.entries.setdefault(taken.values, {})[entry] = None
        finally:
            self._changing = False

    def _bury(self) -> None:
        """Remove the dead, unless a finalizer asks for it in the middle of another change: the next change does it."""
        if self._dead and not self._changing:
            self._changing = True
            try:
                while self._dead:
                    self._remove(self._dead[0])
                    self._dead.popleft()
            finally:
                self._changing = False

    def _remove(self, entry: _Entry) -> None:
        """Take out an entry, or the one for the same stream, and each table that is empty then.

        An interrupt may have cut an insertion or a removal short, so each part may be missing. What is left of a stream
        then goes once nothing refers to it.
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


def _never(_: int) -> None:
    return None
