"""What a test may hand to its server; each line marked is an error, and a mark without its error is one too."""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

from masquerade_ws.testing import EventServer, Peer, Step


def answer(peer: Peer, event: dict[str, Any]) -> None:
    assert_type(peer.token, "str | None")


def listen(event: dict[str, Any]) -> None: ...


server = EventServer(answer)
EventServer(listen)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

server.script([("image.generation.started", {"job_id": "1"}), 0.5, 1, server.drop, lambda: server.close(1012)])
steps: list[Step] = [("image.generation.started", {"job_id": "1"}), server.stop]
server.script(steps, on="image.generate")
server.script([("image.generation.started",)])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
server.script(["image.generation.started"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
server.script([answer])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]

assert_type(server.assert_sent("image.generate", {"size": {"width": 512}}), "dict[str, Any]")
assert_type(server.expect("image.generate"), "dict[str, Any]")
server.assert_sent("image.generate", [])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
