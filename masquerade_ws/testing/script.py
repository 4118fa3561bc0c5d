"""Scripts: sequences of steps that the server plays by itself."""

from __future__ import annotations

import inspect
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from masquerade_ws.testing.messages import encode

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Script", "Scripts", "Step"]

Trigger: TypeAlias = dict[str, Any]
"""The event of a client that starts a script."""

Payload: TypeAlias = Mapping[str, Any] | Callable[[Trigger], Mapping[str, Any]]
"""The payload of an event that a script emits, or a function that makes it of the event that starts the script."""

Step: TypeAlias = tuple[str, Payload] | float | Callable[[], object] | Callable[[Trigger], object]
"""A step of a script: an event ``(type, payload)``, a pause in seconds, or a function to call, such as a fault."""


class Script:
    """Plays steps on its own thread.

    Args:
        steps: The steps; checked at once, so that the traceback shows the line of the test.
        emit: Called with the type and the payload of each event.
        triggered: Whether an event starts the script, so that functions may ask for it.

    Raises:
        TypeError: If a step is of the wrong type, or a payload cannot be written as JSON.
        ValueError: If a pause is negative, or a payload holds NaN or an infinity.
    """

    def __init__(
        self, steps: Iterable[Step], emit: Callable[[str, Mapping[str, Any]], object], *, triggered: bool
    ) -> None:
        self._steps = [_checked(number, step, triggered) for number, step in enumerate(steps, start=1)]
        self._emit = emit
        self._trigger: Trigger = {}
        self._ended = threading.Event()
        self.thread = threading.Thread(target=self._run, name="masquerade-ws-testing-script", daemon=True)

    def start(self, trigger: Trigger) -> None:
        """Play the steps.

        Args:
            trigger: The event that starts the script; an empty one if none does.
        """
        self._trigger = trigger
        self.thread.start()

    def end(self) -> None:
        """Play no further step, and end a pause."""
        self._ended.set()

    def _run(self) -> None:
        for step in self._steps:
            if self._ended.is_set():
                return
            try:
                self._play(step)
            except Exception:
                if not self._ended.is_set():  # once the server stops, what a step waits for may never come
                    raise

    def _play(self, step: Step) -> None:
        if callable(step):
            call: Callable[..., object] = step
            call(self._trigger) if _wanted(call) else call()
        elif isinstance(step, tuple):
            name, payload = step
            self._emit(name, payload(self._trigger) if callable(payload) else payload)
        else:
            self._ended.wait(step)


class Scripts:
    """The scripts that are playing, and those that wait for an event of a client."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _playing and _waiting
        self._playing: list[Script] = []
        self._waiting: defaultdict[str, deque[Script]] = defaultdict(deque)

    def play(self, script: Script, trigger: Trigger) -> None:
        """Start a script, with the event that starts it or an empty one."""
        with self._lock:
            self._playing = [other for other in self._playing if other.thread.is_alive()]
            self._playing.append(script)
            script.start(trigger)

    def await_event(self, type: str, script: Script) -> None:
        """Let a script wait for an event, after the others that wait for the same type."""
        with self._lock:
            self._waiting[type].append(script)

    def trigger(self, event: Trigger) -> bool:
        """Play the first script that waits for an event of this type; return whether there is one."""
        with self._lock:
            waiting = self._waiting.get(event["type"])
            script = waiting.popleft() if waiting else None
        if script is None:
            return False
        self.play(script, event)
        return True

    def end(self) -> list[threading.Thread]:
        """End all scripts that are playing, except the one that calls this; return their threads."""
        with self._lock:
            ending = [script for script in self._playing if script.thread is not threading.current_thread()]
        for script in ending:
            script.end()
        return [script.thread for script in ending]


def _checked(number: int, step: object, triggered: bool) -> Step:
    if callable(step):
        wanted = _wanted(step)
        if wanted and not triggered:
            raise TypeError(f"steps: number {number} wants the event that starts the script: give its type as on=")
        if wanted > 1:
            raise TypeError(f"steps: number {number} must take no argument, or the event alone")
        return step
    if isinstance(step, (int, float)):
        if not 0 <= step <= threading.TIMEOUT_MAX:
            raise ValueError(f"steps: number {number} is not a pause in seconds: {step!r}")
        return step
    parts: Any = step
    if isinstance(step, tuple) and len(parts) == 2:
        name, payload = parts
        if isinstance(name, str) and callable(payload):
            _checked(number, payload, triggered)
            return name, cast("Payload", payload)
        if isinstance(name, str) and isinstance(payload, Mapping):
            encode(name, cast("Mapping[str, Any]", payload))  # raises if it cannot be sent
            return name, cast("Mapping[str, Any]", payload)
    raise TypeError(
        f"steps: number {number} must be an event (type, payload), a pause in seconds or a function, not {step!r}"
    )


def _wanted(function: Callable[..., object]) -> int:
    """Return how many arguments a function requires by position; none if it does not say."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some that are written in C
        return 0
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in positional and each.default is inspect.Parameter.empty for each in parameters)
