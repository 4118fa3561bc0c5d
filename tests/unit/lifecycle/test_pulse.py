"""When a heartbeat is due and when a peer is dead, as tables of what happens at which time."""

from __future__ import annotations

import math

import pytest

from masquerade_ws.lifecycle.pulse import Pulse, Verdict

WAIT, BEAT, DEAD = Verdict.WAIT, Verdict.BEAT, Verdict.DEAD
# What a look at the peer is given, and what it decides: (time, last sign of life, verdict, next look)
Look = tuple[float, float, Verdict, float]


def play(interval: float, timeout: float | None, looks: list[Look], *, busy: float = 0.0) -> None:
    """Look at the peer again and again; each heartbeat is sent at once.

    Args:
        interval: As for a client.
        timeout: As for a client.
        looks: What is seen and what has to be decided.
        busy: The share of the time in which the process uses the processor.
    """
    pulse = Pulse(interval, timeout, 0.0, 0.0)
    for now, sign, verdict, wake in looks:
        assert pulse.look(now, busy * now, sign) is verdict, now
        if verdict is BEAT:
            pulse.beaten(now, now, sent=True, taken=True)
        if verdict is not DEAD:
            assert pulse.wake == pytest.approx(wake), now


def test_the_first_look_is_due_after_one_interval() -> None:
    assert Pulse(30, 10, 100.0, 0.0).wake == 130.0


@pytest.mark.parametrize(
    ("interval", "timeout", "looks"),
    [
        pytest.param(30, 10, [(30, 0, BEAT, 40), (40, 31, WAIT, 60), (60, 31, BEAT, 70)], id="it answers each time"),
        pytest.param(30, 10, [(30, 0, BEAT, 40), (40, 29, DEAD, 0)], id="it does not answer"),
        pytest.param(30, 10, [(30, 0, BEAT, 40), (40, 30, DEAD, 0)], id="what came just before is no answer"),
        pytest.param(1, 3, [(1, 0, BEAT, 2), (2, 0, BEAT, 3), (3, 0, BEAT, 4), (4, 0, DEAD, 0)], id="from the first"),
        pytest.param(1, 3, [(1, 0, BEAT, 2), (2, 0, BEAT, 3), (3, 2.5, BEAT, 4), (4, 2.5, BEAT, 5)], id="an answer"),
        pytest.param(1, None, [(n, 0, BEAT, n + 1) for n in range(1, 100)], id="without a limit it never is"),
        pytest.param(30, 10, [(30, 0, BEAT, 40), (40, math.inf, WAIT, 60)], id="it might answer, but is not read"),
        pytest.param(30, 10, [(20, 0, WAIT, 30), (30, 0, BEAT, 40)], id="a look that comes too early"),
    ],
)
def test_a_silent_peer_is_dead_once_its_time_is_over(interval: float, timeout: float | None, looks: list[Look]) -> None:
    play(interval, timeout, looks)


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param([(1, 0, BEAT, 2), (60, 0, BEAT, 61), (61, 60.1, BEAT, 62)], id="it answers then"),
        pytest.param(
            [(1, 0, BEAT, 2), (60, 0, BEAT, 61), (61, 0, BEAT, 62), (62, 0, BEAT, 63), (63, 0, DEAD, 0)],
            id="it does not answer then either",
        ),
        pytest.param([(60, 0, BEAT, 61), (61, 0, BEAT, 62), (62, 60.5, BEAT, 63)], id="nothing was asked before"),
        pytest.param(
            [(1, 0, BEAT, 2), (60, 0, BEAT, 61), (61, 60.1, BEAT, 62), (90, 60.1, BEAT, 91), (91, 90.5, BEAT, 92)],
            id="twice, with an answer in between",
        ),
        pytest.param([(1, 0, BEAT, 2), (60, 0, BEAT, 61), (90, 0, DEAD, 0)], id="twice, without one"),
    ],
)
def test_after_a_stop_of_the_process_the_peer_is_asked_anew_once(looks: list[Look]) -> None:
    play(1, 3, looks)


def test_late_looks_do_not_keep_a_dead_peer_alive_where_other_threads_hold_the_interpreter() -> None:
    play(1, 3, [(1.9, 0, BEAT, 2.9), (3.8, 0, BEAT, 4.8), (5.7, 0, DEAD, 0)], busy=1.0)


def test_late_looks_of_a_process_that_hardly_runs_keep_a_dead_peer_alive_only_once() -> None:
    play(1, 3, [(1.9, 0, BEAT, 2.9), (3.8, 0, BEAT, 4.8), (5.7, 0, BEAT, 6.7), (7.6, 0, DEAD, 0)])


def test_a_heartbeat_waits_for_other_sends_no_longer_than_the_peer_may_be_silent() -> None:
    pulse = Pulse(1, 3, 0.0, 0.0)
    assert pulse.patience(1.0) == 3
    pulse.beaten(1.0, 1.5, sent=True, taken=True)
    assert pulse.patience(2.0) == 2.5
    assert Pulse(1, None, 0.0, 0.0).patience(1.0) == math.inf


def test_the_time_of_the_peer_runs_from_when_a_heartbeat_was_sent() -> None:
    pulse = Pulse(10, 3, 0.0, 0.0)
    assert pulse.look(10.0, 0.0, 0.0) is BEAT
    pulse.beaten(10.0, 12.0, sent=True, taken=True)
    assert pulse.wake == 15.0


def test_a_heartbeat_that_was_not_sent_asks_as_well_if_the_peer_took_nothing_else() -> None:
    pulse = Pulse(10, 3, 0.0, 0.0)
    assert pulse.look(10.0, 0.0, 0.0) is BEAT
    pulse.beaten(10.0, 12.0, sent=False, taken=False)
    assert pulse.wake == 13.0


def test_a_heartbeat_that_was_not_sent_asks_nothing_while_the_peer_takes_what_others_send() -> None:
    pulse = Pulse(10, 3, 0.0, 0.0)
    assert pulse.look(10.0, 0.0, 0.0) is BEAT
    pulse.beaten(10.0, 12.0, sent=False, taken=True)
    assert pulse.wake == 20.0


def test_a_heartbeat_that_took_longer_than_its_interval_is_followed_at_once() -> None:
    pulse = Pulse(1, 30, 0.0, 0.0)
    assert pulse.look(1.0, 0.0, 0.0) is BEAT
    pulse.beaten(1.0, 5.0, sent=True, taken=True)
    assert pulse.wake == 5.0
    assert pulse.look(5.0, 0.0, 4.5) is BEAT
