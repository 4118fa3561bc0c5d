"""Reads keys as they are pressed, without echo, where standard input is a terminal."""

from __future__ import annotations

__all__ = ["QUIT", "keyboard"]

import contextlib
import os
import sys
import time
from collections.abc import Callable, Generator

QUIT = "q"

if sys.platform == "win32":  # pragma: no cover - exists on Windows alone
    import msvcrt

    @contextlib.contextmanager
    def _keys_of(terminal: int) -> Generator[Callable[[float], str]]:
        yield _wait_for_keys

    def _wait_for_keys(seconds: float) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if msvcrt.kbhit():
                key = msvcrt.getwch()
                if key not in "\x00\xe0":
                    return key
                msvcrt.getwch()  # the second half of a special key; that of Page Down is "Q"
            time.sleep(0.02)
        return ""

else:
    import select
    import termios
    import tty

    @contextlib.contextmanager
    def _keys_of(terminal: int) -> Generator[Callable[[float], str]]:
        before = termios.tcgetattr(terminal)
        try:
            tty.setcbreak(terminal)
            mode = termios.tcgetattr(terminal)
            mode[6][termios.VSUSP] = bytes([os.fpathconf(terminal, "PC_VDISABLE")])
            termios.tcsetattr(terminal, termios.TCSADRAIN, mode)
            yield lambda seconds: _wait_for_keys(terminal, seconds)
        finally:
            with contextlib.suppress(termios.error):  # the terminal was closed
                termios.tcsetattr(terminal, termios.TCSADRAIN, before)

    def _wait_for_keys(terminal: int, seconds: float) -> str:
        if not select.select([terminal], [], [], seconds)[0]:
            return ""
        try:
            return os.read(terminal, 1024).decode(errors="replace") or QUIT
        except OSError:
            return QUIT


@contextlib.contextmanager
def keyboard() -> Generator[Callable[[float], str]]:
    """Yield a function that waits for a number of seconds for keys and returns them; restore the terminal at the end.

    Ctrl-C still interrupts. Ctrl-Z does nothing, because it would leave the shell on our screen. A terminal that was
    closed counts as a ``q``; without a terminal no key ever comes.
    """
    if sys.stdin is not None and sys.stdin.isatty():
        with _keys_of(sys.stdin.fileno()) as wait_for_keys:
            yield wait_for_keys
    else:
        yield _sleep


def _sleep(seconds: float) -> str:
    time.sleep(seconds)
    return ""
