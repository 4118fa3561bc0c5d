"""What a client of a group tells the engine of the entries that it has in hand.

The heartbeat thread acknowledges and keeps; before a listener is called for an entry that was held for long, the
dispatcher thread asks whether it is still the client's. They share a line, which outlives connections and sessions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from masquerade_ws.relay.engine import Command, Engine, EngineError
from masquerade_ws.relay.entries import EntryId
from masquerade_ws.relay.hand import MOST, Hand, Hold
from masquerade_ws.relay.keys import Keys
from masquerade_ws.relay.line import Line
from masquerade_ws.relay.place import new_name

__all__ = ["ANSWER", "Keeper"]

ANSWER = 3.0  # seconds that an answer of the engine may take


class Keeper:
    """The group's side of one client.

    Args:
        make: Makes a connection to the engine, not yet open.
        keys: Those of the namespace.
        hand: What it has in hand.
        group: The group's name.
        retry_after: Seconds after which an entry that nobody keeps is tried again.
        max_deliveries: Tries after which it goes to the dead letters.

    Attributes:
        name: The client's, as a consumer.
        left: Entries that failed here; they stay the client's in the engine until somebody tries them again.
        buried: Entries that went to the dead letters, to be told.
    """

    def __init__(
        self, make: Callable[[], Engine], keys: Keys, hand: Hand, *, group: str, retry_after: float, max_deliveries: int
    ) -> None:
        self._make = make
        self._line = Line(make, ANSWER)
        self.keys = keys
        self.group = group
        self.name = new_name()
        self.hand = hand
        self.retry_after = retry_after
        self.max_deliveries = max_deliveries
        self.left: set[EntryId] = set()
        self.buried: list[Hold] = []
        self._kept_at = time.monotonic()

    @property
    def retry_ms(self) -> int:
        """`retry_after` in milliseconds."""
        return max(1, int(self.retry_after * 1000))

    def tell(self) -> None:
        """Acknowledge what is done, and bury what has failed too often.

        Raises:
            EngineError: If the engine could not be told; it is told another time.
        """
        drained = self.hand.drain()
        done = [hold for hold in drained if not hold.failed]
        worn = [hold for hold in drained if hold.failed and hold.tries >= self.max_deliveries]
        left = [hold for hold in drained if hold.failed and hold.tries < self.max_deliveries]
        self.left.update(hold.id for hold in left)
        self.hand.told(left)
        try:
            if done:
                self._line.call("XACK", self.keys.key, self.group, *(str(hold.id) for hold in done))
                self.hand.told(done)
                done = []
            while worn:
                self._line.transaction(self._burial(worn[0]))
                self.hand.told(worn[:1])
                self.buried.append(worn.pop(0))
        except EngineError:
            self.hand.put_back(done + worn)
            raise

    def _burial(self, hold: Hold) -> list[Command]:
        """Return the commands that move an entry to the dead letters."""
        event = hold.event
        raised = type(hold.error).__name__ if hold.error is not None else ""
        return [
            (
                *("XADD", self.keys.dead(self.group), "*", "t", event.received_ms, "y", event.type, "j", event.job),
                *("e", event.text, "p", event.place, "tries", hold.tries, "consumer", self.name, "class", raised),
            ),
            ("XACK", self.keys.key, self.group, str(hold.id)),
        ]

    def keep(self) -> float:
        """Keep what is in hand, if it is time; return the seconds until it is again.

        Raises:
            EngineError: If the engine could not be asked.
        """
        pause = self.retry_after / 3
        now = time.monotonic()
        if now < self._kept_at + pause:
            return self._kept_at + pause - now
        self._kept_at = now
        ids = {hold.id for hold in self.hand.in_hand()}
        if ids and (mine := ids & self.pending_here().keys()):
            self._line.call(*self._claim(0, mine))
            self.hand.kept(mine, now)
        return pause

    def pending_here(self) -> dict[EntryId, int]:
        """Return the entries that are this client's, to the engine, and how often each was delivered."""
        reply = self._line.call("XPENDING", self.keys.key, self.group, "-", "+", 100 * MOST, self.name)
        return {EntryId.parse(entry_id): tries for entry_id, _, _, tries in reply}

    def _claim(self, idle_ms: int, ids: Any) -> Command:
        """Return the command that makes entries this client's without counting as a try."""
        names = (str(entry_id) for entry_id in ids)
        return ("XCLAIM", self.keys.key, self.group, self.name, 0, *names, "IDLE", idle_ms, "JUSTID")

    def is_mine(self, hold: Hold) -> bool:
        """Return whether an entry is still this client's; the engine is asked only after a long time in hand."""
        if time.monotonic() - hold.since <= self.retry_after:
            return True
        entry = str(hold.id)
        try:
            reply = self._line.call("XPENDING", self.keys.key, self.group, entry, entry, 1)
        except EngineError:
            return False  # who cannot be asked may be somebody else's by now
        return bool(reply) and bytes(reply[0][1]).decode() == self.name

    def free(self, holds: list[Hold]) -> None:
        """Make entries free for others at once.

        Raises:
            EngineError: If the engine could not be told.
        """
        if holds:
            self._line.call(*self._claim(self.retry_ms, [hold.id for hold in holds]))

    def tell_at_once(self) -> None:
        """Do as `tell`, in any thread, while there is no session; what the engine is not told is tried again."""
        with suppress(EngineError):
            self.tell()
        self._line.drop()

    def after_fork(self) -> None:
        """Have nothing in hand, in a forked child, and another name."""
        self._line.after_fork()
        self._line = Line(self._make, ANSWER)
        self.hand.renew()
        self.left, self.buried, self.name = set(), [], new_name()
