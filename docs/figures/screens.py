"""Makes the pictures of the programs, from the programs: ``python -m docs.figures.screens``.

Terminals are those of pyte (``pip install pyte``), drawn by rich; the page of the gallery is that of ``chromium``. Both
are needed for nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pyte
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.style import Style
from rich.text import Text

FIGURES = Path(__file__).parent
EXAMPLES = FIGURES.parents[1] / "examples"
COMMAND = [sys.executable, "-m", "masquerade_ws"]
LIMIT = 60.0  # seconds
PROMPTS = ("a lighthouse in the rain", "a market by night", "a fox made of autumn leaves")
QUALITY = 60  # of a JPEG


def main() -> None:
    """Make all of them anew."""
    os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", MASQUERADE_TOKEN="my-token")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        os.chdir(name)
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"))
        demo(browser)
        with running([*COMMAND, "serve"], "http://localhost:34076/jobs/none"):
            watch()
            picture(browser)
            with running([sys.executable, str(EXAMPLES / "flask_gallery" / "app.py")], "http://localhost:5000"):
                gallery(browser)
        browser.close()


def demo(browser: Browser) -> None:
    """Draw how the demo ends; as a JPEG, since its pictures are thousands of coloured characters."""
    screen = terminal([*COMMAND, "demo"], columns=80, rows=50, ready=lambda _: False)
    end = next(row for row, line in enumerate(screen.display) if "pictures in" in line)  # paths on this machine follow
    page = browser.new_page(viewport={"width": 900, "height": 900})
    page.set_content(svg_of(screen, "masquerade-ws demo", rows=end))
    page.locator("svg").screenshot(path=FIGURES / "demo.jpg", type="jpeg", quality=QUALITY)


def watch() -> None:
    """Draw ``watch`` when one job of three is done."""
    orders = threading.Thread(target=order, daemon=True)

    def ready(text: str) -> bool:
        if "connected" in text and not orders.ident:
            orders.start()
        return "✔" in text

    screen = terminal([*COMMAND, "watch", "ws://localhost:34076/ws"], columns=80, rows=14, ready=ready)
    (FIGURES / "watch.svg").write_text(svg_of(screen, "masquerade-ws watch", rows=14), encoding="utf-8")


def order() -> None:
    """Order a picture of each prompt."""
    for prompt in PROMPTS:
        command = [*COMMAND, "send", "ws://localhost:34076/ws", "image.generate", f"prompt={prompt}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def picture(browser: Browser) -> None:
    """Draw what the quick start orders."""
    save = ["run", "ws://localhost:34076/ws", "a quiet harbour at dawn", "--save", "harbour.png"]
    subprocess.run([*COMMAND, *save], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    page = browser.new_page(viewport={"width": 256, "height": 256})
    page.goto(Path("harbour.png").absolute().as_uri())
    page.screenshot(path=FIGURES / "harbour.jpg", type="jpeg", quality=QUALITY)


def gallery(browser: Browser) -> None:
    """Draw the gallery when two pictures of three are done."""
    page = browser.new_page(viewport={"width": 900, "height": 700})
    page.goto("http://localhost:5000")
    for prompt in PROMPTS:
        page.fill("#prompt", prompt)
        page.keyboard.press("Enter")
        page.wait_for_timeout(700)
    page.locator(".card img[src]").nth(1).wait_for()
    page.wait_for_timeout(500)  # until they have faded in
    page.screenshot(path=FIGURES / "gallery.jpg", type="jpeg", quality=QUALITY)


def terminal(command: list[str], *, columns: int, rows: int, ready: Callable[[str], bool]) -> Any:
    """Run a program in a terminal until its screen is as wanted or it ends, and return the screen."""
    screen = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    pid, master = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    deadline = time.monotonic() + LIMIT
    with contextlib.suppress(OSError):  # the program has ended
        while not ready("\n".join(screen.display)) and time.monotonic() < deadline:
            if select.select([master], [], [], 0.1)[0]:
                stream.feed(os.read(master, 65536))
    os.close(master)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)
    os.waitpid(pid, 0)
    return screen


def svg_of(screen: Any, title: str, *, rows: int) -> str:
    """Draw the first rows of a screen."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=screen.columns, file=nowhere, highlight=False)
        for row in range(rows):
            line = Text(no_wrap=True, overflow="crop")
            cells = [screen.buffer[row][column] for column in range(screen.columns)]
            for style, run in itertools.groupby(cells, style_of):
                line.append("".join(cell.data for cell in run), style)
            line.rstrip()
            console.print(line)
    svg = console.export_svg(title=title)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # these would be loaded from elsewhere
    return svg.replace("Fira Code", "Menlo, Consolas, DejaVu Sans Mono")


def style_of(cell: Any) -> Style:
    """Return the style of a character in a terminal."""
    return Style(color=colour_of(cell.fg), bgcolor=colour_of(cell.bg), bold=cell.bold, reverse=cell.reverse)


def colour_of(name: str) -> str | None:
    """Return a colour by the name that rich has for it."""
    if re.fullmatch("[0-9a-f]{6}", name):
        return f"#{name}"
    return {"default": None, "brown": "yellow"}.get(name, re.sub("^bright", "bright_", name))


@contextlib.contextmanager
def running(command: list[str], url: str) -> Iterator[None]:
    """Run a server from when it answers to the end of the block."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + LIMIT
            while time.monotonic() < deadline and not answers(url):
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


def answers(url: str) -> bool:
    """Return whether a server answers, with whatever status."""
    try:
        urlopen(url, timeout=5).close()
    except OSError as error:
        return hasattr(error, "code")
    return True


if __name__ == "__main__":
    main()
