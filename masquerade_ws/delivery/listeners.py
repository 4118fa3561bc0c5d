"""Who listens to what."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from masquerade_ws.checks import check_callable
from masquerade_ws.delivery.blocking import holds
from masquerade_ws.delivery.patterns import check_type, matches
from masquerade_ws.events import CLIENT_EVENT_TYPES
from masquerade_ws.protocol.codec import Fronts

__all__ = ["Listener", "Listeners"]

_HandlerT = TypeVar("_HandlerT", bound=Callable[[Any], object])

# Types come from the server, so what remembers them is limited in number and in length.
_CACHED_TYPES = 1024
_CACHED_LENGTH = 256


class Listener:
    """One registration; equal to another one of the same type and an equal handler.

    Attributes:
        type: What it listens to, a type or a pattern.
        handler: What to call.
        once: Whether it is removed before its one call.
        active: Whether it is still registered.
    """

    __slots__ = ("_hash", "active", "handler", "once", "type")

    def __init__(self, type: str, handler: Callable[[Any], object], once: bool) -> None:
        self.type = type
        self.handler = handler
        self.once = once
        self.active = True
        try:
            self._hash = hash((type, handler))
        except TypeError:  # its class compares, but has no hash
            self._hash = hash((type, handler.__class__))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Listener) and self.type == other.type and bool(self.handler == other.handler)


class Listeners:
    """The registrations, in their order.

    Reading needs no lock: a reader copies them in one step (a call into C), or finds the copy for a type that an
    earlier one made. A change costs the same however many there are.

    Attributes:
        by_type: Who listens to those of the server's types that came lately; `for_type` finds all.
        fronts: Forgotten with each change.
    """

    def __init__(self) -> None:
        self._renew_lock()
        self._all: dict[Listener, Listener] = {}
        self.by_type: dict[str, tuple[Listener, ...]] = {}
        self.fronts = Fronts()

    def __bool__(self) -> bool:
        return bool(self._all)

    @property
    def serve(self) -> bool:
        """Whether anybody listens to events of the server."""
        return any(listener.type not in CLIENT_EVENT_TYPES for listener in list(self._all))

    def _renew_lock(self) -> None:
        # Guards each change of a registration together with its flags. It is reentrant, since a finalizer that
        # unsubscribes may run at any line; that is also why each change of `_all` is one step.
        self._lock = threading.RLock()
        self._holder = threading.Condition(self._lock)  # knows whether this thread holds the lock

    @property
    def held(self) -> bool:
        """Whether this very thread is in the middle of a change."""
        return holds(self._holder)

    def after_fork(self) -> None:
        """Replace the lock in a forked child: another thread may have held it."""
        self._renew_lock()

    def add(self, type: str, handler: _HandlerT, *, once: bool = False) -> _HandlerT:
        """Register a handler; one that is registered for the type already keeps its place.

        Args:
            type: A type or a pattern.
            handler: What to call.
            once: Whether to remove it before its one call.

        Returns:
            The handler.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If ``type`` is not a type and not a pattern.
        """
        added = _checked(type, handler, once)
        with self._lock:
            known = self._all.setdefault(added, added)
            if not once:
                known.once = False
            self._forget()
        return handler

    def remove(self, type: str, handler: Callable[[Any], object]) -> None:
        """Remove a handler; one that is not registered for the type is ignored.

        Args:
            type: The type or pattern that it was registered for.
            handler: The handler.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If ``type`` is not a type and not a pattern.
        """
        self._drop(_checked(type, handler))

    def remove_all(self, type: str) -> None:
        """Remove all handlers that are registered for exactly this type or pattern.

        Args:
            type: The type or pattern.

        Raises:
            TypeError: If it is not a str.
            ValueError: If it is not a type and not a pattern.
        """
        check_type(type)
        for listener in list(self._all):
            if listener.type == type:
                self._drop(listener)

    def claim(self, listener: Listener) -> bool:
        """Remove a ``once`` listener before its call; return whether the caller is the one to call it."""
        with self._lock:
            if not listener.active:
                return False
            if listener.once:
                self._drop(listener)
            return True

    def for_type(self, type: str) -> tuple[Listener, ...]:
        """Return those who listen to a type, in the order of registration."""
        by_type = self.by_type  # read before `_all`: a change in between makes this entry useless, never stale
        try:
            return by_type[type]
        except KeyError:
            found = tuple(listener for listener in list(self._all) if matches(listener.type, type))
            if len(by_type) >= _CACHED_TYPES:
                by_type.clear()
            if len(type) <= _CACHED_LENGTH and type not in CLIENT_EVENT_TYPES:
                by_type[type] = found
            return found

    def _drop(self, listener: Listener) -> None:
        """Remove the registration that is equal to ``listener``."""
        with self._lock:
            dropped = self._all.pop(listener, None)
            if dropped is not None:
                dropped.active = False
                self._forget()

    def _forget(self) -> None:
        """Forget what was found before a change."""
        self.by_type = {}
        self.fronts.forget()


def _checked(type: str, handler: Callable[[Any], object], once: bool = False) -> Listener:
    check_type(type)
    check_callable("handler", handler)
    return Listener(type, handler, once)
