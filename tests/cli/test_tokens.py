"""Where the token comes from, and what becomes of the command that prints it."""

from __future__ import annotations

import codecs
import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("click", reason="the command line needs the extra cli")

from masquerade_ws.cli import tokens
from masquerade_ws.cli.tokens import TokenError, TokenSource
from masquerade_ws.testing import EventServer
from tests.support.terminal import TIMEOUT, posix

# Says who it is, and then hangs for as long as the test.
HANGING = (
    "import signal, socket; s = socket.create_connection(('127.0.0.1', {port})); {first}s.sendall(b'x'); s.recv(1)"
)


class Watched:
    """Processes that hang; each holds a connection, whose end is the end of the process."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(TIMEOUT)
        self._connections: list[socket.socket] = []

    def command(self, first: str = "") -> str:
        """Return a shell command, in which the shell waits for another process."""
        code = HANGING.format(port=self._listener.getsockname()[1], first=first)
        return f"{shlex.join([sys.executable, '-c', code])}; true"

    def await_start(self) -> None:
        """Wait until one more has begun."""
        connection, _ = self._listener.accept()
        connection.settimeout(TIMEOUT)
        assert connection.recv(1) == b"x"
        self._connections.append(connection)

    def await_end(self) -> None:
        """Wait until all have ended."""
        for connection in self._connections:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""

    def close(self) -> None:
        for each in (self._listener, *self._connections):
            each.close()


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.close()


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tokens.VARIABLE, raising=False)


def run(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "masquerade_ws", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# --- the command ------------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_token_command_ends_with_the_command_that_needs_it(
    masquerade_server: EventServer, watched: Watched, name: str
) -> None:
    with run("wait", masquerade_server.url, "x", "--token-command", watched.command()) as process:
        watched.await_start()
        process.send_signal(getattr(signal, name))
        watched.await_end()
        assert process.wait(TIMEOUT) == 130
        assert process.communicate(timeout=TIMEOUT) == ("", "")


@posix
def test_a_hang_up_that_is_ignored_ends_nothing(masquerade_server: EventServer) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        process = run("wait", masquerade_server.url, "x")
    finally:
        signal.signal(signal.SIGHUP, before)
    with process:
        masquerade_server.wait_for_connections(1, TIMEOUT)
        process.send_signal(signal.SIGHUP)
        masquerade_server.emit("x")
        assert process.wait(TIMEOUT) == 0


@posix
def test_a_token_command_that_will_not_end_is_killed(monkeypatch: pytest.MonkeyPatch, watched: Watched) -> None:
    monkeypatch.setattr(tokens, "_GRACE", 0.1)
    source = TokenSource(watched.command("signal.signal(signal.SIGTERM, signal.SIG_IGN); "))
    failures: list[str] = []

    def ask() -> None:
        with pytest.raises(TokenError) as caught:
            source()
        failures.append(str(caught.value))

    threads = [threading.Thread(target=ask) for _ in range(2)]  # one was given up, and the next attempt asks again
    for thread in threads:
        thread.start()
        watched.await_start()
    source.close()
    watched.await_end()
    for thread in threads:
        thread.join(TIMEOUT)

    assert len(failures) == 2
    assert all(failure.startswith("the token command ended with status -") for failure in failures)
    with pytest.raises(TokenError, match="interrupted"):
        source()


def test_a_shell_that_cannot_be_started_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(tokens.subprocess, "Popen", fail)
    with pytest.raises(TokenError, match="cannot run the token command: No such file"):
        TokenSource("echo t")()


# --- what they contain ------------------------------------------------------------------------------------------------

GOOD = {
    "plain": b"a-token",
    "a line": b" a-token \n",
    "a line of Windows": b"a-token\r\n\r\n",
    "a byte order mark": codecs.BOM_UTF8 + b"a-token\n",
    "UTF-16, as PowerShell writes it": codecs.BOM_UTF16_LE + "a-token\r\n".encode("utf-16-le"),
    "UTF-16, the other way round": codecs.BOM_UTF16_BE + "a-token\n".encode("utf-16-be"),
}
BAD = {
    "is empty": [b"", b" \r\n", codecs.BOM_UTF8, codecs.BOM_UTF16_LE],
    "is not UTF-8": [b"\xff", b"a\xc3", codecs.BOM_UTF16_LE + b"a"],
    "must be one line that contains the token alone": [
        b"a\nb",
        b"a\r\nb",
        b"a\tb",
        "a\u2028b".encode(),
        "ab".encode("utf-16-le"),
    ],
}


@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD)
@pytest.mark.parametrize("place", ["file", "command"])
def test_a_token_comes_without_what_editors_and_shells_put_around_it(tmp_path: Path, data: bytes, place: str) -> None:
    file = tmp_path / "a token"
    file.write_bytes(data)
    code = f"import sys; sys.stdout.buffer.write({data!r})"
    line = [sys.executable, "-c", code]
    command = subprocess.list2cmdline(line) if sys.platform == "win32" else shlex.join(line)
    assert TokenSource(file=file)() == "a-token" if place == "file" else TokenSource(command)() == "a-token"


@pytest.mark.parametrize(("data", "message"), [(data, message) for message, all_ in BAD.items() for data in all_])
def test_what_holds_no_token_is_reported_without_showing_it(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "a token"
    file.write_bytes(data)
    with pytest.raises(TokenError, match=f"^the token file {message}$"):
        TokenSource(file=file)()


@pytest.mark.parametrize("value", ["a-token", " a-token\r", "\ufeffa-token\n"])
def test_a_token_of_the_environment_is_read_likewise(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(tokens.VARIABLE, value)
    assert TokenSource()() == "a-token"


@pytest.mark.parametrize("value", ["", " ", None])
def test_no_token_in_the_environment_is_an_empty_one(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is not None:
        monkeypatch.setenv(tokens.VARIABLE, value)
    assert TokenSource()() == ""


@pytest.mark.parametrize(("value", "message"), [("a\nb", "must be one line"), (os.fsdecode(b"a\xff"), "is not UTF-8")])
def test_a_token_of_the_environment_that_is_none_is_reported(
    monkeypatch: pytest.MonkeyPatch, value: str, message: str
) -> None:
    monkeypatch.setenv(tokens.VARIABLE, value)
    with pytest.raises(TokenError, match=f"^{tokens.VARIABLE} {message}"):
        TokenSource()()
