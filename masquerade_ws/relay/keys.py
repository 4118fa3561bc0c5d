"""Names: of namespaces and groups, and of the keys that the engine has for them."""

from __future__ import annotations

import re

__all__ = ["Keys", "check_name"]

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def check_name(argument: str, value: object) -> str:
    """Return the name of a namespace or of a group.

    Args:
        argument: What the caller calls it, for the message.
        value: The name.

    Raises:
        TypeError: If it is not a ``str``.
        ValueError: If it has no character, more than 64, or one that is not allowed.
    """
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a str, not {type(value).__name__}")
    if not _NAME.fullmatch(value):
        raise ValueError(f"{argument} must be 1 to 64 of the characters A-Z a-z 0-9 . _ -, not {value[:80]!r}")
    return value


class Keys:
    """The keys of a namespace. They share a hash tag, so that a cluster keeps them on one node.

    Args:
        namespace: Its name.

    Attributes:
        namespace: Its name.
        ev: The stream of everything that the gateway sent.
        key: The stream of the key events.
        out: The stream of what workers send to the gateway.
        leader: Which relay leads.
        standby: Which other relay is connected to the gateway, ready to lead.
        status: How the leader is.

    Raises:
        TypeError: If the name is not a ``str``.
        ValueError: If it is not allowed.
    """

    __slots__ = ("ev", "key", "leader", "namespace", "out", "standby", "status")

    def __init__(self, namespace: str) -> None:
        self.namespace = check_name("namespace", namespace)
        self.ev, self.key, self.out = self._named("ev"), self._named("key"), self._named("out")
        self.leader, self.standby, self.status = self._named("leader"), self._named("standby"), self._named("status")

    def _named(self, name: str) -> str:
        return f"mws:{{{self.namespace}}}:{name}"

    def dead(self, group: str) -> str:
        """Return the key of a group's dead letters."""
        return self._named(f"dead:{group}")
