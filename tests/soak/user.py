"""A client of the soak, the thread that uses it, and the mishaps of its user's code."""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

from masquerade_ws import DisconnectedError, ImageGenerationError, NotConnectedError, SendError, WebSocketClient
from tests.soak.gateway import Gateway, expectation
from tests.soak.tally import Tally

__all__ = ["PATIENCE", "User"]

PATIENCE = 60.0  # seconds after which a job that should have ended counts as lost


class Odd(BaseException):
    """What a library raises in user code, as gevent raises its Timeout: not an `Exception`."""


MISHAPS = [KeyError, MemoryError, RuntimeError, asyncio.CancelledError, Odd]


class Mishaps:
    """What user code raises on purpose, and whether it was reported.

    Args:
        chance: Decides which.
        tally: Counts them.
    """

    def __init__(self, chance: random.Random, tally: Tally) -> None:
        self._chance = chance
        self._tally = tally
        self._lock = threading.Lock()  # guards the exceptions
        self._untold: list[BaseException] = []

    def make(self, place: str, *, is_reported: bool = True) -> BaseException:
        """Return something to raise; ``is_reported`` says whether an `error` event must follow."""
        self._tally.add(f"mishaps ({place})")
        mishap: BaseException = self._chance.choice(MISHAPS)(place)
        if is_reported:
            with self._lock:
                self._untold.append(mishap)
        return mishap

    def tell(self, error: BaseException) -> bool:
        """Note a reported error; return whether it is one of these, or chained to one, for the first time."""
        with self._lock:
            for mishap in (error, error.__cause__):
                for index, untold in enumerate(self._untold):
                    if mishap is untold:
                        del self._untold[index]
                        return True
        return False

    def forget(self) -> None:
        """Note that the client was stopped, so that what is not reported yet never will be."""
        with self._lock:
            self._tally.add("mishaps that a stop overtook", len(self._untold))
            self._untold.clear()

    def all_reported(self, timeout: float) -> bool:
        """Wait until what has been raised so far has been reported."""
        end = time.monotonic() + timeout
        with self._lock:
            raised = [*self._untold]
        while time.monotonic() < end:
            with self._lock:
                if not any(mishap is untold for mishap in raised for untold in self._untold):
                    return True
            time.sleep(0.05)
        return False


class Late:
    """A listener that hangs until the client has been stopped and started anew, and then raises."""

    def __init__(self) -> None:
        self.hangs = threading.Event()
        self.stopped = threading.Event()
        self.number = 0


class User(threading.Thread):
    """One client, and the thread that starts jobs and waits for them."""

    def __init__(
        self, name: str, url: str, gateway: Gateway, tally: Tally, *, until: float, ssl_context: ssl.SSLContext | None
    ) -> None:
        super().__init__(daemon=True)
        self._name = name
        self._gateway = gateway
        self._tally = tally
        self._chance = random.Random(name)
        self._until = until
        self._stopping = threading.Event()
        self._last = 0
        self._unbroken = False  # whether the last event came over the present connection
        self._late: Late | None = None  # set for the next event
        self._given_up: set[int] = set()  # the events whose listener hung until the client was stopped
        self.mishaps = Mishaps(self._chance, tally)
        self.client = WebSocketClient(
            url,
            self._get_token,
            initial_reconnect_delay=0.05,
            max_reconnect_delay=1.0,
            reconnect_jitter=0.5,
            heartbeat_interval=1.0,
            heartbeat_timeout=2.0,
            busy_timeout=2.0,
            connect_timeout=3.0,
            ssl_context=ssl_context,
            around_event=self._around,
        )
        self.client.on("image.generation.*", self._delivered)
        self.client.on("image.generation.*", self._stumble)
        self.client.on("image.generation.*", self._delivered_after)
        self.client.on("connected", self._connected)
        self.client.on("error", self._failed)

    def run(self) -> None:
        try:
            self.client.connect(block=False)
            while time.monotonic() < self._until:
                self._chance.choices(
                    [self._do_a_job, self._wait_in_vain, self._leave_in_the_middle, self._leave_a_late_listener],
                    [90, 4, 3, 3],
                )[0]()
            if not self.mishaps.all_reported(PATIENCE):
                self._tally.violation("an exception of user code was not reported")
        except BaseException as error:
            self._tally.violation(f"a user's thread ended with {error!r}")

    # What the thread does.

    def _do_a_job(self) -> None:
        job_ids: list[str] = []

        def start() -> str:
            job_ids.append(self._gateway.submit())
            return job_ids[0]

        self._say_much()
        poll: Callable[[str], str | None] = self._gateway.outcome
        on_progress: Callable[[Any], object] | None = None
        place = self._chance.choices([None, "poll", "on_progress"], [90, 5, 5])[0]
        mishap = None if place is None else self.mishaps.make(place, is_reported=False)
        if mishap is not None and place == "poll":
            poll = raiser(mishap)
        elif mishap is not None:
            on_progress = raiser(mishap)
        try:
            answer = self.client.run_image_job(start, poll=poll, on_progress=on_progress, timeout=PATIENCE)
            told = answer if isinstance(answer, str) else answer.payload["image_url"]
            self._tally.add("polled" if isinstance(answer, str) else "delivered")
        except ImageGenerationError:
            told = "failed"
            self._tally.add("delivered")
        except DisconnectedError:
            if not self._stopping.is_set():
                self._tally.violation("a wait ended as if the client had been stopped")
            if job_ids:  # otherwise the client was stopped before the job's start
                self._tally.add("told why not")
            return
        except BaseException as error:
            if error is mishap:
                self._tally.add("told why not")
                return
            told = repr(error)
        finally:
            for job_id in job_ids:
                self._gateway.forget(job_id)
        if told != expectation(job_ids[0]):
            self._tally.violation(f"{job_ids[0]} ended with {told}")

    def _say_much(self) -> None:
        """Send, which a new handshake of TLS must not fail; a fault of the network may."""
        with suppress(SendError, NotConnectedError):
            self.client.emit("note", {"text": "x" * self._chance.choice([10, 100, 1000, 60_000])})
            self._tally.add("notes sent")

    def _wait_in_vain(self) -> None:
        """Wait with a predicate that raises."""
        mishap = self.mishaps.make("predicate", is_reported=False)
        try:
            self.client.wait_for("image.generation.*", where=raiser(mishap), timeout=PATIENCE)
        except BaseException as error:
            if error is not mishap:
                self._tally.violation(f"a predicate's {mishap!r} became {error!r}")
        else:
            self._tally.violation(f"a predicate's {mishap!r} was lost")

    def _leave_in_the_middle(self) -> None:
        """Call `disconnect` while a job is waited for, and come back."""
        self._stopping.set()
        timer = threading.Timer(self._chance.random(), self.client.disconnect)
        timer.start()
        self._do_a_job()
        timer.join()
        self._come_back()

    def _leave_a_late_listener(self) -> None:
        """Call `disconnect` while a listener hangs, which goes on beside the next session."""
        self._late = late = Late()
        if not late.hangs.wait(PATIENCE):
            self._late = None
            return
        start = time.monotonic()
        self.client.disconnect(timeout=0.2)
        if time.monotonic() - start > PATIENCE / 4:
            self._tally.violation("disconnect waited for a listener that hangs")
        self._come_back()
        time.sleep(self._chance.random())
        late.stopped.set()

    def _come_back(self) -> None:
        if self.client.state != "disconnected":
            self._tally.violation(f"the client was {self.client.state} after disconnect()")
        self.mishaps.forget()
        self._stopping.clear()
        self.client.connect(block=False)

    # What the client calls.

    def _get_token(self) -> str:
        if self._chance.random() < 0.05:
            raise self.mishaps.make("get_token")
        return self._name

    def _connected(self, event: Any) -> None:
        self._unbroken = False
        if event.gap is not None:
            self._tally.gap(event.gap)

    @contextmanager
    def _within(self, event: Any, place: str) -> Iterator[None]:
        if place == "enter":
            raise self.mishaps.make("around_event")
        yield
        if place == "exit" and event.payload["n"] not in self._given_up:
            raise self.mishaps.make("around_event")

    def _around(self, event: Any) -> AbstractContextManager[None]:
        if not event.type.startswith("image.") or self._chance.random() > 0.002:
            return nullcontext()
        place = self._chance.choice(["call", "enter", "exit"])
        if place == "call":
            raise self.mishaps.make("around_event")
        return self._within(event, place)

    def _delivered(self, event: Any) -> None:
        self._tally.add("events")
        number = event.payload["n"]
        if number <= self._last or (self._unbroken and number != self._last + 1):
            self._tally.violation(f"event {number} was delivered after {self._last}")
        self._last, self._unbroken = number, True

    def _stumble(self, event: Any) -> None:
        late, self._late = self._late, None
        if late is not None:
            self._given_up.add(event.payload["n"])
            late.hangs.set()
            late.stopped.wait(PATIENCE)
            raise self.mishaps.make("late listener", is_reported=False)
        if self._chance.random() < 0.002:
            raise self.mishaps.make("listener")

    def _delivered_after(self, event: Any) -> None:
        if event.payload["n"] in self._given_up:
            self._tally.violation("a listener was called for an event that disconnect() had given up on")

    def _failed(self, event: Any) -> None:
        self._tally.add(f"errors ({event.context})")
        is_mishap = self.mishaps.tell(event.error)
        if any(is_of_a_new_handshake(cause) for cause in chain(event.error)):
            self._tally.violation(f"a new handshake became an error: {event.error!r}")
        if event.context not in {"connection", "send"} and not (event.context == "handler" and is_mishap):
            self._tally.violation(f"an error with context {event.context}: {event.error!r}")


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what it is chained to."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def is_of_a_new_handshake(error: BaseException) -> bool:
    """Return whether this can only come from a handshake of TLS after the first."""
    wants = isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError)
    return wants or (isinstance(error, ssl.SSLError) and error.reason == "NO_RENEGOTIATION")


def raiser(mishap: BaseException) -> Callable[[object], Any]:
    """Return user code that raises this."""

    def code(_: object) -> Any:
        raise mishap

    return code
