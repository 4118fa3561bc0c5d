"""Draws what ``watch`` shows."""

from __future__ import annotations

__all__ = ["render"]

import time
from datetime import datetime, timedelta, timezone
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from rich.box import ROUNDED
from rich.console import Console, ConsoleRenderable, Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.style import Style
from rich.table import Table
from rich.text import Text

from masquerade_ws import Stats
from masquerade_ws.cli.watch.board import Board, Job, Message

_STATES = {"connected": "green", "connecting": "yellow"}
_SEVERITIES = {"info": "blue", "warning": "yellow", "error": "red", "connection": "cyan"}
_ENDS = {"done": ("✔", "green"), "failed": ("✘", "red"), "": ("●", "cyan"), "unknown": ("?", "yellow")}
_ASCII = {"✔": "+", "✘": "x", "●": "*", "·": "|", "?": "?"}
_NARROW = 60  # columns below which the less important is left out
_FRAME = 7  # lines besides jobs and messages: two at the top, one at the bottom, two borders around each panel


def render(board: Board, name: str, state: str, stats: Stats, console: Console) -> ConsoleRenderable:
    """Return what fills the terminal.

    Args:
        board: What is known.
        name: The URL to show.
        state: The state of the client.
        stats: The counters of the client.
        console: The terminal, for its size and its characters.
    """
    room = max(2, console.height - _FRAME)
    wanted = max(1, len(board.jobs))
    jobs = min(wanted, max(room // 2, room - max(1, len(board.messages))), room - 1)
    ascii_only, narrow = console.options.ascii_only, console.width < _NARROW
    return Group(
        _head(board, name, state, ascii_only),
        _figures(board, stats, ascii_only, narrow),
        _jobs_panel(board, jobs, ascii_only, narrow),
        _messages_panel(board, room - jobs, narrow),
        _text("q quits", "dim"),
    )


def _text(text: str, style: str | Style = "", *, right: bool = False) -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis", justify="right" if right else "left")


def _mark(mark: str, ascii_only: bool) -> str:
    return _ASCII[mark] if ascii_only else mark


def _head(board: Board, name: str, state: str, ascii_only: bool) -> Table:
    colour = _STATES.get(state, "red")
    words = Text.assemble((f"{_mark('●', ascii_only)} ", f"bold {colour}"), (state, colour))
    if state != "connected" and board.gaps:
        attempt = f", attempt {board.attempts}" if board.attempts else ""
        words.append(f" for {time.monotonic() - board.lost_at:.0f} s{attempt}", colour)
    line = Table.grid(expand=True, padding=(0, 1))
    line.add_column(no_wrap=True, overflow="ellipsis")
    line.add_column(
        ratio=1, justify="right", no_wrap=True, overflow="ellipsis"
    )  # the URL gets what is left on a narrow terminal
    line.add_row(words, Text(name, "dim"))
    return line


def _figures(board: Board, stats: Stats, ascii_only: bool, narrow: bool) -> Text:
    none = "-"
    since = stats.connected_since
    facts = {
        "latency": none if stats.latency is None else f"{stats.latency * 1000:.1f} ms",
        "up": none
        if since is None
        else str(timedelta(seconds=int((datetime.now(timezone.utc) - since).total_seconds()))),
        "gaps": f"{board.gaps} ({board.gap_seconds:.1f} s)",
        "messages": f"{stats.messages_received:,}",
    }
    if narrow:
        facts = {label: facts[label] for label in ("gaps", "latency")}
    line = _text("")
    for number, (label, value) in enumerate(facts.items()):
        line.append(f"  {_mark('·', ascii_only)}  " if number else "  ", "dim").append(f"{label} ", "dim")
        line.append(value, "bold yellow" if label == "gaps" and board.gaps else "bold")
    return line


def _jobs_panel(board: Board, room: int, ascii_only: bool, narrow: bool) -> Panel:
    shown = board.shown_jobs(room)
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(width=1)
    table.add_column(ratio=3, no_wrap=True, overflow="ellipsis")
    if not narrow:
        table.add_column(ratio=3)
    table.add_column(width=4, justify="right")
    table.add_column(ratio=2, no_wrap=True, overflow="ellipsis")
    if not narrow:
        table.add_column(width=6, justify="right")
    for job in shown:
        table.add_row(*_cells(job, ascii_only, narrow))
    hidden = len(board.jobs) - len(shown)
    title = f"Jobs, {hidden} more not shown" if hidden else "Jobs"
    return _panel(table if shown else _text("none yet", "dim"), title, room)


def _cells(job: Job, ascii_only: bool, narrow: bool) -> list[ConsoleRenderable]:
    mark, colour = _ENDS["unknown" if job.unknown else job.end]
    stage = "unknown" if job.unknown else PurePosixPath(urlsplit(job.url).path).name or job.stage
    link = Style(link=job.url or None)
    seconds = f"{job.seconds():.1f}s" if job.seconds() < 1000 else f"{job.seconds() / 60:.0f}m"
    cells: list[ConsoleRenderable] = [
        _text(_mark(mark, ascii_only), f"bold {colour}"),
        _text(job.name, link),
        ProgressBar(total=100, completed=job.percent, complete_style=colour, finished_style=colour),
        _text(f"{job.percent:.0f}%", right=True),
        _text(stage, Style.parse(colour if job.end or job.unknown else "dim") + link),
        _text(seconds, "dim", right=True),
    ]
    return [cells[index] for index in (0, 1, 3, 4)] if narrow else cells


def _messages_panel(board: Board, room: int, narrow: bool) -> Panel:
    lines = [_line(message, narrow) for message in list(board.messages)[-room:]]
    return _panel(Group(*lines) if lines else _text("none yet", "dim"), "Notifications", room)


def _line(message: Message, narrow: bool) -> Text:
    colour = _SEVERITIES.get(message.severity, "magenta")
    if narrow:
        return _text(message.text, colour)
    line = _text("").append(f"{message.at}  ", "dim").append(f"{message.severity:<10.10}  ", colour)
    return line.append(message.text)


def _panel(content: ConsoleRenderable, title: str, room: int) -> Panel:
    return Panel(content, title=title, title_align="left", box=ROUNDED, border_style="dim", height=room + 2)
