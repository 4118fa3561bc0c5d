"""What a session of a worker keeps from one connection to the next."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterator

from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import AnyEvent
from masquerade_ws.protocol.codec import Takers
from masquerade_ws.relay.bundle import decode_each_bundle
from masquerade_ws.relay.chain import Chain
from masquerade_ws.relay.engine import Engine, EngineUrl
from masquerade_ws.relay.entries import BAD, UNSENT, Control, EntryId
from masquerade_ws.relay.keys import Keys
from masquerade_ws.relay.status import Status

__all__ = ["Place", "new_name"]


def new_name() -> str:
    """Return a name that no other client has."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(6)}"


class Place:
    """Where a session has read to, and what it knows there. The thread that uses the connection uses it.

    Args:
        url: The engine.
        keys: Those of the namespace.
        key_events: The types to read, of the stream of key events; ``None`` reads everything.

    Attributes:
        keys: As given.
        chain: The entries that were taken.
        stream: The key of the stream that is read.
        count: How many entries to read at once.
        name: The id of the client, under which it sends.
        value: What the key of the status held at the last look.
        status: The same, read.
        gone: Whether the relay has shown no sign of life for too long since the last one.
        read_at: When the stream was last read to its end, by the monotonic clock.
        checked_at: When its top was last compared with what was taken.
        strange: Whether an entry that no relay wrote was reported.
    """

    def __init__(self, url: EngineUrl, keys: Keys, key_events: frozenset[str] | None) -> None:
        self._url = url
        self._key_events = key_events
        self.keys = keys
        self.chain = Chain()
        self.stream = keys.ev if key_events is None else keys.key
        self.count = 8 if key_events is None else 100
        self.name = new_name()
        self.value: bytes | None = None
        self.status: Status | None = None
        self.gone = False
        self.read_at = self.checked_at = time.monotonic()
        self.strange = False

    def engine(self, reply_timeout: float | None) -> Engine:
        """Make a connection to the engine, not yet open.

        Args:
            reply_timeout: Seconds for each answer; ``None``: any.
        """
        return Engine(self._url, self.keys, reply_timeout=reply_timeout)

    def look(self, value: object) -> bool:
        """Note what the key of the status holds; return whether that has changed.

        Raises:
            ValueError: If it is not what this version can read, or the relay does not tell what is wanted.
        """
        if not isinstance(value, bytes):
            self.status = None
            return False
        moved, self.value = self.value is not None and value != self.value, value
        self.status = Status.read(value)
        if self._key_events is not None and (lacking := self._key_events.difference(self.status.key_events)):
            named = ", ".join(sorted(lacking))
            raise ValueError(
                f"the relay of namespace {self.keys.namespace!r} does not tell key events of type {named}; "
                "start it with --key-event for each type"
            )
        return moved

    def last_control(self, status: Status) -> EntryId:
        """Return the last control entry of the stream, as a status has it."""
        return status.ev if self._key_events is None else status.key

    def concerns(self, entry: Control) -> bool:
        """Return whether a control entry says something to this client, beside how the relay is."""
        return entry.kind == BAD or (entry.kind == UNSENT and entry.fields.get("sender") == self.name)

    def decode(self, queue: EventQueue, takers: Takers | None) -> Iterator[AnyEvent]:
        """Make events of what waits for the dispatcher thread."""
        return decode_each_bundle(queue, takers)

    def end(self) -> None:
        """Do nothing: all that is open belongs to connections."""

    def after_fork(self) -> None:
        """Do nothing, likewise."""
