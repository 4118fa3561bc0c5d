"""What a wait or a stream takes: names and a condition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any, TypeAlias

from masquerade_ws.checks import check_callable
from masquerade_ws.delivery.blocking import PREDICATE, Guard
from masquerade_ws.delivery.patterns import check_type, matches
from masquerade_ws.events import ClientEvent, Event

__all__ = ["AnyEvent", "Filter", "Where", "fields_of"]

AnyEvent: TypeAlias = Event | ClientEvent
Where: TypeAlias = Mapping[str, Any] | Callable[[Any], object] | None

_INDEXED = (str, int, float, bool, type(None))  # values that are equal exactly when a look-up by hash finds them


def fields_of(event: AnyEvent) -> Mapping[str, Any]:
    """Return what a mapping is compared with: the payload, or the fields of a client event."""
    if isinstance(event, Event):
        return event.payload
    return {name: getattr(event, name) for name in event.__dataclass_fields__}


class Filter:
    """Names and a condition.

    Args:
        names: Types or patterns; none means every server event.
        where: A mapping of payload fields that must be equal, a predicate of the event, or ``None``.
        guard: Refuses waits while the predicate runs.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If a name is not a type and not a pattern.

    Attributes:
        names: The types and patterns, each once; ``"*"`` if none was given.
        fields: The payload fields by whose values the filter can be looked up, sorted.
        values: What ``itemgetter(*fields)`` gives for an event that matches.
    """

    __slots__ = ("_guard", "_predicate", "fields", "names", "values")

    def __init__(self, names: Iterable[str], where: Where, guard: Guard) -> None:
        self.names = tuple(dict.fromkeys(check_type(name) for name in names)) or ("*",)
        self.fields: tuple[str, ...] = ()
        self.values: Any = ()
        self._guard = guard
        self._predicate: Callable[[Any], object] | None = None
        if isinstance(where, Mapping):
            self._expect({**where})
        elif callable(where):
            check_callable("where", where)
            self._predicate = where
        elif where is not None:
            raise TypeError(f"where must be a mapping, a callable or None, not {type(where).__name__}")

    def _expect(self, where: dict[str, Any]) -> None:
        if not all(isinstance(name, str) for name in where):
            raise TypeError("where must have the names of payload fields as its keys")
        if where and all(type(value) in _INDEXED for value in where.values()):
            self.fields = tuple(sorted(where))
            self.values = itemgetter(*self.fields)(where)
        elif where:
            self._predicate = lambda event: _has(fields_of(event), where)

    @property
    def asks(self) -> bool:
        """Whether a predicate has to be asked."""
        return self._predicate is not None

    def accepts(self, event: AnyEvent) -> bool:
        """Return whether an event with the right name and indexed values meets the rest of the condition.

        What the predicate raises is raised.
        """
        if self._predicate is None:
            return True
        with self._guard.running(PREDICATE):
            return bool(self._predicate(event))

    def covers(self, event: AnyEvent) -> bool:
        """Return whether an event matches in full; what the predicate raises is raised."""
        if not any(matches(name, event.type) for name in self.names):
            return False
        if self.fields:
            try:
                if itemgetter(*self.fields)(fields_of(event)) != self.values:
                    return False
            except KeyError:
                return False
        return self.accepts(event)

    def __str__(self) -> str:
        return ", ".join(self.names)


def _has(fields: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    return all(name in fields and fields[name] == value for name, value in where.items())
