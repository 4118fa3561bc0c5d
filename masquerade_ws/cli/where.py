"""The conditions of ``--where KEY=VALUE``."""

from __future__ import annotations

__all__ = ["Wanted", "collect", "value_of"]

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import click


class Wanted(NamedTuple):
    """A value as it was typed, and what it is as JSON; either will do, for who types ``42`` may mean the text."""

    text: str
    value: Any

    def is_met_by(self, value: Any) -> bool:
        """Tell whether a value of a payload is the one that is wanted."""
        if isinstance(value, bool) or isinstance(self.value, bool):
            return value is self.value or value == self.text  # for Python true is 1, for JSON it is not
        return bool(value in self)


def value_of(text: str) -> Any:
    """Read a value: as JSON if it is JSON (``42``, ``true``, ``null``, ``"42"``), else as the string that it is."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def collect(ctx: click.Context, param: click.Parameter, pairs: tuple[str, ...]) -> Mapping[str, Wanted]:
    """Return what all ``--where`` say, as a mapping."""
    where: dict[str, Wanted] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not key or not sign:
            raise click.BadParameter(f"{pair!r} is not of the form KEY=VALUE", ctx, param)
        if key in where:
            raise click.BadParameter(f"{key} is given twice", ctx, param)
        where[key] = Wanted(text, value_of(text))
    return where
