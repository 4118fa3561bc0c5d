"""Where the token comes from: a command, a file or the environment, but not an argument, which every user could see."""

from __future__ import annotations

__all__ = ["VARIABLE", "TokenError", "TokenSource"]

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from masquerade_ws.cli.unicode import text_in
from masquerade_ws.sanitize import clean

VARIABLE = "MASQUERADE_TOKEN"

_GRACE = 1.0  # seconds for a token command to end when it is asked to


class TokenError(Exception):
    """No token could be read; the message contains no part of one."""


class TokenSource:
    """Returns the token when called, before each attempt to connect.

    Args:
        command: A shell command that prints the token.
        file: A file that contains it.
    """

    def __init__(self, command: str | None = None, file: Path | None = None) -> None:
        self._command = None if command is None else _TokenCommand(command)
        self._file = file

    @property
    def named(self) -> bool:
        """Whether a source of the token was given."""
        return self._command is not None or self._file is not None or VARIABLE in os.environ

    def __call__(self) -> str:
        """Return the present token; an empty one if no source was given.

        Raises:
            TokenError: If the command failed, the file cannot be read, or none of the sources contains one token.
        """
        if self._command is not None:
            return _token_in(self._command.output(), "the output of the token command")
        if self._file is not None:
            return _token_in(_content_of(self._file), "the token file")
        value = os.environ.get(VARIABLE, "").encode("utf-8", "surrogatepass")  # what is not UTF-8 fails below
        return _token_in(value, VARIABLE) if value.strip() else ""

    def close(self) -> None:
        """End the token commands that are still running, and start no more."""
        if self._command is not None:
            self._command.close()


class _TokenCommand:
    """A shell command, whose processes end with ours. Several may run at once: the client gives up on slow ones."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._changed = threading.Condition()  # guards _running and _closed; a process starts within it
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def output(self) -> bytes:
        """Run it, and return what it prints."""
        process = self._start()
        try:
            output, errors = process.communicate()
        finally:
            with self._changed:
                self._running.discard(process)
                self._changed.notify_all()  # wakes `close`
        if process.returncode != 0:
            message = errors.decode(errors="replace").strip().rpartition("\n")[2]
            status = f"the token command ended with status {process.returncode}"
            raise TokenError(clean(f"{status}{message and ': '}{message}"))
        return output

    def _start(self) -> subprocess.Popen[bytes]:
        # It gets no standard input, which may be our keyboard, and its messages reach the terminal through us alone.
        # In a session of its own (where there are sessions) it has no terminal, and all its processes can be ended.
        with self._changed:
            if self._closed:
                raise TokenError("the token command was interrupted")
            try:
                process = subprocess.Popen(
                    self._command,
                    shell=True,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except OSError as error:
                raise TokenError(clean(f"cannot run the token command: {error.strerror}")) from error
            self._running.add(process)
        return process

    def close(self) -> None:
        """Ask all processes to end, and kill those that do not."""
        with self._changed:
            self._closed = True
            for process in self._running:
                _end(process, kill=False)
            if not self._changed.wait_for(lambda: not self._running, _GRACE):
                for process in self._running:
                    _end(process, kill=True)


if sys.platform == "win32":  # pragma: no cover - exists on Windows alone

    def _end(process: subprocess.Popen[bytes], *, kill: bool) -> None:
        # Windows has no signal that ends a program politely, and no group that a shell's children share with it.
        tree = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
        subprocess.run(tree, stdin=subprocess.DEVNULL, capture_output=True, check=False)

else:

    def _end(process: subprocess.Popen[bytes], *, kill: bool) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGTERM)


def _content_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise TokenError(clean(f"cannot read the token file {file}: {error.strerror}")) from error


def _token_in(data: bytes, place: str) -> str:
    """Return the token without the white space and the byte order mark that editors and shells put around it."""
    try:
        token = text_in(data).strip()
    except UnicodeError:
        raise TokenError(f"{place} is not UTF-8") from None
    if not token:
        raise TokenError(f"{place} is empty")
    if clean(token) != token:
        raise TokenError(f"{place} must be one line that contains the token alone")
    return token
