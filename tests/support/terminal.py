"""A pseudo-terminal for the tests of what is shown on one, and of what is typed into it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

import pytest

__all__ = ["TIMEOUT", "Terminal", "posix", "shown_on"]

TIMEOUT = 30.0  # seconds, for what is bound to happen

posix = pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal needs POSIX")


class Terminal:
    """A pseudo-terminal and what has been written to it.

    Args:
        monkeypatch: Makes the environment that of a capable terminal of 100 by 40 characters.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import pty  # noqa: PLC0415 - POSIX only

        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)
        size = {"COLUMNS": "100", "LINES": "40"}
        for name, value in {"TERM": "xterm-256color", "COLORTERM": "truecolor", **size}.items():
            monkeypatch.setenv(name, value)
        self._master, self.slave = pty.openpty()
        self._chunks: list[bytes] = []
        self._reader = threading.Thread(target=self._read)
        self._changed = threading.Condition()
        self._reader.start()

    def _read(self) -> None:
        # The read fails once the last descriptor of the other side is closed: that ends this thread.
        with contextlib.suppress(OSError):
            while chunk := os.read(self._master, 65536):
                with self._changed:
                    self._chunks.append(chunk)
                    self._changed.notify_all()

    @property
    def text(self) -> str:
        """All that has been written, escape sequences included."""
        return b"".join(self._chunks).decode(errors="replace")

    def wait_for(self, text: str) -> None:
        """Wait until this has been written."""
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.text, TIMEOUT), self.text[-4000:]

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def close(self) -> None:
        """Wait for the last text. The other side must have been closed."""
        self._reader.join(TIMEOUT)
        os.close(self._master)


@contextlib.contextmanager
def shown_on(terminal: Terminal) -> Iterator[None]:
    """Make the terminal standard output."""
    with open(terminal.slave, "w", encoding="utf-8") as output, contextlib.redirect_stdout(output):
        yield
