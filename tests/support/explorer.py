"""A seeded, replayable explorer of schedules: the life cycle driven through interleavings, one thread playing all.

The supervisor is the real one. Time, sockets and threads are fakes: where a thread would block or let others run (in
``get_token``, in an attempt, in a closing handshake, while it joins another, before it takes the life cycle's lock),
the schedule may let any other act, and so it may when that lock is released. Threads may be refused, a ``connect()``
interrupted, and the process may fork. A ``disconnect()`` may be the reader's, in user code that does not return. What
the listeners were called with in the end is checked: each transition, in order.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from masquerade_ws import ConnectError, DisconnectedError, WebSocketClient, deadline
from masquerade_ws.delivery.dispatcher import Delivery
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.lifecycle import control, state, supervisor
from masquerade_ws.lifecycle import session as sessions
from masquerade_ws.lifecycle.session import Mail, Session
from masquerade_ws.lifecycle.transitions import TRANSITIONS, Phase, Trigger

__all__ = ["Explorer", "Schedule"]

DEPTH = 3  # how many acts of others may be nested
Row = tuple[Phase, Trigger]


class Schedule:
    """Choices in their order: those given, then by chance of the seed, and after ``length`` of them always the first.

    Attributes:
        taken: What was chosen so far; given to another schedule, it replays this one.
    """

    def __init__(self, given: Sequence[int] = (), *, seed: int | str = 0, length: int = 40) -> None:
        self.taken: list[int] = []
        self._given = given
        self._chance = random.Random(seed)
        self._length = max(length, len(given))

    @property
    def over(self) -> bool:
        return len(self.taken) >= self._length

    def choose(self, count: int) -> int:
        """Return a number below ``count``; 0 lets nothing happen."""
        place = len(self.taken)
        if self.over:
            return 0
        choice = self._given[place] % count if place < len(self._given) else self._chance.randrange(count)
        self.taken.append(choice)
        return choice


class PreemptedCondition(threading.Condition):
    """The life cycle's lock: whoever wants it may find that others were faster, and others may follow at once."""

    def __init__(self, world: Explorer) -> None:
        super().__init__()
        self._world = world

    def __enter__(self) -> bool:
        if self._world.call_begins:
            self._world.call_begins = False
        elif not self._is_owned():  # type: ignore[attr-defined]
            self._world.others_act()
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        if not self._is_owned():  # type: ignore[attr-defined]
            self._world.others_act()


class FakeThread:
    """A thread that the explorer plays; joining it lets others act, and it is over after that.

    A reader thread may hang, where somebody joins it for a time only.
    """

    def __init__(self, world: Explorer, name: str, *args: Any) -> None:
        self.name = name
        self.args = args
        self._world = world
        self.over = False

    def join(self, timeout: float | None = None) -> None:
        self._world.others_act()
        hangs = self.name == "reader" and timeout is not None and self._world.schedule.choose(2) == 1
        self.over = self.over or not hangs
        if self.name == "dispatcher":
            self._world.dispatch(*self.args)


class FakeAsking:
    """The callables of an attempt, which return, raise, or hang until nobody waits any more."""

    def __init__(self, world: Explorer) -> None:
        self._world = world
        self._cancelled = False

    def ask(self, timeout: float | None, running: object) -> FakeConnection | None:
        self._world.others_act()
        if self._cancelled:
            return None
        if self._world.fails():
            raise ConnectError("get_token raised ValueError")
        return self._world.connection()

    def cancel(self) -> None:
        self._cancelled = True


class FakeConnection:
    """A connection that opens, fails and is lost as the schedule says."""

    latency = None
    awaits = False
    bytes_received = messages_sent = bytes_sent = 0
    close_reason = ""

    def __init__(self, world: Explorer) -> None:
        self._world = world
        self.close_code: int | None = None
        self.error: Exception | None = None
        self.tcp_closed = False
        self.opened = False

    def connect(self, timeout: float) -> None:
        self._world.others_act()
        if self.tcp_closed or self._world.fails():
            self.tcp_closed = True
            raise ConnectError("the attempt failed", None)
        self.opened = True

    def gap_since(self, lost_at: float) -> float | None:
        return 1.0 if self._world.schedule.choose(2) else None

    def lose(self) -> None:
        self._end(1006, DisconnectedError("lost"))

    def close(self, code: int = 1000, reason: str = "", timeout: float = 2.0) -> None:
        self._world.unlocked()
        self._end(code, None)
        self._world.others_act()

    def finish(self) -> None:
        self._world.unlocked()
        self._world.others_act()

    def abort(self, cause: Exception) -> None:
        self._world.unlocked()
        self._end(1006, cause)

    def cut(self, cause: Exception) -> None:
        self._world.unlocked()  # its supervisor thread closes it

    def wait_tcp_closed(self, timeout: float | None) -> bool:
        return self.tcp_closed

    def after_fork(self) -> None:
        self.tcp_closed = True

    def _end(self, code: int, error: Exception | None) -> None:
        if not self.tcp_closed:
            self.tcp_closed, self.close_code, self.error = True, code, error


class Explorer:
    """A client in a world where all that happens is chosen.

    Attributes:
        rows: The rows of the table that were used.
        wanted: What the user asked for last: whether the client is to run.
        call_begins: The next to want the lock is the user's call that this tells of.
        told: What listeners were called with.
    """

    def __init__(self, schedule: Schedule, patch: pytest.MonkeyPatch, **options: Any) -> None:
        self.schedule = schedule
        self.rows: set[Row] = set()
        self.wanted = False
        self.call_begins = False
        self.told: list[Any] = []
        self._now = 1000.0
        self._depth = 0
        self._starting: Session | None = None  # the one that `connect` starts itself, and may be interrupted then
        # The session of each `disconnect()` that has not begun to wait, and the thread that calls it.
        self._stopped: list[tuple[Session, object]] = []
        self._thread = object()  # the one that calls now
        self._sessions: list[Session] = []  # those with a supervisor thread that has not ended
        self._dispatchers: list[FakeThread] = []
        self._connections: list[FakeConnection] = []
        clock = SimpleNamespace(monotonic=lambda: self._now)
        patch.setattr(deadline, "time", clock)
        patch.setattr(supervisor, "time", clock)
        for module in (control, sessions, state):
            patch.setattr(module, "LAST_WORDS", 0.0)
        patch.setattr(control, "threading", SimpleNamespace(current_thread=lambda: self._thread))
        for module in (control, supervisor):
            patch.setattr(module, "start", self._started)
        self.client = WebSocketClient("ws://localhost/ws", lambda: "token", max_reconnect_delay=8, **options)
        for name in ("state:change", "connected", "disconnected"):
            self.client.on(name, self.told.append)
        self._state = self.client._state
        self._control = self.client._control
        self._supervisor = self._control._supervisor
        patch.setattr(supervisor, "Asking", lambda _: FakeAsking(self))
        self._lock = vars(self._state)["_changed"] = PreemptedCondition(self)
        patch.setattr(Session, "move", self._recorded(Session.move))

    # What the fakes call.

    def _started(self, name: str, target: Callable[..., object], *args: Any) -> FakeThread:
        if name in {"supervisor", "dispatcher"} and self.schedule.choose(8) == 1:
            self.wanted = False
            raise ConnectError("no thread could be started")
        thread = FakeThread(self, name, *args)
        if thread.name == "supervisor":
            supervised = thread.args[1]
            self._sessions.append(supervised)
            self._starting = None if supervised.previous else supervised
        elif thread.name == "dispatcher":
            self._dispatchers.append(thread)
        return thread

    def dispatch(self, dispatcher: EventQueue, delivery_ref: Callable[[], Delivery], *_: object) -> None:
        """Deliver what is queued."""
        for event in dispatcher.waiting():
            delivery_ref().deliver(event, dispatcher)

    def unlocked(self) -> None:
        """Check that the life cycle's lock is not held where it may not be."""
        assert not self._state.changed._is_owned(), "a socket or user code was used under the lock"  # type: ignore[attr-defined]

    def fails(self) -> bool:
        return self.schedule.choose(2) == 1

    def connection(self) -> FakeConnection:
        self._connections.append(FakeConnection(self))
        return self._connections[-1]

    def _recorded(self, move: Callable[[Session, Trigger], None]) -> Callable[[Session, Trigger], None]:
        def recorded(session: Session, trigger: Trigger) -> None:
            assert trigger is Trigger.FORKED or self._state.changing
            row = session.phase, trigger
            assert row in TRANSITIONS, row
            assert trigger is not Trigger.ABANDON or "died" not in str(session.cause), "it was not being stopped"
            self.rows.add(row)
            move(session, trigger)
            if trigger is Trigger.START and session is self._starting and self.schedule.choose(8) == 1:
                self.wanted = False
                raise KeyboardInterrupt

        return recorded

    # What happens.

    def explore(self) -> None:
        """Let things happen until the schedule is over, then check that the client comes to rest as it should."""
        while not self.schedule.over:
            self._act()
        self._settle()

    def others_act(self) -> None:
        """Let other threads act, or not, while one waits."""
        self.unlocked()
        if self._depth < DEPTH:
            self._depth += 1
            for _ in range(self.schedule.choose(3)):
                self._act()
            self._depth -= 1

    def _act(self) -> None:
        acts = [
            self._run,
            self._connect,
            self._disconnect,
            self._abandon,
            self._lose,
            self._pass_time,
            self._deliver,
            self._fork,
            self._disconnect_in_user_code,
            *[self._run] * 4,  # so that connections come to be made
            *[self._connect] * 2,
        ]
        acts[self.schedule.choose(len(acts))]()

    def _connect(self) -> None:
        self._wish(True)
        with suppress(ConnectError, KeyboardInterrupt):
            self.client.connect(block=False)

    def _disconnect(self) -> None:
        """Begin a `disconnect()`; all that others do until `_abandon` happens before it waits."""
        self._wish(False)
        stopped = self._control._stop(1000, 5.0)
        if stopped is not None:
            assert stopped.stopping
            self._stopped.append((stopped, self._thread))

    def _disconnect_in_user_code(self) -> None:
        """Do so on the reader thread, if there is one."""
        newest = self._state.session
        readers = [] if newest is None else [thread for thread in newest.threads if thread.name == "reader"]
        if readers and not readers[0].over:
            with self._on(readers[0]):
                self._disconnect()

    @contextmanager
    def _on(self, thread: object) -> Iterator[None]:
        before, self._thread = self._thread, thread
        yield
        self._thread = before

    def _wish(self, wanted: bool) -> None:
        self.wanted, self.call_begins = wanted, True

    def _abandon(self) -> None:
        """Go on with one of the calls of `disconnect()`, whose time is over by now."""
        if self._stopped:
            stopped, thread = self._stopped.pop(self.schedule.choose(len(self._stopped)))
            if not self._waits_for_abandonment(stopped):
                with self._on(thread):
                    self._control._await_end(stopped, deadline.Deadline(0))
                assert self._state.session is not stopped or self.client.state == "disconnected"

    def _fork(self) -> None:
        """Go on in a forked child: as the thread that is in the middle of something, or as one that is in nothing."""
        if self._depth > 1:
            return  # only one thread goes on
        self._control.after_fork()
        vars(self._state)["_changed"] = self._lock  # which nobody holds
        assert self.client.state == "disconnected"
        for kept in (self._sessions, self._dispatchers, self._connections, self._stopped, self.told):
            kept.clear()
        self.wanted = False

    def _waits_for_abandonment(self, session: Session | None) -> bool:
        """Return whether somebody abandons that session, or one before it, already: who wants to as well waits."""
        if session is None:
            return False
        under_way = session.abandoned and not session.done.is_set()
        return under_way or self._waits_for_abandonment(session.previous)

    def _lose(self) -> None:
        session = self._state.session
        connection: Any = self._state.connection
        if session is not None and connection is not None:
            connection.lose()
            session.mail.put(Mail.LOST)

    def _pass_time(self) -> None:
        self._now += 1.0

    def _deliver(self) -> None:
        """Let the dispatcher threads run."""
        for thread in self._dispatchers:
            self.dispatch(*thread.args)

    def _run(self) -> bool:
        """Let the supervisor thread of one session take a step, as its loop would; tell whether one could."""
        for session in list(self._sessions):
            if self._may_run(session):
                self._sessions.remove(session)  # it is busy
                self._step(session)
                if not session.ended:
                    self._sessions.append(session)
                return True
        return False

    def _may_run(self, session: Session) -> bool:
        previous = session.previous
        if (
            previous is not None
            and not previous.done.is_set()
            and (not previous.deadline.expired() or self._waits_for_abandonment(previous))
        ):
            return False
        return not session.mail.empty() or (session.phase is Phase.WAITING and session.schedule.retry.expired())

    def _step(self, session: Session) -> None:
        if session.previous is not None and not session.previous.done.is_set():
            self._state.abandon(session.previous, deadline.Deadline(0))
        session.previous = None
        if not session.ended:  # the loop looks at this before it waits for mail
            self._supervisor.step(session, None if session.mail.empty() else session.mail.get())
        if session.ended:
            session.close_cut()
            session.finish_dispatching()
            if not session.abandoned:
                self._state.finish(session)
            session.done.set()

    def _settle(self) -> None:
        """Let all threads run, and time pass, with nobody interfering any more, until nothing happens."""
        quiet = 0
        while quiet < 20:  # seconds: more than any delay
            if self._run():
                quiet = 0
            else:
                quiet += 1
                self._pass_time()
        session = self._state.session
        assert self.client.state == ("connected" if self._should_run() else "disconnected")
        assert session is None or session.done.is_set() == (not self._should_run())
        live = [connection for connection in self._connections if connection.opened and not connection.tcp_closed]
        assert len(live) == int(self._should_run()), "a connection was left open"
        assert not [session for session in self._sessions if not session.done.is_set() and not self._should_run()]
        self._deliver()
        self._check_told()

    def _check_told(self) -> None:
        """Check that no event is missing, and that each has its place."""
        expected: list[str] = []
        state, connected = "disconnected", False
        for change in (event for event in self.told if event.type == "state:change"):
            assert change.old_state == state
            state = change.new_state
            expected.append(change.type)
            if state == "connected" or (connected and state == "disconnected"):
                expected.append(state)
                connected = not connected
        assert state == self.client.state
        assert [event.type for event in self.told] == expected

    def _should_run(self) -> bool:
        session = self._state.session
        gave_up = session is not None and "given up" in str(session.cause) and session.stopping
        return self.wanted and not gave_up
