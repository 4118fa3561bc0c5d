"""Finds the key events in a batch, without looking at most of its texts."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import NamedTuple, cast

__all__ = ["Found", "KeyEvents"]

_BACKSLASH = b"\\"  # a type may be written with escapes, in which its letters do not appear


class Found(NamedTuple):
    """A key event in a batch.

    Attributes:
        number: That of its text, from 0.
        type: Its type.
        job: The job's id; empty without one.
        text: The raw text.
    """

    number: int
    type: str
    job: str
    text: bytes


class KeyEvents:
    """The types that are key events.

    Args:
        types: Their names.
    """

    def __init__(self, types: Collection[str]) -> None:
        self.types = tuple(types)
        self._known = frozenset(types)
        self._needles = (*(each.encode() for each in self.types), _BACKSLASH)

    def find(self, texts: bytes) -> Iterator[Found]:
        """Yield the key events among texts that are joined by newlines.

        A search for the types in the whole takes a tenth of the time of a search in each text.
        """
        index = counted = 0
        for begin in sorted(self._candidates(texts)):
            index += texts.count(b"\n", counted, begin)
            counted = begin
            end = texts.find(b"\n", begin)
            text = texts[begin:] if end < 0 else texts[begin:end]
            found = self._look_into(text, index)
            if found is not None:
                yield found

    def _candidates(self, texts: bytes) -> set[int]:
        """Return where the texts begin that may be key events."""
        begins: set[int] = set()
        for needle in self._needles:
            at = texts.find(needle)
            while at >= 0:
                begins.add(texts.rfind(b"\n", 0, at) + 1)
                end = texts.find(b"\n", at)
                at = -1 if end < 0 else texts.find(needle, end)
        return begins

    def _look_into(self, text: bytes, index: int) -> Found | None:
        try:
            event: object = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(event, dict):
            return None
        members = cast("dict[str, object]", event)
        kind, payload = members.get("type"), members.get("payload")
        if not isinstance(kind, str) or kind not in self._known:
            return None
        job = cast("dict[str, object]", payload).get("job_id") if isinstance(payload, dict) else None
        return Found(index, kind, job if isinstance(job, str) else "", text)
