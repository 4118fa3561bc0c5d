from __future__ import annotations

import logging

import pytest

from masquerade_ws.delivery.unheard import UnheardErrors
from masquerade_ws.errors import ConnectError, MasqueradeError, ParseError
from masquerade_ws.events import ErrorContext, ErrorEvent


class Clock:
    """A time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def errors(clock: Clock) -> UnheardErrors:
    return UnheardErrors(clock)


def report(errors: UnheardErrors, *problems: Exception, context: ErrorContext = "parse") -> None:
    for problem in problems:
        errors.report(ErrorEvent(problem, context, "now"))


def test_a_kind_of_parse_error_is_logged_once_in_10_s_with_the_count_of_those_left_out(
    errors: UnheardErrors, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for clock.now in (100.0, 101.0, 109.9, 110.0, 119.0, 119.9, 500.0):
        report(errors, ParseError(f"a message is not JSON: {clock.now}"))
    start = "parse error, and nobody listens to errors: ParseError('a message is not JSON: "
    assert caplog.messages == [
        f"{start}100.0')",
        f"{start}110.0') (2 more of this kind were not logged)",
        f"{start}500.0') (2 more of this kind were not logged)",
    ]


def test_each_kind_of_parse_error_is_counted_by_itself_and_no_other_error_is(
    errors: UnheardErrors, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        report(errors, ParseError("a message is not JSON: {"), ParseError("a message is not a JSON object: 1"))
    assert len(caplog.records) == 2
    for _ in range(2):
        report(errors, ConnectError("refused"), context="connection")
        report(errors, KeyError("mine"), context="handler")
    assert len(caplog.records) == 6


def test_an_error_of_user_code_is_an_error_with_its_traceback_also_if_it_is_wrapped(
    errors: UnheardErrors, caplog: pytest.LogCaptureFixture
) -> None:
    report(errors, KeyError("mine"), MasqueradeError("a listener raised Timeout"), context="handler")
    report(errors, KeyError("odd"), ConnectError("refused"), context="connection")
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2 + [logging.WARNING] * 2
    assert [bool(record.exc_info) for record in caplog.records] == [True, True, True, False]


def test_what_an_error_says_is_escaped_and_cut(errors: UnheardErrors, caplog: pytest.LogCaptureFixture) -> None:
    report(errors, KeyError("\x1b[2J\r\n\u2028" + "a" * 2**20), context="connection")
    (message,) = caplog.messages
    assert message.isprintable()
    assert len(message) < 600


def test_an_error_whose_repr_fails_is_logged_by_its_type(
    errors: UnheardErrors, caplog: pytest.LogCaptureFixture
) -> None:
    class OddError(Exception):
        def __repr__(self) -> str:
            raise ValueError("no repr")

    report(errors, OddError(), context="handler")
    assert "OddError, of which no repr can be made" in caplog.messages[0]
