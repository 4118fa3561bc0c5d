"""README.rst and the pages in docs/ are true: all code that they show is run.

Each block of Python (``.. code-block:: python``) is run as it stands, against a real server that takes the place of
``ws://localhost:34076/ws``. It answers ``image.generate`` by playing a job, and where a scene mentions ``job-42`` it
plays that job again and again. A block that uses a ``client`` without making one gets a connected one. A block with
functions named ``test_...`` is given to pytest. Comments, invisible in the built pages, stand before or after a block
and say more:

``.. given: CODE``
    Python that is run before the block, in one line or indented below: to prepare the server, for instance. It finds
    ``server`` (an EventServer), ``output`` (with ``output.expect(PATTERN)``), ``folder`` (a Path, where files are) and
    ``meanwhile`` (``meanwhile(function)`` calls it in a thread of its own, while what follows runs).
``.. then: CODE``
    Python that is run after the block, with its names: to cause something, and to check it.
``.. prints: TEXT``
    What is printed, in one line or indented below. Shown to the reader it is a ``.. code-block:: output`` instead.
    Either stands after the block. Lines must come as they are and in this order; ``...`` stands for anything, as a
    line of its own for any lines, and times of day may differ. ``^C`` as a line interrupts a process.
``.. goes on``
    The next block goes on from the one before: it has its names. Otherwise a block starts afresh.
``.. needs: MODULE, ...``
    The next block is skipped if one of these modules is not installed.
``.. in a process``
    The next block, with what belongs to it, runs in a process of its own: because it changes what is global, as the
    settings of Django do, or never ends by itself. In that case what it prints must end with ``^C``.
``.. at the gateway``
    The whole page talks to the gateway of ``masquerade-ws serve`` instead of the test server.

Code of other libraries ("before" and "after") is a block like any other, with ``.. needs: websockets`` or the like.

A block of any language with the option ``:caption: path/file.py`` is a file, and so is ``.. file: path/file.py``, which
is invisible. Files are not run, but lie in the current folder of all that follows on the page, which has to name them.

A shell session is ``.. code-block:: console``, commands after ``$``. Commands of masquerade-ws must be right in any
case. Where the session shows what is printed it is run as a whole, by bash, and must print this; ``^C`` as above.

Sessions of the interpreter (``>>>``) are doctests, here and for ``sphinx-build -b doctest``.
"""

from __future__ import annotations

import doctest
import itertools
import json
import re
import shlex
from pathlib import Path

import pytest

from tests.docs.reading import SETUP, error_names
from tests.support.pages import ROOT, Scene, commands_of, play_scene, scenes_of

DOCS = ROOT / "docs"
README = ROOT / "README.rst"
PAGES = [README, *sorted(DOCS.rglob("*.rst"))]
SCENES = {scene.name: scene for page in PAGES for scene in scenes_of(page)}
RUN = {"python", "console", "output"}
SHOWN = {"text", "ini", "html", "http", "json", "nginx", "toml", "typescript", "yaml"}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).with_suffix("").as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_what_a_page_shows_works(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    monkeypatch.setenv("MASQUERADE_TOKEN", "my-token")
    monkeypatch.chdir(tmp_path)

    play_scene(scene, tmp_path)


@each_page
def test_a_page_shows_only_what_is_run_or_needs_no_run(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert {*re.findall(r"code-block:: *(\S*)", text)} <= RUN | SHOWN
    assert re.findall(r"^ *\.\. (?:code|sourcecode|testcode|highlight):: .*$", text, re.MULTILINE) == []


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_what_is_to_be_printed_is_not_just_a_gap(scene: Scene) -> None:
    for item in scene.items:
        assert item.kind != "output" or re.search(r"\w", item.text)


@each_page
def test_its_files_are_named_where_they_are_used(page: Path) -> None:
    scenes = [scene for scene in SCENES.values() if scene.page == page]
    files = {name for scene in scenes for name in scene.files}
    shown = {*re.findall(r":caption: *(\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)}

    assert shown <= files  # a file after the last block is used by nothing
    for name in files:
        users = [item.text for scene in scenes for item in scene.items] + [
            text for scene in scenes for other, text in scene.files.items() if other != name
        ]
        assert any(re.search(rf"\b{re.escape(Path(name).stem)}\b", text) for text in users), name


@each_page
def test_its_doctests_pass(page: Path) -> None:
    assert doctest.testfile(str(page), module_relative=False, encoding="utf-8").failed == 0


@each_page
def test_its_json_is_json(page: Path) -> None:
    for block in re.findall(r"code-block:: json\n\n((?: +.*\n|\n)+)", page.read_text(encoding="utf-8")):
        json.loads(block)


COMMANDS = sorted(
    {(name_of(scene.page), command) for scene in SCENES.values() for command in commands_of(scene.text("console"))}
)


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=lambda value: str(value)[:60])
def test_a_command_is_right(page: str, command: str) -> None:
    pytest.importorskip("click", reason="the commands need the extra cli")
    from masquerade_ws.cli.commands import cli  # noqa: PLC0415 - its packages may be missing

    words = shlex.shlex(command, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    for separates, simple in itertools.groupby(words, lambda word: {*word} <= {*"|&;<>"}):
        name, *arguments = simple
        if name == "masquerade-ws" and not separates and not {"--help", "--version"} & {*arguments}:
            context = cli.make_context(name, arguments)
            name, subcommand, arguments = cli.resolve_command(context, [*context._protected_args, *context.args])
            subcommand.make_context(name, arguments, parent=context)


def test_the_extras_exist() -> None:
    extras = {*SETUP["options.extras_require"]}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert {
            each for some in re.findall(r"(?:masquerade-ws|\.)\[([\w,-]+)\]", text) for each in some.split(",")
        } <= extras
        assert {*re.findall(r"[Ee]xtra ``([\w-]+)``", text)} <= extras


# What there has to be.


@pytest.mark.parametrize("name", [*error_names(), "ExpectationError"])
def test_each_error_has_a_page_with_a_block_that_provokes_it(name: str) -> None:
    page = DOCS / "errors" / f"{name}.rst"

    assert page.read_text(encoding="utf-8").startswith(name)
    assert any(scene.page == page and name in scene.text("python") for scene in SCENES.values())
