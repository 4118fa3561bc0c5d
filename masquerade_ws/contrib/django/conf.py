"""Reads and checks the setting ``MASQUERADE_WS``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured

from masquerade_ws.contrib.settings import MISSING, NOT_FOUND, UNKNOWN, WRONG, Mistake, read

__all__ = ["check_settings", "options"]

SETTING = "MASQUERADE_WS"
_CODES = {MISSING: "E002", UNKNOWN: "E003", NOT_FOUND: "E004", WRONG: "E005"}


def options() -> dict[str, Any]:
    """Return the arguments of the client.

    Raises:
        ImproperlyConfigured: If a setting is wrong.
    """
    found, errors = _read()
    if errors:
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
    ==================  =====================================================================================
    """
    return [*_read()[1]]


def _read() -> tuple[dict[str, Any], list[Error]]:
    given: object = getattr(settings, SETTING, None)
    if not isinstance(given, Mapping):
        example = '{"URL": "wss://...", "GET_TOKEN": "path.to.get_token"}'
        return {}, [Error(f"{SETTING} must be a dictionary.", hint=f"{SETTING} = {example}", id="masquerade_ws.E001")]
    found, mistakes = read(cast("Mapping[object, Any]", given))
    return found, [_error(mistake) for mistake in mistakes]


def _error(mistake: Mistake) -> Error:
    name = f"{SETTING}[{mistake.name.upper()!r}]" if mistake.name else SETTING
    return Error(f"{name} {mistake}.", id=f"masquerade_ws.{_CODES[mistake.kind]}")
