"""Who listens to what."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from masquerade_ws.checks import check_callable
from masquerade_ws.delivery.patterns import check_type, matches
from masquerade_ws.events import CLIENT_EVENT_TYPES

__all__ = ["Listener", "Listeners"]

HandlerT = TypeVar("HandlerT", bound=Callable[[Any], object])

CACHED_TYPES = 1024  # types come from the server: what remembers them has an end,
CACHED_LENGTH = 256  # and so have they


class Listener:
    """One registration."""

    __slots__ = ("active", "handler", "once", "type")

    def __init__(self, type: str, handler: Callable[[Any], object], once: bool) -> None:
        self.type = type
        self.handler = handler
        self.once = once
        self.active = True


class Listeners:
    """The registrations in their order, copied on each change so that reading needs no lock.

    Attributes:
        by_type: Who listens to those of the server's types that came lately; `for_type` finds all.
    """

    def __init__(self) -> None:
        self._make_lock()
        self._all: tuple[Listener, ...] = ()
        self.by_type: dict[str, tuple[Listener, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._all)

    def _make_lock(self) -> None:
        # Guards the change from one `_all` to the next; reentrant, for a finalizer that unsubscribes runs at any line.
        self._lock = threading.RLock()

    def after_fork(self) -> None:
        """Replace the lock in a forked child, since another thread of the parent may have held it."""
        self._make_lock()

    def add(self, type: str, handler: HandlerT, *, once: bool = False) -> HandlerT:
        """Register ``handler`` and return it; one that is registered for ``type`` already stays where it is."""
        _check(type, handler)
        with self._lock:
            known = self._find(type, handler)
            if known is None:
                added = Listener(type, handler, once)
                self._change(lambda listeners: (*listeners, added))
            elif not once:
                known.once = False
        return handler

    def remove(self, type: str, handler: Callable[[Any], object]) -> None:
        """Remove ``handler``; one that is not registered for ``type`` is ignored."""
        _check(type, handler)
        with self._lock:
            known = self._find(type, handler)
            if known is not None:
                self._drop(known)

    def claim(self, listener: Listener) -> bool:
        """Remove a ``once`` listener ahead of its call; tell whether the caller is the one to call it."""
        with self._lock:
            if not listener.active:
                return False
            if listener.once:
                self._drop(listener)
            return True

    def for_type(self, type: str) -> tuple[Listener, ...]:
        """Return those who listen to ``type``, in the order of registration."""
        by_type = self.by_type  # read ahead of `_all`: a change in between makes this entry vain, never stale
        found = by_type.get(type)
        if found is None:
            found = tuple(listener for listener in self._all if matches(listener.type, type))
            if len(by_type) >= CACHED_TYPES:
                by_type.clear()
            if len(type) <= CACHED_LENGTH and type not in CLIENT_EVENT_TYPES:
                by_type[type] = found
        return found

    def _find(self, type: str, handler: Callable[[Any], object]) -> Listener | None:
        return next((known for known in self._all if known.type == type and known.handler == handler), None)

    def _drop(self, listener: Listener) -> None:
        listener.active = False
        self._change(lambda listeners: tuple(known for known in listeners if known is not listener))

    def _change(self, change: Callable[[tuple[Listener, ...]], tuple[Listener, ...]]) -> None:
        """Change the registrations; once more, if a finalizer has done so meanwhile."""
        while True:
            before, by_type = self._all, dict[str, tuple[Listener, ...]]()
            after = change(before)
            if before is self._all:
                self._all, self.by_type = after, by_type
                return


def _check(type: str, handler: object) -> None:
    check_type(type)
    check_callable("handler", handler)
