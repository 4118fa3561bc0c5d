"""Who takes which events, so that messages of other types need not be decoded.

The reader thread and the dispatcher thread ask, and any thread changes who listens and waits. A change is made first,
and then has what was known forgotten, before the call that asked for it returns: what is received after that finds it.
"""

from __future__ import annotations

from masquerade_ws.delivery.listeners import Listeners
from masquerade_ws.delivery.stream_index import StreamIndex
from masquerade_ws.protocol.codec import type_of_front

__all__ = ["Takers"]

# The fronts of messages come from the server, so what remembers them is limited in number and in length.
_KNOWN_FRONTS = 1024
_KNOWN_LENGTH = 256


class Takers:
    """The listeners of a client, and its streams and waits.

    Args:
        listeners: Who listens.
        streams: Who waits.

    Attributes:
        listeners: Who listens.
        streams: Who waits.
        fronts: What is known of how messages begin.
    """

    def __init__(self, listeners: Listeners, streams: StreamIndex) -> None:
        self.listeners = listeners
        self.streams = streams
        self.fronts = streams.fronts = listeners.fronts

    def takes(self, type: str) -> bool:
        """Return whether anybody may take an event of a type."""
        return bool(self.listeners.for_type(type)) or self.streams.takes(type)

    def takes_all(self) -> bool:
        """Return whether somebody takes events of every type, so that looking at fronts saves nothing."""
        return self.takes("*")  # which is a type as well, but only the pattern covers it

    def passes_over(self, front: str) -> bool:
        """Return whether an event with a front is of a type that nobody takes.

        Args:
            front: How the text of the event begins, see `Fronts`.
        """
        unwanted = self.fronts.unwanted  # read before the rest: a change in between makes this entry useless, not stale
        name = type_of_front(front)
        answer = name is not None and not self.takes(name)
        if len(unwanted) >= _KNOWN_FRONTS:
            unwanted.clear()
        if len(front) <= _KNOWN_LENGTH:
            unwanted[front] = answer
        return answer
