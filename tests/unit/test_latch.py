from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial
from itertools import count
from types import FrameType
from typing import Any

import pytest

from masquerade_ws import latch as module
from masquerade_ws.latch import Latch
from tests.support.scenes import TIMEOUT, running

FILES = {module.__file__, threading.__file__}


def cut_at(line: int, call: Callable[[], object], cut: Callable[[], object]) -> bool:
    """Make a call, and another one in the middle of it; return whether the call had so many lines."""
    left = line

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in FILES:
            return None
        left -= event == "line"
        if not left and event == "line":
            cut()
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
    return left <= 0


def test_a_latch_is_set_once_and_for_all() -> None:
    latch = Latch()
    assert not latch.is_set()
    assert not latch.wait(0)
    latch.set()
    latch.set()
    assert latch.is_set()
    assert latch.wait()


def test_setting_a_latch_wakes_all_who_wait() -> None:
    latch = Latch()
    waiting = [running(lambda: latch.wait(TIMEOUT)) for _ in range(3)]
    latch.set()
    assert [worker.result() for worker in waiting] == [True] * 3


@pytest.mark.parametrize("call", ["wait", "set"])
@pytest.mark.parametrize("cut", ["wait", "set"])
def test_what_a_signal_handler_does_amid_a_call_of_its_own_thread_does_not_block(call: str, cut: str) -> None:
    calls: dict[str, Callable[[Latch], object]] = {"wait": lambda latch: latch.wait(0.001), "set": Latch.set}

    def lines() -> int:
        for line in count(1):
            latch = Latch()
            more = cut_at(line, partial(calls[call], latch), partial(calls[cut], latch))
            assert latch.wait(0) == ("set" in (call, cut) and (call == "set" or more))
            if not more:
                return line
        raise AssertionError

    assert running(lines).result() > 3
