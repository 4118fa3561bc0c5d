"""What came from the gateway and is not yet in the streams.

The gateway's reader thread puts into it, and never waits; the relay's thread takes out of it. The relay's thread waits
in `Buffer.wait`, which whatever is put, and `Buffer.wake`, end.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeAlias, cast

from masquerade_ws.relay.entries import BACK, BAD, DROPPED, LOST, one_line

__all__ = ["FULL", "OVERHEAD", "Batch", "Buffer", "Note", "Text", "batches_of", "texts_of"]

FULL = 256 * 1024  # bytes that are appended without waiting for more
OVERHEAD = 64  # bytes that a text takes beside its own, about
_BAD = b"\n"  # marks a message that has line breaks and is not JSON; no other text begins with it
_MOST = 1000  # messages in a batch
_PARTS = 16  # of the limit; a batch holds no more than about one
_SPAN_MS = 100  # what one entry holds came within this time


Text: TypeAlias = tuple[bytes, int, float]  # with the times of its receipt: milliseconds since 1970, monotonic clock


@dataclass(slots=True)
class Batch:
    """Texts that came together.

    Attributes:
        texts: The raw texts, joined by newlines.
        count: How many they are.
        received_ms: When they came, in milliseconds since 1970.
        received_at: The same by the monotonic clock.
    """

    texts: bytes
    count: int
    received_ms: int
    received_at: float

    @property
    def size(self) -> int:
        """What it counts for in the buffer."""
        return len(self.texts) + OVERHEAD * self.count


@dataclass(slots=True)
class Note:
    """A control entry to be.

    Attributes:
        kind: Its kind.
        fields: The rest of it.
        received_at: When it was made, by the monotonic clock.
        received_ms: The same in milliseconds since 1970; for one that stands for a message.
        size: What it counts for in the buffer.
        count: How many messages it stands for.
        outgoing: The entry of the out stream that is acknowledged with it.
    """

    kind: str
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    received_at: float = 0.0
    received_ms: int = 0
    size: int = 0
    count: int = 0
    outgoing: bytes | None = None


class Buffer:
    """A queue of batches and notes that is bounded in bytes: when it is full, the oldest messages go.

    Args:
        limit: Bytes of messages that it may hold, with what each takes beside its own.

    Attributes:
        elsewhere: Bytes of the limit that the relay's thread holds elsewhere.
        messages: How many messages have come.
        bytes: How many bytes they had.
        dropped_total: How many messages were dropped.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()  # guards all that follows
        self._changed = threading.Condition(self._lock)
        self._items: deque[Batch | Note] = deque()
        self._size = 0
        self._dropped = 0
        self._woken = False
        self.elsewhere = 0
        self.messages = 0
        self.bytes = 0
        self.dropped_total = 0

    # The gateway's reader thread

    def put_messages(self, messages: Sequence[str | bytes]) -> None:
        """Take messages that arrived together."""
        now_ms, now = time.time_ns() // 1_000_000, time.monotonic()
        # In a flood half a megabyte arrives together, of which the oldest are to go alone.
        most = len(messages) * (self._limit // _PARTS) // max(1, sum(map(len, messages)))
        step = max(1, min(most, _MOST))
        with self._changed:
            for begin in range(0, len(messages), step):
                for item in _items_of(messages[begin : begin + step], now_ms, now):
                    self._put(item)
                    self.bytes += item.size - OVERHEAD * item.count - (item.count - 1)  # without the newlines
            self.messages += len(messages)

    def put_note(self, note: Note) -> None:
        """Take a note. Losses and returns of the gateway with nothing in between become one loss."""
        with self._changed:
            if note.kind == LOST and self._ends_with(LOST, BACK):
                self._items.pop()
                return
            self._put(note)

    def _ends_with(self, *kinds: str) -> bool:
        last = [self._items[at] for at in range(-min(len(kinds), len(self._items)), 0)]
        return [item.kind for item in last if isinstance(item, Note)] == [*kinds]

    def _put(self, item: Batch | Note) -> None:
        before = self._size
        self._items.append(item)
        self._size += item.size
        if self._size + self.elsewhere > self._limit:
            self._drop_oldest()
        # The relay's thread waits for the first item, and then for more until the linger is over or there is enough.
        if len(self._items) == 1 or before < FULL <= self._size or isinstance(item, Note):
            self._changed.notify()

    def _drop_oldest(self) -> None:
        kept: list[Batch | Note] = []
        while self._size + self.elsewhere > self._limit and self._items:
            item = self._items.popleft()
            if item.size:
                self._size -= item.size
                self._dropped += item.count
                self.dropped_total += item.count
            else:
                kept.append(item)
        self._items.extendleft(reversed(kept))

    # The relay's thread

    def wait(self, until: float, due: float) -> bool:
        """Wait for something to append.

        Args:
            until: When to return in any case, by the monotonic clock.
            due: When to return if there is anything; before that if there is enough for an entry.

        Returns:
            Whether it is time to append.
        """
        with self._changed:
            while not self._woken:
                now = time.monotonic()
                if self._items and (now >= due or self._size >= FULL):
                    return True
                if now >= until:
                    return False
                self._changed.wait((min(until, due) if self._items else until) - now)
            self._woken = False
            return False

    def wake(self) -> None:
        """End the wait of the relay's thread, or its next one."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def take(self, before: float) -> Batch | Note | None:
        """Take out what the next entry holds: a note, or batches up to `FULL` bytes, but always one.

        Args:
            before: What came later than this, by the monotonic clock, is left, unless it goes along with what did not.

        Returns:
            The item; ``None`` if there is nothing.
        """
        with self._lock:
            if self._dropped:
                count, self._dropped = self._dropped, 0
                return Note(DROPPED, {"count": count}, time.monotonic())
            if not self._items or self._items[0].received_at > before:
                return None
            first = self._items.popleft()
            self._size -= first.size
            if isinstance(first, Note):
                return first
            parts, count, size = [first.texts], first.count, len(first.texts)
            while self._items:
                item = self._items[0]
                if isinstance(item, Note) or not 0 <= item.received_ms - first.received_ms <= _SPAN_MS:
                    break
                if size + len(item.texts) > FULL:
                    break
                self._items.popleft()
                self._size -= item.size
                parts.append(item.texts)
                count += item.count
                size += len(item.texts)
            return Batch(b"\n".join(parts), count, first.received_ms, first.received_at)

    def take_note(self) -> Note | None:
        """Take a note out that stands for no message, if that comes next."""
        with self._lock:
            first = self._items[0] if self._items else None
            if not isinstance(first, Note) or first.count:
                return None
            self._items.popleft()
            return first

    def put_back(self, items: Iterable[Batch | Note]) -> None:
        """Put back what was taken out and not appended, to the front and in its order."""
        with self._lock:
            returned = list(items)
            self._items.extendleft(reversed(returned))
            self._size += sum(item.size for item in returned)

    def take_messages(self) -> tuple[list[Batch | Note], int]:
        """Take all messages out that came before the next note of the gateway's end or return.

        Returns:
            The batches and the notes of what is not JSON, and how many messages were dropped before them.
        """
        with self._lock:
            taken: list[Batch | Note] = []
            while self._items and self._items[0].count:
                item = self._items.popleft()
                self._size -= item.size
                taken.append(item)
            dropped, self._dropped = self._dropped, 0
            return taken, dropped

    def note_dropped(self, count: int) -> None:
        """Count messages that were dropped elsewhere, to be reported."""
        with self._lock:
            self._dropped += count

    @property
    def size(self) -> int:
        """The bytes that it holds."""
        return self._size + self.elsewhere

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._items and not self._dropped

    def oldest_at(self) -> float | None:
        """Return when the oldest item came, by the monotonic clock; ``None`` if there is none."""
        with self._lock:
            return self._items[0].received_at if self._items else None


def _items_of(messages: Sequence[str | bytes], now_ms: int, now: float) -> list[Batch | Note]:
    """Return messages as batches, and as notes where one has line breaks and is not JSON."""
    if all(type(message) is str for message in messages):
        texts = "\n".join(cast("Sequence[str]", messages)).encode("utf-8", "surrogatepass")
        if texts.count(b"\n") == len(messages) - 1 and b"\r" not in texts:
            return [Batch(texts, len(messages), now_ms, now)]
    return batches_of((_text_of(message), now_ms, now) for message in messages)


def _text_of(message: str | bytes) -> bytes:
    """Return a message on one line; one that is not JSON and has line breaks is marked and kept."""
    text = one_line(message)
    if text is not None:
        return text
    return _BAD + (message.encode("utf-8", "surrogatepass") if isinstance(message, str) else message)


def texts_of(item: Batch | Note) -> list[Text]:
    """Return the texts of a batch, or that of a note of what is not JSON, as `batches_of` takes them."""
    if isinstance(item, Note):
        text = _BAD + item.fields["data"].encode("utf-8", "surrogatepass")
        return [(text, item.received_ms, item.received_at)]
    return [(text, item.received_ms, item.received_at) for text in item.texts.split(b"\n")]


def batches_of(texts: Iterable[Text]) -> list[Batch | Note]:
    """Return texts as batches, those that came together in one, and as notes where one is marked as not JSON."""
    items: list[Batch | Note] = []
    for (marked, received_ms, received_at), group in groupby(texts, _kind_of):
        if marked:
            items += [_bad_note(*text) for text in group]
        else:
            parts = [text for text, *_ in group]
            items.append(Batch(b"\n".join(parts), len(parts), received_ms, received_at))
    return items


def _kind_of(text: Text) -> tuple[bool, int, float]:
    return text[0].startswith(_BAD), text[1], text[2]


def _bad_note(text: bytes, received_ms: int, received_at: float) -> Note:
    data = text.removeprefix(_BAD).decode("utf-8", "backslashreplace")
    return Note(BAD, {"data": data}, received_at, received_ms, len(text) + OVERHEAD, 1)
