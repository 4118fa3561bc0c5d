"""Notices that a process serves: the application was made, or a request has come."""

from __future__ import annotations

from typing import Any

from django.core import mail
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_started

from masquerade_ws.contrib.django.lazy import lazy

__all__ = ["first_request", "watch_applications"]


def watch_applications() -> None:
    """Notice each application that is made from now on. Django has no signal for that, so a method is wrapped."""
    for handler in (WSGIHandler, ASGIHandler):
        handler.load_middleware = _load_middleware  # type: ignore[method-assign]


def _load_middleware(self: BaseHandler, is_async: bool = False) -> None:
    """Load it as the base class does, at which other packages may have their hands, too."""
    BaseHandler.load_middleware(self, is_async)
    if not _is_testing():
        lazy.autostart.application_made()


def first_request(sender: type[object], **_: Any) -> None:
    """Notice the first request that comes from outside: a test's client has another handler."""
    if issubclass(sender, (WSGIHandler, ASGIHandler)) and not _is_testing():
        request_started.disconnect(first_request)
        lazy.autostart.serve("the first request has come")


def _is_testing() -> bool:
    """Return whether Django's test environment is set up, which the runners of tests do."""
    return hasattr(mail, "outbox")
