"""Starts the client of a framework in the processes that serve, so that registered listeners hear events.

A process serves once one of these has happened in it: the application was made, and this is not the master of a
preforking server; such a server's worker is ready; a process of Celery's pool has started; the first request has come.
Commands, shells and the parents of reloaders see none of them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from masquerade_ws import ConnectError, WebSocketClient
from masquerade_ws.client import is_running
from masquerade_ws.contrib.hosts import leave_to_workers
from masquerade_ws.log import logger

__all__ = ["Autostart"]


class Autostart:
    """Starts one client, once per process: as soon as the process serves and somebody listens.

    It holds no lock. Threads that find both at once may each start the client, and the second finds it running.

    Args:
        make: Returns the client.
        has_listeners: Returns whether anybody in this process would hear an event.
        is_on: Returns whether the settings allow it.
    """

    def __init__(
        self, make: Callable[[], WebSocketClient], *, has_listeners: Callable[[], bool], is_on: Callable[[], bool]
    ) -> None:
        self._make = make
        self._has_listeners = has_listeners
        self._is_on = is_on
        self._occasion = ""  # what has shown that this process serves
        self._decided = False  # also in what a serving process forks, which is its own affair

    def watch_celery(self) -> None:
        """Serve in the processes of Celery's pool, if this program uses it, and stop the client when they end."""
        if "celery" in sys.modules:
            signals: Any = importlib.import_module("celery.signals")
            signals.worker_process_init.connect(self._begin_in_pool)
            signals.worker_process_shutdown.connect(self._end_in_pool)

    def application_made(self) -> None:
        """Serve from now on, or in each worker if this is the master of a preforking server."""
        if not leave_to_workers(self._worker_ready):
            self.serve("the application is loaded")

    def serve(self, occasion: str) -> None:
        """Start the client now, or once somebody listens.

        Args:
            occasion: What has shown that this process serves, for the log.
        """
        self._occasion = self._occasion or occasion
        self.notice_listeners()

    def notice_listeners(self) -> None:
        """Start the client if this process serves and somebody listens now."""
        if not self._occasion or self._decided or not self._has_listeners():
            return
        self._decided = True
        if self._is_on():
            logger.info("%s, and there are listeners: starting the client", self._occasion)
            _start(self._make())
        else:
            logger.info("%s, but AUTOSTART is off: listeners hear nothing until something connects", self._occasion)

    def checked(self) -> WebSocketClient:
        """Return the client for a health check, which starts it once, whoever listens, unless the settings forbid it.

        Otherwise a process whose client starts when it is used would be kept from all use by its own answer.
        """
        client = self._make()
        if not self._decided and self._is_on():
            self._decided = True
            _start(client)
        return client

    def _worker_ready(self) -> None:
        self.serve("the worker is ready")

    def _begin_in_pool(self, **_: Any) -> None:
        self.serve("Celery's process has started")

    def _end_in_pool(self, **_: Any) -> None:
        """Close the connection: a process of the pool ends without running exit handlers."""
        if self._decided:
            self._make().disconnect()


def _start(client: WebSocketClient) -> None:
    if not is_running(client):
        try:
            client.connect(block=False)
        except ConnectError as error:  # an interpreter that refuses threads; the application may do without events
            logger.error("the client cannot start: %s", error)
