"""Pages of documentation whose code is run: README.rst and those in docs/.

A *scene* is what is run together: a block of code, or several that go on from each other, and what they print. How a
page says which is which stands at the head of test_docs.py.
"""

from __future__ import annotations

import configparser
import io
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("websockets", reason="the test server needs the extra testing")

from masquerade_ws import WebSocketClient
from masquerade_ws.testing import EventServer, Peer

ROOT = Path(__file__).parents[2]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
URL = "ws://localhost:34076/ws"
IMAGE = "https://images.example/job.png"
TIMEOUT = 20.0  # seconds; what is waited for takes a fraction of one


# What the code talks to.


def play(emit: Callable[[str, dict[str, Any]], None], job: str, *, fail: bool = False) -> None:
    emit("image.generation.started", {"job_id": job, "user_id": "1"})
    emit("image.generation.progress", {"job_id": job, "progress": 50, "stage": "sketching"})
    if fail:
        error = {"job_id": job, "error": "the painter ran out of blue", "retry_allowed": True}
        emit("image.generation.failed", error)
    else:
        emit("image.generation.completed", {"job_id": job, "image_url": IMAGE})


def answer(peer: Peer, event: dict[str, Any]) -> None:
    if event["type"] == "image.generate":
        payload = event["payload"]
        play(peer.emit, payload.get("job_id") or str(uuid.uuid4()), fail=payload.get("fail") is True)


@contextmanager
def playing(server: EventServer) -> Iterator[None]:
    """Play jobs again and again, as other users of the service would."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(0.02):
            play(server.emit, "job-42")

    thread = threading.Thread(target=run, name="emitter")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


# Running Python.


class Output(io.StringIO):
    """What is printed, in whole lines whatever thread prints meanwhile, and a wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()  # guards the text; notified at each line
        self.unfinished: dict[int, str] = {}  # the beginnings of lines, by their threads

    def write(self, text: str) -> int:
        with self.changed:
            lines, end, rest = (self.unfinished.pop(threading.get_ident(), "") + text).rpartition("\n")
            super().write(lines + end)
            if rest:
                self.unfinished[threading.get_ident()] = rest
            self.changed.notify_all()
        return len(text)

    def expect(self, pattern: str, start: int = 0) -> int:
        """Wait for a match after a position; return its end."""
        with self.changed:
            found = self.changed.wait_for(lambda: re.compile(pattern).search(self.getvalue(), start), TIMEOUT)
            assert found, f"not printed:\n{pattern}\nbut:\n{self.getvalue()[start:]}"
            return found.end()


@contextmanager
def executing(output: Output, names: dict[str, Any]) -> Iterator[Callable[[str, str, int], None]]:
    """Hand out ``execute(code, file, line)``, which runs code with these names; end its clients after it."""

    def execute(code: str, file: str, line: int) -> None:
        exec(compile("\n" * (line - 1) + code, file, "exec"), names)

    try:
        with redirect_stdout(output):
            yield execute
    finally:
        for value in names.values():
            if isinstance(value, WebSocketClient):
                value.disconnect()


# Reading pages.


class Item(NamedTuple):
    """A piece of a scene: ``python`` or ``console`` to run, or ``output`` to expect."""

    kind: str
    text: str
    line: int


@dataclass
class Scene:
    """What is run together."""

    page: Path
    in_a_process: bool
    at_the_gateway: bool
    items: list[Item] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)  # by their names, as the page has shown them so far

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT).with_suffix('').as_posix()}:{self.items[0].line}"

    def text(self, kind: str) -> str:
        return "\n".join(item.text for item in self.items if item.kind == kind)


MARK = re.compile(
    r"^(?P<indent> *)\.\. (?:code-block:: *(?P<language>[\w-]+)|(?P<word>given|then|prints|file|needs):(?P<rest>.*)"
    r"|(?P<flag>goes on|in a process|at the gateway))$"
)


def scenes_of(page: Path) -> list[Scene]:
    """Return the scenes of a page."""
    scenes: list[Scene] = []
    files: dict[str, str] = {}
    flags: set[str] = set()
    needs: list[str] = []
    joins = False  # the next block belongs to the scene at hand
    lines = page.read_text(encoding="utf-8").splitlines()
    at_the_gateway = ".. at the gateway" in lines
    for index, line in enumerate(lines):
        if (mark := MARK.match(line)) is None:
            continue
        text, options, first = _body(lines, index, len(mark["indent"]))
        kind = mark["language"] or mark["word"] or ""
        if mark["flag"]:
            flags.add(mark["flag"])
            joins |= mark["flag"] == "goes on"
        elif kind == "needs":
            needs += re.findall(r"[\w.]+", mark["rest"])
        elif kind == "file" or "caption" in options:
            files[options.get("caption") or mark["rest"].strip()] = text
        elif kind in ("output", "prints"):
            scenes[-1].items.append(Item("output", text or mark["rest"].strip(), first))
        elif kind in ("python", "console", "given", "then"):
            if kind == "given" or not (joins or kind == "then"):
                scenes.append(Scene(page, "in a process" in flags, at_the_gateway))
            ran = "console" if kind == "console" else "python"
            scenes[-1].items.append(Item(ran, text or mark["rest"].strip() + "\n", first if text else index + 1))
            scenes[-1].needs += needs
            scenes[-1].files.update(files)
            joins = kind == "given"
            flags, needs = set(), []
    return scenes


def _body(lines: list[str], index: int, indent: int) -> tuple[str, dict[str, str], int]:
    """Return what is indented under a line, its options, and where it begins (from 1)."""
    end = index + 1
    while end < len(lines) and (not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) > indent):
        end += 1
    options: dict[str, str] = {}
    first = index + 1
    while first < end and (option := re.match(r" +:([\w-]+): *(.*)$", lines[first])):
        options[option[1]] = option[2]
        first += 1
    text = textwrap.dedent("\n".join(lines[first:end])).strip("\n")
    return text and f"{text}\n", options, first + 1


# Playing scenes.


def play_scene(scene: Scene, folder: Path) -> None:
    """Run the items of a scene, one after the other, in a folder that holds the files of its page."""
    for needed in scene.needs:
        pytest.importorskip(needed, reason=f"the block uses {needed}")
    if sys.platform == "win32" and any(item.kind == "console" or "^C" in item.text for item in scene.items):
        pytest.skip("bash and Ctrl-C are POSIX")
    output = Output()
    with talking_to(scene, folder) as server:
        items = [item._replace(text=item.text.replace(URL, server.url)) for item in scene.items]
        for name, text in scene.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text.replace(URL, server.url), encoding="utf-8")
        if scene.in_a_process:
            code = "\n".join(item.text for item in items if item.kind == "python")
            shown = "".join(item.text for item in items if item.kind == "output")
            run_process([sys.executable, "-c", code], folder, output, shown)
        else:
            play_items(scene, items, folder, output, server)


@contextmanager
def talking_to(scene: Scene, folder: Path) -> Iterator[Any]:
    """Run the gateway of ``masquerade-ws serve``, or a test server that answers as it does."""
    if scene.at_the_gateway:
        gateway = pytest.importorskip("masquerade_ws.cli.demo.gateway", reason="the gateway needs the extra demo")
        with pytest.MonkeyPatch.context() as patch:
            for module in ("picture", "studio"):
                patch.setattr(f"masquerade_ws.cli.demo.{module}.SIZE", 48)  # the usual size takes half a second
            with gateway.Gateway(folder / "masquerade-images", step=0.01) as running:
                yield running
    else:
        with EventServer(answer) as server, ExitStack() as stack:
            if any("job-42" in item.text for item in scene.items):
                stack.enter_context(playing(server))
            yield server


def play_items(scene: Scene, items: list[Item], folder: Path, output: Output, server: Any) -> None:
    names: dict[str, Any] = {"__name__": "page", "server": server, "output": output, "folder": folder}
    printed = 0
    with executing(output, names) as execute, acting() as names["meanwhile"]:
        if borrows_a_client("\n".join(item.text for item in items if item.kind == "python")):
            names["client"] = WebSocketClient(server.url, lambda: "my-token", initial_reconnect_delay=0.05)
            names["client"].connect()
        for item in items:
            if item.kind == "output":
                printed = output.expect(pattern_of(item.text), printed)
            elif item.kind == "console":
                printed = play_console(item.text, folder, output, printed)
            elif re.search(r"^ *def test_", item.text, re.MULTILINE):
                (folder / "test_page.py").write_text(item.text, encoding="utf-8")
                run_process([*PYTEST, "test_page.py"], folder, output, "...\n... passed in ...\n")
            else:
                execute(item.text, str(scene.page), item.line)


@contextmanager
def acting() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Hand out ``meanwhile(act)``, which calls a function in a thread of its own; wait for it in the end."""
    threads: list[threading.Thread] = []

    def meanwhile(act: Callable[[], object]) -> None:
        threads.append(threading.Thread(target=act, daemon=True))
        threads[-1].start()

    try:
        yield meanwhile
    finally:
        for thread in threads:
            thread.join(TIMEOUT)
    assert not any(thread.is_alive() for thread in threads), "what was done meanwhile does not end"


PYTEST = [
    *(sys.executable, "-m", "pytest", "-q"),
    *("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:valkey"),  # the two last take a third of a run
]


def borrows_a_client(code: str) -> bool:
    """Return whether code uses a ``client`` that it does not make or import."""
    made = re.search(r"\bclient(: \S+)? = |\bas client\b|\bimport .*\bclient\b|\bdef .*\(.*\bclient\b", code)
    return made is None and re.search(r"\bclient\b", code) is not None


def pattern_of(shown: str) -> str:
    """Return the pattern of whole lines that look as shown: times differ, and so does what ``...`` stands for."""
    lines = []
    for line in shown.rstrip("\n").splitlines():
        exact = re.escape(line).replace(r"\.\.\.", ".*")
        exact = re.sub(r"\d\d:\d\d:\d\d", r"\\d\\d:\\d\\d:\\d\\d", exact)
        lines.append(r"(?:.*\n)*?" if line == "..." else rf"{exact}[ \t]*\n")
    return "(?m)^" + "".join(lines)


# Playing what is typed into a shell.


def commands_of(console: str) -> list[str]:
    """Return the commands that a console shows after its prompts."""
    return [command.replace("\\\n", "") for command in re.findall(r"^\$ ((?:.*\\\n)*.*)$", console, re.MULTILINE)]


def shown_in(console: str) -> str:
    """Return what a console shows beside its commands."""
    return re.sub(r"^\$ (?:.*\\\n)*.*\n?", "", console, flags=re.MULTILINE)


def play_console(console: str, folder: Path, output: Output, printed: int) -> int:
    """Run the commands of a console that shows what they print; return the end of that."""
    if not (shown := shown_in(console)):
        return printed
    script = "\n".join(commands_of(console)).replace("masquerade-ws serve", "masquerade-ws serve --port 0")
    return run_process(["bash", "-c", script], folder, output, shown, printed, succeeds=False)


def run_process(
    command: list[str], folder: Path, output: Output, shown: str, printed: int = 0, *, succeeds: bool = True
) -> int:
    """Run a command until it ends, or until it is interrupted where ``^C`` is shown."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "COLUMNS": "120"}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    pump = threading.Thread(target=lambda: [output.write(line) for line in process.stdout])
    pump.start()
    try:
        for part in re.split(r"^(\^C\n)", shown, flags=re.MULTILINE):
            if part == "^C\n":
                os.killpg(process.pid, signal.SIGINT)
            elif part:
                printed = output.expect(pattern_of(part), printed)
        status = process.wait(TIMEOUT)
    finally:
        if sys.platform == "win32":
            process.kill()
        else:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what the shell has started too
        process.wait()
        pump.join()
        process.stdout.close()
    assert status == 0 or not succeeds or "^C" in shown, output.getvalue()
    return printed
