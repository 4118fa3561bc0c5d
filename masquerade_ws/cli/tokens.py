"""Where the token comes from: a command, a file or the environment, but not an argument, which every user could see."""

from __future__ import annotations

__all__ = ["VARIABLE", "TokenError", "TokenSource"]

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from masquerade_ws.sanitize import clean

VARIABLE = "MASQUERADE_TOKEN"


class TokenError(Exception):
    """No token could be read; the message contains no part of one."""


@dataclass(frozen=True)
class TokenSource:
    """Returns the token when called, before each attempt to connect.

    Args:
        command: A shell command that prints the token.
        file: A file that contains it.
    """

    command: str | None = None
    file: Path | None = None

    @property
    def named(self) -> bool:
        """Whether a source of the token was given."""
        return self.command is not None or self.file is not None or VARIABLE in os.environ

    def __call__(self) -> str:
        """Return the present token; an empty one if no source was given.

        Raises:
            TokenError: If the command failed, the file cannot be read, or neither contains a token.
        """
        if self.command is not None:
            return _token_in(_output_of(self.command), "the output of the token command")
        if self.file is not None:
            return _token_in(_content_of(self.file), "the token file")
        return os.environ.get(VARIABLE, "")


def _output_of(command: str) -> bytes:
    # It gets no standard input, which may be our keyboard, and its messages reach the terminal through us alone.
    done = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        message = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise TokenError(clean(f"the token command ended with status {done.returncode}{message and ': '}{message}"))
    return done.stdout


def _content_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise TokenError(clean(f"cannot read the token file {file}: {error.strerror}")) from error


def _token_in(data: bytes, place: str) -> str:
    token = data.decode(errors="replace").strip()  # a strict one would show the data in its exception
    if not token or "\N{REPLACEMENT CHARACTER}" in token:
        raise TokenError(f"{place} {'is not UTF-8' if token else 'is empty'}")
    return token
