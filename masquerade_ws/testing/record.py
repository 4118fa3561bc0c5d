"""Records what clients have sent, and checks it against what a test expects."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from masquerade_ws.testing.difference import closest, describe, fits

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Mapping

__all__ = ["ExpectationError", "Record"]

_SHOWN = 10  # different events in the message of a failure


class ExpectationError(AssertionError, TimeoutError):
    """What a test expected of the clients did not happen in time; the message lists what happened."""

    __module__ = "masquerade_ws.testing"


class Record:
    """The events that clients have sent, indexed by type.

    Args:
        changed: Guards everything here; notified at each event.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self.changed = changed
        self.events: list[dict[str, Any]] = []
        self._of_type: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._expected: Counter[str] = Counter()  # how many of each type, from the first on

    def add(self, event: dict[str, Any]) -> None:
        """Record an event."""
        with self.changed:
            self.events.append(event)
            self._of_type[event["type"]].append(event)
            self.changed.notify_all()

    def expect(self, type: str, timeout: float) -> dict[str, Any]:
        """Return the first event of a type that was not returned before, once there is one."""
        __tracebackhide__ = True
        with self.changed:
            if not self.changed.wait_for(lambda: len(self._of_type[type]) > self._expected[type], timeout):
                raise ExpectationError(
                    f"no {type!r} event within {timeout:g} s; {_listing('waiting', self._unexpected())}"
                    f" ({len(self.events)} received in all)"
                )
            self._expected[type] += 1
            return self._of_type[type][self._expected[type] - 1]

    def assert_sent(self, type: str, subset: Mapping[str, object], timeout: float) -> dict[str, Any]:
        """Return the first event of a type whose payload fits, once there is one."""
        __tracebackhide__ = True
        looked_at = 0

        def find() -> dict[str, Any] | None:
            nonlocal looked_at
            sent = self._of_type[type]
            fresh, looked_at = sent[looked_at:], len(sent)
            return next((event for event in fresh if fits(subset, event.get("payload", {}))), None)

        with self.changed:
            found = self.changed.wait_for(find, timeout)
            if found is None:
                raise ExpectationError(self._complaint(type, subset, timeout))
            return found

    def _complaint(self, type: str, subset: Mapping[str, object], timeout: float) -> str:
        payloads = [event.get("payload", {}) for event in self._of_type[type]]
        if not payloads:
            return f"no {type!r} event within {timeout:g} s; {_listing('received', self.events)}"
        which = f"the closest of {len(payloads)}" if len(payloads) > 1 else "the only one"
        nearest = closest(subset, payloads)
        return f"no {type!r} event with this payload within {timeout:g} s; {which}:\n{describe(subset, nearest)}"

    def _unexpected(self) -> list[dict[str, Any]]:
        """Return the events that `expect` has not returned."""
        seen: Counter[str] = Counter()
        unexpected: list[dict[str, Any]] = []
        for event in self.events:
            seen[event["type"]] += 1
            if seen[event["type"]] > self._expected[event["type"]]:
                unexpected.append(event)
        return unexpected


def _listing(how: str, events: list[dict[str, Any]]) -> str:
    """Describe what arrived, newest last, shortened where it is long."""
    if not events:
        return f"nothing else is {how}" if how == "waiting" else "nothing was received"
    lines = [_repeated(line, same) for line, same in itertools.groupby(map(_line, events))]
    shown = ", ".join(lines[-_SHOWN:])
    return f"{how} are {len(events)}: {'... ' if len(lines) > _SHOWN else ''}{shown}"


def _repeated(line: str, same: Iterable[str]) -> str:
    times = sum(1 for _ in same)
    return line if times == 1 else f"{line} ({times} times)"


def _line(event: dict[str, Any]) -> str:
    return f"{event['type']} {json.dumps(event.get('payload', {}))[:60]}"
