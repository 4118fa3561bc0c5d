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

In a view, ``masquerade.client`` is the client of the application, connected. ``app.register_blueprint(health)`` adds
``/healthz``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click
from flask import Blueprint, Flask, Response, current_app, jsonify, request_started
from flask.cli import with_appcontext
from flask.helpers import get_debug_flag
from werkzeug.serving import is_running_from_reloader

from masquerade_ws import WebSocketClient
from masquerade_ws.contrib.autostart import Autostart
from masquerade_ws.contrib.health import report
from masquerade_ws.contrib.hosts import is_loaded_by_a_server
from masquerade_ws.contrib.listening import Foreground
from masquerade_ws.contrib.settings import Settings, read
from masquerade_ws.contrib.starting import CONNECT_TIMEOUT, make, start
from masquerade_ws.events import CLIENT_EVENT_TYPES

__all__ = ["MasqueradeWS", "health"]

_NAME = "masquerade_ws"
_AUTOSTART = "masquerade_ws.autostart"  # the key of what starts the client
_CLIENT = "masquerade_ws.client"  # the key of the client in `app.extensions`, once it is made
_PREFIX = "MASQUERADE_WS_"

health = Blueprint("masquerade_ws", __name__)
"""Answers ``/healthz``: whether the client of the application is connected."""

_HandlerT = TypeVar("_HandlerT", bound=Callable[[Any], object])


class MasqueradeWS:
    """The extension. One instance serves any number of applications, each with its own client.

    The settings are ``MASQUERADE_WS_URL``, ``MASQUERADE_WS_GET_TOKEN`` and, optionally, any other argument of
    `~masquerade_ws.WebSocketClient` under its name in upper case (``MASQUERADE_WS_HEARTBEAT_INTERVAL``). Callables may
    be given as dotted paths.

    ``MASQUERADE_WS_AUTOSTART`` (by default ``True``) starts the client in each process that serves the application,
    once a listener is registered. ``MASQUERADE_WS_LISTENERS="listen"`` has listeners called in the process of
    ``flask masquerade-listen`` alone; by default (``"all"``) each process whose client runs calls them.

    Args:
        app: The application, if it exists already; otherwise call `init_app`.

    Attributes:
        clients: The clients that this process has made so far, by the name of their application.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._listeners: list[tuple[str, Callable[[Any], object]]] = []
        self._clients: weakref.WeakSet[WebSocketClient] = weakref.WeakSet()
        self.clients: weakref.WeakValueDictionary[str, WebSocketClient] = weakref.WeakValueDictionary()
        self._autostarts: weakref.WeakSet[Autostart] = weakref.WeakSet()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Check the settings of an application, and register this extension as ``app.extensions["masquerade_ws"]``.

        Nothing is started, unless a server is loading the application and a listener is registered. Otherwise each
        process makes and connects its client when it first uses `client`. It closes it when it exits.

        Raises:
            RuntimeError: If the application has the extension already.
            ValueError: If settings are missing, unknown or wrong; the message names them all.
        """
        if _NAME in app.extensions:
            raise RuntimeError(f"the application {app.name!r} already has the extension {_NAME}: call init_app() once")
        _settings(app)
        app.extensions[_NAME] = self
        app.cli.add_command(_command())
        autostart = app.extensions[_AUTOSTART] = self._autostart(app)
        self._autostarts.add(autostart)
        if is_loaded_by_a_server() or _is_served_by_command():
            autostart.application_made()

    @property
    def client(self) -> WebSocketClient:
        """The client of the current application, connected.

        The first use in a process starts it and waits up to ``MASQUERADE_WS_CONNECT_TIMEOUT`` seconds for its first
        attempt to connect. If that fails, the client is returned nevertheless and keeps trying: meanwhile waits go
        on, and sends raise `~masquerade_ws.NotConnectedError`.

        Raises:
            RuntimeError: Outside an application context, or if the application does not have this extension.
        """
        app = _current_app()
        if app.extensions.get(_NAME) is not self:
            raise RuntimeError(f"the application {app.name!r} does not have this extension: call init_app(app) first")
        client: WebSocketClient = self._of(app)
        start(client, _connect_timeout(app))
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
            for autostart in list(self._autostarts):
                autostart.notice_listeners()
            return handler

        return register

    def _autostart(self, app: Flask) -> Autostart:
        autostart = Autostart(
            lambda: self._of(app),
            has_listeners=lambda: self._is_heard() and not _settings(app).listen_alone,
            is_on=lambda: _settings(app).autostart,
        )
        autostart.watch_celery()

        def first_request(app: Flask, **_: object) -> None:
            request_started.disconnect(first_request, app)
            if not app.testing:
                autostart.serve("the first request has come")

        app.extensions[f"{_AUTOSTART}.first_request"] = first_request  # the signal refers to it weakly
        request_started.connect(first_request, app)
        return autostart

    def _is_heard(self) -> bool:
        """Return whether anybody listens to what the server sends."""
        return any(each not in CLIENT_EVENT_TYPES for each, _ in list(self._listeners))

    def _of(self, app: Flask) -> WebSocketClient:
        """Return the client of an application, made in the process that uses it: a server may patch threads before."""
        if _CLIENT not in app.extensions:  # if two threads make one at once, the first is kept
            settings = _settings(app)
            client = make(app.app_context, **settings.arguments)
            if not settings.listen_alone:
                self._register(client)
            app.extensions.setdefault(_CLIENT, client)
            self.clients[app.name] = app.extensions[_CLIENT]
        made: WebSocketClient = app.extensions[_CLIENT]
        return made

    def _register(self, client: WebSocketClient) -> None:
        self._clients.add(client)  # before the listeners, so that none registered meanwhile is missed
        for each, handler in list(self._listeners):
            client.on(each, handler)

    def _listen(self, app: Flask, *, quiet: bool) -> str | None:
        """Run the client of an application in the foreground with all listeners; for ``flask masquerade-listen``.

        Args:
            app: The application.
            quiet: Print nothing.

        Returns:
            Why the client has given up, or ``None`` if it was stopped.
        """
        client = self._of(app)
        self._register(client)
        foreground = Foreground(client, write=click.echo, note=lambda line: click.echo(line, err=True))
        return foreground.run(_connect_timeout(app), quiet=quiet)


@health.get("/healthz")
def _answer() -> tuple[Response, int]:
    extensions = current_app.extensions
    if _AUTOSTART not in extensions:
        raise RuntimeError(f"the application {current_app.name!r} has no MasqueradeWS: call init_app(app) first")
    body, status = report(extensions[_AUTOSTART].checked())
    response = jsonify(body)
    response.cache_control.no_store = True
    return response, status


def _current_app() -> Flask:
    app: Flask = cast("Any", current_app)._get_current_object()
    return app


def _settings(app: Flask) -> Settings:
    settings = read(app.config.get_namespace(_PREFIX))
    if settings.mistakes:
        raise ValueError("; ".join(f"{_PREFIX}{each.name.upper() or '*'} {each}" for each in settings.mistakes))
    return settings


def _connect_timeout(app: Flask) -> float:
    timeout: float = cast("dict[str, Any]", app.config).get(f"{_PREFIX}CONNECT_TIMEOUT", CONNECT_TIMEOUT)
    return timeout


def _is_served_by_command() -> bool:
    """Return whether ``flask run`` loads the application in the process that serves it, not in a reloader's parent."""
    context = click.get_current_context(silent=True)
    if context is None or context.command.name != "run":
        return False
    reloads = context.params.get("reload")
    return not (get_debug_flag() if reloads is None else reloads) or is_running_from_reloader()


def _command() -> click.Command:
    """Return the command ``masquerade-listen``."""

    @click.command("masquerade-listen")
    @click.option("--quiet", "-q", is_flag=True, help="Print nothing.")
    @with_appcontext
    def listen(quiet: bool) -> None:
        """Call the listeners for each event, and print it as JSON, until Ctrl-C or SIGTERM."""
        app = _current_app()
        if (reason := app.extensions[_NAME]._listen(app, quiet=quiet)) is not None:
            raise click.ClickException(reason)

    return listen
