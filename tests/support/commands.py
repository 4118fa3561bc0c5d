"""The command line, run in the process of the tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Command", "Ended"]


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Its output, without the time of the day."""
        return [line[10:] for line in self.out.splitlines()]

    @property
    def events(self) -> list[Any]:
        """Its output, of JSON."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def notes(self) -> list[str]:
        """What it reported of the connection and the job, without the time of the day."""
        return [line[10:] for line in self.err.splitlines()]


Command = Callable[..., Ended]
