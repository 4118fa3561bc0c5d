from __future__ import annotations

import asyncio

import pytest

from masquerade_ws.errors import MasqueradeError
from masquerade_ws.user_code import as_exception, ends_program


class Leave(SystemExit):
    """An exit of the user's own kind."""


class Timeout(BaseException):
    """As gevent's: not an `Exception`, and not an exit."""


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), Leave()])
def test_an_exit_ends_the_program(error: BaseException) -> None:
    assert ends_program(error)


@pytest.mark.parametrize(
    "error", [ValueError(), MemoryError(), Timeout(), asyncio.CancelledError(), GeneratorExit(), StopIteration()]
)
def test_a_failure_of_any_base_does_not_end_the_program(error: BaseException) -> None:
    assert not ends_program(error)


def test_an_exit_of_a_greenlet_ends_the_program_and_a_time_out_of_gevent_does_not() -> None:
    greenlet = pytest.importorskip("greenlet", reason="needs greenlet")
    gevent = pytest.importorskip("gevent", reason="needs gevent")
    kind = type("Killed", (greenlet.GreenletExit,), {})
    assert ends_program(greenlet.GreenletExit())
    assert ends_program(kind())
    assert not ends_program(gevent.Timeout(1))


def test_an_exception_is_reported_as_it_is() -> None:
    error = ValueError("no")
    assert as_exception(error, "a listener") is error


def test_any_other_base_is_reported_as_the_cause_of_an_error_of_ours() -> None:
    error = Timeout("1 second")
    reported = as_exception(error, "a listener")
    assert isinstance(reported, MasqueradeError)
    assert (str(reported), reported.__cause__) == ("a listener raised Timeout", error)
