"""What a relay finds out about the engine before it begins: its version, and what it does with data."""

from __future__ import annotations

from typing import NamedTuple

from masquerade_ws.relay.engine import Engine

__all__ = ["Survey", "survey"]

_OLDEST = (6, 2)


class Survey(NamedTuple):
    """What was found.

    Attributes:
        version: The name and the version of the engine.
        problem: Why it cannot be used; ``None`` if it can.
        warning: What the user should change; ``None`` if there is nothing.
        durability: What is lost if the engine crashes.
    """

    version: str
    problem: str | None
    warning: str | None
    durability: str


def survey(engine: Engine) -> Survey:
    """Ask the engine what it is like.

    Raises:
        EngineError: If it does not answer.
    """
    found = _pairs(engine.call("INFO"))
    valkey = found.get("valkey_version")
    number = valkey or found.get("redis_version", "0")
    version = f"{'Valkey' if valkey else 'Redis'} {number}"
    problem = warning = None
    if valkey is None and tuple(int(part) if part.isdecimal() else 0 for part in number.split(".")[:2]) < _OLDEST:
        problem = f"{version} is too old: the relay needs Redis 6.2 or newer, or Valkey"
    policy = found.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys"):
        warning = (
            f"its maxmemory-policy is {policy}, which removes whole streams when memory is short: "
            "set it to noeviction or to a volatile- one"
        )
    if found.get("aof_enabled") == "1":
        durability = "append-only file: a crash may take the last two seconds, unless appendfsync is always"
    else:
        durability = "no append-only file: a crash takes all since the last snapshot, and workers are told of a gap"
    return Survey(version, problem, warning, durability)


def _pairs(info: bytes) -> dict[str, str]:
    lines = info.decode("utf-8", "replace").splitlines()
    return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}
