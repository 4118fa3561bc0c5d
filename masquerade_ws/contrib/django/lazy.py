"""The one client of a process, made by its first use."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any

from django.db import close_old_connections
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV

from masquerade_ws import Event, WebSocketClient
from masquerade_ws.contrib.autostart import Autostart
from masquerade_ws.contrib.django.conf import SETTING, load
from masquerade_ws.contrib.django.signals import event_received
from masquerade_ws.contrib.starting import CONNECT_TIMEOUT, make, start
from masquerade_ws.events import CLIENT_EVENT_TYPES

__all__ = ["LazyClient", "lazy"]

_STARTING = frozenset({"emit", "events", "future", "run_image_job", "send", "submit_image_job", "wait_for"})


class LazyClient:
    """Stands in for the `WebSocketClient` that the settings describe.

    Its first use makes the client. ``emit``, ``events``, ``future``, ``run_image_job``, ``send``,
    ``submit_image_job``, ``wait_for`` and iteration also start it unless it is running, and wait up to
    ``CONNECT_TIMEOUT`` seconds for its first attempt to connect; a failed attempt raises nothing by itself. Of the
    other members only ``connect`` starts it. In the process of ``runserver`` that only watches files nothing starts
    it.

    Attributes:
        autostart: Starts it in processes that serve, once there are receivers or listeners.
    """

    def __init__(self) -> None:
        self._made: dict[str, WebSocketClient] = {}
        self._timeout = CONNECT_TIMEOUT
        self._receiving = False  # whether receivers run here even if only one process is to run them
        self._has_listeners = False  # whether others than receivers of the signal hear what the server sends
        self.autostart = Autostart(self.made, has_listeners=self._is_heard, is_on=lambda: load().autostart)

    def __getattr__(self, name: str) -> Any:
        if not hasattr(WebSocketClient, name):  # looked up without settings, which may not exist yet
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name in _STARTING:
            return partial(self._start_and, name)
        if name == "connect" and _only_watches():
            return _connect_nothing
        if name in ("on", "once"):
            return partial(self._register, name)
        return getattr(self.made(), name)

    def _register(self, name: str, type: str, handler: Callable[[Any], object] | None = None) -> Any:
        register = getattr(self.made(), name)(type)

        def registered(handler: Callable[[Any], object]) -> Any:
            register(handler)
            if type not in CLIENT_EVENT_TYPES:
                self._has_listeners = True
                self.autostart.notice_listeners()
            return handler

        return registered if handler is None else registered(handler)

    def _start_and(self, name: str, *args: Any, **keywords: Any) -> Any:
        client = self.made()
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
        """Close the client when tests change the settings, so that its next use makes a new one."""
        if setting == SETTING and (client := self._made.pop("client", None)) is not None:
            client.disconnect()

    def made(self) -> WebSocketClient:
        """Return the client itself, made now if it was not yet."""
        client = self._made.get("client")
        if client is None:
            settings = load()
            self._timeout = settings.arguments.get("connect_timeout", CONNECT_TIMEOUT)
            client = make(_fresh_connections, **settings.arguments)
            if self._receiving or not settings.listen_alone:
                client.on("*", _send_signal)
            client = self._made.setdefault("client", client)  # if two threads make one at once, the first is kept
        return client

    @contextlib.contextmanager
    def receiving(self) -> Generator[tuple[WebSocketClient, float], None, None]:
        """Run the receivers in this process, whatever the setting says; yields the client and the time to connect."""
        self._receiving = True
        try:
            client = self.made()
            client.on("*", _send_signal)  # the client may have been made before
            yield client, self._timeout
        finally:
            self._receiving = False

    def _is_heard(self) -> bool:
        return self._has_listeners or (event_received.has_receivers() and not load().listen_alone)


lazy = LazyClient()


@contextlib.contextmanager
def _fresh_connections() -> Generator[None, None, None]:
    """Close database connections that are too old or broken, as Django does around a request."""
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()


def _send_signal(event: Event) -> None:
    event_received.send_robust(event.type, event=event)


def _only_watches() -> bool:
    """Return whether this process is the parent of an autoreloader, by the same signs as Django itself."""
    reloads = sys.argv[1:2] == ["runserver"] and "--noreload" not in sys.argv
    return reloads and os.environ.get(DJANGO_AUTORELOAD_ENV) != "true"


def _connect_nothing(**_: object) -> None:
    """Replace ``connect`` in a process that only watches files."""
