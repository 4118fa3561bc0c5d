"""How a connection ended: the first cause stands."""

from __future__ import annotations

import pytest

from masquerade_ws.connection.closure import Closure
from masquerade_ws.errors import DisconnectedError
from masquerade_ws.protocol.frames import Violation


def test_the_first_to_decide_stands() -> None:
    outcome = Closure()
    first = RuntimeError("first")
    assert outcome.decide(1006, "", first)
    assert not outcome.decide(1000, "bye")
    outcome.lose(None)
    outcome.fail(Violation(1002, "masked frame"))
    assert (outcome.code, outcome.reason, outcome.error) == (1006, "", first)


def test_a_closing_handshake_is_no_error() -> None:
    outcome = Closure()
    outcome.decide(1001, "going away")
    outcome.check()
    assert outcome.error is None


def test_a_loss_is_chained_from_its_cause() -> None:
    outcome = Closure()
    cause = ConnectionResetError(104, "reset")
    outcome.lose(cause)
    with pytest.raises(DisconnectedError, match="reset") as caught:
        outcome.check()
    assert caught.value is outcome.error
    assert caught.value.__cause__ is cause


def test_a_violation_keeps_its_code_and_reason() -> None:
    outcome = Closure()
    outcome.fail(Violation(1007, "invalid UTF-8"))
    with pytest.raises(DisconnectedError) as caught:
        outcome.check()
    assert (caught.value.code, caught.value.reason) == (1007, "invalid UTF-8")


def test_another_kind_of_cause_is_reported_as_a_disconnection() -> None:
    outcome = Closure()
    cause = RuntimeError("dead")
    outcome.decide(1006, "", cause)
    with pytest.raises(DisconnectedError, match="dead") as caught:
        outcome.check()
    assert caught.value.__cause__ is cause


def test_abandoning_ends_without_a_decision() -> None:
    outcome = Closure()
    outcome.abandon()
    assert outcome.ended
    assert outcome.code is None
