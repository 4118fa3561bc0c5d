"""``manage.py masquerade_listen``: the client in the foreground, for the receivers of its signal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from masquerade_ws import ConnectedEvent, DisconnectedError, DisconnectedEvent, Event, WaitTimeoutError
from masquerade_ws.contrib.django import client

__all__ = ["Command"]

PATIENCE = 1.0  # seconds; Ctrl-C interrupts no wait on Windows, and elsewhere none that is just about to begin


class Command(BaseCommand):
    """Listen until Ctrl-C, SIGTERM, nobody reads the output, or the client gives up, which is an error."""

    _unread = False
    help = "Receive events, print them, and send the signal event_received for each, until Ctrl-C or SIGTERM."

    def handle(self, *args: Any, verbosity: int = 1, **options: Any) -> None:
        """Run; an event is a line of JSON, news of the connection goes to stderr, ``--verbosity 0`` prints neither."""
        listeners: dict[str, Callable[[Any], object]] = {
            "*": self._print,
            "connected": self._tell_return,
            "disconnected": self._tell_loss,
        }
        shown = listeners if verbosity else {}
        for each, listener in shown.items():
            client.on(each, listener)
        try:
            with _ended_by_sigterm(), contextlib.suppress(KeyboardInterrupt):
                end = _wait_for_the_end()
                if not self._unread:
                    raise CommandError(end)
        finally:
            client.disconnect()
            for each, listener in shown.items():
                client.off(each, listener)

    def _print(self, event: Event) -> None:
        try:
            self.stdout.write(json.dumps(event.to_dict()))
            self.stdout.flush()
        except BrokenPipeError:  # nobody reads any more, as after ``head``
            with open(os.devnull, "wb") as nowhere:  # what is buffered still, or the interpreter would complain
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            self._unread = True
            client.disconnect()  # wakes the main thread

    def _tell_return(self, event: ConnectedEvent) -> None:
        self.stderr.write("connected" if event.gap is None else f"connected after {event.gap:.1f} s", self.style.NOTICE)

    def _tell_loss(self, event: DisconnectedEvent) -> None:
        self.stderr.write(f"disconnected, code {event.code}", self.style.NOTICE)


def _wait_for_the_end() -> str:
    """Wait until the client gives up, and return how that came."""
    while True:
        with contextlib.suppress(WaitTimeoutError):
            try:
                event = client.wait_for("disconnected", where={"will_reconnect": False}, timeout=PATIENCE)
            except DisconnectedError:
                return "the client has given up"  # why has been logged
            return f"the connection is lost, code {event.code}"


@contextlib.contextmanager
def _ended_by_sigterm() -> Generator[None, None, None]:
    """Let SIGTERM do what Ctrl-C does; only the main thread may ask for that."""
    allowed = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if allowed else None
    try:
        yield
    finally:
        if allowed:
            signal.signal(signal.SIGTERM, before)
