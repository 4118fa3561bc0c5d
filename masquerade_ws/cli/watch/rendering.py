"""Draws what ``watch`` shows."""

from __future__ import annotations

__all__ = ["render"]

import time
from datetime import datetime, timedelta, timezone

from rich.box import ROUNDED
from rich.console import Console, ConsoleRenderable, Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from masquerade_ws import Stats
from masquerade_ws.cli.watch.board import Board, Job, Message

_STATES = {"connected": "green", "connecting": "yellow"}
_SEVERITIES = {"info": "blue", "warning": "yellow", "error": "red", "connection": "cyan"}
_ENDS = {"done": ("✔", "green"), "failed": ("✘", "red"), "": ("●", "cyan")}
_ASCII = {"✔": "+", "✘": "x", "●": "*", "·": "|"}
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
    ascii_only = console.options.ascii_only
    return Group(
        _head(board, name, state, ascii_only),
        _figures(board, stats, ascii_only),
        _jobs_panel(board, jobs, ascii_only),
        _messages_panel(board, room - jobs),
        _text("q quits", "dim"),
    )


def _text(text: str, style: str = "", *, right: bool = False) -> Text:
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


def _figures(board: Board, stats: Stats, ascii_only: bool) -> Text:
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
    line = _text("")
    for number, (label, value) in enumerate(facts.items()):
        line.append(f"  {_mark('·', ascii_only)}  " if number else "  ", "dim").append(f"{label} ", "dim")
        line.append(value, "bold yellow" if label == "gaps" and board.gaps else "bold")
    return line


def _jobs_panel(board: Board, room: int, ascii_only: bool) -> Panel:
    shown = board.shown_jobs(room)
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(width=1)
    table.add_column(ratio=3, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=3)
    table.add_column(width=4, justify="right")
    table.add_column(ratio=2, no_wrap=True, overflow="ellipsis")
    table.add_column(width=6, justify="right")
    for job in shown:
        table.add_row(*_cells(job, ascii_only))
    hidden = len(board.jobs) - len(shown)
    title = f"Jobs, {hidden} more not shown" if hidden else "Jobs"
    return _panel(table if shown else _text("none yet", "dim"), title, room)


def _cells(job: Job, ascii_only: bool) -> tuple[ConsoleRenderable, ...]:
    mark, colour = _ENDS[job.end]
    return (
        _text(_mark(mark, ascii_only), f"bold {colour}"),
        _text(job.name),
        ProgressBar(total=100, completed=job.percent, complete_style=colour, finished_style=colour),
        _text(f"{job.percent:.0f}%", right=True),
        _text(job.stage, colour if job.end else "dim"),
        _text(f"{job.seconds():.1f}s" if job.seconds() < 1000 else f"{job.seconds() / 60:.0f}m", "dim", right=True),
    )


def _messages_panel(board: Board, room: int) -> Panel:
    lines = [_line(message) for message in list(board.messages)[-room:]]
    return _panel(Group(*lines) if lines else _text("none yet", "dim"), "Notifications", room)


def _line(message: Message) -> Text:
    colour = _SEVERITIES.get(message.severity, "magenta")
    line = _text("").append(f"{message.at}  ", "dim").append(f"{message.severity:<10.10}  ", colour)
    return line.append(message.text)


def _panel(content: ConsoleRenderable, title: str, room: int) -> Panel:
    return Panel(content, title=title, title_align="left", box=ROUNDED, border_style="dim", height=room + 2)
