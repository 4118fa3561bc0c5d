"""The one client of a process, made when it is first used."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

from django.db import close_old_connections
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV

from masquerade_ws import Event, WebSocketClient
from masquerade_ws.contrib.django.conf import SETTING, options
from masquerade_ws.contrib.django.signals import event_received
from masquerade_ws.contrib.starting import CONNECT_TIMEOUT, make, start

__all__ = ["LazyClient", "lazy"]

STARTING = frozenset({"emit", "events", "run_image_job", "send", "wait_for"})


class LazyClient:
    """Stand in for the `WebSocketClient` that the settings describe.

    It is made by its first use. ``emit``, ``events``, ``run_image_job``, ``send``, ``wait_for`` and iteration also
    start it, unless it runs, and wait for its first attempt for up to ``CONNECT_TIMEOUT`` seconds; an attempt that
    fails raises nothing by itself. Every other member starts nothing, ``connect`` aside. The process of ``runserver``
    that only watches the files never starts it.
    """

    def __init__(self) -> None:
        self._made: dict[str, WebSocketClient] = {}
        self._timeout = CONNECT_TIMEOUT

    def __getattr__(self, name: str) -> Any:
        if not hasattr(WebSocketClient, name):  # which is asked before there may be any settings
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name in STARTING:
            return partial(self._start_and, name)
        if name == "connect" and _only_watches():
            return _connect_nothing
        return getattr(self._client(), name)

    def _start_and(self, name: str, *args: Any, **keywords: Any) -> Any:
        client = self._client()
        if not _only_watches():
            start(client, self._timeout)
        return getattr(client, name)(*args, **keywords)

    def __enter__(self) -> LazyClient:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    def __iter__(self) -> Iterator[Event]:
        events: Iterator[Event] = self.events()
        return events

    def __repr__(self) -> str:
        client = self._made.get("client")
        return f"<LazyClient of {SETTING}>" if client is None else repr(client)

    def reset(self, *, setting: str, **_: Any) -> None:
        """Close the client, so that the next use makes another: tests have changed the settings."""
        if setting == SETTING and (client := self._made.pop("client", None)) is not None:
            client.disconnect()

    def _client(self) -> WebSocketClient:
        client = self._made.get("client")
        if client is None:
            arguments = options()
            self._timeout = arguments.get("connect_timeout", CONNECT_TIMEOUT)
            client = make(_fresh_connections, **arguments)
            client.on("*", _send_signal)
            client = self._made.setdefault("client", client)  # of two threads at once, one makes it in vain
        return client


lazy = LazyClient()


@contextlib.contextmanager
def _fresh_connections() -> Generator[None, None, None]:
    """Close database connections that have had their time, as Django does around a request."""
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()


def _send_signal(event: Event) -> None:
    event_received.send_robust(event.type, event=event)


def _only_watches() -> bool:
    """Tell whether this is the parent of an autoreloader, by the marks that Django itself goes by."""
    reloads = sys.argv[1:2] == ["runserver"] and "--noreload" not in sys.argv
    return reloads and os.environ.get(DJANGO_AUTORELOAD_ENV) != "true"


def _connect_nothing(**_: object) -> None:
    """Stand in for ``connect``."""
