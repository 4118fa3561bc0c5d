"""The configuration of the app."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks
from django.core.signals import request_started, setting_changed

from masquerade_ws.contrib.django.conf import check_settings
from masquerade_ws.contrib.django.lazy import lazy
from masquerade_ws.contrib.django.serving import first_request, watch_applications
from masquerade_ws.contrib.django.signals import event_received

__all__ = ["MasqueradeConfig"]


class MasqueradeConfig(AppConfig):
    """Configures the app ``masquerade_ws``, which has no models."""

    name = "masquerade_ws.contrib.django"
    label = "masquerade_ws"
    verbose_name = "Masquerade events"

    def ready(self) -> None:
        """Register the checks, and watch for what shows that this process serves; start no client."""
        checks.register(check_settings)
        setting_changed.connect(lazy.reset)
        event_received.on_connect = lazy.autostart.notice_listeners
        lazy.autostart.watch_celery()
        watch_applications()
        request_started.connect(first_request)
