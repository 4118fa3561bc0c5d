"""Where the demo shows its progress: a live display on a terminal, plain lines elsewhere."""

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
    """Shows the connection and the jobs between entry and exit; called from any thread."""

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
        """Show the pictures themselves, after exit, where that is possible."""


def open_screen() -> Screen:
    """Return the screen for standard output."""
    console = Console(highlight=False)
    return LiveScreen(console) if console.file.isatty() and not console.is_dumb_terminal else PlainScreen()


class PlainScreen:
    """Prints a line for each change of the state of the connection and of the stage of a job."""

    def __init__(self) -> None:
        self._stages: dict[str, str] = {}

    def __enter__(self) -> PlainScreen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def connection(self, state: str) -> None:
        """Print the state."""
        click.echo(f"connection: {state}")

    def job(self, name: str, percent: float, stage: str) -> None:
        """Print the stage of a job if it has changed."""
        if self._stages.get(name) != stage:
            self._stages[name] = stage
            click.echo(f"{name}: {percent:.0f} % {stage}")

    def note(self, line: str) -> None:
        """Print a line."""
        click.echo(line)

    def gallery(self, pictures: Sequence[Path]) -> None:
        """Show nothing: there is no terminal to draw on."""


class LiveScreen:
    """Draws the state of the connection and a bar per job, and above them the lines that stay."""

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
        """Draw the state."""
        lost = "red" if state.startswith("disconnected ") else "yellow"
        colour = {"connected": "green", "disconnected": "dim"}.get(state, lost)
        self._state = Text.assemble((f"{self._mark} ", f"bold {colour}"), (state, colour))

    def job(self, name: str, percent: float, stage: str) -> None:
        """Move the bar of a job."""
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, stage=stage)
        self._bars.update(self._tasks[name], completed=percent, stage=stage)

    def note(self, line: str) -> None:
        """Print a line above the bars."""
        self._live.console.print(Text(line, style="dim"))

    def gallery(self, pictures: Sequence[Path]) -> None:
        """Draw the pictures, if the terminal has the colours and characters for it."""
        console = self._live.console
        if console.color_system in {"256", "truecolor"} and not console.options.ascii_only:
            wall = Table.grid(padding=(1, 1))
            wall.add_row(*map(_thumbnail, pictures))
            console.print(Padding(wall, (1, 0, 0, 0)))

    def _picture(self) -> Group:
        return Group(Padding(self._state, (1, 0)), self._bars)


def _thumbnail(picture: Path) -> Text:
    """Return a picture of two pixels per character, an upper half block on a background."""
    rows = thumbnail(picture.read_bytes(), _THUMBNAIL)
    text = Text(no_wrap=True)
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append("▀", Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        text.append("\n")
    return text
