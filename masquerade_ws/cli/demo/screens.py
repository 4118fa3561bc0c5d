"""What the demo shows: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

__all__ = ["LiveScreen", "PlainScreen", "Screen", "open_screen"]

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

import click
from rich.color import Color
from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.style import Style
from rich.table import Table
from rich.text import Text

from masquerade_ws.cli.demo.picture import thumbnail

_THUMBNAIL = 24  # characters of its width


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

    def gallery(self, pictures: Sequence[Path]) -> None:
        """Show the pictures themselves, after exit, if there is a way."""


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

    def gallery(self, pictures: Sequence[Path]) -> None: ...


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
        lost = "red" if state.startswith("disconnected ") else "yellow"
        colour = {"connected": "green", "disconnected": "dim"}.get(state, lost)
        self._state = Text.assemble((f"{self._mark} ", f"bold {colour}"), (state, colour))

    def job(self, name: str, percent: float, stage: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, stage=stage)
        self._bars.update(self._tasks[name], completed=percent, stage=stage)

    def note(self, line: str) -> None:
        self._live.console.print(Text(line, style="dim"))

    def gallery(self, pictures: Sequence[Path]) -> None:
        console = self._live.console
        if console.color_system in {"256", "truecolor"} and not console.options.ascii_only:
            wall = Table.grid(padding=(1, 1))
            wall.add_row(*map(_thumbnail, pictures))
            console.print(Padding(wall, (1, 0, 0, 0)))

    def _picture(self) -> Group:
        return Group(Padding(self._state, (1, 0)), self._bars)


def _thumbnail(picture: Path) -> Text:
    """Draw two pixels a character: an upper half block on a background."""
    rows = thumbnail(picture.read_bytes(), _THUMBNAIL)
    text = Text(no_wrap=True)
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append("▀", Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        text.append("\n")
    return text
