"""``masquerade-ws watch``: a live view of the gateway."""

from __future__ import annotations

__all__ = ["run"]

import time

from rich.console import Console
from rich.live import Live

from masquerade_ws.cli.listen import listen
from masquerade_ws.cli.output import note
from masquerade_ws.cli.session import Session, open_session
from masquerade_ws.cli.tokens import TokenSource
from masquerade_ws.cli.watch.board import Board
from masquerade_ws.cli.watch.keys import QUIT, keyboard
from masquerade_ws.cli.watch.views import picture
from masquerade_ws.sanitize import clean

_TICK = 0.1  # seconds from one picture to the next
_HEARTBEAT = 5.0  # seconds; each measures the latency


def run(url: str, token: TokenSource) -> None:
    """Show the view until q or Ctrl-C; without a terminal print lines."""
    console = Console(highlight=False)
    if console.file.isatty() and not console.is_dumb_terminal:
        with open_session(url, token, heartbeat_interval=_HEARTBEAT) as session:
            _show(session, clean(url.partition("?")[0]), console)
    else:
        note("no terminal for a live view: a line for each event")
        listen(url, token, (), {}, count=None, timeout=None, as_json=False)


def _show(session: Session, name: str, console: Console) -> None:
    board = Board()
    # Not redirected: what --debug tells goes where standard error goes, which may be a file.
    live = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    with live, keyboard() as wait_for_keys:
        while QUIT not in wait_for_keys(_TICK).lower():
            for event in session.events(until=time.monotonic() + _TICK / 2):
                board.take(event)
            live.update(picture(board, name, session.client.state, session.client.stats, console), refresh=True)
