"""A process that has imported the package and forks for each script: a start of Python would take ten times as long."""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
from collections.abc import Sequence

__all__ = ["Forked", "Template"]

# Nothing here is left in a child but its own three descriptors, and it leaves by the end of its main module, like any
# interpreter.
LOOP = """
import json, os, select, signal, socket, sys

def next_script():
    "Fork for each script that is asked for, and report how it ended; return, in the child, its text."
    control = socket.socket(fileno=int(sys.argv[1]))
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running = {}
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            os.read(woken, 1000)
            for pid in list(running):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    with running.pop(pid) as link:
                        link.sendall(b"%d\\n" % os.waitstatus_to_exitcode(status))
        if control in ready:
            asked, descriptors, _, _ = socket.recv_fds(control, 1, 4)
            if not asked:
                os._exit(0)
            link = socket.socket(fileno=descriptors.pop())
            pid = os.fork()
            if not pid:
                break
            running[pid] = link
            for descriptor in descriptors:
                os.close(descriptor)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    for descriptor in (woken, waker, *descriptors):
        os.close(descriptor)
    for sock in (control, *running.values()):
        sock.close()
    with link, link.makefile() as request:
        link.sendall(b"%d\\n" % os.getpid())
        text, *sys.argv[1:] = json.load(request)
    return text

exec(next_script())
"""


class Forked:
    """A child of a template, to be used like a ``Popen``.

    Args:
        link: Where its process id comes, and then its status.
        stdin: The end of its pipe.
        stdout: The end of its pipe.
        stderr: The end of its pipe.

    Attributes:
        pid: Its process id; it leads a session of its own.
        returncode: Its status, once that was waited for.
    """

    def __init__(self, link: socket.socket, stdin: int, stdout: int, stderr: int) -> None:
        self._reports = link.makefile()
        self.pid = int(self._reports.readline())
        self.returncode: int | None = None
        self.stdin = os.fdopen(stdin, "w", encoding="utf-8")
        self.stdout = os.fdopen(stdout, encoding="utf-8")
        self.stderr = os.fdopen(stderr, encoding="utf-8")

    def wait(self) -> None:
        """Wait for its end."""
        with self._reports:
            self.returncode = int(self._reports.readline())


class Template:
    """Starts scripts that find some code run already, and are the main module of an interpreter for the rest.

    Args:
        command: The interpreter and its options.
        code: What is run once, for all scripts.
    """

    def __init__(self, command: Sequence[str], code: str) -> None:
        self._control, end = socket.socketpair()
        with end:
            self._process = subprocess.Popen(
                [*command, "-c", code + LOOP, str(end.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[end.fileno()],
            )
        atexit.register(self._end)

    def _end(self) -> None:
        self._control.close()
        self._process.wait()

    def start(self, text: str, *args: str) -> Forked:
        """Start a script with these arguments."""
        (child_in, stdin), (stdout, child_out), (stderr, child_err) = os.pipe(), os.pipe(), os.pipe()
        link, child_link = socket.socketpair()
        with link, child_link:
            given = [child_in, child_out, child_err]
            socket.send_fds(self._control, [b"+"], [*given, child_link.fileno()])
            for descriptor in given:
                os.close(descriptor)
            child_link.close()
            link.sendall(json.dumps([text, *args]).encode())
            link.shutdown(socket.SHUT_WR)
            return Forked(link, stdin, stdout, stderr)
