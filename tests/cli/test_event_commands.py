"""The commands ``listen``, ``wait`` and ``send``: what they print, how they end, and what they keep to themselves."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click", reason="the command line needs the extra cli")
pytest.importorskip("websockets", reason="the test server needs the extra testing")

import click
from click.testing import CliRunner

from masquerade_ws import Event
from masquerade_ws.cli import conversation, event_commands, output
from masquerade_ws.cli.commands import cli
from masquerade_ws.cli.conversation import open_conversation
from masquerade_ws.cli.output import event_line
from masquerade_ws.cli.target import Target
from masquerade_ws.cli.tokens import TokenSource
from masquerade_ws.testing import EventServer
from tests.support.commands import Command
from tests.support.scenes import closed_port_url, names_of_threads, running
from tests.support.terminal import TIMEOUT, Terminal, posix, shown_on

EVIL = "\x1b[2J\x9b31m\x07\x7f\u202e\u2028\r\n\ud800"


def when_connected(server: EventServer, *actions: Callable[[], object]) -> Callable[[], None]:
    """Do things one after the other, each with a client connected."""

    def act() -> None:
        for action in actions:
            server.wait_for_connections(1, TIMEOUT)
            action()

    return act


def emit(server: EventServer, *payloads: dict[str, Any], type: str = "image.generation.progress") -> Callable[[], None]:
    def send() -> None:
        for payload in payloads:
            server.emit(type, payload)

    return send


# --- listen -----------------------------------------------------------------------------------------------------------


def test_listen_prints_a_line_for_each_event(run: Command, masquerade_server: EventServer) -> None:
    payload = {"job_id": "fox-1", "progress": 40, "stage": "adding light", "done": False, "code": "42", "none": ""}
    ended = run(
        "listen", masquerade_server.url, "--count", "2",
        meanwhile=when_connected(masquerade_server, emit(masquerade_server, payload, {})),
    )  # fmt: skip

    assert ended.status == 0
    assert ended.lines == [
        'image.generation.progress  job_id=fox-1 progress=40 stage="adding light" done=false code="42" none=""',
        "image.generation.progress",
    ]
    assert ended.notes == ["connecting", "connected"]
    assert masquerade_server.tokens == ["secret-token"]


def test_listen_prints_a_json_object_a_line(run: Command, masquerade_server: EventServer) -> None:
    payload = {"message": f"grüße {EVIL}", "nested": [{"a": None}]}
    ended = run(
        "listen", masquerade_server.url, "--json", "--count", "1",
        meanwhile=when_connected(masquerade_server, emit(masquerade_server, payload, type="\x1b[31m.ü")),
    )  # fmt: skip

    (event,) = ended.events
    assert event["type"] == "\x1b[31m.ü"
    assert event["payload"] == payload
    assert event["timestamp"]
    assert "grüße" in ended.out
    assert ended.out[:-1].isprintable()


def test_listen_keeps_to_the_events_that_are_asked_for(run: Command, masquerade_server: EventServer) -> None:
    def act() -> None:
        masquerade_server.emit("other", {"job_id": "a", "n": 1, "ok": True})
        masquerade_server.emit("image.generation.progress", {"job_id": "a", "n": 2, "ok": True})
        masquerade_server.emit("image.generation.progress", {"n": 1, "ok": True})
        masquerade_server.emit("image.generation.progress", {"job_id": "a", "n": 1, "ok": True})
        masquerade_server.emit("system.notification", {"job_id": "a", "n": 1, "ok": True, "message": "b"})

    ended = run(
        "listen", masquerade_server.url, "--json", "--count", "2",
        "--event", "image.generation.*", "--event", "system.notification",
        "--where", "job_id=a", "--where", "n=1", "--where", "ok=true",
        meanwhile=when_connected(masquerade_server, act),
    )  # fmt: skip

    assert [event["payload"] for event in ended.events] == [
        {"job_id": "a", "n": 1, "ok": True},
        {"job_id": "a", "n": 1, "ok": True, "message": "b"},
    ]


@pytest.mark.parametrize(
    ("text", "wanted", "others"),
    [
        ("42", [42, 42.0, "42"], [43, "42.0", [42], None]),
        ("1", [1, "1"], [True, "true"]),
        ("true", [True, "true"], [1, False, "True"]),
        ("null", [None, "null"], ["", False, 0]),
        ('"42"', ["42", '"42"'], [42]),
        ("-1.5", [-1.5, "-1.5"], [1.5]),
        ('{"a": 1}', [{"a": 1}, '{"a": 1}'], [{}, {"a": 2}]),
        ("fox-1", ["fox-1"], ["fox-2", None]),
        ("NaN", ["NaN"], [None]),
        ("", [""], [None, False]),
        ("a=b", ["a=b"], ["b"]),
        ("[" * 100_000, ["[" * 100_000], [[]]),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_condition_is_met_by_the_text_and_by_what_it_is_as_json(
    run: Command, masquerade_server: EventServer, text: str, wanted: list[object], others: list[object]
) -> None:
    payloads: list[dict[str, Any]] = [{}, *({"key": value} for value in (*others, *wanted))]
    ended = run(
        "listen", masquerade_server.url, "--json", "--where", f"key={text}", "--count", str(len(wanted)),
        meanwhile=when_connected(masquerade_server, emit(masquerade_server, *payloads, type="x")),
    )  # fmt: skip

    assert [event["payload"]["key"] for event in ended.events] == wanted


def test_listen_goes_on_after_a_lost_connection_and_fetches_the_token_anew(
    run: Command, masquerade_server: EventServer, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first\n", encoding="utf-8")

    def lose() -> None:
        token.write_text(" second ", encoding="utf-8")
        masquerade_server.drop()
        masquerade_server.wait_for_connections(0, TIMEOUT)

    ended = run(
        "listen", masquerade_server.url, "--count", "1", "--token-file", str(token),
        meanwhile=when_connected(masquerade_server, lose, emit(masquerade_server, {"job_id": "a"})),
    )  # fmt: skip

    assert ended.status == 0
    assert masquerade_server.tokens == ["first", "second"]
    assert ended.lines == ["image.generation.progress  job_id=a"]
    assert ended.notes[:2] == ["connecting", "connected"]
    assert "disconnected (code 1006), reconnecting" in ended.notes
    assert ended.notes[-2] == "connecting"
    assert ended.notes[-1].startswith("connected again after ")
    assert any(note.startswith("connection error: ") for note in ended.notes)


def test_a_reason_and_what_is_not_an_event_are_reported_without_control_characters(
    run: Command, masquerade_server: EventServer
) -> None:
    def close() -> None:
        masquerade_server.broadcast_raw(f"no JSON {EVIL[:-1]}")
        masquerade_server.close(1001, "\x1b[31mbye\x9b")
        masquerade_server.wait_for_connections(1, TIMEOUT)
        masquerade_server.emit("last")

    ended = run("listen", masquerade_server.url, "--count", "1", meanwhile=when_connected(masquerade_server, close))

    assert "disconnected (code 1001, \\x1b[31mbye\\x9b), reconnecting" in ended.notes
    assert any(note.startswith("parse error: ") for note in ended.notes)
    assert all(line.isprintable() for line in ended.err.splitlines())


def test_listen_ends_at_its_time(run: Command, masquerade_server: EventServer) -> None:
    assert run("listen", masquerade_server.url, "--timeout", "1").status == 0

    ended = run("listen", masquerade_server.url, "--timeout", "1", "--count", "3")

    assert ended.status == 1
    assert ended.err.splitlines()[-1] == "Error: only 0 of 3 events came within 1 s"


def test_nothing_is_lost_while_nobody_looks(masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "_CAPACITY", 2)
    with open_conversation(Target(masquerade_server.url, TokenSource(), {})) as connected:
        for number in range(50):
            masquerade_server.emit("x", {"n": number})
        received = [event for event in islice(connected.events(), 52) if isinstance(event, Event)]

    assert [event.payload["n"] for event in received] == [*range(50)]


def test_what_waits_to_be_shown_holds_up_no_end(
    masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "_CAPACITY", 1)
    with open_conversation(Target(masquerade_server.url, TokenSource(), {})) as connected:
        for _ in range(50):
            masquerade_server.emit("x")

    assert names_of_threads() == []
    assert connected.client.state == "disconnected"


def test_an_event_that_several_patterns_cover_is_shown_once(run: Command, masquerade_server: EventServer) -> None:
    ended = run(
        "listen", masquerade_server.url, "--json", "--count", "3",
        "--event", "*", "--event", "image.*", "--event", "image.generation.progress",
        meanwhile=when_connected(masquerade_server, emit(masquerade_server, {"n": 1}, {"n": 1}, {"n": 2})),
    )  # fmt: skip

    assert [event["payload"]["n"] for event in ended.events] == [1, 1, 2]


# --- wait and send ----------------------------------------------------------------------------------------------------


def test_wait_prints_the_event_that_comes_first(run: Command, masquerade_server: EventServer) -> None:
    ended = run(
        "wait", masquerade_server.url, "image.generation.completed", "--where", "job_id=b",
        meanwhile=when_connected(
            masquerade_server,
            emit(masquerade_server, {"job_id": "b"}),
            emit(masquerade_server, {"job_id": "a"}, {"job_id": "b"}, type="image.generation.completed"),
        ),
    )  # fmt: skip

    assert ended.status == 0
    assert ended.lines == ["image.generation.completed  job_id=b"]


def test_wait_takes_several_types(run: Command, masquerade_server: EventServer) -> None:
    ended = run(
        "wait", masquerade_server.url, "system.notification", "image.generation.*", "--json",
        meanwhile=when_connected(masquerade_server, emit(masquerade_server, {"job_id": "1"})),
    )  # fmt: skip
    assert [event["type"] for event in ended.events] == ["image.generation.progress"]


@pytest.mark.parametrize(
    ("types", "where", "fails"),
    [
        (["image.generation.completed"], ["job_id=1"], True),
        (["image.generation.completed"], ["job_id=1", "image_url=x"], True),
        (["image.generation.started", "image.generation.progress"], ["job_id=1"], True),
        (["image.generation.completed"], ["job_id=2"], False),
        (["image.generation.completed"], [], False),
        (["image.generation.completed", "x"], ["job_id=1"], False),
        (["image.generation.failed"], ["job_id=2"], False),
    ],
)
def test_wait_ends_at_once_when_the_job_whose_events_it_awaits_has_failed(
    run: Command, masquerade_server: EventServer, types: list[str], where: list[str], fails: bool
) -> None:
    failure = {"job_id": "1", "error": "no blue", "retry_allowed": True}
    answer = {"job_id": "2" if "job_id=2" in where else "1", "image_url": "x"}
    ended = run(
        "wait", masquerade_server.url, *types, *(word for each in where for word in ("--where", each)),
        meanwhile=when_connected(
            masquerade_server,
            emit(masquerade_server, failure, type="image.generation.failed"),
            *([] if fails else [emit(masquerade_server, answer, type=types[0])]),
        ),
    )  # fmt: skip
    if fails:
        assert (ended.status, ended.out) == (4, "")
        assert ended.err.splitlines()[-1] == "Error: job 1 failed: no blue (it may be tried again)"
    else:
        assert ended.status == 0
        assert "no blue" not in ended.out


def test_the_failure_that_is_waited_for_is_an_answer(run: Command, masquerade_server: EventServer) -> None:
    ended = run(
        "wait", masquerade_server.url, "image.generation.*", "system.notification", "--where", "job_id=1",
        meanwhile=when_connected(
            masquerade_server, emit(masquerade_server, {"job_id": "1", "error": "x"}, type="image.generation.failed")
        ),
    )  # fmt: skip
    assert ended.status == 0


def test_wait_gives_up_with_status_1(run: Command, masquerade_server: EventServer) -> None:
    ended = run("wait", masquerade_server.url, "x", "--timeout", "1")

    assert (ended.status, ended.out) == (1, "")
    assert ended.err.splitlines()[-1] == "Error: no x came within 1 s"


def test_wait_counts_the_time_to_connect(run: Command, masquerade_server: EventServer) -> None:
    masquerade_server.freeze()
    ended = run("wait", masquerade_server.url, "x", "--timeout", "1")

    assert ended.status == 1
    assert ended.err.startswith("Error: ")


@pytest.mark.parametrize("command", [["wait", "x"], ["listen"], ["send", "x"]], ids=lambda command: command[0])
def test_a_server_that_refuses_is_status_3_and_one_line(
    run: Command, masquerade_server: EventServer, command: list[str]
) -> None:
    masquerade_server.refuse(401)
    ended = run(command[0], f"{masquerade_server.url}?key=secret-key", *command[1:])

    assert (ended.status, ended.out) == (3, "")
    assert ended.err == f"Error: cannot connect to {masquerade_server.url}: the server answered with HTTP status 401\n"


def test_a_refusal_without_any_token_tells_how_to_give_one(
    run: Command, masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MASQUERADE_TOKEN")
    masquerade_server.refuse(403)
    ended = run("wait", masquerade_server.url, "x")

    assert ended.status == 3
    assert ended.err.endswith("no token was given: set MASQUERADE_TOKEN, or use --token-file or --token-command\n")
    assert ended.err.count("\n") == 1


def test_a_server_that_is_not_there_is_status_3(run: Command) -> None:
    ended = run("wait", closed_port_url(), "x")

    assert ended.status == 3
    assert ended.err.startswith("Error: cannot connect to ws://127.0.0.1:")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@posix
def test_an_interruption_is_status_130(run: Command, masquerade_server: EventServer, name: str) -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), getattr(signal, name))

    command = ["listen", masquerade_server.url] if name == "SIGTERM" else ["wait", masquerade_server.url, "x"]
    ended = run(*command, meanwhile=when_connected(masquerade_server, interrupt))

    assert ended.status == 130
    assert "Traceback" not in ended.err


@posix
def test_on_a_terminal_the_prompt_gets_a_line_of_its_own_and_events_have_colours(
    run: Command, masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal(monkeypatch)

    def interrupt() -> None:
        masquerade_server.emit("image.generation.failed", {"error": EVIL})
        terminal.wait_for("error=")
        terminal.wait_for("ud800")
        os.kill(os.getpid(), signal.SIGINT)

    with shown_on(terminal), contextlib.redirect_stderr(sys.stdout):
        ended = run("listen", masquerade_server.url, meanwhile=when_connected(masquerade_server, interrupt))
    terminal.close()

    assert ended.status == 130
    assert "\x1b[31m\x1b[1mimage.generation.failed\x1b[0m" in terminal.text
    assert terminal.text.endswith("\n\r\n")
    assert "\x1b[2J" not in terminal.text
    assert "\x9b" not in terminal.text


@posix
def test_a_long_event_is_broken_between_its_fields_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://images.example/" + "x" * 80
    event = Event("image.generation.completed", {"job_id": "fox-1", "image_url": url, "width": 512, "height": 512})
    terminal = Terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", "80")
    with shown_on(terminal):
        output.say(event_line(event))
    terminal.close()

    first, second, third = click.unstyle(terminal.text).splitlines()
    assert first[8:] == "  image.generation.completed  job_id=fox-1"
    assert second == f"{' ' * 10}image_url={url}"
    assert third == f"{' ' * 10}width=512 height=512"


@posix
@pytest.mark.parametrize("name", ["NO_COLOR", "TERM"])
def test_colours_can_be_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch)
    monkeypatch.setenv(name, "dumb")
    with shown_on(terminal):
        output.say(event_line(Event("x", {"a": 1})))
    terminal.close()

    assert terminal.text.endswith("  x  a=1\r\n")
    assert "\x1b" not in terminal.text


def test_send_sends_an_event(run: Command, masquerade_server: EventServer) -> None:
    ended = run("send", masquerade_server.url, "image.generate", '{"prompt": "ein Füchslein", "n": 1}')

    assert ended == (0, "", "")
    assert masquerade_server.expect("image.generate", TIMEOUT)["payload"] == {"prompt": "ein Füchslein", "n": 1}


@pytest.mark.parametrize(
    ("words", "payload"),
    [
        (["prompt=a fox", "steps=5", "fast=true", 'id="7"', "formula=a=b"],
         {"prompt": "a fox", "steps": 5, "fast": True, "id": "7", "formula": "a=b"}),
        (['prompt={"a": 1}'], {"prompt": {"a": 1}}),
        ([' {"prompt": "a=b"}'], {"prompt": "a=b"}),
    ],
)  # fmt: skip
def test_send_takes_fields_for_a_payload(
    run: Command, masquerade_server: EventServer, words: list[str], payload: dict[str, Any]
) -> None:
    assert run("send", masquerade_server.url, "x", *words) == (0, "", "")
    assert masquerade_server.expect("x")["payload"] == payload


@pytest.mark.parametrize("words", [["a fox"], ["=a"], ["a=1", "a=2"], ['{"a=b"'], ["[1]"], ["{}", "a=1"], ["-"]])
def test_send_refuses_what_is_not_a_payload(run: Command, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"7")))
    ended = run("send", "ws://localhost:1/", "x", *words)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    "data", [b'{"a": "\xc3\xa4"}\r\n', codecs.BOM_UTF8 + b'{"a": "\xc3\xa4"}', '\ufeff{"a": "ä"}'.encode("utf-16-le")]
)
def test_send_reads_a_payload_from_standard_input(
    run: Command, masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert run("send", masquerade_server.url, "x", "-") == (0, "", "")
    assert masquerade_server.expect("x")["payload"] == {"a": "ä"}


@pytest.mark.parametrize(("stdin", "message"), [(None, "there is none"), (b"\xff", "standard input is not UTF-8")])
def test_send_tells_of_a_standard_input_that_holds_nothing_to_send(
    run: Command, monkeypatch: pytest.MonkeyPatch, stdin: bytes | None, message: str
) -> None:
    monkeypatch.setattr(sys, "stdin", None if stdin is None else io.TextIOWrapper(io.BytesIO(stdin)))
    ended = run("send", "ws://localhost:1/", "x", "-")
    assert ended.status == 2
    assert message in ended.err


def test_send_ends_well_when_its_wait_is_over(run: Command, masquerade_server: EventServer) -> None:
    ended = run("send", masquerade_server.url, "image.generate", "job_id=1", "--wait", "0.01")
    assert ended.status == 0


def test_send_prints_events_until_it_is_interrupted(
    run: Command, masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = event_commands._show

    def show_until_the_end(event: Event, as_json: bool) -> None:
        show(event, as_json)
        if event.type == "image.generation.completed":
            raise KeyboardInterrupt

    monkeypatch.setattr(event_commands, "_show", show_until_the_end)
    masquerade_server.paint(steps=1)
    ended = run("send", masquerade_server.url, "image.generate", "job_id=1", "--json", "--wait", "3600")
    assert ended.status == 130
    assert len(ended.events) == 3


@posix
def test_a_hang_up_that_is_ignored_stays_ignored(run: Command) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run("send", "ws://localhost:1/", "x", "[1]").status == 2
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@posix
def test_send_prints_what_comes_back(masquerade_server: EventServer) -> None:
    masquerade_server.paint(steps=1)
    arguments = ["send", masquerade_server.url, "image.generate", "job_id=fox-1", "--json", "--wait"]
    command = [sys.executable, "-u", "-m", "masquerade_ws", *arguments]
    with subprocess.Popen([*command, "3600"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        story = [json.loads(process.stdout.readline())["type"] for _ in range(3)]
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 130
    assert [each.rpartition(".")[2] for each in story] == ["started", "progress", "completed"]
    assert subprocess.run([*command, "0"], capture_output=True, check=True, timeout=TIMEOUT).stdout == b""


def test_send_without_a_payload_sends_an_empty_one(run: Command, masquerade_server: EventServer) -> None:
    assert run("send", masquerade_server.url, "x").status == 0
    assert masquerade_server.expect("x", TIMEOUT)["payload"] == {}


# --- tokens -----------------------------------------------------------------------------------------------------------


def python(code: str) -> str:
    """Return a command line of this Python."""
    line = [sys.executable, "-c", code]
    return subprocess.list2cmdline(line) if sys.platform == "win32" else shlex.join(line)


def test_the_token_command_runs_for_each_attempt(run: Command, masquerade_server: EventServer, tmp_path: Path) -> None:
    count = tmp_path / "count"
    code = f"import pathlib; p = pathlib.Path({str(count)!r}); p.open('a').write('x'); print('t' + p.read_text())"

    def lose() -> None:
        masquerade_server.drop()
        masquerade_server.wait_for_connections(0, TIMEOUT)

    run(
        "listen", masquerade_server.url, "--count", "1", "--token-command", python(code),
        meanwhile=when_connected(masquerade_server, lose, emit(masquerade_server, {})),
    )  # fmt: skip

    assert masquerade_server.tokens == ["tx", "txx"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit(7)", "the token command ended with status 7"),
        ("import sys; sys.exit('a\\n\\x1b[31mlocked')", "the token command ended with status 1: \\x1b[31mlocked"),
        ("print(' ')", "the output of the token command is empty"),
        ("import sys; sys.stdout.buffer.write(bytes([255]))", "the output of the token command is not UTF-8"),
        ("import sys; sys.exit(len(sys.stdin.read()))", "the output of the token command is empty"),
    ],
)  # fmt: skip
def test_a_token_command_that_gives_none_is_reported_in_a_line(
    run: Command, masquerade_server: EventServer, code: str, message: str
) -> None:
    ended = run("wait", masquerade_server.url, "x", "--token-command", python(code))

    assert ended == (2, "", f"Error: {message}\n")
    assert masquerade_server.tokens == []


def test_a_token_file_that_cannot_be_read_is_reported_in_a_line(run: Command, tmp_path: Path) -> None:
    ended = run("wait", closed_port_url(), "x", "--token-file", str(tmp_path / "none"))

    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"Error: cannot read the token file {tmp_path / 'none'}: ")
    assert ended.err.count("\n") == 1


# --- wrong usage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["listen"], "Missing argument 'URL'"),
        (["wait", "x"], "or set MASQUERADE_URL"),
        (["wait", "ws://localhost/"], "Missing argument 'TYPE...'"),
        (["send", "ws://localhost/"], "Missing argument 'TYPE'"),
        (["nonsense"], "No such command 'nonsense'"),
        (["--nonsense"], "No such option"),
        (["listen", "http://localhost/"], "url must begin with ws:// or wss://"),
        (["listen", "ws://localhost/", "--event", "a*b"], "type 'a*b'"),
        (["listen", "ws://localhost/", "--event", "error"], "error is not an event of the server"),
        (["wait", "ws://localhost/", "connected"], "connected is not an event of the server"),
        (["wait", "ws://localhost/", "x", "--where", "a"], "'a' is not of the form KEY=VALUE"),
        (["wait", "ws://localhost/", "x", "--where", "=a"], "'=a' is not of the form KEY=VALUE"),
        (["wait", "ws://localhost/", "x", "--where", "a=1", "--where", "a=2"], "a is given twice"),
        (["wait", "ws://localhost/", "x", "--timeout", "nan"], "nan must be a number from 0 to "),
        (["wait", "ws://localhost/", "x", "--timeout", "-1"], "-1 must be a number from 0 to "),
        (["send", "ws://localhost/", "x", "[1]"], "the payload must be a JSON object"),
        (["send", "ws://localhost/", "x", "{"], "the payload must be a JSON object"),
        (["listen", "ws://localhost/", "--token-file", "a", "--token-command", "b"], "cannot be combined"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)  # fmt: skip
def test_wrong_usage_is_status_2_and_one_line(run: Command, args: list[str], message: str) -> None:
    ended = run(*args)

    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("Error: ")
    assert message in ended.err
    assert ended.err.endswith(" --help)\n")
    assert ended.err.count("\n") == 1
    assert "Traceback" not in ended.err


def test_an_event_that_cannot_be_sent_is_wrong_usage(run: Command, masquerade_server: EventServer) -> None:
    ended = run("send", masquerade_server.url, "x", '{"a": 1e999}')

    assert ended.status == 2
    assert ended.err.count("\n") == 1


def test_without_a_command_the_help_is_shown(run: Command) -> None:
    ended = run()

    assert ended.status == 0
    assert "Usage: masquerade-ws" in ended.out
    assert "_MASQUERADE_WS_COMPLETE=bash_source" in ended.out


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_the_help_of_each_command_has_an_example(run: Command, command: str) -> None:
    assert f"  masquerade-ws {command}" in run(command, "--help").out.partition("Example")[2]


def test_a_fault_of_the_program_is_one_line_of_safe_text(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("\x1b[2J")

    monkeypatch.setattr(event_commands, "wait", fail)
    ended = run("wait", "ws://localhost/", "x")

    line = r"Error: internal error, KeyError: '\x1b[2J' (run it with --debug for the traceback)"
    assert ended == (2, "", f"{line}\n")
    assert run("wait", "ws://localhost/", "x", "--debug").err.splitlines()[0] == "Traceback (most recent call last):"


# --- debugging --------------------------------------------------------------------------------------------------------


def test_debug_shows_what_happens_and_the_traceback_without_the_token(
    run: Command, masquerade_server: EventServer
) -> None:
    masquerade_server.refuse(401)
    ended = run("wait", masquerade_server.url, "x", "--debug")

    assert ended.status == 3
    assert "state: disconnected -> connecting" in ended.err
    assert "Traceback (most recent call last):" in ended.err
    assert ended.err.splitlines()[-1].startswith("Error: cannot connect to ")
    assert "secret-token" not in ended.err


def test_what_debug_shows_of_messages_commands_no_terminal(run: Command, masquerade_server: EventServer) -> None:
    def act() -> None:
        masquerade_server.broadcast_raw('{"type": "x", "payload": {"a": "\x9b31m\x7f"}}')

    ended = run("wait", masquerade_server.url, "x", "--debug", meanwhile=when_connected(masquerade_server, act))

    assert "received" in ended.err
    assert all(line.isprintable() for line in ended.err.splitlines())


def test_the_log_is_left_as_it_was(run: Command, masquerade_server: EventServer) -> None:
    logger = logging.getLogger("masquerade_ws")
    before = (list(logger.handlers), logger.level)
    run("send", masquerade_server.url, "x", "--debug")

    assert (list(logger.handlers), logger.level) == before


# --- closed outputs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["stdout", "stderr"])
def test_a_closed_pipe_ends_it_quietly(run: Command, masquerade_server: EventServer, which: str) -> None:
    out, into = os.pipe()
    os.close(out)
    redirect: Any = {"stdout": contextlib.redirect_stdout, "stderr": contextlib.redirect_stderr}[which]
    meanwhile = when_connected(masquerade_server, emit(masquerade_server, {}))
    with open(into, "w", encoding="utf-8") as closed, redirect(closed):
        ended = run("listen", masquerade_server.url, **({"meanwhile": meanwhile} if which == "stdout" else {}))

    assert ended.status == 0
    assert ended.out == ""
    assert ended.notes == (["connecting", "connected"] if which == "stdout" else [])


@posix
def test_an_output_that_nobody_reads_is_found_out_without_writing() -> None:
    out, into = os.pipe()
    with open(into, "w", encoding="utf-8") as shown, contextlib.redirect_stdout(shown):
        output.check_output()
        os.close(out)
        with pytest.raises(BrokenPipeError):
            output.check_output()
    with contextlib.redirect_stdout(None):
        output.check_output()


@posix
def test_piped_into_head_it_ends_without_a_word(masquerade_server: EventServer) -> None:
    command = [sys.executable, "-m", "masquerade_ws", "listen", masquerade_server.url, "--json"]
    done = threading.Event()

    def flood() -> None:
        masquerade_server.wait_for_connections(1, TIMEOUT)
        while not done.wait(0.01):
            masquerade_server.emit("x")

    beside = running(flood)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        first = process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        status = process.wait(TIMEOUT)
    done.set()
    beside.result()

    assert json.loads(first)["type"] == "x"
    assert status == 0
    assert [line[10:] for line in errors.splitlines()] == ["connecting", "connected"]


@posix
@pytest.mark.parametrize("command", ["listen", "serve"])
def test_it_ends_when_nobody_reads_though_there_is_nothing_to_print(
    command: str, masquerade_server: EventServer, tmp_path: Path
) -> None:
    args = [masquerade_server.url] if command == "listen" else ["--port", "0", "--output", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-m", "masquerade_ws", command, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        if command == "listen":
            masquerade_server.wait_for_connections(1, TIMEOUT)
        else:
            process.stdout.readline()
        process.stdout.close()
        status = process.wait(TIMEOUT)
        errors = process.stderr.read()

    assert status == 0
    assert b"Error" not in errors


@posix
@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_it_runs_without_a_standard_stream(redirection: str, masquerade_server: EventServer) -> None:
    line = f"{shlex.join([sys.executable, '-m', 'masquerade_ws', 'wait', masquerade_server.url, 'x', '--json'])}"
    send = running(when_connected(masquerade_server, emit(masquerade_server, {"a": 1}, type="x")))
    done = subprocess.run(f"{line} {redirection}", shell=True, capture_output=True, timeout=TIMEOUT, check=False)
    send.result()

    assert done.returncode == 0, done
    assert (b'{"type": "x"' in done.stdout) == (not redirection.startswith(">"))
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full device")
def test_an_output_that_is_full_is_an_error_in_one_line(run: Command, masquerade_server: EventServer) -> None:
    full = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115 - closing it fails
    with contextlib.redirect_stdout(full):
        ended = run(
            "listen", masquerade_server.url, meanwhile=when_connected(masquerade_server, emit(masquerade_server, {}))
        )
    with contextlib.suppress(OSError):
        full.close()

    assert ended.status == 2
    assert ended.err.splitlines()[-1] == "Error: [Errno 28] No space left on device"


# --- text -------------------------------------------------------------------------------------------------------------


def test_an_output_without_unicode_gets_json_in_ascii(
    masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASQUERADE_TOKEN", "t")
    send = running(when_connected(masquerade_server, emit(masquerade_server, {"a": "ü\x7f"}, type="x")))
    result = CliRunner(charset="latin-1").invoke(cli, ["wait", masquerade_server.url, "x", "--json"])
    send.result()

    assert r'{"a": "\u00fc\u007f"}' in result.stdout


@posix
def test_an_output_without_unicode_gets_escapes_where_people_read(masquerade_server: EventServer) -> None:
    send = running(when_connected(masquerade_server, emit(masquerade_server, {"a": "狐"}, type="x")))
    result = subprocess.run(
        [sys.executable, "-m", "masquerade_ws", "wait", masquerade_server.url, "x"],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"}, capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    send.result()

    assert result.returncode == 0
    assert result.stdout[10:] == "x  a=\\u72d0\n"


@pytest.mark.parametrize("as_json", [False, True])
def test_an_event_that_is_nested_too_deeply_is_reported_and_not_shown(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]

    event_commands._show(Event("x", {"a": deep}), as_json)

    out, err = capsys.readouterr()
    assert out == ""
    assert err[10:] == "an event is nested too deeply to be printed: x\n"
