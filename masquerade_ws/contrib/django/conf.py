"""Reads and checks the setting ``MASQUERADE_WS``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info
from django.core.exceptions import ImproperlyConfigured

from masquerade_ws.contrib.django.signals import event_received
from masquerade_ws.contrib.settings import MISSING, NOT_FOUND, UNKNOWN, WRONG, Mistake, Settings, read

__all__ = ["check_settings", "load"]

SETTING = "MASQUERADE_WS"
_CODES = {MISSING: "E002", UNKNOWN: "E003", NOT_FOUND: "E004", WRONG: "E005"}


def load() -> Settings:
    """Return what the setting says.

    Raises:
        ImproperlyConfigured: If it is wrong.
    """
    found, errors = _read()
    if found is None or errors:
        raise ImproperlyConfigured(" ".join(error.msg for error in errors))
    return found


def check_settings(**_: Any) -> list[CheckMessage]:
    """Return what is wrong with the setting, as a system check.

    ==================  =====================================================================================
    ``masquerade_ws.``  meaning
    ==================  =====================================================================================
    ``E001``            ``MASQUERADE_WS`` is missing or not a dictionary.
    ``E002``            ``URL`` or ``GET_TOKEN`` is missing.
    ``E003``            There is no such option.
    ``E004``            A dotted path cannot be imported.
    ``E005``            A value is not allowed.
    ``I001``            Receivers are connected, and ``AUTOSTART`` is off: nothing starts the client for them.
    ==================  =====================================================================================
    """
    found, errors = _read()
    if found is None or found.autostart or found.listen_alone or not event_received.has_receivers():
        return [*errors]
    message = f"{SETTING}['AUTOSTART'] is off, so receivers of event_received hear nothing until something connects."
    hint = "Call client.connect(block=False) in each process that is to receive, or remove the option."
    return [*errors, Info(message, hint=hint, id="masquerade_ws.I001")]


def _read() -> tuple[Settings | None, list[Error]]:
    given: object = getattr(settings, SETTING, None)
    if not isinstance(given, Mapping):
        example = '{"URL": "wss://...", "GET_TOKEN": "path.to.get_token"}'
        return None, [Error(f"{SETTING} must be a dictionary.", hint=f"{SETTING} = {example}", id="masquerade_ws.E001")]
    found = read(cast("Mapping[object, Any]", given))
    return found, [_error(mistake) for mistake in found.mistakes]


def _error(mistake: Mistake) -> Error:
    name = f"{SETTING}[{mistake.name.upper()!r}]" if mistake.name else SETTING
    return Error(f"{name} {mistake}.", id=f"masquerade_ws.{_CODES[mistake.kind]}")
