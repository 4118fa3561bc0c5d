"""``manage.py masquerade_listen``: runs the client in the foreground, for the receivers of the signal."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from masquerade_ws.contrib.django.lazy import lazy
from masquerade_ws.contrib.listening import Foreground

__all__ = ["Command"]


class Command(BaseCommand):
    """Listens until Ctrl-C, SIGTERM, or the reader of the output has gone; a client that gives up is an error."""

    help = "Receive events, print them, and send the signal event_received for each, until Ctrl-C or SIGTERM."

    def handle(self, *args: Any, verbosity: int = 1, **options: Any) -> None:
        """Print each event as a line of JSON, and changes of the connection on stderr, unless ``--verbosity`` is 0."""
        with lazy.receiving() as (client, timeout):
            foreground = Foreground(client, write=self._write, note=self._note)
            reason = foreground.run(timeout, quiet=not verbosity)
        if reason is not None:
            raise CommandError(reason)

    def _write(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()

    def _note(self, line: str) -> None:
        self.stderr.write(line, self.style.NOTICE)
