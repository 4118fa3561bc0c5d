"""How a connection ended: the first cause stands."""

from __future__ import annotations

import pytest

from masquerade_ws.connection.closure import Closure
from masquerade_ws.errors import DisconnectedError
from masquerade_ws.protocol.frames import Violation


def test_the_first_to_decide_stands() -> None:
    closure = Closure()
    first = RuntimeError("first")
    assert closure.decide(1006, "", first)
    assert not closure.decide(1000, "bye")
    closure.lose(None)
    closure.fail(Violation(1002, "masked frame"))
    assert (closure.code, closure.reason, closure.error) == (1006, "", first)


def test_a_closing_handshake_is_not_an_error() -> None:
    closure = Closure()
    closure.decide(1001, "going away")
    closure.check()
    assert closure.error is None


def test_a_loss_is_chained_from_its_cause() -> None:
    closure = Closure()
    cause = ConnectionResetError(104, "reset")
    closure.lose(cause)
    with pytest.raises(DisconnectedError, match="reset") as caught:
        closure.check()
    assert repr(caught.value) == repr(closure.error)
    assert caught.value.__cause__ is cause


def test_the_stored_error_gathers_no_traceback_however_often_it_is_raised() -> None:
    closure = Closure()
    closure.lose(None)
    for _ in range(3):
        with pytest.raises(DisconnectedError) as caught:
            closure.check()
        assert len(caught.traceback) == 2
    assert closure.error is not None
    assert closure.error.__traceback__ is None


def test_a_violation_keeps_its_code_and_reason() -> None:
    closure = Closure()
    closure.fail(Violation(1007, "invalid UTF-8"))
    with pytest.raises(DisconnectedError) as caught:
        closure.check()
    assert (caught.value.code, caught.value.reason) == (1007, "invalid UTF-8")
    assert str(caught.value) == "the peer broke the protocol: invalid UTF-8 (code 1007)"


def test_a_violation_says_what_it_concerns_but_not_to_the_peer() -> None:
    closure = Closure()
    closure.fail(Violation(1009, "message too big", "max_message_size is 100 bytes"))
    assert str(closure.error) == (
        "the peer broke the protocol: message too big (code 1009, max_message_size is 100 bytes)"
    )
    assert closure.reason == "message too big"


def test_another_kind_of_cause_is_reported_as_a_disconnection() -> None:
    closure = Closure()
    cause = RuntimeError("dead")
    closure.decide(1006, "", cause)
    with pytest.raises(DisconnectedError, match="dead") as caught:
        closure.check()
    assert caught.value.__cause__ is cause


def test_a_forked_child_ends_without_a_decision() -> None:
    closure = Closure()
    closure.after_fork()
    assert closure.tcp_closed
    assert closure.code is None
