"""The signal that is sent for each event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.dispatch import Signal

__all__ = ["EventSignal", "event_received"]


class EventSignal(Signal):
    """A signal whose senders are types of events.

    Django distinguishes senders by identity, and equal strings may be different objects. So each type that a receiver
    was connected to is kept, and represents all equal strings.
    """

    def __init__(self) -> None:
        super().__init__()
        self._senders: dict[str, str] = {}
        self.on_connect: Callable[[], None] = _nothing  # called when a receiver has been connected

    def connect(self, receiver: Any, sender: object = None, weak: bool = True, dispatch_uid: object = None) -> None:
        """Connect a receiver to the events of the type ``sender``, or to all; otherwise as `Signal.connect`.

        Args:
            receiver: As for `Signal.connect`.
            sender: The type of the events; ``None`` for all.
            weak: As for `Signal.connect`.
            dispatch_uid: As for `Signal.connect`.

        Raises:
            TypeError: If ``sender`` is not a string.
            ValueError: If it is a pattern.
        """
        if sender is not None:
            if not isinstance(sender, str):
                raise TypeError(f"sender must be the type of an event, a str, not {type(sender).__name__}")
            if "*" in sender:
                raise ValueError(
                    f"sender must be one type, not the pattern {sender!r}; leave sender out to receive all events"
                )
            sender = self._senders.setdefault(sender, sender)
        super().connect(receiver, sender, weak, dispatch_uid)
        self.on_connect()

    def has_receivers(self) -> bool:
        """Return whether receivers are connected, to whatever sender."""
        return bool(self.receivers)

    def disconnect(self, receiver: Any = None, sender: object = None, dispatch_uid: str | None = None) -> bool:
        """As `Signal.disconnect`."""
        return super().disconnect(receiver, self._known(sender), dispatch_uid)

    def has_listeners(self, sender: Any = None) -> bool:
        """As `Signal.has_listeners`."""
        return super().has_listeners(self._known(sender))

    def send(self, sender: Any, **named: Any) -> list[tuple[Any, Any]]:
        """As `Signal.send`."""
        return super().send(self._known(sender), **named)

    def send_robust(self, sender: Any, **named: Any) -> list[tuple[Any, Any]]:
        """As `Signal.send_robust`."""
        return super().send_robust(self._known(sender), **named)

    def _known(self, sender: Any) -> Any:
        return self._senders.get(sender, sender)


def _nothing() -> None:
    """Do nothing."""


event_received = EventSignal()
"""Sent for each event of the server on the dispatcher thread: ``sender`` is the type, ``event`` the event.

If a receiver raises, Django logs it (logger ``django.dispatch``), and the other receivers are called all the same.
"""
