"""Runs ``masquerade-ws watch``: draws the view and reads the keys."""

from __future__ import annotations

__all__ = ["run"]

import time

from rich.console import Console
from rich.live import Live

from masquerade_ws.cli.conversation import Conversation, open_conversation
from masquerade_ws.cli.event_commands import listen
from masquerade_ws.cli.output import note, say
from masquerade_ws.cli.target import Target
from masquerade_ws.cli.watch.board import Board
from masquerade_ws.cli.watch.keys import QUIT, keyboard
from masquerade_ws.cli.watch.rendering import render
from masquerade_ws.sanitize import clean

_TICK = 0.1  # seconds between two frames of the view
_HEARTBEAT = 5.0  # seconds; each heartbeat measures the latency


def run(target: Target) -> None:
    """Show the view until q or Ctrl-C; without a terminal, print lines.

    Args:
        target: The gateway.
    """
    console = Console(highlight=False)
    if console.file.isatty() and not console.is_dumb_terminal:
        with open_conversation(target, heartbeat_interval=_HEARTBEAT) as conversation:
            board = Board()
            try:
                _show(conversation, board, clean(target.url.partition("?")[0]), console)
            except KeyboardInterrupt:
                say(board.summary())
                raise
            say(board.summary())
    else:
        note("standard output is not a terminal: printing a line for each event")
        listen(target, (), {}, count=None, timeout=None, as_json=False)


def _show(conversation: Conversation, board: Board, name: str, console: Console) -> None:
    # Not redirected: the output of --debug belongs on standard error, which may be a file.
    live = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    with live, keyboard() as wait_for_keys:
        while QUIT not in wait_for_keys(_TICK).lower():
            for event in conversation.events(until=time.monotonic() + _TICK / 2):
                board.take(event)
            client = conversation.client
            live.update(render(board, name, client.state, client.stats, console), refresh=True)
