"""Reads the arguments of the client, and how a framework runs it, from the settings of a framework."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any, NamedTuple

from masquerade_ws import WebSocketClient

__all__ = ["ARGUMENTS", "MISSING", "NOT_FOUND", "UNKNOWN", "WRONG", "Mistake", "Settings", "read"]

ARGUMENTS: Mapping[str, inspect.Parameter] = inspect.signature(WebSocketClient).parameters
MISSING, UNKNOWN, NOT_FOUND, WRONG = "is missing", "is not an option", "cannot be imported", "is wrong"

_DOTTED = ("get_token", "around_event")  # callables that settings may name by a dotted path
_REQUIRED: Mapping[str, Any] = {"url": "ws://localhost/", "get_token": str}  # valid values to try one option with
_CHOICES: Mapping[str, tuple[object, ...]] = {"autostart": (True, False), "listeners": ("all", "listen")}


class Mistake(NamedTuple):
    """What is wrong with an option; without a name, with a combination of options each valid by itself."""

    name: str
    kind: str
    why: str = ""

    def __str__(self) -> str:
        """Return a predicate whose subject is the option."""
        return f"{self.kind}: {self.why}" if self.why else self.kind


class Settings(NamedTuple):
    """What the settings say.

    Attributes:
        arguments: Those of the client.
        autostart: Whether the client starts by itself where listeners are registered.
        listen_alone: Whether listeners run nowhere but in the command that listens.
        mistakes: What is wrong; then the rest is not to be used.
    """

    arguments: dict[str, Any]
    autostart: bool
    listen_alone: bool
    mistakes: list[Mistake]


def read(settings: Mapping[Any, Any]) -> Settings:
    """Return what the settings say.

    Args:
        settings: The options, with names in upper or lower case; callables may be dotted paths, and a required option
            that is ``None``, as an unset environment variable may be, counts as missing.
    """
    given = {str(key).lower(): value for key, value in settings.items()}
    chosen = {name: given.pop(name, choices[0]) for name, choices in _CHOICES.items()}
    found: dict[str, Any] = {}
    mistakes = [Mistake(name, MISSING) for name in _REQUIRED if given.get(name) is None]
    mistakes += [_refused(name, value) for name, value in chosen.items() if not _is_among(value, _CHOICES[name])]
    for name, value in given.items():
        if name not in ARGUMENTS:
            mistakes.append(Mistake(name, UNKNOWN))
        elif name not in _REQUIRED or value is not None:
            mistakes += _try(name, value, found)
    return Settings(found, chosen["autostart"] is True, chosen["listeners"] == "listen", mistakes or _tried(found, ""))


def _is_among(value: object, choices: tuple[object, ...]) -> bool:
    """Return whether it is one of the choices, and not an equal one of another type, as 1 is to ``True``."""
    return any(type(value) is type(choice) and value == choice for choice in choices)


def _refused(name: str, value: object) -> Mistake:
    one, other = _CHOICES[name]
    return Mistake(name, WRONG, f"{name} must be {one!r} or {other!r}, not {value!r}")


def _try(name: str, value: Any, found: dict[str, Any]) -> list[Mistake]:
    try:
        found[name] = pkgutil.resolve_name(value) if name in _DOTTED and isinstance(value, str) else value
    except (ImportError, AttributeError, ValueError) as error:
        return [Mistake(name, NOT_FOUND, str(error))]
    return _tried({**_REQUIRED, name: found[name]}, name)


def _tried(arguments: dict[str, Any], name: str) -> list[Mistake]:
    try:
        WebSocketClient(**arguments)
    except (TypeError, ValueError) as error:
        return [Mistake(name, WRONG, str(error))]
    return []
