"""Relays in the process of the test, and what is in their streams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from masquerade_ws.connection.options import ConnectionOptions
from masquerade_ws.relay.engine import EngineUrl
from masquerade_ws.relay.entries import Blob, Control, EntryId, KeyEvent, decode, place
from masquerade_ws.relay.gateway import Gateway, GatewayClient
from masquerade_ws.relay.keys import Keys
from masquerade_ws.relay.process import Relay, Settings
from masquerade_ws.relay.status import Status
from tests.support.engines import EngineServer
from tests.support.raw_server import until

__all__ = ["Streams", "numbered", "relay_of", "relaying"]


def numbered(n: int) -> str:
    """Return an event with a number."""
    return json.dumps({"type": "note", "payload": {"n": n}, "timestamp": "2026-01-01T00:00:00Z"})


def relay_of(
    engine: EngineServer | str, gateway: str, namespace: str, *, name: str | None = None, **settings: Any
) -> Relay:
    """Make a relay, which is not started; ``name`` is its gateway's for other relays, if it goes another way there."""

    def make_client(taking: Gateway) -> GatewayClient:
        options = ConnectionOptions()
        return GatewayClient(taking, gateway, lambda: "t", headers=None, token_in="query", options=options)

    url = EngineUrl.parse(engine if isinstance(engine, str) else engine.url)
    return Relay(url, Settings(namespace=namespace, **settings), make_client, name or gateway)


@contextmanager
def relaying(
    engine: EngineServer | str, gateway: str, namespace: str, *, leads: bool = True, **settings: Any
) -> Iterator[Relay]:
    """Run a relay, and wait until it leads, or stands by with a connection to the gateway."""
    relay = relay_of(engine, gateway, namespace, **settings)
    relay.start()
    try:
        if leads:
            until(lambda: relay.report().role == "leader" or relay.wait(0))
        elif settings.get("standby") != "cold":
            until(lambda: relay.report().gateway == "connected" or relay.wait(0))
        yield relay
    finally:
        relay.stop()


class Streams:
    """What is in the streams of a namespace."""

    def __init__(self, server: EngineServer, namespace: str) -> None:
        self.keys = Keys(namespace)
        self._server = server

    def entries(self, stream: str = "ev") -> list[tuple[EntryId, Any]]:
        """Return the entries of a stream, decoded."""
        found = self._server.run("XRANGE", getattr(self.keys, stream), "-", "+")
        return [(EntryId.parse(entry), decode(fields)) for entry, fields in found]

    def texts(self) -> list[str]:
        """Return all texts of ``ev``."""
        blobs = [entry for _, entry in self.entries() if isinstance(entry, Blob)]
        return [text.decode() for blob in blobs for text in blob.split()]

    def numbers(self) -> list[int]:
        """Return what `numbered` events in ``ev`` have as their number."""
        return [json.loads(text)["payload"]["n"] for text in self.texts() if '"note"' in text]

    def places(self) -> dict[str, str]:
        """Return the text at each place of ``ev``."""
        return {
            place(entry, index): text.decode()
            for entry, blob in self.entries()
            if isinstance(blob, Blob)
            for index, text in enumerate(blob.split())
        }

    def controls(self, stream: str = "ev") -> list[Control]:
        """Return the control entries of a stream."""
        return [entry for _, entry in self.entries(stream) if isinstance(entry, Control)]

    def kinds(self, stream: str = "ev") -> list[str]:
        """Return the kinds of its control entries."""
        return [control.kind for control in self.controls(stream)]

    def key_events(self) -> list[KeyEvent]:
        """Return the entries of ``key`` that are events."""
        return [entry for _, entry in self.entries("key") if isinstance(entry, KeyEvent)]

    @property
    def status(self) -> Status:
        """The status."""
        return Status.read(self._server.run("GET", self.keys.status))

    def await_control(self, kind: str, count: int = 1) -> Control:
        """Wait for so many control entries of a kind in ``ev``; return the last of them."""
        until(lambda: self.kinds().count(kind) >= count)
        return [control for control in self.controls() if control.kind == kind][count - 1]

    def await_numbers(self, *wanted: int) -> None:
        """Wait until these are the numbers of the events, in this order."""
        until(lambda: len(self.numbers()) >= len(wanted))
        assert self.numbers() == [*wanted]
