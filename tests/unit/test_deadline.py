from __future__ import annotations

import threading
import time

import pytest

from masquerade_ws.deadline import Deadline


def test_a_deadline_without_a_timeout_never_comes() -> None:
    deadline = Deadline(None)
    assert deadline.remaining() is None
    assert not deadline.expired()


def test_the_time_left_shrinks() -> None:
    before = time.monotonic()
    deadline = Deadline(100)
    first = deadline.remaining()
    second = deadline.remaining()
    assert first is not None
    assert second is not None
    assert 100 >= first >= second >= 100 - (time.monotonic() - before)
    assert not deadline.expired()


@pytest.mark.parametrize("timeout", [0, 0.0, -1])
def test_a_deadline_of_now_or_before_has_come(timeout: float) -> None:
    deadline = Deadline(timeout)
    assert deadline.expired()
    assert deadline.remaining() == 0


def test_a_deadline_expires_when_its_time_is_over() -> None:
    deadline = Deadline(0.02)
    threading.Event().wait(deadline.remaining())
    time.sleep(deadline.remaining() or 0)
    assert deadline.expired()


def test_the_time_left_is_never_more_than_a_lock_takes() -> None:
    remaining = Deadline(threading.TIMEOUT_MAX * 2).remaining()
    assert remaining == threading.TIMEOUT_MAX
    assert threading.Event().wait(0) is False
    lock = threading.Lock()
    assert lock.acquire(timeout=remaining)


def test_a_later_deadline_is_so_much_later_and_never_stays_never() -> None:
    deadline = Deadline(100)
    assert 109 < (deadline.later(10).remaining() or 0) <= 110
    assert Deadline(None).later(10).remaining() is None
