"""What a relay finds out about the engine."""

from __future__ import annotations

from typing import Any, cast

import pytest

from masquerade_ws.relay.engine import Engine, EngineUrl
from masquerade_ws.relay.keys import Keys
from masquerade_ws.relay.survey import Survey, survey
from tests.support.engines import EngineServer


class Saying:
    """An engine of a version that is not at hand."""

    def __init__(self, *lines: str) -> None:
        self._info = "\r\n".join(lines).encode()

    def call(self, *command: Any) -> bytes:
        assert command == ("INFO",)
        return self._info


def found(*lines: str) -> Survey:
    return survey(cast("Engine", Saying(*lines)))


def test_the_engine_at_hand_can_be_used(engine_server: EngineServer) -> None:
    engine = Engine(EngineUrl.parse(engine_server.url), Keys("a"), reply_timeout=None)
    engine.connect(30)
    told = survey(engine)
    engine.close()
    assert told.problem is None
    assert told.version.startswith(("Redis ", "Valkey "))
    assert "a crash takes all since the last snapshot" in told.durability


@pytest.mark.parametrize("version", ["6.0.16", "5.0.0", "x"])
def test_an_engine_that_is_too_old_is_refused(version: str) -> None:
    assert found(f"redis_version:{version}").problem == (
        f"Redis {version} is too old: the relay needs Redis 6.2 or newer, or Valkey"
    )


@pytest.mark.parametrize("lines", [["redis_version:6.2.0"], ["redis_version:10.0"], ["valkey_version:9.1.2"]])
def test_a_newer_engine_is_welcome(lines: list[str]) -> None:
    assert found(*lines).problem is None


def test_an_eviction_policy_that_removes_streams_is_warned_of() -> None:
    assert "maxmemory-policy is allkeys-lru" in str(found("redis_version:7.0", "maxmemory_policy:allkeys-lru").warning)
    assert found("redis_version:7.0", "maxmemory_policy:volatile-lru").warning is None


def test_what_a_crash_takes_is_said() -> None:
    assert "two seconds" in found("redis_version:7.0", "aof_enabled:1").durability
