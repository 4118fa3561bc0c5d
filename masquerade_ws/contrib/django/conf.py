"""The setting ``MASQUERADE_WS``, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from masquerade_ws import WebSocketClient
from masquerade_ws.contrib.starting import ARGUMENTS, DOTTED

__all__ = ["check_settings", "options"]

SETTING = "MASQUERADE_WS"
SOUND: Mapping[str, Any] = {"url": "ws://localhost/", "get_token": str}  # beside which an option is tried alone


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
    """Tell what is wrong with the setting: a system check.

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
    setting = cast("Mapping[object, Any]", given)
    found: dict[str, Any] = {}
    errors: list[Error] = []
    for key, value in setting.items():
        name = str(key).lower()
        if name not in ARGUMENTS:
            errors.append(_error(3, key, "is no option of WebSocketClient."))
            continue
        try:
            found[name] = import_string(value) if name in DOTTED and isinstance(value, str) else value
            WebSocketClient(**{**SOUND, name: found[name]})
        except ImportError as error:
            errors.append(_error(4, key, f"cannot be imported: {error}"))
        except (TypeError, ValueError) as error:
            errors.append(_error(5, key, f"is wrong: {error}"))
    names = {str(key).lower() for key in setting}
    errors += [_error(2, name.upper(), "is missing.") for name in SOUND if name not in names]
    return found, errors or _combined(found)


def _combined(found: dict[str, Any]) -> list[Error]:
    """Tell what is wrong with options that are sound one by one."""
    try:
        WebSocketClient(**found)
    except (TypeError, ValueError) as error:
        return [Error(f"{SETTING} is wrong: {error}", id="masquerade_ws.E005")]
    return []


def _error(number: int, key: object, what: str) -> Error:
    return Error(f"{SETTING}[{key!r}] {what}", id=f"masquerade_ws.E00{number}")
