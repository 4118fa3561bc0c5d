"""The conditions of ``--where KEY=VALUE``."""

from __future__ import annotations

__all__ = ["Wanted", "collect", "is_met", "value_of"]

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import click


class Wanted(NamedTuple):
    """A value as typed and as JSON; either may match, because ``42`` may mean the text or the number."""

    text: str
    value: Any

    def is_met_by(self, value: Any) -> bool:
        """Return whether a value of a payload is the wanted one."""
        if isinstance(value, bool) or isinstance(self.value, bool):
            return value is self.value or value == self.text  # in Python true equals 1, in JSON it does not
        return bool(value in self)


def is_met(where: Mapping[str, Wanted], payload: Mapping[str, Any]) -> bool:
    """Return whether a payload meets all conditions."""
    return all(name in payload and wanted.is_met_by(payload[name]) for name, wanted in where.items())


def value_of(text: str) -> Any:
    """Return a value read as JSON if it is JSON (``42``, ``true``, ``null``, ``"42"``), otherwise the text itself."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def collect(ctx: click.Context, param: click.Parameter, pairs: tuple[str, ...]) -> Mapping[str, Wanted]:
    """Return the conditions of all ``--where`` options as a mapping."""
    where: dict[str, Wanted] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not key or not sign:
            raise click.BadParameter(f"{pair!r} is not of the form KEY=VALUE", ctx, param)
        if key in where:
            raise click.BadParameter(f"{key} is given twice: give it once", ctx, param)
        where[key] = Wanted(text, value_of(text))
    return where
