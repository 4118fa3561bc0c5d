"""The commands take the URL of a relay's engine wherever they take a gateway's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

pytest.importorskip("click", reason="the command line needs the extra cli")
pytest.importorskip("redis", reason="the relay needs the extra relay")

from click.testing import CliRunner, Result

from masquerade_ws.cli.commands import cli
from masquerade_ws.cli.conversation import open_conversation
from masquerade_ws.cli.target import URL_VARIABLE, Target
from masquerade_ws.cli.tokens import TokenSource
from masquerade_ws.relay import RelayClient
from tests.support.commands import SEPARATELY
from tests.support.engines import EngineServer
from tests.support.raw_server import until
from tests.support.relays import Leader

COMPLETED = "image.generation.completed"


@pytest.fixture
def leader(engine_server: EngineServer, namespace: str) -> Iterator[Leader]:
    with Leader(engine_server, namespace=namespace) as leader:
        yield leader


def run(engine: EngineServer, namespace: str, command: str, *words: str) -> Result:
    return CliRunner(**SEPARATELY).invoke(cli, [command, engine.url, *words, "--namespace", namespace])


def emitting(leader: Leader, over: threading.Event) -> None:
    """Append events until a command has seen enough of them."""
    while not over.wait(0.05):
        leader.emit(COMPLETED, job_id="7", image_url="http://localhost/7.png")


@pytest.mark.parametrize("words", [("listen", "--count", "1", "--json"), ("wait", COMPLETED, "--json")])
def test_events_come_by_way_of_a_relay(
    engine_server: EngineServer, namespace: str, leader: Leader, words: tuple[str, ...]
) -> None:
    over = threading.Event()
    thread = threading.Thread(target=emitting, args=(leader, over))
    thread.start()
    result = run(engine_server, namespace, *words)
    over.set()
    thread.join()
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["payload"]["job_id"] == "7"


@pytest.mark.usefixtures("leader")
def test_a_message_is_sent_by_way_of_a_relay(engine_server: EngineServer, namespace: str, leader: Leader) -> None:
    result = run(engine_server, namespace, "send", "image.generate", "prompt=a fox")
    assert result.exit_code == 0, result.output
    until(lambda: leader.run("XLEN", leader.keys.out) == 1)


@pytest.mark.usefixtures("leader")
def test_what_only_a_gateway_s_connection_has_is_left_out(engine_server: EngineServer, namespace: str) -> None:
    target = Target(engine_server.url, TokenSource(), {}, namespace)
    with open_conversation(target, heartbeat_interval=5.0) as conversation:
        assert isinstance(conversation.client, RelayClient)
        assert conversation.client.state == "connected"


def test_without_a_relay_the_command_says_what_to_start(engine_server: EngineServer, namespace: str) -> None:
    result = run(engine_server, namespace, "wait", "x", "--timeout", "0.2")
    assert result.exit_code in {1, 3}


@pytest.mark.parametrize(
    "words",
    [
        *(("--token-file", "x"), ("--token-command", "x"), ("--token-in", "header"), ("--header", "A: b")),
        *(("--proxy", "none"), ("--proxy", "http://localhost:1"), ("--compression",)),
    ],
)
def test_options_of_the_gateway_s_connection_are_refused(words: tuple[str, ...]) -> None:
    result = CliRunner(**SEPARATELY).invoke(cli, ["listen", "redis://localhost", *words])
    assert result.exit_code == 2
    assert "give them to the relay" in result.stderr


def test_a_password_in_an_argument_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "redis://:s3cr3t@127.0.0.1:1"
    result = CliRunner(**SEPARATELY).invoke(cli, ["wait", url, "x"])
    assert result.exit_code == 2
    assert "must not be an argument" in result.stderr
    assert "s3cr3t" not in result.stderr
    monkeypatch.setenv(URL_VARIABLE, url)
    result = CliRunner(**SEPARATELY).invoke(cli, ["wait", "x"])
    assert result.exit_code == 3
    assert "the engine redis://127.0.0.1:1/0 cannot be reached" in result.stderr
