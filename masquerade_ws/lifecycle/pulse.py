"""When a heartbeat is due, and when a silent peer is dead: the decisions, without a clock, a thread or a socket."""

from __future__ import annotations

import math
from enum import Enum, auto

__all__ = ["Pulse", "Verdict"]

_STOPPED = 0.5  # seconds; a thread that wakes later than that did not run


class Verdict(Enum):
    """What to do after a look at the peer."""

    WAIT = auto()
    BEAT = auto()
    DEAD = auto()


class Pulse:
    """The heartbeats of one connection.

    Every time is in seconds by one clock that never goes back, and every call gives the present one.

    A peer is dead that was silent for ``timeout`` after the first heartbeat since its last sign of life. Two things may
    make it look silent though it is not. While the reader waits for room in the queue the peer cannot be heard, which
    the caller reports as a sign of life. And where the process was stopped, or the machine slept, the answer may have
    come but not been read: then the peer is asked anew, but once, since a process that hardly runs is late each time.
    A thread is late as well where other threads hold the interpreter. Then the process has used the processor
    meanwhile, and the peer gets no more time.

    Args:
        interval: Seconds from one heartbeat to the next.
        timeout: Seconds of silence after a heartbeat that a living peer may keep; ``None`` allows any.
        now: The time.
        used: Seconds of processor time that the process has used so far.

    Attributes:
        wake: When to look next.
        unanswered: When the first heartbeat since the last sign of life was due; ``None`` if there was none.
    """

    def __init__(self, interval: float, timeout: float | None, now: float, used: float) -> None:
        self._interval = interval
        self._silence = math.inf if timeout is None else timeout
        self._used = used
        self._due = self.wake = now + interval
        self.unanswered: float | None = None
        self._limit = math.inf  # when the silence after that one has lasted too long
        self._asked_anew = False  # whether that one replaced another, which a stop of the process had made worthless

    def look(self, now: float, used: float, sign: float) -> Verdict:
        """Decide what to do.

        Args:
            now: The time.
            used: As for the class.
            sign: When the peer last gave a sign of life; infinity while it might, but could not be heard.
        """
        late, ran = now - self.wake, used - self._used
        self._used = used
        stopped = late > _STOPPED and ran < late / 2
        anew = False
        if self.unanswered is not None:
            heard = sign > self.unanswered
            anew = stopped and not heard and not self._asked_anew
            if heard or anew:
                self.unanswered, self._limit, self._asked_anew = None, math.inf, anew
        if now >= self._limit:
            return Verdict.DEAD
        if now >= self._due or anew:
            return Verdict.BEAT
        self.wake = min(self._due, self._limit)
        return Verdict.WAIT

    def patience(self, now: float) -> float:
        """Return for how many seconds a heartbeat may let other threads' sends go first."""
        return min(self._limit - now, self._silence)

    def beaten(self, due: float, now: float, *, sent: bool, taken: bool) -> None:
        """Note how a heartbeat went.

        Args:
            due: When `look` asked for it.
            now: When that was done.
            sent: Whether it was sent.
            taken: Whether the peer took what another thread sent meanwhile, so that it is alive.
        """
        if self.unanswered is None and (sent or not taken):
            self.unanswered, self._limit = due, (now if sent else due) + self._silence
        # Neither is past, since being late for that would look like a stop.
        self._due, self._limit = max(due + self._interval, now), max(self._limit, now)
        self.wake = min(self._due, self._limit)
