"""The entries that a client of a group has in hand: delivered to it, and not acknowledged.

An entry is in several hands of the same client: of its listeners, together, and of each stream that took it. It is done
when all of them have let it go, and failed if one of them failed; then it stays as it is in the engine, and is tried
again. Any thread lets go; the heartbeat thread, which a bell wakes, tells the engine.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from masquerade_ws.lifecycle.threads import receive
from masquerade_ws.relay.entries import EntryId, KeyEvent

__all__ = ["MOST", "Hand", "Hold"]

MOST = 10  # entries in hand at which nothing more is read


@dataclass(slots=True, eq=False)
class Hold:
    """One entry in hand. The lock of the hand guards what changes.

    Attributes:
        id: The id of the entry.
        event: What it is.
        tries: How often it was delivered to anybody, this time included.
        since: When the call was sent that brought it, or last kept it, by the monotonic clock.
        parts: How many have not let it go.
        begun: Whether anybody has begun with it.
        error: What the last one raised that failed; the class is told with a dead letter.
        failed: Whether one has failed.
    """

    id: EntryId
    event: KeyEvent
    tries: int
    since: float
    parts: int = 1
    begun: bool = False
    error: BaseException | None = None
    failed: bool = False


class Hand:
    """What one client has in hand.

    Attributes:
        stopping: Whether nothing is begun any more.
        tell: Called when all have let go of an entry while no session runs, in which a thread would tell the engine.
    """

    def __init__(self) -> None:
        self.stopping = False
        self.tell: Callable[[], object] | None = None
        self._holds: dict[EntryId, Hold] = {}
        self._places: dict[str, Hold] = {}
        self._forgotten: deque[Hold] = deque()  # by streams that were collected; a finalizer takes no lock
        self._let_go: deque[Hold] = deque()
        self._untold: set[EntryId] = set()  # what was let go, until the engine knows; changed by one step at a time
        self.renew()

    def renew(self) -> None:
        """Begin with empty hands, and with locks that nobody holds."""
        # Guards the tables and the fields of the holds, and tells the reader of room. Reentrant, since a signal handler
        # may close a stream at any line.
        self._changed = threading.Condition(threading.RLock())
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()  # wakes the heartbeat thread
        self.stopping = False
        self._holds.clear()
        self._places.clear()
        self._forgotten.clear()
        self._let_go.clear()
        self._untold.clear()

    def take(self, hold: Hold) -> None:
        """Take an entry; the reader's own part of it keeps it until all others have theirs."""
        with self._changed:
            self._holds[hold.id] = hold
            self._places[hold.event.place] = hold

    def holds(self, entry_id: EntryId) -> bool:
        """Return whether an entry is in hand, or was and the engine has not been told what became of it."""
        return entry_id in self._holds or entry_id in self._untold

    def holding(self, entry_id: EntryId) -> Hold:
        """Return an entry that is in hand."""
        return self._holds[entry_id]

    def at(self, place: str | None) -> Hold | None:
        """Return the entry of the event with an id, if it is in hand."""
        return self._places.get(place or "")

    def share(self, hold: Hold) -> None:
        """Let one more have it in hand."""
        with self._changed:
            hold.parts += 1

    def begin(self, hold: Hold) -> None:
        """Note that somebody begins with it."""
        with self._changed:
            hold.begun = True

    def let_go(self, hold: Hold, *, failed: bool = False, error: BaseException | None = None) -> None:
        """Let go of one's part.

        Args:
            hold: The entry.
            failed: Whether it is to be tried again.
            error: Why, if something was raised.
        """
        with self._changed:
            hold.parts -= 1
            hold.failed = hold.failed or failed
            hold.error = error or hold.error
            if hold.parts == 0 and self._holds.pop(hold.id, None) is not None:
                self._places.pop(hold.event.place, None)
                self._untold.add(hold.id)
                self._let_go.append(hold)
                self._changed.notify_all()
                self._bell.put(None)
        if self.tell is not None:
            self.tell()

    def forget(self, hold: Hold) -> None:
        """Let go of one's part as failed, later: for finalizers."""
        self._forgotten.append(hold)

    def _collect(self) -> None:
        while self._forgotten:
            self.let_go(self._forgotten.popleft(), failed=True)

    def room(self) -> int:
        """Return how many entries more may be taken."""
        self._collect()
        return max(0, MOST - len(self._holds))

    def wait_for_room(self, seconds: float) -> None:
        """Wait until an entry is let go, but not for longer than so many seconds."""
        with self._changed:
            self._changed.wait(seconds)

    def in_hand(self) -> list[Hold]:
        """Return the entries that are in hand."""
        self._collect()
        with self._changed:
            return list(self._holds.values())

    def kept(self, ids: set[EntryId], since: float) -> None:
        """Note when the engine was last asked to keep entries."""
        with self._changed:
            for entry_id in ids & self._holds.keys():
                self._holds[entry_id].since = since

    def drain(self) -> list[Hold]:
        """Return the entries that all have let go since the last call; `told` is to follow, or `put_back`."""
        self._collect()
        drained: list[Hold] = []
        while self._let_go:
            drained.append(self._let_go.popleft())
        return drained

    def told(self, holds: list[Hold]) -> None:
        """Forget entries of which the engine knows now."""
        self._untold.difference_update(hold.id for hold in holds)

    def put_back(self, holds: list[Hold]) -> None:
        """Have entries drained again: the engine could not be told."""
        self._let_go.extendleft(reversed(holds))

    def stop(self) -> None:
        """Begin nothing any more; wakes the reader."""
        with self._changed:
            self.stopping = True
            self._changed.notify_all()
        self.ring()

    def give_up(self) -> list[Hold]:
        """Give up what nobody has begun with, and return it; with the rest threads of the user are busy."""
        with self._changed:
            unbegun = [hold for hold in self._holds.values() if not hold.begun]
            for hold in unbegun:
                del self._holds[hold.id]
                self._places.pop(hold.event.place, None)
        return unbegun

    def ring(self) -> None:
        """Wake the heartbeat thread."""
        self._bell.put(None)

    def wait(self, seconds: float) -> None:
        """Wait for the bell, but not for longer than so many seconds; for the heartbeat thread."""
        with suppress(queue.Empty):
            receive(self._bell, seconds)
            while True:  # one look is enough for all that has happened
                self._bell.get_nowait()
