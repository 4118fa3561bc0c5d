"""``manage.py masquerade_listen``: the client in the foreground, for the receivers of its signal."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Generator
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from masquerade_ws import ConnectedEvent, DisconnectedError, DisconnectedEvent, Event, WaitTimeoutError
from masquerade_ws.contrib.django import client

__all__ = ["Command"]

PATIENCE = 1.0 if sys.platform == "win32" else 3600.0  # seconds; Ctrl-C does not interrupt a wait on Windows


class Command(BaseCommand):
    """Listen until Ctrl-C, SIGTERM, or the client gives up, which is an error."""

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
                _listen()
        except DisconnectedError as error:  # what ended it has been logged
            raise CommandError("the client has given up") from error
        finally:
            client.disconnect()
            for each, listener in shown.items():
                client.off(each, listener)

    def _print(self, event: Event) -> None:
        self.stdout.write(json.dumps(event.to_dict()))
        self.stdout.flush()

    def _tell_return(self, event: ConnectedEvent) -> None:
        self.stderr.write("connected" if event.gap is None else f"connected after {event.gap:.1f} s", self.style.NOTICE)

    def _tell_loss(self, event: DisconnectedEvent) -> None:
        self.stderr.write(f"disconnected, code {event.code}", self.style.NOTICE)


def _listen() -> None:
    """Wait until the client gives up, or for Ctrl-C."""
    while True:
        with contextlib.suppress(WaitTimeoutError):
            event = client.wait_for("disconnected", where={"will_reconnect": False}, timeout=PATIENCE)
            raise CommandError(f"the connection is lost, code {event.code}")


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
