"""Sends of several threads share a connection, which ends once for all."""

from __future__ import annotations

import pytest

from masquerade_ws.errors import SendError
from masquerade_ws.relay.engine import Engine, EngineUrl
from masquerade_ws.relay.keys import Keys
from masquerade_ws.relay.sending import Sending
from tests.support.engines import EngineServer


def sending_to(url: str, timeout: float = 10.0) -> Sending:
    return Sending(lambda: Engine(EngineUrl.parse(url), Keys("default"), reply_timeout=timeout), timeout)


def test_a_send_that_waits_too_long_for_another_fails_alone(engine_server: EngineServer) -> None:
    sending = sending_to(engine_server.url, 0.01)
    with sending._turn, pytest.raises(SendError, match=r"not sent within 0.01 s: another thread's send came first"):
        sending.send(("PING",))
    sending.send(("GET", "x"))
    sending.end()


def test_after_the_end_nothing_is_sent(engine_server: EngineServer) -> None:
    sending = sending_to(engine_server.url)
    sending.end()
    with pytest.raises(SendError, match="there is no connection to the engine"):
        sending.send(("GET", "x"))


def test_who_sends_closes_what_was_ended_meanwhile(engine_server: EngineServer) -> None:
    sending = sending_to(engine_server.url)
    sending.send(("GET", "x"))
    with sending._turn:
        sending.end()
    with pytest.raises(SendError):
        sending.send(("GET", "x"))


def test_a_send_connects_anew_after_an_engine_that_was_not_there() -> None:
    sending = sending_to("unix:///nowhere/engine.sock")
    for _ in range(2):
        with pytest.raises(SendError, match="cannot be reached"):
            sending.send(("GET", "x"))


def test_a_forked_child_has_no_connection(engine_server: EngineServer) -> None:
    unused = sending_to(engine_server.url)
    unused.after_fork()
    sending = sending_to(engine_server.url)
    sending.send(("GET", "x"))
    sending.after_fork()
    for each in (unused, sending):
        with pytest.raises(SendError):
            each.send(("GET", "x"))
