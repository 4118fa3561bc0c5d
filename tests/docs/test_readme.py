"""README.rst is true beyond its code, which test_docs.py runs: what it names exists, and its commands are these."""

from __future__ import annotations

import builtins
import importlib
import inspect
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

import masquerade_ws
from masquerade_ws import WebSocketClient

pytest.importorskip("websockets", reason="the test server needs the extra testing")

from masquerade_ws import testing
from tests.docs.reading import SETUP, literals, tables_of, text_of
from tests.support.pages import ROOT, URL, Output, scenes_of

README = text_of("README.rst")
CHANGELOG = text_of("CHANGELOG.rst")
AT_THE_ROOT = sorted(path.name for path in ROOT.glob("*.rst"))


def test_it_begins_with_one_sentence_and_the_two_commands() -> None:
    title, sentence = README.split("\n\n")[:2]
    first, second = re.findall(r"^    (.+)$", README, re.MULTILINE)[:2]
    command = r"python3 -m venv \.venv && \.venv/bin/pip install -q (?:--no-compile )?-e '\.\[(\w+)\]' && \.venv/bin/{}"

    assert title == "masquerade-ws\n============="
    assert re.fullmatch(r"[^.]+\.", sentence)
    for line, end in ((first, "masquerade-ws demo"), (second, "python -m pytest")):
        extra = re.fullmatch(command.format(end), line)
        assert extra is not None, line
        assert extra[1] in SETUP["options.extras_require"]


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 320


def test_the_quick_start_makes_a_picture_at_the_gateway_of_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = pytest.importorskip("masquerade_ws.cli.demo.gateway", reason="the gateway needs the extra demo")
    monkeypatch.setenv("no_proxy", "localhost")
    output = Output()
    quick_start = scenes_of(ROOT / "README.rst")[0]

    with gateway.Gateway(tmp_path, step=0.01) as running, redirect_stdout(output):
        block = [item.text for item in quick_start.items if item.kind == "python"][-1]  # after what prepares it
        exec(block.replace(URL, running.url), {})

    assert re.fullmatch(r"file:///\S+\.png\n", output.getvalue())


def test_the_extras_exist() -> None:
    extras = {*SETUP["options.extras_require"]}
    newest = re.split(r"^\d+\.\d+\.\d+ - ", CHANGELOG, flags=re.MULTILINE)[0]

    assert {literals(name)[0] for name, _ in tables_of(README)["extra | what it adds"]} <= extras
    assert {*re.findall(r"[Ee]xtra ``([\w-]+)``", newest)} <= extras


def test_the_arguments_that_it_mentions_exist() -> None:
    known = {*inspect.signature(WebSocketClient).parameters}
    for name in ("connect", "disconnect", "wait_for", "events", "run_image_job"):
        known |= {*inspect.signature(getattr(WebSocketClient, name)).parameters}

    assert {*re.findall(r"``(\w+)=[^`]+``", README + CHANGELOG)} <= known


def test_the_classes_that_it_mentions_exist() -> None:
    names = {*re.findall(r"``([A-Z]\w*(?:Error|Event|Payload|Client|Server|Stream|Reconnecting))``", README)}

    assert names
    for name in names:
        assert any(hasattr(module, name) for module in (masquerade_ws, testing, builtins)), name


@pytest.mark.parametrize("page", AT_THE_ROOT)
def test_the_files_that_it_mentions_exist(page: str) -> None:
    text = text_of(page)
    for name in re.findall(r"``((?:docs|examples|tests|benchmarks|masquerade_ws|\.ci)/[\w./]*)``|``(\w+\.rst)``", text):
        path = name[0] or name[1]
        assert path.startswith("docs/_build/") or (ROOT / path).exists(), path


def test_the_commands_exist() -> None:
    script = dict(
        re.split(r"\s*=\s*", line, maxsplit=1)
        for line in SETUP["options.entry_points"]["console_scripts"].strip().splitlines()
    )["masquerade-ws"]
    module, _, function = script.partition(":")
    pytest.importorskip("click", reason="the commands need the extra demo")

    assert callable(getattr(importlib.import_module(module), function))
    from masquerade_ws.cli.commands import cli  # noqa: PLC0415 - its packages may be missing

    assert {*re.findall(r"masquerade-ws (\w+)(?:``|$)", README, re.MULTILINE)} <= {*cli.commands}


def test_the_supported_pythons_are_those_of_the_package() -> None:
    named = re.findall(r"^- CPython (.+)\.$", README, re.MULTILINE)

    assert re.findall(r"3\.\d+", named[0]) == re.findall(r"Python :: (3\.\d+)", SETUP["metadata"]["classifiers"])


def test_the_license_line_is_that_of_the_package() -> None:
    assert README.endswith("\nSee the main Masquerade repository for license information.\n")
    assert SETUP["metadata"]["license"] == "See the main Masquerade repository for license information"


# The changelog.


def test_the_changelog_begins_with_the_version_of_the_package() -> None:
    versions = re.findall(r"^(\d+\.\d+\.\d+) (?:- \d{4}-\d{2}-\d{2}|\(unreleased\))$", CHANGELOG, re.MULTILINE)

    assert versions[0] == masquerade_ws.__version__
