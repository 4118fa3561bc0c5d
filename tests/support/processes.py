"""Scripts in processes of their own, for what a process does to its clients."""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Any, NamedTuple

from tests.support.template import Template

__all__ = ["PRELUDE", "Finished", "Script", "run"]

LIMIT = 60.0  # seconds; a script that takes so long hangs
WARNINGS = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")  # a fork beside threads is what is tested

TOOLS = """
import faulthandler, gc, os, signal, socket, stat, sys, threading, time, traceback, weakref
from masquerade_ws import *

def watch():
    "Die with all stacks shown should this process hang."
    if hasattr(signal, "alarm"):
        faulthandler.register(signal.SIGALRM, chain=True)
        signal.alarm(25)

def until(condition):
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)

def threads():
    "The names of the clients' threads, but for the one that asks."
    others = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    return sorted(name for name in others if name.startswith("masquerade-ws"))

def sockets():
    "The sockets that this process has open."
    found = []
    for fd in range(3, 256):
        try:
            found += [fd] if stat.S_ISSOCK(os.fstat(fd).st_mode) else []
        except OSError:
            pass
    return found

def in_child(check, *args):
    "Run a check in a forked child, and return its exit status."
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 1
    try:
        signal.alarm(15)
        check(*args)
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)

def say(*words):
    print(*words, flush=True)

def go():
    "Wait for the test."
    assert sys.stdin.readline() == "go\\n"
"""
BEGINNING = """
watch()
url = sys.argv[1]
"""
PRELUDE = TOOLS + BEGINNING


class Finished(NamedTuple):
    """How a script ended.

    Attributes:
        since: Seconds from the last line that it said to its end.
    """

    status: int
    output: str
    errors: str
    since: float


class Script:
    """A running script, which knows `PRELUDE`; `say` and `go` in it, `line` and `go` here keep the two in step.

    Args:
        text: The script, ``url`` being the first of its arguments.
        args: Its arguments.
        flags: Options of the interpreter.
        prelude: What runs before it.
        fresh: Start an interpreter for it alone, instead of a fork of one that has run the usual prelude.
    """

    def __init__(
        self,
        text: str,
        *args: str,
        flags: Sequence[str] = ("-X", "dev"),
        prelude: str = PRELUDE,
        fresh: bool = not hasattr(os, "fork"),
    ) -> None:
        self.process = (
            _started(flags, prelude + text, *args)
            if fresh or prelude is not PRELUDE
            else _template(flags).start(BEGINNING + text, *args)
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._errors: list[str] = []
        self._said = time.monotonic()
        self._ended = 0.0
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._read, self._read_errors, self._await)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Script:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)  # its children too, for they hold its pipes
            else:
                self.process.kill()
        for thread in self._threads:
            thread.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                _open(pipe).close()

    def line(self) -> str:
        """Return the next line that the script says."""
        try:
            return self._lines.get(timeout=LIMIT)
        except queue.Empty:
            raise AssertionError(f"the script says nothing; {''.join(self._errors)}") from None

    def lines(self) -> list[str]:
        """Return what the script has said and nobody has asked for."""
        return list(self._lines.queue)

    def expect(self, wanted: str) -> None:
        """Check the next line that the script says."""
        line = self.line()
        if line != wanted:
            for thread in self._threads[1:]:
                thread.join(5)
            status = self.process.returncode
            raise AssertionError(f"{line!r} instead of {wanted!r}, status {status}; {''.join(self._errors)}")

    def go(self) -> None:
        """Let the script go on."""
        stdin = _open(self.process.stdin)
        stdin.write("go\n")
        stdin.flush()

    def signal(self, number: int) -> None:
        """Send the script a signal."""
        os.kill(self.process.pid, number)

    def finish(self) -> Finished:
        """Wait for the end."""
        for thread in self._threads:
            thread.join(LIMIT)
            assert not thread.is_alive(), f"the script hangs; {''.join(self._errors)}"
        output = "".join(line + "\n" for line in self.lines() if line)
        return Finished(self.process.returncode, output, "".join(self._errors), self._ended - self._said)

    def _read(self) -> None:
        for line in _open(self.process.stdout):
            self._said = time.monotonic()
            self._lines.put(line.rstrip("\n"))
        self._lines.put("")

    def _read_errors(self) -> None:
        self._errors.extend(_open(self.process.stderr))

    def _await(self) -> None:
        self.process.wait()
        self._ended = time.monotonic()


def run(text: str, *args: str, **options: Any) -> Finished:
    """Run a script, with the options of `Script`, to its end."""
    with Script(text, *args, **options) as script:
        return script.finish()


@functools.cache
def _template(flags: Sequence[str]) -> Template:
    return Template([sys.executable, *flags, *WARNINGS], TOOLS)


def _started(flags: Sequence[str], text: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *flags, *WARNINGS, "-c", text, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _open(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
