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
from typing import Any, NamedTuple

from masquerade_ws.delivery.blocking import Guard, holds
from masquerade_ws.delivery.filters import AnyEvent, Filter, fields_of
from masquerade_ws.delivery.patterns import is_pattern, matches
from masquerade_ws.delivery.streams import EventStream
from masquerade_ws.errors import DisconnectedError
from masquerade_ws.protocol.codec import Fronts

__all__ = ["RECONNECTED", "StreamIndex"]

RECONNECTED = object()  # put into each stream whose reader polls, after a connection


class _Entry(weakref.ref[EventStream[Any]]):
    """A stream, and where the index has it."""

    __slots__ = ("filter", "polls")

    filter: Filter
    polls: bool


def _entry_of(stream: EventStream[Any], gone: Callable[[_Entry], object] | None = None) -> _Entry:
    """Return an entry that can be looked up, by a hash that it keeps, also once its stream is gone."""
    entry = _Entry(stream, gone)
    hash(entry)
    return entry


class _Insertion(NamedTuple):
    """A stream to take in, and what it takes."""

    entry: _Entry
    taken: Filter


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
        fronts: Forgotten with each change of what streams take.
    """

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.dropped = 0
        self.newest_event: tuple[str, float] | None = None
        self.why_idle: Callable[[int], DisconnectedError | None] = _never
        self.fronts = Fronts()
        self._all: weakref.WeakSet[EventStream[Any]] = weakref.WeakSet()  # ended ones too: they can still be read
        self._reset()

    def _reset(self) -> None:
        # Guards the tables and counts below. No user code runs under it but signal handlers and finalizers, which may
        # do so at any line: it is reentrant for them, and the changes that they ask for follow the one that they cut.
        self._lock = threading.RLock()
        self._holder = threading.Condition(self._lock)  # knows whether this thread holds the lock
        self._serial = 0
        self._entries: dict[_Entry, _Entry] = {}
        self._by_name: dict[str, dict[tuple[str, ...], _Table]] = {}
        self._patterns: tuple[str, ...] = ()
        # The changes to be made: entries whose streams to take out, and insertions. The collector adds to it without
        # the lock, since it may run inside it.
        self._due: deque[_Entry | _Insertion] = deque()

    def __bool__(self) -> bool:
        with self._lock:  # a stream that is narrowed is out for a moment
            self._make_due_changes()  # or one that is gone would count until the next event that somebody takes
            return bool(self._entries)

    @property
    def held(self) -> bool:
        """Whether this very thread is in the middle of a change of the index or of one of its streams."""
        if holds(self._holder):
            return True
        return any(stream.held for stream in self._open())

    def add(self, stream: EventStream[Any], *, polls: bool = False) -> None:
        """Put events into a stream from now on.

        Args:
            stream: The stream.
            polls: Whether to put `RECONNECTED` into it as well, now and after each connection.
        """
        entry = _entry_of(stream, self._due.append)
        entry.polls = polls
        if polls:
            stream.offer(RECONNECTED)
        cutting = holds(self._holder)
        with self._lock:
            self._all.add(stream)
            self._serial = stream.serial = self._serial + 1
            self._due.append(_Insertion(entry, stream.filter))
            self._change(cutting)
            self.fronts.forget()

    def narrow(self, stream: EventStream[Any], taken: Filter) -> None:
        """Give a stream another filter; no event that both take is missed or doubled."""
        cutting = holds(self._holder)
        with self._lock:
            entry = self._entries.get(_Entry(stream))
            if entry is not None:  # otherwise it has ended
                self._due += entry, _Insertion(entry, taken)
                self._change(cutting)
                self.fronts.forget()
                stream.filter = taken

    def discard(self, stream: EventStream[Any]) -> None:
        """Put nothing into a stream any more."""
        cutting = holds(self._holder)
        with self._lock:
            self._due.append(_entry_of(stream))
            self._change(cutting)

    def takes(self, type: str) -> bool:
        """Return whether a stream may take events of a type."""
        with self._lock:
            self._make_due_changes()
            return type in self._by_name or any(matches(name, type) for name in self._patterns)

    def deliver(self, event: AnyEvent, *, asking: bool = True) -> bool:
        """Put an event into each stream that takes it.

        Args:
            event: What to deliver.
            asking: Whether to ask predicates; otherwise their streams do not take it.

        Returns:
            Whether a stream took it.
        """
        with self._lock:
            self._make_due_changes()
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
            self._make_due_changes()
            polling = [stream for entry in self._entries if entry.polls and (stream := entry()) is not None]
        for stream in polling:
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
        cutting = holds(self._holder)
        with self._lock:
            ended = [stream for stream in self._open() if stream.serial <= newest]
            self._due.extend(map(_entry_of, ended))
            self._change(cutting)
        for stream in ended:
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
            for table in self._by_name.get(name, {}).values():
                try:
                    found += table.entries.get(table.values_of(fields), ())
                except (KeyError, TypeError):  # the event lacks a field, or has an array or an object there
                    continue
        return [stream for entry in dict.fromkeys(found) if (stream := entry()) is not None] if found else []

    def _open(self) -> list[EventStream[Any]]:
        """Return the streams that are in the index, or about to be."""
        with self._lock:
            due = [change.entry for change in list(self._due) if isinstance(change, _Insertion)]
            entries = dict.fromkeys([*self._entries, *due])
        return [stream for entry in entries if (stream := entry()) is not None]

    def _change(self, cutting: bool) -> None:
        """Make the changes that are due, unless this cuts into others: then those who make these make them, too."""
        if not cutting:
            self._make_due_changes()

    def _make_due_changes(self) -> None:
        """Make the changes that are due, in order. What an interrupt cut short is made anew."""
        while self._due:
            change = self._due[0]
            if isinstance(change, _Insertion):
                self._insert(*change)
            else:
                self._remove(change)
            self._due.popleft()

    def _insert(self, entry: _Entry, taken: Filter) -> None:
        entry.filter = taken
        self._entries[entry] = entry
        for name in taken.names:
            if name not in self._by_name and is_pattern(name):
                self._patterns = (*self._patterns, name)
            tables = self._by_name.setdefault(name, {})
            table = tables.get(taken.fields) or tables.setdefault(taken.fields, _Table(taken.fields))
            table.entries.setdefault(taken.values, {})[entry] = None

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
        self.fronts.forget()


def _asks(stream: EventStream[Any]) -> bool:
    return stream.filter.asks


def _never(_: int) -> None:
    return None
