"""The command line, run in the process of the tests."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from click.testing import CliRunner

__all__ = ["SEPARATELY", "Command", "Ended"]

# How a runner is asked to keep output and errors apart: click 8.2 always does, and does not take the word any more.
SEPARATELY: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


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
