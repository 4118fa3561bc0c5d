"""How far a session has read a stream, and whether anything is missing there: the decisions, without an engine.

Within an epoch the ids of a stream have no holes. A new epoch begins with a ``start`` at n = 0 that names the last
entry before it. So each entry shows whether it follows the one that was read before, and an entry that was seen before,
which an engine set back to an older state may show again, is known by its id.

The chain ends at the last entry that was taken. The cursor is where the stream is read on; it goes back to the
beginning when the engine has lost entries, to find what was added since.
"""

from __future__ import annotations

from typing import NamedTuple

from masquerade_ws.relay.entries import BACK, DROPPED, LOST, START, ZERO, Blob, Control, EntryId, Foreign, KeyEvent

__all__ = ["Chain", "Gap"]

_EPOCHS = 16  # whose highest ids are kept


class Gap(NamedTuple):
    """What may be missing before an entry.

    Attributes:
        reason: What happened, and how many entries or events are missing.
        seconds: For how long, by what the relay says; ``None`` if it is the reader who missed it.
    """

    reason: str
    seconds: float | None = None


class Chain:
    """The entries that were taken from one stream, in their order.

    Attributes:
        last: The last entry that was taken; ``None`` before the first attempt has read the top of the stream.
        cursor: After which entry to read on.
        led: Whether a relay that is connected to the gateway leads, as far as the entries say.
        code: The close code with which the gateway was lost, if it was.
        reason: The reason that goes with it.
    """

    def __init__(self) -> None:
        self.last: EntryId | None = None
        self.cursor = ZERO
        self.led = False
        self.code = 1006
        self.reason = ""
        self._passed = ZERO  # control entries up to here said nothing that the status did not say
        self._seen: dict[int, int] = {}  # the highest n of each epoch

    def begin(self, top: EntryId, passed: EntryId, *, led: bool) -> None:
        """Begin after the top entry of a stream.

        Args:
            top: Its id.
            passed: The last control entry that the status, which was read after that, takes in.
            led: What the status says.
        """
        self.last = self.cursor = top
        self._passed = passed
        self._seen = {top.epoch: top.n}
        self.led = led

    def go_back(self) -> None:
        """Read on from the beginning: the engine has lost entries that were taken."""
        self.cursor = ZERO

    def knows(self, entry_id: EntryId) -> bool:
        """Return whether an entry was taken before."""
        return entry_id.n <= self._seen.get(entry_id.epoch, -1)

    def take(self, entry_id: EntryId, entry: Blob | KeyEvent | Control | Foreign) -> Gap | None:
        """Take the next entry, which was not taken before; return what is missing before it, or what it says is.

        Args:
            entry_id: Its id.
            entry: What it is.
        """
        self.cursor = entry_id
        if isinstance(entry, Foreign):  # with an id that is no relay's either
            return None
        gap = self.gap_before(entry_id, entry)
        self.last = entry_id
        self._seen[entry_id.epoch] = entry_id.n
        if len(self._seen) > _EPOCHS:
            del self._seen[next(iter(self._seen))]
        if isinstance(entry, Control) and entry_id > self._passed:
            said = self.heed(entry)
            gap = gap or said
        elif not isinstance(entry, Control):
            self.led = True
        return gap

    def gap_before(self, entry_id: EntryId, entry: Blob | KeyEvent | Control) -> Gap | None:
        """Return what is missing between the last entry that was taken and the next one."""
        known = self._seen.get(entry_id.epoch)
        if known is not None:
            missing = entry_id.n - known - 1
            return Gap(f"{_entries(missing)} of the stream went unread") if missing else None
        if entry_id.n or not (isinstance(entry, Control) and entry.kind == START):
            return Gap(f"the stream goes on with entry {entry_id}, and what came before it was not read")
        previous = str(entry.fields.get("previous"))
        if previous == str(self.last):
            return None
        try:
            before = EntryId.parse(previous)
        except ValueError:
            before = ZERO
        if self.last is not None and before.epoch == self.last.epoch and before > self.last:
            return Gap(f"{_entries(before.n - self.last.n)} of the stream went unread")
        return Gap("the engine has lost the history of the stream; how many entries are missing is not known")

    def heed(self, entry: Control) -> Gap | None:
        """Note what a control entry says; return what it says is missing."""
        if entry.kind in {START, BACK}:
            self.led = True
            seconds = entry.fields.get("gap")
            if isinstance(seconds, int | float):
                return Gap(f"the relay had no connection to the gateway for {seconds:.1f} s", float(seconds))
        elif entry.kind == LOST:
            self.led = False
            code, reason = entry.fields.get("code"), entry.fields.get("reason")
            self.code = code if isinstance(code, int) else 1006
            self.reason = reason if isinstance(reason, str) else ""
        elif entry.kind == DROPPED:
            return Gap(f"the relay's buffer was full, and {_missing(entry.fields.get('count'))}")
        return None


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _missing(count: object) -> str:
    return "1 event is missing" if count == 1 else f"{count} events are missing"
