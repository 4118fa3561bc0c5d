"""What relays show of themselves in keys that never expire: how the leader is, and who else is ready."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

from masquerade_ws.relay.entries import FORMAT, EntryId

__all__ = ["EXPIRY", "LOOKS", "Expiry", "Status"]

EXPIRY = 4.0  # seconds without a change after which a relay counts as gone
LOOKS = 2.0  # seconds between two looks, at most


@dataclass(frozen=True, slots=True)
class Status:
    """How the leading relay is: the value of the key ``status``.

    Attributes:
        relay: The relay's id.
        epoch: The epoch in which it leads.
        key_events: The types of the stream ``key``.
        gateway: Whether it is connected to the gateway.
        code: The close code with which the gateway was lost; ``None`` while it is connected.
        reason: The reason that goes with it.
        ev: The id of the last control entry in ``ev``.
        key: The same in ``key``.
        alive: A counter, which shows that the relay lives.
        sure: The engine's time, in milliseconds, at which the gateway was last known to be connected and everything
            received to be in the streams.
        format: The format of the entries.
    """

    relay: str
    epoch: int
    key_events: tuple[str, ...]
    gateway: bool
    code: int | None
    reason: str
    ev: EntryId
    key: EntryId
    alive: int
    sure: int
    format: int = FORMAT

    @classmethod
    def read(cls, value: bytes) -> Status:
        """Return what the key holds.

        Raises:
            ValueError: If no relay wrote it, or one of another format; the text says which.
        """
        try:
            said: object = json.loads(value)
            members = cast("dict[str, Any]", said)
            form: object = members["format"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError("the key of the status holds what no relay wrote") from None
        if form != FORMAT:
            raise ValueError(
                f"the relay writes format {str(form)[:20]}, this version reads format {FORMAT}: "
                "install the same version of masquerade-ws on both sides"
            )
        try:
            return cls(
                relay=str(members["relay"]),
                epoch=int(members["epoch"]),
                key_events=tuple(map(str, members["key_events"])),
                gateway=bool(members["gateway"]),
                code=None if members["code"] is None else int(members["code"]),
                reason=str(members["reason"]),
                ev=EntryId.parse(members["ev"]),
                key=EntryId.parse(members["key"]),
                alive=int(members["alive"]),
                sure=int(members["sure"]),
            )
        except (ValueError, KeyError, TypeError):
            raise ValueError("the key of the status holds what no relay wrote") from None

    def write(self) -> bytes:
        """Return the value for the key."""
        members = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({**members, "ev": str(self.ev), "key": str(self.key)}).encode()


class Expiry:
    """Whether the relay that renews a value lives, by the looker's own clock, since the engine's may be set.

    A value unchanged for `EXPIRY` seconds, in looks at most `LOOKS` seconds apart, has expired. After a longer pause
    counting begins anew: an engine that hung is not a dead relay.

    Attributes:
        since: When the value was first found as it is now, by the monotonic clock.
        moving: Whether the value was seen to be renewed, so that its writer is there for sure.
    """

    def __init__(self) -> None:
        self._value: bytes | None = None
        self.since = 0.0
        self._looked = 0.0
        self.moving = False

    def look(self, value: bytes | None, now: float) -> bool:
        """Take what the key holds, and return whether its writer counts as alive.

        Args:
            value: The value; ``None`` if there is none.
            now: The monotonic clock's time at which it was read.
        """
        if now - self._looked > LOOKS:
            self.since, self.moving = now, False
        elif value != self._value:
            self.since, self.moving = now, value is not None and self._value is not None
        self._value, self._looked = value, now
        alive = value is not None and now - self.since < EXPIRY
        self.moving = self.moving and alive
        return alive
