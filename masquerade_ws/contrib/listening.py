"""What the commands of the frameworks do that run listeners in a process of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from typing import Any

from masquerade_ws import (
    ConnectedEvent,
    DisconnectedError,
    DisconnectedEvent,
    Event,
    WaitTimeoutError,
    WebSocketClient,
)
from masquerade_ws.contrib.starting import start

__all__ = ["Foreground"]

# Seconds until a wait notices Ctrl-C, which interrupts no wait on Windows, and elsewhere none that is just beginning.
_WAKE_INTERVAL = 1.0


class Foreground:
    """Runs a client until Ctrl-C, SIGTERM, or until nobody reads its output any more.

    Args:
        client: The client, with the listeners that are to hear.
        write: Prints a line, and flushes it.
        note: Prints a line beside the output.
    """

    def __init__(
        self, client: WebSocketClient, *, write: Callable[[str], object], note: Callable[[str], object]
    ) -> None:
        self._client = client
        self._write = write
        self._note = note
        self._reader_gone = False

    def run(self, timeout: float, *, quiet: bool = False) -> str | None:
        """Print each event as a line of JSON, and note changes of the connection.

        Args:
            timeout: Seconds to wait for the first attempt to connect; a failed one is no end.
            quiet: Print nothing.

        Returns:
            Why the client has given up, or ``None`` if it was stopped.
        """
        listeners: dict[str, Callable[[Any], object]] = {
            "*": self._print,
            "connected": self._report_connection,
            "disconnected": self._report_loss,
        }
        shown = {} if quiet else listeners
        for each, listener in shown.items():
            self._client.on(each, listener)
        try:
            with _interrupted_by_sigterm(), contextlib.suppress(KeyboardInterrupt):
                start(self._client, timeout)
                reason = _wait_for_the_end(self._client)
                return None if self._reader_gone else reason
            return None
        finally:
            self._client.disconnect()
            for each, listener in shown.items():
                self._client.off(each, listener)

    def _print(self, event: Event) -> None:
        try:
            self._write(json.dumps(event.to_dict()))
        except BrokenPipeError:  # the reader has gone, as with ``head``
            with open(os.devnull, "wb") as nowhere:  # for what is buffered, which the interpreter would report at exit
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            self._reader_gone = True
            self._client.disconnect()  # wakes the main thread

    def _report_connection(self, event: ConnectedEvent) -> None:
        self._note("connected" if event.gap is None else f"connected again after {event.gap:.1f} s")

    def _report_loss(self, event: DisconnectedEvent) -> None:
        self._note(f"disconnected, code {event.code}")


def _wait_for_the_end(client: WebSocketClient) -> str:
    """Wait until the client has ended, and return the reason."""
    while True:
        try:
            client.wait_for("disconnected", where={"will_reconnect": False}, timeout=_WAKE_INTERVAL)
        except WaitTimeoutError:
            continue
        except DisconnectedError as error:  # the next wait raises it, too, once the last event has been seen
            return str(error)


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
