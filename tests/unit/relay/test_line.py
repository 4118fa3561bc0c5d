"""Calls of several threads share a connection, which ends once for all."""

from __future__ import annotations

import pytest

from masquerade_ws.relay.engine import Engine, EngineLost, EngineUrl
from masquerade_ws.relay.keys import Keys
from masquerade_ws.relay.line import Line, LineBusy
from tests.support.engines import EngineServer


def line_to(url: str, timeout: float = 10.0) -> Line:
    return Line(lambda: Engine(EngineUrl.parse(url), Keys("default"), reply_timeout=timeout), timeout)


def test_a_call_that_waits_too_long_for_another_fails_alone(engine_server: EngineServer) -> None:
    line = line_to(engine_server.url, 0.01)
    with line._turn, pytest.raises(LineBusy, match=r"not within 0.01 s: another thread's call came first"):
        line.call("PING")
    line._timeout = 10.0
    line.call("GET", "x")
    line.end()


def test_after_the_end_nothing_is_called(engine_server: EngineServer) -> None:
    line = line_to(engine_server.url)
    line.end()
    with pytest.raises(EngineLost, match="there is no connection to the engine"):
        line.call("GET", "x")


def test_who_calls_closes_what_was_ended_meanwhile(engine_server: EngineServer) -> None:
    line = line_to(engine_server.url)
    line.call("GET", "x")
    with line._turn:
        line.end()
    with pytest.raises(EngineLost):
        line.call("GET", "x")


def test_a_call_connects_anew_after_an_engine_that_was_not_there() -> None:
    line = line_to("unix:///nowhere/engine.sock")
    for _ in range(2):
        with pytest.raises(EngineLost, match="cannot be reached"):
            line.call("GET", "x")


def test_a_forked_child_has_no_connection(engine_server: EngineServer) -> None:
    unused = line_to(engine_server.url)
    unused.after_fork()
    line = line_to(engine_server.url)
    line.call("GET", "x")
    line.after_fork()
    for each in (unused, line):
        with pytest.raises(EngineLost):
            each.call("GET", "x")


def test_a_connection_that_was_lost_is_made_anew(engine_server: EngineServer) -> None:
    line = line_to(engine_server.url)
    line.call("GET", "x")
    assert line._engine is not None
    line._engine.shutdown()
    with pytest.raises(EngineLost):
        line.call("GET", "x")
    assert line.transaction([("SET", "x", "1"), ("DEL", "x")]) == [b"OK", 1]
    line.end()
