"""The lock of the leader."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from masquerade_ws.relay.engine import Engine, EngineUrl
from masquerade_ws.relay.keys import Keys
from masquerade_ws.relay.lock import LEASE_MS, Lock, owner_of
from tests.support.engines import EngineServer
from tests.support.raw_server import until


@pytest.fixture
def engine(engine_server: EngineServer, namespace: str) -> Iterator[Engine]:
    engine = Engine(EngineUrl.parse(engine_server.url), Keys(namespace), reply_timeout=None)
    engine.connect(30)
    yield engine
    engine.close()


def test_one_relay_has_the_lock(engine: Engine, namespace: str) -> None:
    one, other = Lock(Keys(namespace), "a-1"), Lock(Keys(namespace), "b-2")
    assert one.acquire(engine)
    assert not other.acquire(engine)
    assert owner_of(engine.call("GET", Keys(namespace).leader)) == "a-1"
    assert 0 < engine.call("PTTL", Keys(namespace).leader) <= LEASE_MS


def test_each_renewal_changes_the_value(engine: Engine, namespace: str) -> None:
    lock = Lock(Keys(namespace), "a-1")
    lock.acquire(engine)
    before = engine.call("GET", Keys(namespace).leader)
    engine.transaction([lock.renewal()])
    assert engine.call("GET", Keys(namespace).leader) != before


def test_the_lock_is_given_back_by_its_owner_alone(engine: Engine, namespace: str) -> None:
    one, other = Lock(Keys(namespace), "a-1"), Lock(Keys(namespace), "b-2")
    one.acquire(engine)
    other.give_back(engine)
    assert not other.acquire(engine)
    one.give_back(engine)
    until(lambda: other.acquire(engine))


def test_the_lock_is_taken_from_a_relay_that_is_gone_but_not_from_its_successor(engine: Engine, namespace: str) -> None:
    one, other = Lock(Keys(namespace), "a-1"), Lock(Keys(namespace), "b-2")
    one.acquire(engine)
    old = engine.call("GET", Keys(namespace).leader)
    assert other.take_from(engine, old)
    assert not one.take_from(engine, old)
    assert owner_of(engine.call("GET", Keys(namespace).leader)) == "b-2"


def test_there_is_no_owner_without_a_value() -> None:
    assert owner_of(None) == owner_of(b"") == ""
