from __future__ import annotations

import copy
import pickle

import pytest

import masquerade_ws
from masquerade_ws import errors
from masquerade_ws.errors import (
    ConnectError,
    DisconnectedError,
    EventsDroppedError,
    ImageGenerationError,
    MasqueradeError,
    NotConnectedError,
    ParseError,
    SendError,
    StopReconnecting,
    WaitTimeoutError,
    copy_of,
)

KINDS = [one for one in map(vars(errors).get, errors.__all__) if isinstance(one, type)]
NAMES = {kind.__name__ for kind in KINDS if issubclass(kind, MasqueradeError)}

SAMPLES = [
    MasqueradeError("m"),
    ConnectError("m", 401),
    ConnectError("m", 429, errors.Response({"retry-after": "1"}, b"body", 1.0)),
    ConnectError("m"),
    NotConnectedError("m"),
    DisconnectedError("m", 1001, "bye"),
    SendError("m"),
    ParseError("m", b"\xff"),
    WaitTimeoutError("m"),
    StopReconnecting("m"),
    EventsDroppedError(3),
    ImageGenerationError("m", "job-1", True),
]


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (ConnectError, ConnectionError),
        (NotConnectedError, ConnectionError),
        (DisconnectedError, ConnectionError),
        (SendError, ConnectionError),
        (ParseError, ValueError),
        (WaitTimeoutError, TimeoutError),
        (StopReconnecting, Exception),
        (EventsDroppedError, Exception),
        (ImageGenerationError, Exception),
    ],
)
def test_every_error_is_the_library_s_and_what_python_calls_it(error: type[Exception], base: type[Exception]) -> None:
    assert issubclass(error, MasqueradeError)
    assert issubclass(error, base)


def test_every_error_of_the_module_can_be_had_from_the_package() -> None:
    for name in NAMES:
        assert getattr(masquerade_ws, name) is getattr(errors, name)


def test_the_samples_are_complete() -> None:
    assert {type(error).__name__ for error in SAMPLES} == NAMES


@pytest.mark.parametrize("error", SAMPLES, ids=repr)
def test_an_error_survives_pickling_and_copying_with_all_it_holds(error: MasqueradeError) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        twin = pickle.loads(pickle.dumps(error, protocol))
        assert (type(twin), twin.args, vars(twin), str(twin)) == (type(error), error.args, vars(error), str(error))
    twin = copy.copy(error)
    assert (type(twin), twin.args, vars(twin)) == (type(error), error.args, vars(error))


@pytest.mark.parametrize("error", [error for error in SAMPLES if not isinstance(error, EventsDroppedError)], ids=repr)
def test_the_text_of_an_error_is_its_message(error: MasqueradeError) -> None:
    assert str(error) == "m"


def test_an_overflow_says_how_many_events_are_missing() -> None:
    assert EventsDroppedError(3).count == 3
    assert str(EventsDroppedError(3)).startswith("3 events were dropped")
    assert str(EventsDroppedError(1)).startswith("1 event was dropped")


def test_what_an_error_holds_beside_its_message_may_be_left_out() -> None:
    assert ConnectError("m").status is None
    assert (DisconnectedError("m").code, DisconnectedError("m").reason) == (1006, "")
    assert ParseError("m").data == ""
    assert (ImageGenerationError("m").job_id, ImageGenerationError("m").retry_allowed) == ("", False)


@pytest.mark.parametrize("error", [MasqueradeError, NotConnectedError, SendError, WaitTimeoutError, StopReconnecting])
def test_an_error_without_fields_needs_no_message(error: type[MasqueradeError]) -> None:
    assert str(error()) == ""


def test_what_the_arguments_say_is_kept() -> None:
    assert ConnectError("m", status=503).status == 503
    lost = DisconnectedError("m", code=1001, reason="bye")
    assert (lost.code, lost.reason) == (1001, "bye")
    assert ParseError("m", data="{").data == "{"
    failed = ImageGenerationError("m", job_id="1", retry_allowed=True)
    assert (failed.job_id, failed.retry_allowed) == ("1", True)


def test_no_error_shows_the_message_that_it_holds() -> None:
    assert "private" not in repr(ParseError("m", "private")) + str(ParseError("m", "private"))


@pytest.mark.parametrize("error", SAMPLES, ids=repr)
def test_a_copy_to_raise_has_what_the_error_holds_and_its_causes_and_grows_no_traceback(error: MasqueradeError) -> None:
    try:
        try:
            raise KeyError("before")
        except KeyError:
            raise error from OSError("why")
    except MasqueradeError as stored:
        twin = copy_of(stored)
    assert (type(twin), twin.args, vars(twin)) == (type(error), error.args, vars(error))
    assert (twin.__cause__, twin.__context__) == (error.__cause__, error.__context__)
    assert (repr(twin.__cause__), repr(twin.__context__)) == ("OSError('why')", "KeyError('before')")
    assert twin.__suppress_context__
    assert twin.__traceback__ is None


def test_a_copy_of_an_error_without_a_cause_shows_its_context() -> None:
    error = DisconnectedError("m")
    error.__context__ = KeyError("before")
    assert not copy_of(error).__suppress_context__
