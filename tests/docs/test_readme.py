"""README.rst is true: its code runs, its tables are those of the code, its commands exist."""

from __future__ import annotations

import builtins
import configparser
import dataclasses
import importlib
import inspect
import io
import logging
import re
import subprocess
import sys
import textwrap
import threading
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import pytest
from typing_extensions import NotRequired

import masquerade_ws
from masquerade_ws import EventStream, WebSocketClient, errors, events
from masquerade_ws.lifecycle.backoff import delay_before

pytest.importorskip("websockets", reason="the test server needs the extra testing")

from masquerade_ws import testing
from masquerade_ws.testing import EventServer
from tests.support.pages import IMAGE, ROOT, TIMEOUT, URL, Output, answer, executing, playing

README = (ROOT / "README.rst").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")


# Reading the README.


class Block(NamedTuple):
    """A Python block: under which heading, the how manieth there, and what it says."""

    section: str
    number: int
    code: str
    line: int


def blocks() -> list[Block]:
    found: list[Block] = []
    section = ""
    lines = README.splitlines()
    for index, line in enumerate(lines):
        if re.fullmatch(r"([=~-])\1+", line) and index and len(lines[index - 1]) == len(line):
            section = lines[index - 1]
        elif line == ".. code-block:: python":
            end = next(at for at in range(index + 1, len(lines)) if lines[at][:1].strip())
            code = textwrap.dedent("\n".join(lines[index + 1 : end]))
            number = sum(block.section == section for block in found)
            found.append(Block(section, number, code, index + 2))
    return found


def tables() -> dict[str, list[list[str]]]:
    """Return the rows of each table, found by the heads of its columns; an empty first cell goes on with the row."""
    found: dict[str, list[list[str]]] = {}
    for match in re.finditer(r"^(=+(?:  =+)+)\n(.+)\n\1\n((?:.+\n)+?)\1$", README, re.MULTILINE):
        starts = [column.start() for column in re.finditer("=+", match[1])]
        rows: list[list[str]] = []
        for line in match[3].splitlines():
            cells = [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
            if cells[0]:
                rows.append(cells)
            else:
                rows[-1] = [f"{old} {new}".strip() for old, new in zip(rows[-1], cells, strict=True)]
        found[" | ".join(re.split(r"  +", match[2].strip()))] = rows
    return found


def literals(text: str) -> list[str]:
    return re.findall(r"``(.+?)``", text)


BLOCKS = blocks()
TABLES = tables()


def block(section: str, number: int = 0) -> Block:
    return next(each for each in BLOCKS if each[:2] == (section, number))


# Running its code.


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EventServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("MASQUERADE_TOKEN", "token-of-the-environment")
    with EventServer(answer) as server, playing(server):
        yield server


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("masquerade_ws")
    level = logger.level
    yield logger
    logger.setLevel(level)


@contextmanager
def executed(
    code: Block, server: EventServer, *, before: Callable[[WebSocketClient], object] = lambda client: None
) -> Iterator[tuple[dict[str, Any], Output]]:
    """Run a block with a connected ``client``; hand out its names and what it prints, and end its clients after it."""
    output = Output()
    with WebSocketClient(server.url, lambda: "my-token", initial_reconnect_delay=0.05) as client:
        names: dict[str, Any] = {"__name__": "readme", "client": client}
        before(client)
        with executing(output, names) as execute:
            execute(code.code.replace(URL, server.url), "README.rst", code.line)
            yield names, output


# What each block prints; an empty pattern where it only has to run.
PRINTS = {
    ("Quick start", 0): IMAGE,
    ("Quick start", 1): "",
    ("Events of the server", 0): "",
    ("Listeners", 0): r"Z image\.generation\.completed",
    ("API", 0): "connected 2 None",
    ("Waiting and streams", 0): rf"50\n{IMAGE}",
    ("Waiting and streams", 1): r"image\.generation\.completed\njob-42",
    ("Waiting and streams", 2): r"image\.generation\.completed\n$",
    ("Waiting and streams", 3): IMAGE,
    ("Reconnection", 0): "",
    ("Token refresh", 0): "^connected$",
    ("Connection", 0): "",
    ("Send", 0): "",
    ("Malformed messages", 0): "",
    ("Best practices", 0): "",
    ("Best practices", 1): IMAGE,
    ("Best practices", 2): "",
    ("Debugging", 0): "",
    ("Django and Flask", 0): "",
    ("Django and Flask", 1): "",
    ("Testing your own code", 0): "",
    ("Testing your own code", 1): "",
    ("Testing your own code", 2): "",
}
NEEDS = {("Django and Flask", 0): "flask", ("Django and Flask", 1): "django"}


@pytest.mark.parametrize("code", BLOCKS, ids=lambda code: f"{code.section} {code.number}")
def test_a_block_of_code_runs_as_it_stands(code: Block, server: EventServer, logger: logging.Logger) -> None:
    if (needed := NEEDS.get(code[:2])) is not None:
        pytest.importorskip(needed, reason=f"the block uses {needed}")

    with executed(code, server) as (_, output):
        output.expect(PRINTS[code[:2]])


def test_every_block_has_its_expected_output() -> None:
    assert {each[:2] for each in BLOCKS} == {*PRINTS}


def test_the_quick_start_makes_a_picture_at_the_gateway_of_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = pytest.importorskip("masquerade_ws.cli.demo.gateway", reason="the gateway needs the extra demo")
    monkeypatch.setenv("no_proxy", "localhost")
    output = Output()

    with gateway.Gateway(tmp_path, step=0.01) as running, redirect_stdout(output):
        exec(block("Quick start").code.replace(URL, running.url), {})

    assert re.fullmatch(r"file:///\S+\.png\n", output.getvalue())


def test_the_listener_of_the_quick_start_hears_of_images(server: EventServer) -> None:
    code = block("Quick start", 1)
    connected_only = code._replace(code=code.code.replace("client.disconnect()", ""))

    with executed(connected_only, server) as (_, output):
        output.expect(f"image ready: {IMAGE}")


def test_the_listeners_of_the_reconnection_tell_of_loss_and_return(server: EventServer) -> None:
    with executed(block("Reconnection"), server) as (_, output):
        server.drop()

        output.expect(r"lost, code 1006 - will reconnect\n(.*\n)*back after \d\.\d s and 1 attempts")


def test_the_token_comes_from_where_the_block_says(server: EventServer) -> None:
    with executed(block("Token refresh"), server):
        assert server.tokens[-1] == "token-of-the-environment"


def test_the_missing_token_ends_the_attempts(server: EventServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASQUERADE_TOKEN")

    with pytest.raises(errors.ConnectError) as caught, executed(block("Token refresh"), server):
        pass

    assert isinstance(caught.value.__cause__, errors.StopReconnecting)


def test_a_failed_connection_is_caught_and_reported(server: EventServer) -> None:
    with executed(block("Connection"), server, before=lambda client: server.refuse(401, times=100)) as (_, output):
        output.expect(r"no connection yet: .*401")
        output.expect(r"connection: .*401")


def test_a_send_reaches_the_server(server: EventServer) -> None:
    with executed(block("Send"), server):
        assert server.expect("image.generate")["payload"] == {"prompt": "a clock tower in the fog"}


def test_a_send_without_a_connection_is_caught(server: EventServer) -> None:
    with executed(block("Send"), server, before=WebSocketClient.disconnect) as (_, output):
        output.expect("there is no connection")


def test_a_malformed_message_is_shown(server: EventServer) -> None:
    with executed(block("Malformed messages"), server) as (_, output):
        server.broadcast_raw("garbage")

        output.expect(r"not JSON.* in garbage\n")


def test_the_gallery_is_forgotten(server: EventServer) -> None:
    heard = threading.Semaphore(0)
    with executed(block("Best practices"), server) as (names, _):
        names["client"].on("image.generation.completed", lambda event: heard.release())
        assert heard.acquire(timeout=TIMEOUT)  # so the listeners of whatever came before have been called
        collected = len(names["gallery"].images)

        assert all(heard.acquire(timeout=TIMEOUT) for _ in range(3))
        assert len(names["gallery"].images) == collected


def test_polling_takes_over_where_the_server_is_unreachable(server: EventServer) -> None:
    code = block("Best practices", 1)
    unreachable = code._replace(code=code.code.replace(URL, "ws://127.0.0.1:1/ws"))

    with executed(unreachable, server) as (_, output):
        output.expect("https://images.example/job-42.png")


def test_the_logger_tells_what_happens(
    server: EventServer, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    with executed(block("Debugging"), server) as (names, _):
        names["client"].emit("image.generate", {"prompt": "a bridge"})

    assert "a bridge" in caplog.text
    assert "my-token" not in caplog.text


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "test_a_prompt_becomes_an_image"),
        (1, "test_a_refused_token_is_renewed"),
        (1, "test_what_is_no_event_is_told"),
    ],
)
def test_the_tests_that_it_shows_pass(
    number: int, name: str, server: EventServer, masquerade_server: EventServer, masquerade_client: WebSocketClient
) -> None:
    with executed(block("Testing your own code", number), server) as (names, _):
        names[name](masquerade_server, masquerade_client)


def test_the_test_case_that_it_shows_passes(server: EventServer) -> None:
    with executed(block("Testing your own code", 2), server) as (names, _):
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(names["ImageTest"]).run(result)

    assert (result.testsRun, result.failures, result.errors) == (1, [], [])


def test_the_failure_that_it_shows_is_what_a_test_gets(
    masquerade_server: EventServer, masquerade_client: WebSocketClient
) -> None:
    masquerade_client.emit("image.generate", {"prompt": "a harbour", "seed": 7})
    masquerade_server.expect("image.generate", TIMEOUT)

    with pytest.raises(testing.ExpectationError) as caught:
        masquerade_server.assert_sent("image.generate", {"prompt": "a harbour at dawn"}, timeout=0)

    shown = str(caught.value).replace("within 0 s", "within 5 s")
    assert textwrap.indent(f"ExpectationError: {shown}", "    ") in README


def test_the_flask_view_answers(server: EventServer) -> None:
    pytest.importorskip("flask", reason="the block uses flask")

    with executed(block("Django and Flask"), server) as (names, _):
        response = names["app"].test_client().get("/image?prompt=a+harbour")

    assert (response.status_code, response.json) == (200, {"image_url": IMAGE})


DJANGO = """
from django.conf import settings
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
import django
django.setup()
from django.test import RequestFactory
exec(compile(%r, "README.rst", "exec"))
client.on("image.generation.completed", lambda event: None)
response = image(RequestFactory().get("/image?prompt=a+harbour"))
print(response.status_code, response.content.decode())
client.disconnect()
"""


def test_the_django_view_answers(server: EventServer) -> None:
    pytest.importorskip("django", reason="the block uses django")
    code = DJANGO % block("Django and Flask", 1).code.replace(URL, server.url)

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )  # settings are the process's: no other test shall find these

    assert (done.stdout, done.stderr) == (f'200 {{"image_url": "{IMAGE}"}}\n', "")


# Its tables.


def test_the_configuration_is_the_constructors() -> None:
    parameters = dict(inspect.signature(WebSocketClient).parameters)

    rows = TABLES["argument | default | meaning"]

    assert [literals(name)[0] for name, _, _ in rows] == [*parameters]
    for name, default, _ in rows:
        expected = parameters[literals(name)[0]].default
        if default == "required":
            assert expected is inspect.Parameter.empty
        else:
            value = eval(literals(default)[0], {"__builtins__": {}})
            assert (value, type(value)) == (expected, type(expected)), name


def field_type(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return type(get_args(hint)[0]).__name__
    name: str = (get_origin(hint) or hint).__name__
    return name


def payload_fields(event_class: Any) -> tuple[list[str], list[str]]:
    hints = get_type_hints(getattr(events, event_class.__name__.replace("Event", "Payload")), include_extras=True)
    optional = {name: get_args(hint)[0] for name, hint in hints.items() if get_origin(hint) is NotRequired}
    required = {name: hint for name, hint in hints.items() if name not in optional}
    return described(required), described(optional)


def described(fields: dict[str, Any]) -> list[str]:
    return [f"{name}: {field_type(hint)}" for name, hint in fields.items()]


def test_the_servers_events_are_those_of_the_code() -> None:
    rows = TABLES["type | payload | payload, may be absent"]

    assert {literals(name)[0]: (literals(fields), literals(others)) for name, fields, others in rows} == {
        name: payload_fields(event_class) for name, event_class in events.EVENT_CLASSES.items()
    }


def test_the_clients_events_are_those_of_the_code() -> None:
    rows = TABLES["name | class | fields"]

    assert {literals(name)[0] for name, _, _ in rows} == events.CLIENT_EVENT_TYPES
    for name, class_name, fields in rows:
        event_class = getattr(events, literals(class_name)[0])
        assert event_class.type == literals(name)[0]
        assert literals(fields) == [field.name for field in dataclasses.fields(event_class)]


def signature(owner: type, name: str) -> str:
    member = getattr(owner, name)
    if not callable(member):
        return name
    bare = inspect.signature(member).replace(return_annotation=inspect.Signature.empty)
    _, *parameters = [each.replace(annotation=inspect.Parameter.empty) for each in bare.parameters.values()]
    return f"{name}{bare.replace(parameters=parameters)}"


@pytest.mark.parametrize(
    ("head", "owner", "internal"),
    [
        ("member | what it does", WebSocketClient, {"close_at_exit", "await_end", "reset_in_child"}),
        ("member of ``EventServer`` | what it does", EventServer, set()),
    ],
)
def test_the_members_are_those_of_the_class(head: str, owner: type, internal: set[str]) -> None:
    names = {name for name in dir(owner) if not name.startswith("_")} - internal

    listed = {member for names, _ in TABLES[head] for member in literals(names)}

    assert listed == {signature(owner, name) for name in names}


def test_the_streams_members_are_those_of_the_class() -> None:
    for name in ("get", "wait_for"):
        assert f"``{signature(EventStream, name)}``" in README


def test_the_exceptions_are_those_of_the_code() -> None:
    listed = {literals(name)[0]: literals(base) for name, base, _ in TABLES["exception | is also a | raised when"]}

    assert listed == {
        name: [base.__name__ for base in getattr(errors, name).__bases__ if base is not errors.MasqueradeError]
        for name in errors.__all__
        if name != "MasqueradeError"
    }


def test_the_delays_are_those_of_the_code() -> None:
    rows = TABLES["attempt | seconds before"]

    assert [float(delay) for _, delay in rows] == [delay_before(int(attempt), 1.0, 30.0, 0.0) for attempt, _ in rows]


def test_the_extras_exist() -> None:
    extras = {*SETUP["options.extras_require"]}

    assert {literals(name)[0] for name, _ in TABLES["extra | what for"]} <= extras
    assert {name for some in re.findall(r"\.\[([\w,]+)\]", README) for name in some.split(",")} <= extras
    assert {*re.findall(r"extra ``(\w+)``", README + CHANGELOG)} <= extras


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


def test_the_examples_that_it_mentions_are_all_there_are() -> None:
    assert {*re.findall(r"examples/(\w+\.py)", README)} == {path.name for path in (ROOT / "examples").glob("*.py")}


# Its commands.


def test_it_begins_with_one_sentence_and_the_two_commands() -> None:
    title, sentence = README.split("\n\n")[:2]
    first, second = re.findall(r"^    (.+)$", README, re.MULTILINE)[:2]

    assert title == "masquerade-ws\n============="
    assert re.fullmatch(r"[^.]+\.", sentence)
    assert first == "python3 -m venv .venv && .venv/bin/pip install -q -e '.[demo]' && .venv/bin/masquerade-ws demo"
    assert second == "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/python -m pytest"


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


# The changelog, and the form of both.


def test_the_changelog_begins_with_the_version_of_the_package() -> None:
    versions = re.findall(r"^(\d+\.\d+\.\d+) - \d{4}-\d{2}-\d{2}$", CHANGELOG, re.MULTILINE)

    assert versions[0] == SETUP["metadata"]["version"]


@pytest.mark.parametrize("name", ["README.rst", "CHANGELOG.rst"])
def test_docutils_finds_nothing_to_complain_about(name: str) -> None:
    core = pytest.importorskip("docutils.core", reason="docutils is not installed")
    complaints = io.StringIO()
    settings = {"report_level": 1, "halt_level": 5, "warning_stream": complaints, "syntax_highlight": "none"}

    core.publish_doctree((ROOT / name).read_text(encoding="utf-8"), settings_overrides=settings)

    assert complaints.getvalue() == ""


@pytest.mark.parametrize("name", ["README.rst", "CHANGELOG.rst"])
def test_a_package_index_can_show_it(name: str) -> None:
    rst = pytest.importorskip("readme_renderer.rst", reason="readme_renderer is not installed")
    complaints = io.StringIO()

    html = rst.render((ROOT / name).read_text(encoding="utf-8"), stream=complaints)

    assert (html is not None, complaints.getvalue()) == (True, "")
