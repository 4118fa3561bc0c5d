"""How far a stream reaches: by age and by bytes, from the relay's own list of what it has appended."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from masquerade_ws.relay.entries import EntryId

__all__ = ["Trim"]

_PARTS = 300  # of the age and of the bytes, as which the list counts


@dataclass(slots=True)
class _Part:
    """Consecutive entries.

    Attributes:
        first: The id of the first.
        since: When that was appended, by the monotonic clock.
        size: The bytes of all.
    """

    first: EntryId
    since: float
    size: int


class Trim:
    """What one stream keeps.

    Until its own entries fill the bounds, the entries of earlier relays are bounded by their number alone.

    Args:
        seconds: The age that an entry may reach.
        size: The bytes that the stream may hold.
        count: Entries that it may hold until the list is filled.
    """

    def __init__(self, seconds: float, size: int, count: int) -> None:
        self._seconds = seconds
        self._most = size
        self._count = count
        self._parts: deque[_Part] = deque()
        self._size = 0
        self._filled = False

    def begin(self) -> None:
        """Begin an epoch: what there is now was appended by others, or before a loss."""
        self._parts.clear()
        self._size = 0
        self._filled = False

    def add(self, entry: EntryId, now: float, size: int) -> None:
        """Note an entry that was appended.

        Args:
            entry: Its id.
            now: The monotonic clock's time.
            size: Its bytes.
        """
        last = self._parts[-1] if self._parts else None
        if last is None or now - last.since > self._seconds / _PARTS or last.size + size > self._most / _PARTS:
            self._parts.append(_Part(entry, now, size))
        else:
            last.size += size
        self._size += size
        while len(self._parts) > 1 and (self._size > self._most or self._parts[1].since < now - self._seconds):
            self._size -= self._parts.popleft().size
            self._filled = True

    def words(self) -> tuple[str | int, ...]:
        """Return what follows the key in an ``XADD``."""
        if self._filled:
            return "MINID", "~", str(self._parts[0].first)
        return "MAXLEN", "~", self._count

    def lost_since(self, top: EntryId) -> float | None:
        """Return when the first entry above an id was appended, or a little earlier; ``None`` if it is not known."""
        since = None
        for part in self._parts:
            if since is None or part.first <= top:
                since = part.since
        return since
