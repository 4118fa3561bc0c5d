"""Real threads under a schedule: at each line of the code in question the schedule says who goes on.

One thread runs at a time. It hands over before a line of the files to explore, as the schedule says, and where another
one holds a lock that it needs; so a schedule replays, and a lock that is never given back shows.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

__all__ = ["Interleaving"]


class Lock:
    """A reentrant lock whose waiters let the others go on; a `threading.Condition` can be made of it, too."""

    def __init__(self, world: Interleaving) -> None:
        self._world = world
        self._lock = threading.RLock()
        self._is_owned = self._lock._is_owned  # type: ignore[attr-defined] # which a condition looks for

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        while not self._lock.acquire(blocking=False):
            self._world.hand_over()
        return True

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *raised: object) -> None:
        self.release()


class Interleaving:
    """Threads that take turns.

    Args:
        files: The ends of the names of the files before whose lines a thread may have to hand over.
        switches: The steps, counted over all threads, before which the one that runs hands over.

    Attributes:
        steps: How many lines were run.
    """

    def __init__(self, files: Sequence[str], switches: Sequence[int]) -> None:
        self.steps = 0
        self._files = tuple(files)
        self._switches = frozenset(switches)
        self._turns: list[threading.Semaphore] = []
        self._left: list[int] = []
        self._current = 0
        self._raised: list[BaseException] = []

    def lock(self) -> Lock:
        """Return a lock that the threads may use."""
        return Lock(self)

    def run(self, *actions: Callable[[], object]) -> None:
        """Run each action in a thread of its own, the first one first; what one raises is raised."""
        self._turns = [threading.Semaphore(0) for _ in actions]
        self._left = list(range(len(actions)))
        threads = [
            threading.Thread(target=self._run, args=(place, action), daemon=True)
            for place, action in enumerate(actions)
        ]
        for thread in threads:
            thread.start()
        self._turns[0].release()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive(), "the threads wait for one another"
        if self._raised:
            raise self._raised[0]

    def hand_over(self) -> None:
        """Let the next thread go on, and wait until this one is to."""
        me = self._current
        following = [place for place in self._left if place > me] or self._left
        if following[0] != me:
            self._go_on(following[0])
            self._turns[me].acquire()

    def _go_on(self, place: int) -> None:
        self._current = place
        self._turns[place].release()

    def _run(self, place: int, action: Callable[[], object]) -> None:
        self._turns[place].acquire()
        sys.settrace(self._trace)
        try:
            action()
        except BaseException as error:
            self._raised.append(error)
        finally:
            sys.settrace(None)
            self._left.remove(place)
            if self._left:
                self._go_on(next((other for other in self._left if other > place), self._left[0]))

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.endswith(self._files):
            return None
        if event == "line":
            self.steps += 1
            if self.steps in self._switches:
                self.hand_over()
        return self._trace
