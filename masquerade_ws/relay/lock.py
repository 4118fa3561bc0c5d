"""The lock of the leader, and how a relay that stands by shows itself.

The lock spares relays a to and fro; what protects the streams is the ids of their entries. It is prolonged by a
transaction and never deleted, since a relay may not delete keys: it is given back by letting it expire.
"""

from __future__ import annotations

from masquerade_ws.relay.engine import Command, Engine
from masquerade_ws.relay.keys import Keys

__all__ = ["LEASE_MS", "RENEWAL", "Lock", "owner_of"]

LEASE_MS = 4000
RENEWAL = 1.0  # seconds from one renewal to the next


def owner_of(value: bytes | None) -> str:
    """Return the id of the relay in the value of ``leader`` or ``standby``; empty if there is none."""
    return "" if value is None else value.decode("utf-8", "replace").rpartition(":")[0]


class Lock:
    """The lock, as one relay uses it. One thread uses it.

    Args:
        keys: Those of the namespace.
        relay: The relay's id.
    """

    def __init__(self, keys: Keys, relay: str) -> None:
        self._key = keys.leader
        self._relay = relay
        self._counter = 0

    def value(self) -> str:
        """Return the next value: each differs from the one before, which shows that the relay lives."""
        self._counter += 1
        return f"{self._relay}:{self._counter}"

    def acquire(self, engine: Engine) -> bool:
        """Take the lock if nobody holds it; return whether it is ours."""
        return engine.call("SET", self._key, self.value(), "NX", "PX", LEASE_MS) is not None

    def take_from(self, engine: Engine, holder: bytes) -> bool:
        """Take the lock from a relay that is gone; return whether it is ours."""
        engine.call("WATCH", self._key)
        if engine.call("GET", self._key) != holder:
            engine.call("UNWATCH")
            return False
        return engine.transaction([self.renewal()]) is not None

    def renewal(self) -> Command:
        """Return the command that prolongs it, for a transaction that watches it."""
        return "SET", self._key, self.value(), "PX", LEASE_MS

    def give_back(self, engine: Engine) -> None:
        """Let the lock expire, if it is ours."""
        engine.call("WATCH", self._key)
        if owner_of(engine.call("GET", self._key)) == self._relay:
            engine.transaction([("SET", self._key, "", "PX", 1)])
        else:
            engine.call("UNWATCH")
