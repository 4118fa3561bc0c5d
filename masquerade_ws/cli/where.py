"""The conditions of ``--where KEY=VALUE``."""

from __future__ import annotations

__all__ = ["collect", "value_of"]

import json
from collections.abc import Mapping
from typing import Any, NoReturn

import click


def value_of(text: str) -> Any:
    """Read a value: as JSON if it is JSON (``42``, ``true``, ``null``, ``"42"``), else as the string that it is."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def collect(ctx: click.Context, param: click.Parameter, pairs: tuple[str, ...]) -> Mapping[str, Any]:
    """Return what all ``--where`` say, as a mapping."""
    where: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not key or not sign:
            raise click.BadParameter(f"{pair!r} is not of the form KEY=VALUE", ctx, param)
        if key in where:
            raise click.BadParameter(f"{key} is given twice", ctx, param)
        where[key] = value_of(text)
    return where
