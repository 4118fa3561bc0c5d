"""When a heartbeat is due, and when a silent peer is dead: the decisions, without a clock, a thread or a socket."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

__all__ = ["Pulse", "Verdict"]

_STOPPED = 0.5  # seconds; a thread that wakes later than that did not run


class Verdict(Enum):
    """What to do after a look at the peer."""

    WAIT = auto()
    BEAT = auto()
    BUSY = auto()  # report that the peer's system is alive, and look again
    DEAD = auto()  # the peer's system is dead too, or out of reach
    SILENT = auto()  # nobody knows about the peer's system, which counts as dead
    STUCK = auto()  # the peer's system is alive, but its program has been silent for too long


class Pulse:
    """The heartbeats of one connection.

    Every time is in seconds by one clock that never goes back, and every call gives the present one.

    The first heartbeat since the peer's last sign of life begins a silence. ``timeout`` after that heartbeat, and after
    each further one, our system is asked whether the peer's acknowledges what was sent. If not, the peer is dead. If
    so, its program may be busy, and has until ``busy_timeout`` after the first heartbeat. What has only just been sent
    cannot be acknowledged yet, so a heartbeat that is due shortly before a question waits for it.

    Two things may make a peer look silent though it is not. While the reader waits for room in the queue the peer
    cannot be heard, which the caller reports as a sign of life. And where the process was stopped, or the machine
    slept, the answer may have come but not been read: then the peer is asked anew, but once, since a process that
    hardly runs is late each time. A thread is late as well where other threads hold the interpreter. Then the process
    has used the processor meanwhile, and the peer gets no more time.

    Args:
        interval: Seconds from one heartbeat to the next.
        timeout: Seconds of silence after a heartbeat that a living peer may keep; ``None`` allows any.
        busy_timeout: The same while the peer's system is known to be alive; less than ``timeout`` counts as that.
        now: The time.
        used: Seconds of processor time that the process has used so far.

    Attributes:
        wake: When to look next.
        unanswered: When the first heartbeat since the last sign of life was due; ``None`` if there was none.
    """

    def __init__(
        self, interval: float, timeout: float | None, busy_timeout: float | None, now: float, used: float
    ) -> None:
        self._interval = interval
        self._silence = math.inf if timeout is None else timeout
        self._busy_silence = math.inf if busy_timeout is None else max(busy_timeout, self._silence)
        self._shortly = min(interval, self._silence) / 4
        self._used = used
        self._due = self.wake = now + interval
        self._asked_anew = False  # whether a silence was ended that a stop of the process had made worthless
        self._end_silence()

    def _end_silence(self) -> None:
        self.unanswered: float | None = None
        self._questions: deque[float] = deque()  # when to ask our system, once for each heartbeat
        self._limit = math.inf  # when the silence has lasted too long, whatever that says
        self._busy = False  # whether that was said to be alive since the silence began

    @property
    def _question(self) -> float:
        return self._questions[0] if self._questions else math.inf

    def look(self, now: float, used: float, sign: float, acknowledged: Callable[[], bool | None]) -> Verdict:
        """Decide what to do.

        Args:
            now: The time.
            used: As for the class.
            sign: When the peer last gave a sign of life; infinity while it might, but could not be heard.
            acknowledged: Asks our system whether the peer's acknowledges what is sent; ``None`` if it cannot tell.
        """
        late, ran = now - self.wake, used - self._used
        self._used = used
        stopped = late > _STOPPED and ran < late / 2
        anew = False
        if self.unanswered is not None:
            heard = sign > self.unanswered
            anew = stopped and not heard and not self._asked_anew
            if heard or anew:
                self._end_silence()
                self._asked_anew = anew
        verdict = self._judge(now, acknowledged)
        if verdict is Verdict.WAIT and (anew or now >= self._due) and self._question - now > self._shortly:
            return Verdict.BEAT
        self._set_wake(now)
        return verdict

    def _judge(self, now: float, acknowledged: Callable[[], bool | None]) -> Verdict:
        """Return what the silence means; `Verdict.WAIT` if nothing yet."""
        if now >= self._question:
            while now >= self._question:
                self._questions.popleft()
            alive = acknowledged()
            if not alive:
                return Verdict.SILENT if alive is None else Verdict.DEAD
            if now < self._limit and not self._busy:
                self._busy = True
                return Verdict.BUSY
        return Verdict.STUCK if now >= self._limit else Verdict.WAIT

    def _set_wake(self, now: float) -> None:
        """Set when to look next; never in the past, since being late for that would look like a stop."""
        due = max(now, self._due)
        if self._question - due <= self._shortly:
            due = self._question
        self.wake = max(now, min(due, self._question, self._limit))

    def patience(self, now: float) -> float:
        """Return for how many seconds a heartbeat may let other threads' sends go first."""
        return min(self._question - now, self._limit - now, self._silence)

    def beaten(self, due: float, now: float, *, sent: bool, taken: bool) -> None:
        """Note how a heartbeat went.

        Args:
            due: When `look` asked for it.
            now: When that was done.
            sent: Whether it was sent.
            taken: Whether the peer took what another thread sent meanwhile, so that it is alive.
        """
        start = now if sent else due
        begins = self.unanswered is None and (sent or not taken)
        if begins:
            self.unanswered, self._limit = due, start + self._busy_silence
        if (begins or sent) and self._silence < math.inf:
            self._questions.append(start + self._silence)
        self._due = due + self._interval
        self._set_wake(now)
