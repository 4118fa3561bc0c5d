"""The texts of one entry, and the events that are made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import AnyEvent
from masquerade_ws.events import Draft, Event
from masquerade_ws.protocol.codec import Takers, decode_each
from masquerade_ws.timestamps import timestamp_of

__all__ = ["Bundle", "decode_each_bundle"]

_set_id: Any = vars(Draft)["_id"].__set__
_MANY = 256
_INDICES = [f".{index}" for index in range(_MANY)]


class Bundle:
    """The texts of one entry, undecoded.

    Args:
        texts: The texts, joined by newlines.
        received_ms: When they came to the relay, in milliseconds since 1970.
        prefix: The id of the entry, or the whole id of its one event.
        whole: Whether it is the latter.

    Attributes:
        prefix: As given.
        count: How many texts there are.
    """

    __slots__ = ("_received_ms", "_texts", "_whole", "count", "prefix")

    def __init__(self, texts: bytes, received_ms: int, prefix: str, *, whole: bool = False) -> None:
        self._texts = texts
        self._received_ms = received_ms
        self.prefix = prefix
        self._whole = whole
        self.count = 1 if whole else texts.count(b"\n") + 1

    def texts(self) -> Sequence[str | bytes]:
        """Return the texts, as ``str`` if all of them are UTF-8."""
        try:
            text = str(self._texts, "utf-8")
        except ValueError:
            return [self._texts] if self._whole else self._texts.split(b"\n")
        return [text] if self._whole else text.split("\n")

    def last(self) -> bytes:
        """Return the last text."""
        return self._texts if self._whole else self._texts.rpartition(b"\n")[2]

    def events(self, takers: Takers | None) -> Iterator[AnyEvent]:
        """Yield the event of each text, with its place in the stream, or an ``error`` event.

        Args:
            takers: Who takes events: those of other types are passed over; ``None``: somebody takes all.
        """
        index = -1

        def counted() -> Iterator[str | bytes]:
            nonlocal index
            for index, text in enumerate(self.texts()):  # noqa: B007 - the place of the event that is made of it
                yield text

        prefix, whole = self.prefix, self._whole
        for event in decode_each(counted(), partial(timestamp_of, self._received_ms / 1000), takers):
            if isinstance(event, Event):
                _set_id(event, prefix if whole else prefix + (_INDICES[index] if index < _MANY else f".{index}"))
            yield event


def decode_each_bundle(queue: EventQueue, takers: Takers | None) -> Iterator[AnyEvent]:
    """Yield the events of a queue, those of bundles among them.

    Args:
        queue: Where they wait. What is left of a bundle counts as waiting.
        takers: As for `Bundle.events`.
    """
    for item in queue.take_out():
        if not isinstance(item, Bundle):
            yield item
            continue
        left = item.count - 1
        for event in item.events(takers):
            yield event
            if left:
                left -= 1
                queue.more_out += 1
        queue.more_out += left  # those that were passed over
        queue.make_room()
