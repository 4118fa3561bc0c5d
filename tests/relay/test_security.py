"""The rules that the documentation gives for the users of the engine: they suffice, and they allow no more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError

from masquerade_ws.relay.entries import Outgoing, encode_outgoing
from masquerade_ws.testing import EventServer
from tests.support.engines import EngineServer
from tests.support.raw_server import until
from tests.support.relaying import Streams, numbered, relaying

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "relay.rst"
RULES = dict(re.findall(r"^    user (\w+) (on .*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
OUT = encode_outgoing(Outgoing(b'{"type":"image.generate","payload":{"n":1}}', "s", 10_000))


def words_of(rules: str) -> list[str]:
    """Return the rules as ACL SETUSER takes them: a selector is one word."""
    return re.findall(r"\([^)]*\)|\S+", rules)


@pytest.fixture
def users(own_engine: EngineServer) -> EngineServer:
    """An engine with the users of the page."""
    assert RULES.keys() == {"relay", "reader", "worker"}
    version = own_engine.run("INFO", "server")
    if b"redis_version:6." in version:
        pytest.skip("Redis 6.2 has no selectors")
    for name, rules in RULES.items():
        own_engine.run("ACL", "SETUSER", name, *words_of(rules))
    return own_engine


def as_user(engine: EngineServer, name: str, *command: Any) -> Any:
    with redis.Redis(unix_socket_path=str(engine.path), protocol=2, username=name, password="a-password") as client:
        return client.execute_command(*command)


def test_a_relay_needs_no_more_than_its_rules(users: EngineServer, server: EventServer) -> None:
    streams = Streams(users, "default")
    url = f"unix://relay:a-password@{users.path}"
    with (
        relaying(url, server.url, "default") as first,
        relaying(url, server.url, "default", leads=False) as second,
    ):
        server.broadcast_raw(numbered(1))
        streams.await_numbers(1)
        users.run("XADD", streams.keys.out, "*", *OUT)
        assert server.expect("image.generate", timeout=30)
        value = users.run("GET", streams.keys.standby)
        until(lambda: users.run("GET", streams.keys.standby) not in (None, value))
        alive = streams.status.alive
        until(lambda: streams.status.alive > alive + 2)
        first.stop()
        until(lambda: second.report().role == "leader")
        users.run("DEL", streams.keys.ev)
        server.broadcast_raw(numbered(2))
        streams.await_numbers(2)
    entries = [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in users.run("ACL", "LOG")]
    assert {entry[b"object"] for entry in entries} <= {b"client|setinfo"}  # whose refusal redis-py ignores


ALLOWED = [
    ("reader", "XREVRANGE", "mws:{default}:ev", "+", "-", "COUNT", "1"),
    ("reader", "XREAD", "COUNT", "1", "STREAMS", "mws:{default}:ev", "0"),
    ("reader", "GET", "mws:{default}:status"),
    ("reader", "XADD", "mws:{default}:out", "*", *OUT),
    ("worker", "XADD", "mws:{default}:dead:store", "*", "t", "1"),
    ("worker", "XADD", "mws:{default}:out", "*", *OUT),
    ("worker", "XGROUP", "CREATE", "mws:{default}:key", "store", "$"),
    ("worker", "XREADGROUP", "GROUP", "store", "c", "COUNT", "1", "STREAMS", "mws:{default}:key", ">"),
    ("worker", "XPENDING", "mws:{default}:key", "store"),
    ("worker", "XINFO", "CONSUMERS", "mws:{default}:key", "store"),
    ("worker", "XGROUP", "DELCONSUMER", "mws:{default}:key", "store", "c"),
]
REFUSED = [
    ("reader", "XADD", "mws:{default}:ev", "*", "b", "forged"),
    ("reader", "XADD", "mws:{default}:key", "*", "e", "forged"),
    ("reader", "SET", "mws:{default}:leader", "x"),
    ("reader", "DEL", "mws:{default}:ev"),
    ("reader", "XREADGROUP", "GROUP", "store", "c", "STREAMS", "mws:{default}:key", ">"),
    ("reader", "GET", "mws:{other}:status"),
    ("worker", "XADD", "mws:{default}:ev", "*", "b", "forged"),
    ("worker", "XADD", "mws:{default}:key", "*", "e", "forged"),
    ("worker", "SET", "mws:{default}:status", "x"),
    ("worker", "XTRIM", "mws:{default}:key", "MAXLEN", "0"),
    ("relay", "DEL", "mws:{default}:ev"),
    ("relay", "FLUSHALL"),
    ("relay", "GET", "other"),
    ("relay", "CONFIG", "GET", "*"),
]


def test_readers_and_workers_can_do_what_they_must_and_no_more(users: EngineServer) -> None:
    users.run("XADD", "mws:{default}:key", "1-0", "c", "{}")
    for name, *command in ALLOWED:
        as_user(users, name, *command)
    for name, *command in REFUSED:
        with pytest.raises(NoPermissionError):
            as_user(users, name, *command)
