from __future__ import annotations

import contextlib
import math
import threading
from typing import Any

import pytest

from masquerade_ws.checks import check_count, check_duration
from masquerade_ws.lifecycle.options import ClientOptions, HeartbeatOptions

GOOD: dict[str, Any] = {
    "token_timeout": 30.0,
    "initial_reconnect_delay": 1.0,
    "max_reconnect_delay": 30.0,
    "auto_reconnect": True,
    "reconnect_jitter": 0.0,
    "min_uptime": 0.0,
    "connect_timeout": 10.0,
    "queue_size": 10_000,
    "around_event": None,
    "final_close_codes": frozenset(),
}
HEARTBEATS: dict[str, Any] = {
    "heartbeat_interval": 30.0,
    "heartbeat_timeout": 10.0,
    "busy_timeout": 120.0,
    "heartbeat_message": True,
}
MAY_BE_ZERO = ["initial_reconnect_delay", "max_reconnect_delay", "min_uptime"]
POSITIVE = ["heartbeat_interval", "connect_timeout", "heartbeat_timeout", "token_timeout"]
MAY_BE_NONE = {"heartbeat_timeout", "token_timeout"}


def options_with(name: str, value: object) -> ClientOptions | HeartbeatOptions:
    """Make the options to which one belongs that has this value."""
    if name in HEARTBEATS:
        return HeartbeatOptions(**{**HEARTBEATS, name: value})
    return ClientOptions(**{**GOOD, name: value})


def short(value: object) -> str:
    return str(value)[:30]


def test_the_defaults_of_the_client_are_accepted() -> None:
    for kind, defaults in ((ClientOptions, GOOD), (HeartbeatOptions, HEARTBEATS)):
        options = kind(**defaults)
        assert {name: getattr(options, name) for name in defaults} == defaults


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in MAY_BE_ZERO for value in (0, 0.0, 1e-9, 5, threading.TIMEOUT_MAX)],
        *[(name, value) for name in POSITIVE for value in (1e-9, 5, threading.TIMEOUT_MAX)],
        *[("busy_timeout", value) for value in (10, 121.5, threading.TIMEOUT_MAX)],
        ("heartbeat_timeout", None),
        ("busy_timeout", None),
        ("token_timeout", None),
        *[("reconnect_jitter", value) for value in (0, 0.5, 1, 1.0)],
        ("auto_reconnect", False),
        ("heartbeat_message", False),
        ("queue_size", 1),
        ("around_event", contextlib.nullcontext),
    ],
)
def test_a_good_value_is_kept(name: str, value: object) -> None:
    assert getattr(options_with(name, value), name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[
            (name, value)
            for name in [*MAY_BE_ZERO, *POSITIVE, "busy_timeout"]
            for value in (-1, -0.1, math.nan, math.inf, -math.inf)
        ],
        *[(name, value) for name in MAY_BE_ZERO + POSITIVE for value in (threading.TIMEOUT_MAX * 2, 10**400)],
        *[(name, value) for name in [*POSITIVE, "busy_timeout"] for value in (0, 0.0, -0.0)],
        *[("reconnect_jitter", value) for value in (-0.1, 1.1, math.nan, math.inf, 10**400)],
        *[("queue_size", value) for value in (0, -1)],
    ],
    ids=short,
)
def test_a_value_out_of_range_is_a_value_error_that_names_the_argument(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be "):
        options_with(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in [*MAY_BE_ZERO, *POSITIVE, "busy_timeout"] for value in ("1", True, (), 1j)],
        *[(name, None) for name in MAY_BE_ZERO + POSITIVE if name not in MAY_BE_NONE],
        *[("reconnect_jitter", value) for value in ("0", False, None)],
        *[("auto_reconnect", value) for value in (0, 1, "yes", None)],
        *[("heartbeat_message", value) for value in (0, 1, "no", None)],
        *[("queue_size", value) for value in (1.0, "1", True, None)],
        *[("around_event", value) for value in ("x", 1, contextlib.nullcontext())],
    ],
)
def test_a_value_of_another_type_is_a_type_error_that_names_argument_and_type(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=rf"^{name} must be .*, not {type(value).__name__}$"):
        options_with(name, value)


def test_options_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        ClientOptions(**GOOD).queue_size = 1  # type: ignore[misc]


def test_a_duration_says_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=r"^timeout must be at least 0 and at most \d+ seconds, not -1$"):
        check_duration("timeout", -1)
    with pytest.raises(ValueError, match=r"^timeout must be more than 0 and at most \d+ seconds, not 0$"):
        check_duration("timeout", 0, zero=False)


def test_a_count_says_what_is_allowed() -> None:
    check_count("maxsize", 1)
    with pytest.raises(ValueError, match=r"^maxsize must be at least 1, not 0$"):
        check_count("maxsize", 0)


@pytest.mark.parametrize("busy_timeout", [1, 9.9, 10])
def test_less_time_for_a_busy_peer_than_for_a_silent_one_counts_as_the_same(busy_timeout: float) -> None:
    assert HeartbeatOptions(**{**HEARTBEATS, "busy_timeout": busy_timeout}).busy_timeout == 10


@pytest.mark.parametrize("codes", [[4401, 1008], (4401, 1008), {4401, 1008}, iter([4401, 1008, 4401])])
def test_close_codes_may_come_as_any_collection(codes: Any) -> None:
    assert ClientOptions(**{**GOOD, "final_close_codes": codes}).final_close_codes == {1008, 4401}


@pytest.mark.parametrize(
    ("codes", "kind", "problem"),
    [
        (4401, TypeError, "must be a collection of close codes, not int"),
        ("4401", TypeError, "must be a collection of close codes, not str"),
        (None, TypeError, "must be a collection of close codes, not NoneType"),
        (["4401"], TypeError, "must hold ints, not str"),
        ([True], TypeError, "must hold ints, not bool"),
        ([999], ValueError, "must hold close codes from 1000 to 4999, not 999"),
        ([5000], ValueError, "must hold close codes from 1000 to 4999, not 5000"),
    ],
)
def test_what_is_not_a_close_code_is_refused(codes: Any, kind: type[Exception], problem: str) -> None:
    with pytest.raises(kind, match=f"^final_close_codes {problem}$"):
        ClientOptions(**{**GOOD, "final_close_codes": codes})
