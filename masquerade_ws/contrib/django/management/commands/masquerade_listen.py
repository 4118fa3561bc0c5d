"""``manage.py masquerade_listen``: runs the client in the foreground, for the receivers of the signal."""

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

# Seconds until a wait notices Ctrl-C, which interrupts no wait on Windows, and elsewhere none that is just beginning.
_WAKE_INTERVAL = 1.0


class Command(BaseCommand):
    """Listens until Ctrl-C, SIGTERM, or the reader of the output has gone; a client that gives up is an error."""

    _reader_gone = False
    help = "Receive events, print them, and send the signal event_received for each, until Ctrl-C or SIGTERM."

    def handle(self, *args: Any, verbosity: int = 1, **options: Any) -> None:
        """Print each event as a line of JSON, and changes of the connection on stderr, unless ``--verbosity`` is 0."""
        listeners: dict[str, Callable[[Any], object]] = {
            "*": self._print,
            "connected": self._report_connection,
            "disconnected": self._report_loss,
        }
        shown = listeners if verbosity else {}
        for each, listener in shown.items():
            client.on(each, listener)
        try:
            with _interrupted_by_sigterm(), contextlib.suppress(KeyboardInterrupt):
                end = _wait_for_the_end()
                if not self._reader_gone:
                    raise CommandError(end)
        finally:
            client.disconnect()
            for each, listener in shown.items():
                client.off(each, listener)

    def _print(self, event: Event) -> None:
        try:
            self.stdout.write(json.dumps(event.to_dict()))
            self.stdout.flush()
        except BrokenPipeError:  # the reader has gone, as with ``head``
            with open(
                os.devnull, "wb"
            ) as nowhere:  # discards what is buffered, which the interpreter would report as it exits
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            self._reader_gone = True
            client.disconnect()  # wakes the main thread

    def _report_connection(self, event: ConnectedEvent) -> None:
        self.stderr.write(
            "connected" if event.gap is None else f"connected again after {event.gap:.1f} s", self.style.NOTICE
        )

    def _report_loss(self, event: DisconnectedEvent) -> None:
        self.stderr.write(f"disconnected, code {event.code}", self.style.NOTICE)


def _wait_for_the_end() -> str:
    """Wait until the client has ended, and return the reason."""
    while True:
        with contextlib.suppress(WaitTimeoutError):
            try:
                event = client.wait_for("disconnected", where={"will_reconnect": False}, timeout=_WAKE_INTERVAL)
            except DisconnectedError as error:  # it had ended before the wait began
                return str(error)
            return f"the connection was lost (code {event.code}) and is not replaced"


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Generator[None, None, None]:
    """Treat SIGTERM as Ctrl-C; Python allows that on the main thread alone."""
    allowed = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if allowed else None
    try:
        yield
    finally:
        if allowed:
            signal.signal(signal.SIGTERM, before)
