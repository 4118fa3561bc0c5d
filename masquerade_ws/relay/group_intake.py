"""Where the entries of a group become events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.takers import Takers
from masquerade_ws.events import Event
from masquerade_ws.lifecycle.state import ClientState
from masquerade_ws.relay.bundle import Bundle
from masquerade_ws.relay.group_place import Task
from masquerade_ws.relay.hand import Hand
from masquerade_ws.relay.intake import RelayIntake

__all__ = ["GroupIntake"]


class GroupIntake(RelayIntake):
    """Where what was read for a group goes: to all listeners of its type, and to the open streams that take it.

    Args:
        takers: Who listens and waits.
        state: The client's.
        hand: What the client has in hand.
    """

    def __init__(self, takers: Takers, state: ClientState, hand: Hand) -> None:
        super().__init__(takers, state)
        self._hand = hand

    def _take_bundle(self, bundle: Bundle, queue: EventQueue) -> Iterator[Sequence[Any]]:
        """Share an event among those who take it; one that nobody takes is done."""
        self._counters.count_messages(1)
        for event in bundle.events(None):
            hold = self._hand.at(bundle.prefix)
            if hold is None:  # a second time in hand, and given up meanwhile
                continue
            if not isinstance(event, Event):
                yield (event,)
                self._hand.let_go(hold)
                continue
            self._streams.deliver(event)
            if self._listeners.for_type(event.type):
                yield (Task(hold, event),)
            else:
                self._hand.let_go(hold)
