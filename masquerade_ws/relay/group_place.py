"""What a session of a group's client keeps from one connection to the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import AnyEvent
from masquerade_ws.protocol.codec import Takers
from masquerade_ws.relay.engine import EngineError, EngineUrl
from masquerade_ws.relay.entries import ZERO, EntryId
from masquerade_ws.relay.hand import MOST, Hold
from masquerade_ws.relay.keeper import Keeper
from masquerade_ws.relay.place import Place

__all__ = ["GroupPlace", "Task"]

_SHARE = 10  # of `retry_after`: after a listener that took longer, one entry is read at a time


class Task(NamedTuple):
    """An event on its way to the listeners, and the entry that it comes from."""

    hold: Hold
    event: AnyEvent


class GroupPlace(Place):
    """The place of a client of a group.

    Args:
        url: The engine.
        key_events: The types of key events that the client reads.
        keeper: What it has in hand.
        wants: Returns whether the client has listeners for server events, or an open stream.

    Attributes:
        keeper: As given.
        wants: As given.
        told: The last control entry that was read.
        rebuilt: Whether the history of the stream was lost since the group was made.
        taken_over_at: When others' entries were last looked for, by the monotonic clock.
        tidied_at: When forgotten consumers were last deleted.
    """

    def __init__(self, url: EngineUrl, key_events: frozenset[str], keeper: Keeper, wants: Callable[[], bool]) -> None:
        super().__init__(url, keeper.keys, key_events)
        self.keeper = keeper
        self.wants = wants
        self.name = keeper.name
        self.count = MOST
        self.told: EntryId = ZERO
        self.rebuilt = False
        self.taken_over_at = 0.0
        self.tidied_at = 0.0

    def decode(self, queue: EventQueue, takers: Takers | None) -> Iterator[AnyEvent]:
        """Yield the events of a queue; what their listeners make of each decides what becomes of its entry."""
        keeper, hand = self.keeper, self.keeper.hand
        for item in queue.take_out():
            if not isinstance(item, Task):
                yield item
                continue
            hold = item.hold
            if hand.stopping:
                continue  # `end` makes it free for others
            if not keeper.is_mine(hold):
                hand.let_go(hold, failed=True)
                continue
            hand.begin(hold)
            begun, returned = time.monotonic(), False
            queue.unheeded = None
            try:
                yield item.event
                returned = True
            finally:
                error = queue.unheeded
                self.count = 1 if time.monotonic() - begun > keeper.retry_after / _SHARE else MOST
                hand.let_go(hold, failed=error is not None or not returned, error=error)

    def end(self) -> None:
        """Make free what nobody has begun with; what threads of the user are busy with is told when they are done."""
        keeper = self.keeper
        unbegun = keeper.hand.give_up()
        keeper.hand.tell = keeper.tell_at_once
        with suppress(EngineError):  # then it is tried again after `retry_after`
            keeper.free(unbegun)
        keeper.tell_at_once()

    def after_fork(self) -> None:
        """Have nothing in hand."""
        self.keeper.after_fork()
