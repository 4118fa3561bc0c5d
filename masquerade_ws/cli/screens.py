"""What the demo shows: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

__all__ = ["LiveScreen", "PlainScreen", "Screen", "open_screen"]

from types import TracebackType
from typing import Protocol

import click
from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.text import Text


class Screen(Protocol):
    """Where a demo shows its connection and its jobs, from any thread, between entry and exit."""

    def __enter__(self) -> Screen: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def connection(self, state: str) -> None:
        """Show the state of the connection."""

    def job(self, name: str, percent: float, stage: str) -> None:
        """Show how far a job has got."""

    def note(self, line: str) -> None:
        """Show a line that stays."""


def open_screen() -> Screen:
    """Return the screen that suits standard output."""
    console = Console(highlight=False)
    return LiveScreen(console) if console.file.isatty() and not console.is_dumb_terminal else PlainScreen()


class PlainScreen:
    """A line for each change of the connection's state and of a job's stage."""

    def __init__(self) -> None:
        self._stages: dict[str, str] = {}

    def __enter__(self) -> PlainScreen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def connection(self, state: str) -> None:
        click.echo(f"connection: {state}")

    def job(self, name: str, percent: float, stage: str) -> None:
        if self._stages.get(name) != stage:
            self._stages[name] = stage
            click.echo(f"{name}: {percent:.0f} % {stage}")

    def note(self, line: str) -> None:
        click.echo(line)


class LiveScreen:
    """The connection's state, a bar a job, and above them the lines that stay."""

    def __init__(self, console: Console) -> None:
        self._mark = "*" if console.options.ascii_only else "●"
        self._state = Text()
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("[dim]{task.fields[stage]}")
        )
        self._tasks: dict[str, TaskID] = {}
        self._live = Live(get_renderable=self._picture, console=console)

    def __enter__(self) -> LiveScreen:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def connection(self, state: str) -> None:
        colour = {"connected": "green", "disconnected": "red"}.get(state.partition(" ")[0], "yellow")
        self._state = Text.assemble((f"{self._mark} ", f"bold {colour}"), (state, colour))

    def job(self, name: str, percent: float, stage: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, stage=stage)
        self._bars.update(self._tasks[name], completed=percent, stage=stage)

    def note(self, line: str) -> None:
        self._live.console.print(Text(line, style="dim"))

    def _picture(self) -> Group:
        return Group(Padding(self._state, (1, 0)), self._bars)
