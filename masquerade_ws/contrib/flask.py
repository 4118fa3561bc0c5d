"""The client in Flask's manner (extra ``flask``).

::

    masquerade = MasqueradeWS()


    def create_app() -> Flask:
        app = Flask(__name__)
        app.config.from_prefixed_env()
        masquerade.init_app(app)
        return app


    @masquerade.on("image.generation.completed")
    def store(event: ImageGenerationCompletedEvent) -> None: ...  # runs in an application context

In a view, ``masquerade.client`` is the application's client, connected.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypeVar, cast

from flask import Flask, current_app

from masquerade_ws import WebSocketClient
from masquerade_ws.contrib.settings import read
from masquerade_ws.contrib.starting import CONNECT_TIMEOUT, make, start

__all__ = ["MasqueradeWS"]

NAME = "masquerade_ws"
CLIENT = "masquerade_ws.client"  # the key of the client itself, once it is made
PREFIX = "MASQUERADE_WS_"

HandlerT = TypeVar("HandlerT", bound=Callable[[Any], object])


class MasqueradeWS:
    """The extension. One serves any number of applications, each of which has a client of its own.

    Settings are ``MASQUERADE_WS_URL``, ``MASQUERADE_WS_GET_TOKEN`` and, if wanted, any other argument of
    `~masquerade_ws.WebSocketClient` under its name in upper case (``MASQUERADE_WS_HEARTBEAT_INTERVAL``). Callables may
    be given as dotted paths.

    Args:
        app: The application, if it exists already; otherwise call `init_app`.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._listeners: list[tuple[str, Callable[[Any], object]]] = []
        self._clients: weakref.WeakSet[WebSocketClient] = weakref.WeakSet()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Check the settings of an application, and be its ``app.extensions["masquerade_ws"]``.

        Nothing is started: the client is made and connects when `client` is first used, in each process for itself,
        and is closed when the process ends.

        Raises:
            RuntimeError: If the application has the extension already.
            ValueError: If settings are missing, unknown or wrong, all of which it names.
        """
        if NAME in app.extensions:
            raise RuntimeError(f"the application {app.name!r} has the extension {NAME} already")
        _options(app)
        app.extensions[NAME] = self

    @property
    def client(self) -> WebSocketClient:
        """The client of the current application, connected.

        The first use in a process starts it and waits for its first attempt, for up to
        ``MASQUERADE_WS_CONNECT_TIMEOUT`` seconds. If that fails the client is returned all the same and goes on
        trying: its waits last until it has connected, and its sends raise `~masquerade_ws.NotConnectedError`.

        Raises:
            RuntimeError: Outside an application context, or if the application does not have this extension.
        """
        app: Flask = cast("Any", current_app)._get_current_object()
        if app.extensions.get(NAME) is not self:
            raise RuntimeError(f"the application {app.name!r} does not have this extension: call init_app()")
        if CLIENT not in app.extensions:  # of two threads at once, one makes it in vain
            app.extensions.setdefault(CLIENT, self._make(app))
        client: WebSocketClient = app.extensions[CLIENT]
        settings = cast("dict[str, Any]", app.config)
        start(client, settings.get(f"{PREFIX}CONNECT_TIMEOUT", CONNECT_TIMEOUT))
        return client

    def on(self, type: str) -> Callable[[HandlerT], HandlerT]:
        """Return a decorator that registers a listener with the client of every application, present and future.

        A listener runs in an application context, as do those registered with a client itself, and ``get_token``.

        Args:
            type: As for `masquerade_ws.WebSocketClient.on`.
        """

        def register(handler: HandlerT) -> HandlerT:
            self._listeners.append((type, handler))
            for client in list(self._clients):
                client.on(type, handler)
            return handler

        return register

    def _make(self, app: Flask) -> WebSocketClient:
        """Make a client in the process that uses it: a server may have changed threads and locks since the import."""
        client = make(app.app_context, **_options(app))
        self._clients.add(client)  # ahead of the listeners, so that none registered meanwhile is missed
        for each, handler in list(self._listeners):
            client.on(each, handler)
        return client


def _options(app: Flask) -> dict[str, Any]:
    """Return the arguments of the client, from the settings of an application."""
    options, mistakes = read(app.config.get_namespace(PREFIX))
    if mistakes:
        raise ValueError("; ".join(f"{PREFIX}{each.name.upper() or '*'} {each}" for each in mistakes))
    return options
