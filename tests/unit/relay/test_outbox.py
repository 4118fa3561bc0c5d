"""The outbox, without a connection to the gateway, and with an engine that fails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from redis import ResponseError

from masquerade_ws.deadline import Deadline
from masquerade_ws.relay.buffer import Buffer, Note
from masquerade_ws.relay.engine import Command, Engine, EngineLost, EngineUrl
from masquerade_ws.relay.entries import Outgoing, encode_outgoing
from masquerade_ws.relay.gateway import Gateway
from masquerade_ws.relay.keys import Keys
from masquerade_ws.relay.outbox import Outbox
from tests.support.engines import EngineServer
from tests.support.raw_server import until


class Cutting(Engine):
    """A connection that is lost with the answer that brings an entry, as often as is left."""

    left: ClassVar[list[str]] = []

    def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        replies = super().pipeline(commands)
        command = commands[-1]
        brings = command[0] == "XREADGROUP" and isinstance(replies[-1], list) and bool(replies[-1][0][1])
        if brings and self.left and (command[-1] == ">") is (self.left[0] == ">"):
            self.left.pop(0)
            self.close()
            raise EngineLost("cut")
        return replies


class Scene:
    """An outbox and its stream."""

    def __init__(self, server: EngineServer, namespace: str) -> None:
        self.keys, self.buffer, self.server = Keys(namespace), Buffer(2**20), server
        self.gateway = Gateway(self.buffer)
        url = EngineUrl.parse(server.url)

        def make() -> Engine:
            return Cutting(url, self.keys, reply_timeout=30.0)

        self.outbox = Outbox(make, self.keys, self.gateway, self.buffer, lambda: 0.0)  # no message is ever late

    def give(self) -> str:
        entry = self.server.run("XADD", self.keys.out, "*", *encode_outgoing(Outgoing(b'{"type":"a"}', "s", 1)))
        return str(entry, "utf-8")

    def pending(self) -> int:
        try:
            return int(self.server.run("XPENDING", self.keys.out, "relay")[0])
        except ResponseError:  # there is no group yet
            return 0

    def notes(self) -> list[tuple[str, str]]:
        found = []
        while (note := self.buffer.take(math.inf)) is not None:
            assert isinstance(note, Note)
            found.append((note.fields["id"], note.fields["reason"]))
        return found


@pytest.fixture
def scene(engine_server: EngineServer, namespace: str) -> Scene:
    return Scene(engine_server, namespace)


def test_a_stop_ends_a_wait_for_the_gateway_and_says_so(scene: Scene) -> None:
    entry = scene.give()
    scene.outbox.start()
    until(lambda: scene.pending() == 1)
    assert scene.outbox.stop() == []
    assert scene.notes() == [(entry, "not sent: the relay was stopped, or does not lead any more")]
    assert scene.outbox.stop() == []


def test_an_entry_whose_answer_was_lost_is_not_half_done(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[Deadline] = []
    monkeypatch.setattr(Cutting, "left", [">"])
    monkeypatch.setattr(scene.gateway, "await_connection", lambda deadline: waits.append(deadline))
    entry = scene.give()
    scene.outbox.start()
    until(lambda: waits)  # it is to be sent
    scene.outbox.stop()
    assert scene.notes() == [(entry, "not sent within 0.001 s")]


def test_what_was_half_done_stays_so_though_the_engine_is_lost_meanwhile(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [scene.give() for _ in range(3)]
    scene.server.run("XGROUP", "CREATE", scene.keys.out, "relay", "0")
    scene.server.run("XREADGROUP", "GROUP", "relay", "relay", "STREAMS", scene.keys.out, ">")
    monkeypatch.setattr(Cutting, "left", ["0"])
    scene.outbox.start()
    until(lambda: scene.outbox.unsent == 3)
    scene.outbox.stop()
    reason = "may have been sent: the relay that had it went away"
    assert scene.notes() == [(entry, reason) for entry in entries]


def test_a_refusal_while_it_waits_is_no_end(namespace: str) -> None:
    with EngineServer() as server:
        scene = Scene(server, namespace)
        scene.outbox.start()
        until(lambda: b"blocked_clients:1" in server.run("INFO", "clients"))
        server.run("ACL", "SETUSER", "default", "-xreadgroup")
        until(lambda: "xreadgroup" in str(server.run("ACL", "LOG")))
        server.run("ACL", "SETUSER", "default", "+xreadgroup")
        scene.give()
        until(lambda: scene.pending() == 1)
        scene.outbox.stop()


@pytest.mark.parametrize("command", ["xreadgroup", "xgroup"])
def test_an_engine_that_refuses_is_asked_again(command: str, namespace: str) -> None:
    with EngineServer() as server:
        scene = Scene(server, namespace)
        server.run("ACL", "SETUSER", "default", f"-{command}")
        scene.outbox.start()
        until(lambda: command in str(server.run("ACL", "LOG")))
        server.run("ACL", "SETUSER", "default", f"+{command}")
        entry = scene.give()
        until(lambda: "relay" in str(server.run("XINFO", "GROUPS", scene.keys.out)))
        until(lambda: scene.pending() == 1)
        scene.outbox.stop()
        assert [note[0] for note in scene.notes()] == [entry]
