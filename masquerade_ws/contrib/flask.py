"""A Flask extension (extra ``flask``).

::

    masquerade = MasqueradeWS()


    def create_app() -> Flask:
        app = Flask(__name__)
        app.config.from_prefixed_env()
        masquerade.init_app(app)
        return app


    @masquerade.on("image.generation.completed")
    def store(event: ImageGenerationCompletedEvent) -> None: ...  # runs in an application context

In a view, ``masquerade.client`` is the client of the application, connected.
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

_NAME = "masquerade_ws"
_CLIENT = "masquerade_ws.client"  # the key of the client in `app.extensions`, once it is made
_PREFIX = "MASQUERADE_WS_"

_HandlerT = TypeVar("_HandlerT", bound=Callable[[Any], object])


class MasqueradeWS:
    """The extension. One instance serves any number of applications, each with its own client.

    The settings are ``MASQUERADE_WS_URL``, ``MASQUERADE_WS_GET_TOKEN`` and, optionally, any other argument of
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
        """Check the settings of an application, and register this extension as ``app.extensions["masquerade_ws"]``.

        Nothing is started: each process makes and connects its client when it first uses `client`, and closes it
        when it exits.

        Raises:
            RuntimeError: If the application has the extension already.
            ValueError: If settings are missing, unknown or wrong; the message names them all.
        """
        if _NAME in app.extensions:
            raise RuntimeError(f"the application {app.name!r} already has the extension {_NAME}: call init_app() once")
        _options(app)
        app.extensions[_NAME] = self

    @property
    def client(self) -> WebSocketClient:
        """The client of the current application, connected.

        The first use in a process starts it and waits up to ``MASQUERADE_WS_CONNECT_TIMEOUT`` seconds for its first
        attempt to connect. If that fails, the client is returned nevertheless and keeps trying: meanwhile waits go
        on, and sends raise `~masquerade_ws.NotConnectedError`.

        Raises:
            RuntimeError: Outside an application context, or if the application does not have this extension.
        """
        app: Flask = cast("Any", current_app)._get_current_object()
        if app.extensions.get(_NAME) is not self:
            raise RuntimeError(f"the application {app.name!r} does not have this extension: call init_app(app) first")
        if _CLIENT not in app.extensions:  # if two threads make one at once, the first is kept
            app.extensions.setdefault(_CLIENT, self._make(app))
        client: WebSocketClient = app.extensions[_CLIENT]
        settings = cast("dict[str, Any]", app.config)
        start(client, settings.get(f"{_PREFIX}CONNECT_TIMEOUT", CONNECT_TIMEOUT))
        return client

    def on(self, type: str) -> Callable[[_HandlerT], _HandlerT]:
        """Return a decorator that registers a listener with the clients of all applications, present and future.

        Listeners run in an application context, and so do those registered with a client itself and ``get_token``.

        Args:
            type: As for `masquerade_ws.WebSocketClient.on`.
        """

        def register(handler: _HandlerT) -> _HandlerT:
            self._listeners.append((type, handler))
            for client in list(self._clients):
                client.on(type, handler)
            return handler

        return register

    def _make(self, app: Flask) -> WebSocketClient:
        """Make the client in the process that uses it: a server may patch threads and locks after the import."""
        client = make(app.app_context, **_options(app))
        self._clients.add(client)  # before the listeners, so that none registered meanwhile is missed
        for each, handler in list(self._listeners):
            client.on(each, handler)
        return client


def _options(app: Flask) -> dict[str, Any]:
    """Return the arguments of the client, from the settings of an application."""
    options, mistakes = read(app.config.get_namespace(_PREFIX))
    if mistakes:
        raise ValueError("; ".join(f"{_PREFIX}{each.name.upper() or '*'} {each}" for each in mistakes))
    return options
