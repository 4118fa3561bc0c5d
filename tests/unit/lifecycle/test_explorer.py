"""Every interleaving that the explorer finds is legal and ends where the user wanted it; all rows are reached."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from masquerade_ws.lifecycle.transitions import TRANSITIONS
from tests.support.explorer import Explorer, Row, Schedule

OPTIONS = [{}, {"auto_reconnect": False}]


@contextmanager
def replayable(schedule: Schedule) -> Iterator[None]:
    """Say how to replay a schedule that fails."""
    try:
        yield
    except BaseException as error:
        error.args = (f"{error}; replay with Schedule({schedule.taken})",)
        raise


def explore(schedule: Schedule, **options: bool) -> set[Row]:
    """Play a schedule, and return the rows of the table that it used."""
    with pytest.MonkeyPatch.context() as patch, replayable(schedule):
        explorer = Explorer(schedule, patch, **options)
        explorer.explore()
        return explorer.rows


def test_every_row_of_the_table_is_reached_and_no_state_is_stuck() -> None:
    rows: set[Row] = set()
    for seed in range(2000):  # all rows are reached by half of them
        rows |= explore(Schedule(seed=seed), **OPTIONS[seed % 2])
    assert rows == set(TRANSITIONS)


@pytest.mark.parametrize("options", OPTIONS, ids=["retrying", "giving-up"])
def test_no_state_is_stuck_after_any_short_schedule(options: dict[str, bool]) -> None:
    """All beginnings of four acts; where a choice has fewer than nine, the higher ones are one of them once more."""
    for given in itertools.product(range(9), repeat=4):
        explore(Schedule(given, length=4), **options)


def test_a_schedule_can_be_replayed() -> None:
    first, again = Schedule(seed=7), None
    rows = explore(first)
    again = Schedule(first.taken, length=0)
    assert explore(again) == rows
    assert again.taken == first.taken


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 20_000, 2_000))  # in parts, each of which is far from the test's time limit
def test_no_state_is_stuck_after_many_long_schedules(first: int) -> None:
    for seed in range(first, first + 2_000):
        explore(Schedule(seed=f"long {seed}", length=100), **OPTIONS[seed % 2])
