"""When a heartbeat is due and when a peer is dead, as tables of what happens at which time."""

from __future__ import annotations

import math

import pytest

from masquerade_ws.lifecycle.pulse import Pulse, Verdict

WAIT, BEAT, BUSY, DEAD, SILENT, STUCK = Verdict
ENDS = {DEAD, SILENT, STUCK}
# What a look at the peer is given, and what it decides: (time, last sign of life, verdict, next look)
Look = tuple[float, float, Verdict, float]


def never() -> bool:
    """Ask the system, where that is not to be asked."""
    raise AssertionError("the system was asked")


def play(
    interval: float,
    timeout: float | None,
    looks: list[Look],
    *,
    busy_timeout: float | None = None,
    acknowledged: bool | None = False,
    using: float = 0.0,
) -> None:
    """Look at the peer again and again; each heartbeat is sent at once.

    Args:
        interval: As for a client.
        timeout: As for a client.
        looks: What is seen and what has to be decided.
        busy_timeout: As for a client.
        acknowledged: What the system says whenever it is asked.
        using: The share of the time in which the process uses the processor.
    """
    pulse = Pulse(interval, timeout, busy_timeout, 0.0, 0.0)
    for now, sign, verdict, wake in looks:
        assert pulse.look(now, using * now, sign, lambda: acknowledged) is verdict, now
        if verdict is BEAT:
            pulse.beaten(now, now, sent=True, taken=True)
        if verdict not in ENDS:
            assert pulse.wake == pytest.approx(wake), now


def test_the_first_look_is_due_after_one_interval() -> None:
    assert Pulse(30, 10, 120, 100.0, 0.0).wake == 130.0


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


DEFAULTS = (30, 10, 120)
BUSY_FROM_30 = [(30, 0, BEAT, 40), (40, 0, BUSY, 60), (60, 0, BEAT, 70), (70, 0, WAIT, 90), (90, 0, BEAT, 100)]


@pytest.mark.parametrize(
    ("options", "looks"),
    [
        pytest.param(
            DEFAULTS,
            [*BUSY_FROM_30, (100, 0, WAIT, 120), (120, 0, BEAT, 130), (130, 0, WAIT, 150), (150, 0, STUCK, 0)],
            id="it never answers",
        ),
        pytest.param(
            DEFAULTS,
            [*BUSY_FROM_30, (100, 95, WAIT, 120), (120, 95, BEAT, 130), (130, 95, BUSY, 150)],
            id="it answers and is silent again",
        ),
        pytest.param(
            (1, 1, 3),
            [(1, 0, BEAT, 2), (2, 0, BUSY, 2), (2, 0, BEAT, 3), (3, 0, BEAT, 4), (4, 0, STUCK, 0)],
            id="the system is asked before a heartbeat that is due at the same time",
        ),
        pytest.param(
            (1, 3, 5),
            [
                *[(n, 0, BEAT, n + 1) for n in (1, 2, 3)],
                (4, 0, BUSY, 4),
                (4, 0, BEAT, 5),
                (5, 0, BEAT, 6),
                (6, 0, STUCK, 0),
            ],
            id="several heartbeats within the time",
        ),
        pytest.param((30, 10, 20), [(30, 0, BEAT, 40), (40, 0, BUSY, 50), (50, 0, STUCK, 0)], id="between heartbeats"),
        pytest.param((30, 10, 10), [(30, 0, BEAT, 40), (40, 0, STUCK, 0)], id="no more time than without that"),
        pytest.param(
            (1, 1, None),
            [(1, 0, BEAT, 2), (2, 0, BUSY, 2), *[(n, 0, BEAT, n + 1) for n in range(2, 100)]],
            id="without a limit it may be busy for ever",
        ),
        pytest.param(
            (9, 10, None),
            [(9, 0, BEAT, 19), (18, 0, WAIT, 19), (19, 0, BUSY, 19), (19, 0, BEAT, 29), (29, 0, BEAT, 39)],
            id="a heartbeat that is due shortly before a question waits for it",
        ),
    ],
)
def test_a_silent_peer_whose_system_is_alive_has_more_time(
    options: tuple[float, float, float | None], looks: list[Look]
) -> None:
    interval, timeout, busy_timeout = options
    play(interval, timeout, looks, busy_timeout=busy_timeout, acknowledged=True)


def test_the_first_no_of_the_system_is_death() -> None:
    pulse = Pulse(30, 10, 120, 0.0, 0.0)
    answers = iter([True, False])
    verdicts = []
    for now in (30, 40, 60, 70):
        verdicts.append(pulse.look(now, 0.0, 0.0, lambda: next(answers)))
        if verdicts[-1] is BEAT:
            pulse.beaten(now, now, sent=True, taken=True)
    assert verdicts == [BEAT, BUSY, BEAT, DEAD]


def test_a_question_precedes_the_heartbeat_that_is_due_just_before_since_the_last_one_took_a_moment_to_send() -> None:
    pulse = Pulse(1, 1, 10, 0.0, 0.0)
    for now, after in [(1, BUSY), (2.125, BEAT), (3.25, BEAT)]:
        assert pulse.look(now, 0.0, 0.0, lambda: True) is BEAT
        pulse.beaten(now, now + 0.125, sent=True, taken=True)
        assert pulse.wake == now + 1.125
        if after is BUSY:
            assert pulse.look(pulse.wake, 0.0, 0.0, lambda: True) is BUSY


def test_a_system_that_cannot_tell_gives_no_more_time() -> None:
    play(30, 10, [(30, 0, BEAT, 40), (40, 0, SILENT, 0)], busy_timeout=120, acknowledged=None)


def test_the_system_is_not_asked_about_a_peer_that_answers() -> None:
    pulse = Pulse(1, 3, 5, 0.0, 0.0)
    for now in range(1, 100):
        assert pulse.look(now, 0.0, now - 0.5, never) is BEAT
        pulse.beaten(now, now, sent=True, taken=True)


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
    play(1, 3, [(1.9, 0, BEAT, 2.9), (3.8, 0, BEAT, 4.9), (5.7, 0, DEAD, 0)], using=1.0)


def test_late_looks_of_a_process_that_hardly_runs_keep_a_dead_peer_alive_only_once() -> None:
    play(1, 3, [(1.9, 0, BEAT, 2.9), (3.8, 0, BEAT, 4.8), (5.7, 0, BEAT, 6.8), (7.6, 0, DEAD, 0)])


def test_a_late_look_sends_the_heartbeat_that_is_due_after_its_question() -> None:
    looks: list[Look] = [(1, 0, BEAT, 2), (2.3, 0, BUSY, 2.3), (2.3, 0, BEAT, 3.3), (3.3, 0, BEAT, 4.3)]
    play(1, 1, looks, busy_timeout=10, acknowledged=True)


def test_a_heartbeat_waits_for_other_sends_no_longer_than_the_peer_may_be_silent() -> None:
    pulse = Pulse(1, 3, 5, 0.0, 0.0)
    assert pulse.patience(1.0) == 3
    pulse.beaten(1.0, 1.5, sent=True, taken=True)
    assert pulse.patience(2.0) == 2.5
    assert pulse.look(4.5, 4.5, 0.0, lambda: True) is BUSY
    assert pulse.patience(4.5) == 2
    assert pulse.patience(6.0) == 0.5
    assert Pulse(1, None, 5, 0.0, 0.0).patience(1.0) == math.inf


def test_the_time_of_the_peer_runs_from_when_a_heartbeat_was_sent() -> None:
    pulse = Pulse(10, 3, 3, 0.0, 0.0)
    assert pulse.look(10.0, 0.0, 0.0, never) is BEAT
    pulse.beaten(10.0, 12.0, sent=True, taken=True)
    assert pulse.wake == 15.0
    assert pulse.look(14.9, 0.0, 0.0, never) is WAIT
    assert pulse.look(15.0, 0.0, 0.0, lambda: True) is STUCK


def test_a_heartbeat_that_was_not_sent_asks_as_well_if_the_peer_took_nothing_else() -> None:
    pulse = Pulse(10, 3, 5, 0.0, 0.0)
    assert pulse.look(10.0, 0.0, 0.0, never) is BEAT
    pulse.beaten(10.0, 12.0, sent=False, taken=False)
    assert pulse.wake == 13.0
    assert pulse.look(13.0, 0.0, 0.0, lambda: True) is BUSY
    assert pulse.wake == 15.0


def test_a_heartbeat_that_was_not_sent_asks_nothing_while_the_peer_takes_what_others_send() -> None:
    pulse = Pulse(10, 3, 5, 0.0, 0.0)
    assert pulse.look(10.0, 0.0, 0.0, never) is BEAT
    pulse.beaten(10.0, 12.0, sent=False, taken=True)
    assert pulse.wake == 20.0


@pytest.mark.parametrize("sent", [True, False])
def test_a_heartbeat_that_took_longer_than_its_interval_is_followed_at_once(sent: bool) -> None:
    pulse = Pulse(1, 30, 30, 0.0, 0.0)
    assert pulse.look(1.0, 0.0, 0.0, never) is BEAT
    pulse.beaten(1.0, 5.0, sent=sent, taken=True)
    assert pulse.wake == 5.0
    assert pulse.look(5.0, 0.0, 4.5, never) is BEAT


def test_nothing_is_kept_of_a_silence_without_limits() -> None:
    pulse = Pulse(1, None, 5, 0.0, 0.0)
    for now in range(1, 1000):
        assert pulse.look(now, 0.0, 0.0, never) is BEAT
        pulse.beaten(now, now, sent=True, taken=True)
    assert not pulse._questions
