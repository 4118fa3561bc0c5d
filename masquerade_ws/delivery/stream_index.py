"""The streams and futures of a client, found by type and by the payload values that they wait for.

The index holds them weakly, so that one which nothing refers to any more costs nothing. No thread waits here: the
reader thread and the dispatcher thread put events in, and any thread adds and removes recipients.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from masquerade_ws.delivery.blocking import Guard, holds
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import AnyEvent, Filter, fields_of
from masquerade_ws.delivery.patterns import is_pattern, matches
from masquerade_ws.delivery.streams import EventStream
from masquerade_ws.errors import DisconnectedError
from masquerade_ws.events import Event
from masquerade_ws.protocol.codec import Fronts

__all__ = ["Reconnection", "StreamIndex"]

# Types come from the server, so what remembers them is limited in number and in length.
_REMEMBERED_TYPES = 1024
_REMEMBERED_LENGTH = 256


class Reconnection(NamedTuple):
    """Put into each recipient that asks for it, when a connection is made.

    Attributes:
        number: How many connections the client has made, this one included.
        resumed: Whether nothing can have been missed.
    """

    number: int
    resumed: bool


class _Recipient(Protocol):
    """What takes events: a stream, or a future."""

    filter: Filter
    serial: int

    @property
    def ended(self) -> bool:
        """Whether no event is taken any more."""
        ...

    @property
    def held(self) -> bool:
        """Whether this very thread is in the middle of using it."""
        ...

    def offer(self, event: Any, /) -> bool:
        """Take an event, or a `Reconnection`; return whether another one had to go for it."""
        ...

    def end(self, cause: DisconnectedError, /) -> None:
        """End, for this cause, unless it has ended."""
        ...

    def fail(self, failure: BaseException, /) -> None:
        """End with what the predicate raised, unless it has ended."""
        ...

    def after_fork(self, cause: DisconnectedError, /) -> None:
        """End in a forked child, where another thread of the parent may have held the lock."""
        ...


class _Entry(weakref.ref[_Recipient]):
    """A recipient, and where the index has it."""

    __slots__ = ("filter", "polls")

    filter: Filter
    polls: bool


def _entry_of(recipient: _Recipient, gone: Callable[[_Entry], object] | None = None) -> _Entry:
    """Return an entry that can be looked up, by a hash that it keeps, also once its recipient is gone."""
    entry = _Entry(recipient, gone)
    hash(entry)
    return entry


class _Insertion(NamedTuple):
    """A recipient to take in, and what it takes."""

    entry: _Entry
    taken: Filter


class _Table:
    """The recipients that wait for values of the same payload fields."""

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
        event_queue: Returns the queue for listeners of the newest session, if there is one.
        fronts: Forgotten with each change of what the recipients take.
    """

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.dropped = 0
        self.newest_event: tuple[str, float] | None = None
        self.why_idle: Callable[[int], DisconnectedError | None] = _never
        self.event_queue: Callable[[], EventQueue | None] = _none
        self.fronts = Fronts()
        self._all: weakref.WeakSet[_Recipient] = weakref.WeakSet()  # ended ones too: they can still be read
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
        # Who takes those of the server's types that came lately; `_look_up` finds the others.
        self._by_type: dict[str, tuple[_Entry, ...] | list[_Table]] = {}
        # The changes to be made: entries whose recipients to take out, and insertions. The collector adds to it without
        # the lock, since it may run inside it.
        self._due: deque[_Entry | _Insertion] = deque()

    def __bool__(self) -> bool:
        with self._lock:  # one that is narrowed is out for a moment
            self._make_due_changes()  # or one that is gone would count until the next event that somebody takes
            return bool(self._entries)

    @property
    def held(self) -> bool:
        """Whether this very thread is in the middle of a change of the index or of one of its recipients."""
        if holds(self._holder):
            return True
        return any(recipient.held for recipient in self._open())

    def add(self, recipient: _Recipient, *, polls: bool = False) -> None:
        """Put events into a stream or a future from now on.

        Args:
            recipient: The stream or future.
            polls: Whether to put a `Reconnection` into it as well, after each connection.
        """
        entry = _entry_of(recipient, self._due.append)
        entry.polls = polls
        cutting = holds(self._holder)
        with self._lock:
            self._all.add(recipient)
            self._serial = recipient.serial = self._serial + 1
            self._due.append(_Insertion(entry, recipient.filter))
            self._change(cutting)
            self._forget()

    def narrow(self, recipient: _Recipient, taken: Filter) -> None:
        """Give a recipient another filter; no event that both take is missed or doubled."""
        cutting = holds(self._holder)
        with self._lock:
            entry = self._entries.get(_Entry(recipient))
            if entry is not None:  # otherwise it has ended
                self._due += entry, _Insertion(entry, taken)
                self._change(cutting)
                self._forget()
                recipient.filter = taken

    def discard(self, recipient: _Recipient) -> None:
        """Put nothing into a recipient any more."""
        cutting = holds(self._holder)
        with self._lock:
            self._due.append(_entry_of(recipient))
            self._change(cutting)

    def takes(self, type: str) -> bool:
        """Return whether anything may take events of a type."""
        with self._lock:
            self._make_due_changes()
            return bool(self._tables_for(type))

    def feed(self, events: Iterable[AnyEvent], queue: EventQueue, newest: str | None) -> list[AnyEvent]:
        """Put the server's events into the recipients that take them.

        Events go together into streams that take them all, since to wake their readers for each one would cost more
        than all the rest. Where others wait for values of payload fields, mostly none waits for those of the event, and
        that is found without the lock, and without a call: among 2,000 waits for other jobs an event costs 1.3 times as
        much as without, with the lock 2.2 times (the reader's part, events of 130 bytes). A change is due until it is
        made, and has `_by_type` replaced: who finds none due after the look, and the same `_by_type`, has met none.

        Args:
            events: The events, each to be made when the one before it is delivered; parse errors among them.
            queue: Where they go next.
            newest: The type of the last event that came with them, if that may be missing among them.

        Returns:
            The events, or none if the queue is abandoned meanwhile.
        """
        made: list[AnyEvent] = []
        entries: tuple[_Entry, ...] = ()
        together: list[AnyEvent] = []  # what is to go into the streams of `entries`
        for event in events:
            if queue.abandoned:  # a predicate hung, and the streams are the next session's by now
                return []
            made.append(event)
            if not isinstance(event, Event):
                continue
            by_type = self._by_type
            try:
                found = by_type[event.type]
            except KeyError:
                found = self._look_up(event.type)
            if isinstance(found, tuple):
                if found and found != entries:
                    self._extend(entries, together)
                    entries, together = found, []
                if found:
                    together.append(event)
                continue
            for table in found:
                try:
                    if table.values_of(event.payload) in table.entries:
                        break
                except (KeyError, TypeError):  # the event lacks a field, or has an array or an object there
                    continue
            else:
                if not self._due and self._by_type is by_type:
                    continue
            self._extend(entries, together)
            together = []
            self.deliver(event)
        self.newest_event = newest or made[-1].type, time.monotonic()
        self._extend(entries, together)
        return made

    def deliver(self, event: AnyEvent, *, asking: bool = True) -> bool:
        """Put an event into each recipient that takes it.

        Args:
            event: What to deliver.
            asking: Whether to ask predicates; otherwise their recipients do not take it.

        Returns:
            Whether anything took it.
        """
        with self._lock:
            self._make_due_changes()
            found = self._find(event)
        if not found:
            return False
        taken = dropped = 0
        for recipient in sorted(found, key=_turn):
            if recipient.ended:  # while a predicate hung: the others are not asked any more
                continue
            if not recipient.filter.asks or (asking and self._accepts(recipient, event)):
                taken += 1
                dropped += recipient.offer(event)
        if dropped:
            with self._lock:
                self.dropped += dropped
        return taken > 0

    def mark_connection(self, connection: Reconnection) -> None:
        """Put the news of a connection into each recipient that polls, in the order in which they were added."""
        with self._lock:
            self._make_due_changes()
            polling = [recipient for entry in self._entries if entry.polls and (recipient := entry()) is not None]
        for recipient in polling:
            recipient.offer(connection)

    def newest(self) -> int:
        """Return the serial number of the newest recipient, for `end`."""
        return self._serial  # without the lock, since the life cycle's is held

    def end(self, newest: int, cause: DisconnectedError) -> None:
        """End the recipients that were there at some time.

        Args:
            newest: The serial number of the newest of them.
            cause: Why they end.
        """
        cutting = holds(self._holder)
        with self._lock:
            ended = [recipient for recipient in self._open() if recipient.serial <= newest]
            self._due.extend(map(_entry_of, ended))
            self._change(cutting)
        for recipient in sorted(ended, key=_turn):
            recipient.end(cause)

    def after_fork(self, cause: DisconnectedError) -> None:
        """Start anew in a forked child, whose streams and futures have ended."""
        self._reset()
        for recipient in list(self._all):
            recipient.after_fork(cause)

    def _accepts(self, recipient: _Recipient, event: AnyEvent) -> bool:
        try:
            return recipient.filter.accepts(event)
        except BaseException as error:  # the predicate's own, an exit too: it ends its own wait and nothing else
            self.discard(recipient)
            recipient.fail(error)
            return False

    def _look_up(self, type: str) -> tuple[_Entry, ...] | list[_Table]:
        """Return the streams that take all events of a type; if anything else takes some of them, where to look.

        It is remembered in `_by_type`, until something comes or goes.
        """
        with self._lock:
            self._make_due_changes()
            by_type = self._by_type  # read before the rest: a change in between makes this entry useless, never stale
            tables = self._tables_for(type)
            found = _all_in(tables)
        if len(by_type) >= _REMEMBERED_TYPES:
            by_type.clear()
        if len(type) <= _REMEMBERED_LENGTH:
            by_type[type] = tables if found is None else found
        return tables if found is None else found

    def _extend(self, entries: Iterable[_Entry], events: Sequence[AnyEvent]) -> None:
        """Put events that came together, if any did, into streams that take them all."""
        if not events:
            return
        streams: list[EventStream[Any]] = [stream for entry in entries if isinstance(stream := entry(), EventStream)]
        dropped = sum(stream.extend(events) for stream in streams)
        if dropped:
            with self._lock:
                self.dropped += dropped

    def _find(self, event: AnyEvent) -> list[_Recipient]:
        fields = fields_of(event)
        found: list[_Entry] = []
        for table in self._tables_for(event.type):
            try:
                found += table.entries.get(table.values_of(fields), ())
            except (KeyError, TypeError):
                continue
        return [recipient for entry in dict.fromkeys(found) if (recipient := entry()) is not None] if found else []

    def _tables_for(self, type: str) -> list[_Table]:
        """Return the tables that may have recipients for a type."""
        names = [type, *(name for name in self._patterns if matches(name, type))]
        return [table for name in names for table in self._by_name.get(name, {}).values()]

    def _forget(self) -> None:
        """Forget what was found before a change."""
        self._by_type = {}
        self.fronts.forget()

    def _open(self) -> list[_Recipient]:
        """Return the recipients that are in the index, or about to be."""
        with self._lock:
            due = [change.entry for change in list(self._due) if isinstance(change, _Insertion)]
            entries = dict.fromkeys([*self._entries, *due])
        return [recipient for entry in entries if (recipient := entry()) is not None]

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
        """Take out an entry, or the one for the same recipient, and each table that is empty then.

        An interrupt may have cut an insertion or a removal short, so each part may be missing. What is left of a
        recipient then goes once nothing refers to it.
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
        self._forget()


def _all_in(tables: Iterable[_Table]) -> tuple[_Entry, ...] | None:
    """Return the entries of tables, each once; ``None`` if one is for anything but a stream without a condition."""
    found: dict[_Entry, None] = {}
    for table in tables:
        for values, entries in table.entries.items():
            if values != ():
                return None
            found |= entries
    plain = all(isinstance(entry(), EventStream | None) and not entry.filter.asks for entry in found)
    return tuple(found) if plain else None


def _turn(recipient: _Recipient) -> int:
    """Return the place among those that take an event: user code that hangs is to hold up no other."""
    if recipient.filter.asks:
        return 2  # a predicate
    return 0 if isinstance(recipient, EventStream) else 1  # a future may have callbacks


def _never(_: int) -> None:
    return None


def _none() -> None:
    return None
