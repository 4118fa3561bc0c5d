"""What is printed: events on standard output, changes of the connection on standard error."""

from __future__ import annotations

__all__ = ["check_output", "colour_of", "event_line", "json_line", "note", "note_of", "say"]

import errno
import io
import os
import re
import select
import shutil
import sys
import time
from typing import Any

import click

from masquerade_ws import ClientEvent, ConnectedEvent, DisconnectedEvent, ErrorEvent, Event
from masquerade_ws.cli.exit_status import explain
from masquerade_ws.cli.where import value_of
from masquerade_ws.sanitize import clean, to_json

_COLOURS = {
    "image.generation.started": "blue",
    "image.generation.progress": "cyan",
    "image.generation.completed": "green",
    "image.generation.failed": "red",
    "heartbeat": "bright_black",
}
_INDENT = " " * 10  # of the further lines of an event, below its type
_SEVERITIES = {"info": "blue", "warning": "yellow", "error": "red"}


def say(line: str, *, err: bool = False) -> None:
    """Print a line at once; coloured on a terminal, unless ``NO_COLOR`` or ``TERM=dumb`` is set."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    click.echo(line, err=err, color=False if plain else None)


def check_output() -> None:
    """Check, without writing, that standard output still has a reader; after ``head`` it has none.

    Raises:
        BrokenPipeError: If it has none. Without ``poll``, on Windows, the next line that is written finds out.
    """
    if not hasattr(select, "poll") or sys.stdout is None:
        return
    poll = select.poll()
    try:
        poll.register(sys.stdout, 0)  # asks for errors and hang-ups alone, which poll() always reports
    except io.UnsupportedOperation:
        return  # not a file
    if any(flags & (select.POLLERR | select.POLLHUP) for _, flags in poll.poll(0)):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def note(text: str) -> None:
    """Print a remark, whose text must be safe, on standard error."""
    say(click.style(f"{time.strftime('%H:%M:%S')}  {text}", dim=True), err=True)


def colour_of(event: Event) -> str:
    """Return the colour of an event; that of a notification follows its severity."""
    severity = event.payload.get("severity") if event.type == "system.notification" else None
    return _SEVERITIES.get(str(severity)) or _COLOURS.get(event.type, "magenta")


def event_line(event: Event) -> str:
    """Return an event as a line for people; on a terminal as several lines, if it is too long for one."""
    line = click.style(time.strftime("%H:%M:%S"), dim=True)
    parts = [click.style(clean(event.type), fg=colour_of(event), bold=True)]
    parts += [f"{click.style(clean(name) + '=', dim=True)}{_shown(value)}" for name, value in event.payload.items()]
    width = _width()
    used, gap = len(_INDENT) - 2, "  "
    for part in parts:
        length = len(click.unstyle(part))
        if width is not None and used + len(gap) + length > width and used > len(_INDENT):
            line, used, gap = f"{line}\n{_INDENT}", len(_INDENT), ""
        line, used, gap = f"{line}{gap}{part}", used + len(gap) + length, "  " if part is parts[0] else " "
    return line


def _width() -> int | None:
    """Return the columns of the terminal that shows standard output; ``None`` if none does."""
    return shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else None


def _shown(value: Any) -> str:
    """Return a value as ``--where`` reads it; a string without quotes where it cannot be mistaken for JSON."""
    if isinstance(value, str) and re.fullmatch(r"[^\s\"'\\]+", value) and value_of(value) == value:
        return clean(value)
    return to_json(value)


def json_line(event: Event) -> str:
    """Return an event as a line of JSON."""
    encoding = getattr(sys.stdout, "encoding", "utf-8")  # standard output may be missing
    return to_json(event.to_dict(), ascii_only=not encoding.lower().startswith("utf"))


def note_of(event: ClientEvent) -> str:
    """Return what has happened to the connection, safe to print."""
    if isinstance(event, ConnectedEvent):
        return "connected" if event.gap is None else f"connected again after {event.gap:.1f} s"
    if isinstance(event, DisconnectedEvent):
        reason = clean(f", {event.reason}" if event.reason else "")
        return f"disconnected (code {event.code}{reason}){', reconnecting' if event.will_reconnect else ''}"
    if isinstance(event, ErrorEvent):
        return f"{event.context} error: {explain(event.error)}"
    return event.new_state
