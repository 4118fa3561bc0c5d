"""The command ``relay``: lines, a line on a terminal, options, and errors in one line."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import pytest

pytest.importorskip("click", reason="the command line needs the extra cli")
pytest.importorskip("redis", reason="the relay needs the extra relay")

from masquerade_ws.testing import EventServer
from tests.support.commands import Command, Ended
from tests.support.engines import EngineServer, free_port
from tests.support.raw_server import until
from tests.support.relaying import Streams, numbered
from tests.support.terminal import Terminal, posix


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, engine_server: EngineServer) -> None:
    monkeypatch.setenv("MASQUERADE_ENGINE", engine_server.url)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def relay(
    run: Command, server: EventServer, namespace: str, *options: str, meanwhile: Callable[[], object] = lambda: None
) -> Ended:
    """Run a relay until what happens meanwhile is over."""

    def happen() -> None:
        try:
            meanwhile()
        finally:
            interrupt()

    return run("relay", server.url, "--namespace", namespace, *options, meanwhile=happen)


def test_it_says_what_happens(run: Command, server: EventServer, engine_server: EngineServer, namespace: str) -> None:
    streams = Streams(engine_server, namespace)

    def meanwhile() -> None:
        streams.await_control("start")
        server.broadcast_raw(numbered(1))
        streams.await_numbers(1)
        server.close(4000, "away")
        streams.await_control("back")
        until(lambda: streams.status.alive > 2)

    ended = relay(run, server, namespace, meanwhile=meanwhile)
    assert ended.status == 0
    assert ended.out == ""
    assert ended.notes[0] == f"relaying {server.url} to {engine_server.url}, namespace {namespace}; stop with Ctrl-C"
    notes = [re.sub(r"[\d.]+ s", "N s", note) for note in ended.notes]
    assert [note for note in notes if note.startswith("gateway")] == [
        "gateway: connected",
        "gateway: disconnected (code 4000, away), reconnecting",
        "gateway: connected again after N s",
        "gateway: disconnected (code 1000)",
    ]
    assert "leading" in notes
    assert any(re.match(r"engine: (Redis|Valkey) N?[\d.]*.*, no append-only file: ", note) for note in ended.notes)
    assert notes[-1] == "stopped"
    assert server.tokens == ["secret-token"] * 2
    assert streams.kinds() == ["start", "lost", "back", "lost"]


@posix
def test_on_a_terminal_it_shows_where_it_stands(
    run: Command,
    server: EventServer,
    engine_server: EngineServer,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = Streams(engine_server, namespace)
    terminal = Terminal(monkeypatch)
    with open(terminal.slave, "w", encoding="utf-8") as output, contextlib.redirect_stderr(output):

        def meanwhile() -> None:
            streams.await_control("start")
            for n in range(5):
                server.broadcast_raw(numbered(n))
            terminal.wait_for("leading | gateway connected | 5 events")

        relay(run, server, namespace, meanwhile=meanwhile)
    terminal.close()
    assert "a second" in terminal.text
    assert "\x1b[A\x1b[2K" in terminal.text


def test_it_serves_metrics(run: Command, server: EventServer, engine_server: EngineServer, namespace: str) -> None:
    port = free_port()
    streams = Streams(engine_server, namespace)

    def meanwhile() -> None:
        streams.await_control("start")
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"leader, gateway connected\n"
        connection.close()

    ended = relay(run, server, namespace, "--metrics", str(port), meanwhile=meanwhile)
    assert ended.notes[0] == f"serving /metrics and /healthz on 127.0.0.1:{port}"


def test_its_options_reach_the_relay(
    run: Command, server: EventServer, engine_server: EngineServer, namespace: str, tmp_path: Path
) -> None:
    file = tmp_path / "engine"
    file.write_text(f"{engine_server.url}?db=1\n")
    options = (
        *("--engine-file", str(file), "--standby", "cold", "--linger", "1", "--keep-seconds", "60"),
        *("--keep-bytes", "1M", "--keep-key-seconds", "120", "--keep-key-bytes", "1000", "--key-event", "a"),
        *("--key-event", "b"),
    )

    def status() -> bytes | None:
        engine_server.run("SELECT", 0)
        with engine_server.admin() as admin:
            admin.execute_command("SELECT", 1)
            value: bytes | None = admin.get(Streams(engine_server, namespace).keys.status)
            return value

    ended = relay(run, server, namespace, *options, meanwhile=lambda: until(status))
    assert ended.status == 0
    assert b'"key_events": ["a", "b"]' in (status() or b"")


def test_an_engine_that_is_away_is_reported_and_waited_for(
    run: Command, server: EventServer, namespace: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MASQUERADE_ENGINE", f"unix://{tmp_path}/none.sock")
    shown: list[str] = []
    from masquerade_ws.cli import relay_command  # noqa: PLC0415 - its packages may be missing

    monkeypatch.setattr(relay_command, "note", shown.append)
    relay(run, server, namespace, meanwhile=lambda: until(lambda: any("cannot be reached" in line for line in shown)))
    assert any(line.startswith(f"engine: the engine unix://{tmp_path}/none.sock cannot be reached") for line in shown)


def test_what_it_warns_of_is_a_line(
    run: Command, server: EventServer, engine_server: EngineServer, namespace: str
) -> None:
    streams = Streams(engine_server, namespace)

    def meanwhile() -> None:
        streams.await_control("start")
        engine_server.run("DEL", streams.keys.ev)
        streams.await_control("start")

    ended = relay(run, server, namespace, meanwhile=meanwhile)
    assert "the engine has lost entries, or was set back; workers are told of a gap" in ended.notes


def test_a_warning_about_the_engine_is_shown(
    run: Command, server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EngineServer("--maxmemory-policy", "allkeys-lru") as engine:
        monkeypatch.setenv("MASQUERADE_ENGINE", engine.url)
        streams = Streams(engine, "warned")

        def meanwhile() -> None:
            streams.await_control("start")
            until(lambda: streams.status.alive > 1)

        ended = relay(run, server, "warned", meanwhile=meanwhile)
    assert any("maxmemory-policy is allkeys-lru" in note for note in ended.notes)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--engine", "redis://:p4ss@localhost"], "--engine must not have a password, which other users can see"),
        (["--engine", "http://localhost"], "url of the engine must begin with redis://"),
        (["--engine", "redis://a", "--engine-file", "b"], "cannot be combined"),
        (["--engine-file", "/nonexistent"], "cannot read /nonexistent"),
        (["--namespace", "a b"], "namespace must be 1 to 64"),
        (["--keep-bytes", "many"], "many must be a number of bytes, such as 64M"),
        (["--keep-bytes", "0"], "0 must be a number of bytes"),
        (["--keep-bytes", "5X"], "5X must be a number of bytes"),
        (["--metrics", "here"], "here must be [HOST:]PORT, such as 9100"),
        (["--metrics", "a:b"], "a:b must be [HOST:]PORT"),
        (["--metrics", ":9"], ":9 must be [HOST:]PORT"),
        (["--linger", "-1"], "-1 must be a number from 0 to 1000"),
        (["--standby", "warm"], "'warm' is not one of"),
        (["--proxy", "gopher://a"], "proxy"),
    ],
)
def test_bad_usage_is_one_line(arguments: list[str], problem: str, run: Command, server: EventServer) -> None:
    ended = run("relay", server.url, *arguments)
    assert ended.status == 2
    assert problem in ended.err
    assert len(ended.err.splitlines()) == 1
    assert "p4ss" not in ended.err


def test_a_file_that_is_no_text_is_refused(run: Command, server: EventServer, tmp_path: Path) -> None:
    file = tmp_path / "engine"
    file.write_bytes(b"\xff\xfe\xff")
    ended = run("relay", server.url, "--engine-file", str(file))
    assert (ended.status, ended.err) == (2, f"Error: {file} is not UTF-8\n")


def test_without_an_engine_it_says_how_to_name_one(
    run: Command, server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MASQUERADE_ENGINE")
    ended = run("relay", server.url)
    assert ended.status == 2
    assert "no engine is given: set MASQUERADE_ENGINE, such as redis://localhost:6379/0" in ended.err


def test_a_wrong_gateway_url_is_one_line(run: Command) -> None:
    ended = run("relay", "http://localhost")
    assert ended.status == 2
    assert len(ended.err.splitlines()) == 1


def test_an_engine_that_lets_nobody_in_ends_it(
    run: Command, server: EventServer, engine_server: EngineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASQUERADE_ENGINE", f"unix://nobody:p4ss@{engine_server.path}")
    ended = run("relay", server.url)
    assert ended.status == 3
    assert ended.err.splitlines()[-1].startswith("Error: the engine unix://")
    assert "WRONGPASS" in ended.err
    assert "p4ss" not in ended.err


def test_a_port_in_use_ends_it(run: Command, server: EventServer) -> None:
    port = server.url.rpartition(":")[2].partition("/")[0]
    ended = run("relay", server.url, "--metrics", f"localhost:{port}")
    assert ended.status == 2
    assert f"cannot serve metrics on localhost:{port}" in ended.err
