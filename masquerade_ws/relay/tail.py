"""What a relay that stands by has received and not yet seen in the stream, and the reverse.

Texts are known by their value, since two connections to the gateway have nothing else in common. An equal text that
came at another time, more than ten seconds away, is another event.
"""

from __future__ import annotations

from collections.abc import Iterable

from masquerade_ws.relay.buffer import OVERHEAD, Batch, Note, Text, batches_of, texts_of

__all__ = ["Tail", "Texts"]

NEAR_MS = 10_000
_WAIT = 10.0  # seconds in which a text that is in the stream comes to this relay too


class Texts:
    """Texts in their order, found by their value: a scan would be quadratic after a gap of one.

    Args:
        limit: Bytes that it may hold, with what each text takes beside its own; the oldest go first.

    Attributes:
        size: The bytes that it holds.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._texts: dict[int, Text] = {}
        self._numbers: dict[bytes, list[int]] = {}
        self._next = 0
        self.size = 0

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: Text) -> int:
        """Add a text; return how many had to go for it."""
        number, self._next = self._next, self._next + 1
        self._texts[number] = text
        self._numbers.setdefault(text[0], []).append(number)
        self.size += len(text[0]) + OVERHEAD
        gone = 0
        while self.size > self._limit:
            self._remove(next(iter(self._texts)))
            gone += 1
        return gone

    def strike(self, text: bytes, earliest_ms: int, latest_ms: float = float("inf")) -> bool:
        """Remove the oldest equal text that came within a time; return whether there is one."""
        for number in self._numbers.get(text, ()):
            if earliest_ms <= self._texts[number][1] <= latest_ms:
                self._remove(number)
                return True
        return False

    def expire(self, before: float) -> None:
        """Remove what was added before a time, by the monotonic clock."""
        while self._texts:
            number = next(iter(self._texts))
            if self._texts[number][2] >= before:
                return
            self._remove(number)

    def take(self) -> list[Text]:
        """Take out all texts, in their order."""
        texts = list(self._texts.values())
        self._texts, self._numbers, self.size = {}, {}, 0
        return texts

    def _remove(self, number: int) -> None:
        text = self._texts.pop(number)[0]
        numbers = self._numbers[text]
        numbers.remove(number)
        if not numbers:
            del self._numbers[text]
        self.size -= len(text) + OVERHEAD


class Tail:
    """What was received and not yet seen in the stream, and what was seen and not yet received.

    Args:
        limit: Bytes that each may hold.

    Attributes:
        dropped: How many texts went unseen.
    """

    def __init__(self, limit: int) -> None:
        self._received = Texts(limit)
        self._seen = Texts(limit)
        self.dropped = 0

    @property
    def size(self) -> int:
        """The bytes of what was received and not yet seen."""
        return self._received.size

    def receive(self, items: Iterable[Batch | Note], dropped: int = 0) -> None:
        """Take what came from the gateway, but for what was in the stream before.

        Args:
            items: What came.
            dropped: How many texts before it were dropped. What is older goes as well: the oldest go first.
        """
        if dropped:
            self.dropped += dropped + len(self._received.take())
        for item in items:
            for text in texts_of(item):
                if not self._was_seen(text):
                    self.dropped += self._received.add(text)

    def see(self, item: Batch | Note, *, remember: bool) -> None:
        """Strike what is in the stream.

        Args:
            item: The texts, with the time at which the other relay received them, and the time of now by the monotonic
                clock.
            remember: Whether to wait for those that have not come yet.
        """
        for text in texts_of(item):
            if not self._received.strike(text[0], text[1] - NEAR_MS) and remember:
                self._seen.add(text)

    def _was_seen(self, text: Text) -> bool:
        return self._seen.strike(text[0], text[1] - NEAR_MS, text[1] + NEAR_MS)

    def awaits(self, now: float) -> bool:
        """Return whether something that was seen has still to come."""
        self._seen.expire(now - _WAIT)
        return len(self._seen) > 0

    def without_seen(self, item: Batch | Note) -> list[Batch | Note]:
        """Return what came, without what was in the stream before."""
        return batches_of(text for text in texts_of(item) if not self._was_seen(text))

    def take(self) -> list[Batch | Note]:
        """Take out what was received and not seen, in the order of receipt."""
        return batches_of(self._received.take())
