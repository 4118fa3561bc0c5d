"""The configuration of the app."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks
from django.core.signals import setting_changed

from masquerade_ws.contrib.django.conf import check_settings
from masquerade_ws.contrib.django.lazy import lazy

__all__ = ["MasqueradeConfig"]


class MasqueradeConfig(AppConfig):
    """Configures the app ``masquerade_ws``, which has no models."""

    name = "masquerade_ws.contrib.django"
    label = "masquerade_ws"
    verbose_name = "Masquerade events"

    def ready(self) -> None:
        """Register the checks; start no client."""
        checks.register(check_settings)
        setting_changed.connect(lazy.reset)
