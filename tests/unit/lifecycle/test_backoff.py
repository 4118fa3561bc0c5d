from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masquerade_ws.lifecycle.backoff import delay_before


def test_the_delay_doubles_three_times_and_then_is_the_longest() -> None:
    assert [delay_before(retry, 1.0, 30.0, 0.0) for retry in range(1, 8)] == [1, 2, 4, 8, 30, 30, 30]


def test_no_delay_exceeds_the_longest() -> None:
    assert [delay_before(retry, 1.0, 3.0, 0.0) for retry in range(1, 6)] == [1, 2, 3, 3, 3]
    assert delay_before(1, 5.0, 3.0, 0.0) == 3


def test_the_millionth_delay_is_the_longest_too() -> None:
    assert delay_before(10**6, 1.0, 30.0, 0.0) == 30


@pytest.mark.parametrize(("initial", "maximum"), [(0.0, 30.0), (1.0, 0.0)])
def test_a_delay_of_nothing_stays_nothing(initial: float, maximum: float) -> None:
    assert delay_before(1, initial, maximum, 0.5) == 0


@given(
    retry=st.integers(1, 10**9),
    initial=st.floats(0, 1e6),
    maximum=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
    seed=st.integers(),
)
def test_jitter_takes_no_more_than_its_share(
    retry: int, initial: float, maximum: float, jitter: float, seed: int
) -> None:
    longest = delay_before(retry, initial, maximum, 0.0)
    random.seed(seed)
    delay = delay_before(retry, initial, maximum, jitter)
    assert longest * (1 - jitter) * (1 - 1e-12) <= delay <= longest <= maximum


def test_jitter_spreads_the_delays_over_its_whole_share() -> None:
    random.seed(1)
    delays = [delay_before(1, 1.0, 30.0, 0.5) for _ in range(1000)]
    assert 0.5 <= min(delays) < 0.55
    assert 0.95 < max(delays) <= 1
