"""Servers of other authors, in processes of their own, compressed and not, and behind nginx, which does TLS."""

from __future__ import annotations

import os
import random
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import trustme

from masquerade_ws.connection import Connection
from tests.support.raw_server import until
from tests.support.real_servers import ASLEEP, FRAGMENTED, REASON
from tests.support.scenes import TIMEOUT, Record, client_of, running

HERE = Path(__file__).parents[1] / "support"
NEEDED = {
    "websockets": ["websockets"],
    "aiohttp": ["aiohttp"],
    "uvicorn-websockets": ["uvicorn", "websockets"],
    "uvicorn-wsproto": ["uvicorn", "wsproto"],
    "tornado": ["tornado"],
    "granian": ["granian"],
}
FRAGMENTING = ["websockets", "ws", "nginx"]
PINGING = ["websockets", "aiohttp", "ws", "nginx"]
PINGING_BY_ITSELF = ["uvicorn-websockets", "uvicorn-wsproto"]
BUSY = ["aiohttp", *(pytest.param(name, marks=pytest.mark.slow) for name in ("tornado", "granian"))]
ALL = ["websockets", "aiohttp", *PINGING_BY_ITSELF, "ws", "nginx"]
COMPRESSIONS = pytest.mark.parametrize("compression", [None, "deflate"])

NGINX = """
daemon off;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/certificate.pem;
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
    }}
}}
"""


class Server:
    """A server's process.

    Attributes:
        port: Where it listens.
        endings: Code and reason of each connection's end, as the server sees it.
    """

    def __init__(self, name: str, port: int = 0) -> None:
        script = ["node", "real_servers.js"] if name == "ws" else [sys.executable, "real_servers.py", name]
        self.endings: list[str] = []
        self._process = subprocess.Popen(
            [*script, str(port)], cwd=HERE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        self.port = int(self._output.readline())
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        self.endings.extend(line.strip() for line in self._output)

    def stop(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        self._output.close()


class Peer:
    """A server and the way to it."""

    def __init__(self, name: str) -> None:
        self._name = "websockets" if name == "nginx" else name
        self.server = Server(self._name)
        self.url = f"ws://127.0.0.1:{self.server.port}/ws"
        self.ssl_context: ssl.SSLContext | None = None

    def restart(self) -> None:
        """Start the server that was stopped, on its port."""
        self.server = Server(self._name, self.server.port)

    def open(self, query: str = "", **options: Any) -> Connection:
        """Open a connection to it."""
        return Connection.open(self.url + query, ssl_context=self.ssl_context, timeout=TIMEOUT, **options)


@contextmanager
def nginx(upstream: int, folder: Path) -> Iterator[tuple[int, ssl.SSLContext]]:
    """Run nginx, and yield its port and what trusts its certificate. It inherits the socket that it listens on."""
    authority, trust = trustme.CA(), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "certificate.pem"))
    authority.configure_trust(trust)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port, number = listener.getsockname()[1], listener.fileno()
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, upstream=upstream))
        process = subprocess.Popen(
            ["nginx", "-e", "stderr", "-c", str(folder / "nginx.conf")],
            env={**os.environ, "NGINX": f"{number};"},
            pass_fds=[number],
        )
    try:
        yield port, trust
    finally:
        process.terminate()
        process.wait(TIMEOUT)


@contextmanager
def peer_called(name: str, folder: Path) -> Iterator[Peer]:
    """Run a server, in front of it nginx if so called."""
    skip_without(name)
    peer = Peer(name)
    try:
        if name == "nginx":
            with nginx(peer.server.port, folder) as (port, peer.ssl_context):
                peer.url = f"wss://127.0.0.1:{port}/ws"
                yield peer
        else:
            yield peer
    finally:
        peer.server.stop()


def skip_without(name: str) -> None:
    """Skip the test if what it needs is not installed."""
    for module in NEEDED.get(name, []):
        pytest.importorskip(module, reason=f"needs {module}")
    if name == "ws" and (
        shutil.which("node") is None
        or subprocess.call(["node", "-e", "require('ws')"], cwd=HERE, stderr=subprocess.DEVNULL)
    ):
        pytest.skip("needs Node and its package ws, to be found through NODE_PATH")
    if name == "nginx" and shutil.which("nginx") is None:
        pytest.skip("needs nginx")


@pytest.fixture(params=ALL, scope="module")
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with peer_called(request.param, tmp_path_factory.mktemp("peer")) as peer:
        yield peer


@COMPRESSIONS
def test_messages_of_every_kind_and_size_are_echoed(peer: Peer, compression: str | None) -> None:
    mebibyte = random.Random(1).randbytes(2**20)
    with peer.open(compression=compression) as connection:
        messages = iter(connection)
        for size in (0, 1, 125, 126, 65535, 65536, 2**20):
            for message in ("x" * size, mebibyte[:size], mebibyte[:size].hex(), "€" * (size // 3)):
                connection.send(message)
                assert next(messages) == message


@COMPRESSIONS
def test_many_small_messages_keep_their_order(peer: Peer, compression: str | None) -> None:
    sent = [f"message {n}" for n in range(3000)]
    with peer.open(compression=compression) as connection:
        sender = running(lambda: [connection.send(message) for message in sent])
        assert list(islice(connection, len(sent))) == sent
        sender.result()


@COMPRESSIONS
@pytest.mark.parametrize("peer", FRAGMENTING, indirect=True)
def test_a_long_message_in_many_frames_is_joined(peer: Peer, compression: str | None) -> None:
    with peer.open(compression=compression) as connection:
        connection.send("fragments")
        assert next(iter(connection)) == FRAGMENTED


def test_compression_takes_its_context_over_in_both_directions(peer: Peer) -> None:
    message = random.Random(2).randbytes(2000)  # within the smallest window that a peer here agrees to
    with peer.open(compression="deflate") as connection:
        messages = iter(connection)
        connection.send(message)
        assert next(messages) == message
        sent, received = connection.bytes_sent, connection.bytes_received
        assert min(sent, received) >= 2000
        connection.send(message)
        assert next(messages) == message
        assert connection.bytes_sent - sent < 1000
        assert connection.bytes_received - received < 1000


def test_our_ping_is_answered(peer: Peer) -> None:
    with peer.open() as connection:
        connection.ping(b"are you there")
        running(lambda: list(connection))
        until(lambda: connection.latency is not None)


@pytest.mark.parametrize("peer", PINGING, indirect=True)
def test_the_peer_s_ping_is_answered(peer: Peer) -> None:
    with peer.open() as connection:
        connection.send("ping")
        assert next(iter(connection)) == "pong"


@pytest.mark.parametrize("peer", PINGING_BY_ITSELF, indirect=True)
def test_pings_that_the_peer_sends_by_itself_are_answered(peer: Peer) -> None:
    with peer.open() as connection:
        running(lambda: list(connection))
        until(lambda: connection.bytes_sent > 50)


def test_the_query_arrives_as_it_was_sent(peer: Peer) -> None:
    with peer.open("?a=1&token=a%2Fb%20%25%C3%BC") as connection:
        connection.send("query")
        assert next(iter(connection)) == "a=1&token=a%2Fb%20%25%C3%BC"


@COMPRESSIONS
def test_the_peer_s_code_and_reason_are_reported(peer: Peer, compression: str | None) -> None:
    with peer.open(compression=compression) as connection:
        connection.send("last words")
        connection.send("close")
        assert list(connection) == ["last words"]
        assert (connection.close_code, connection.close_reason, connection.error) == (4001, REASON, None)


@COMPRESSIONS
def test_the_peer_learns_our_code_and_reason(peer: Peer, compression: str | None) -> None:
    reason = f"tschüß, {compression}"
    connection = peer.open(compression=compression)
    connection.close(4321, reason, timeout=TIMEOUT)
    assert (connection.close_code, connection.close_reason, connection.error) == (4321, reason, None)
    until(lambda: f"4321 {reason}" in peer.server.endings)


@COMPRESSIONS
def test_a_client_s_events_go_both_ways(peer: Peer, compression: str | None) -> None:
    options: dict[str, Any] = {"ssl_context": peer.ssl_context, "compression": compression}
    with client_of(peer.url, **options) as client, client.events("greeting") as stream:
        record = Record(client)
        client.connect()
        for n in range(100):
            client.emit("greeting", {"n": n, "text": "grüß Gott"})
        assert [stream.get(timeout=TIMEOUT).payload["n"] for _ in range(100)] == list(range(100))
        client.disconnect(timeout=TIMEOUT)
        assert record.of("error") == []
        assert record.wait("disconnected").code == 1000


@pytest.mark.parametrize("name", ALL)
def test_a_client_comes_back_when_the_server_does(name: str, tmp_path: Path) -> None:
    with peer_called(name, tmp_path) as peer, client_of(peer.url, ssl_context=peer.ssl_context) as client:
        record = Record(client)
        client.connect()
        peer.server.stop()
        lost = record.wait("disconnected")
        assert (lost.code, lost.will_reconnect) == (1006, True)
        peer.restart()
        assert record.wait("connected", 2).reconnected
        with client.events("greeting") as stream:
            client.emit("greeting", {"n": 1})
            assert stream.get(timeout=TIMEOUT).payload == {"n": 1}


@pytest.mark.parametrize("name", BUSY)
def test_a_server_that_is_busy_in_its_handler_keeps_its_connection(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It reads the next frame when its handler returns, and so answers no ping for several times the time-out."""
    caplog.set_level("INFO", "masquerade_ws")
    pace = {"heartbeat_interval": ASLEEP / 8, "heartbeat_timeout": ASLEEP / 8, "heartbeat_message": False}
    with (
        peer_called(name, tmp_path) as peer,
        client_of(peer.url, decode=wrapped, **pace) as client,
        client.events("connected", "answer") as events,
    ):
        client.connect(block=False)  # one of them listens a moment later
        assert events.get(timeout=TIMEOUT).type == "connected"
        connection = client._state.connection
        assert connection is not None
        connection.send("sleep")
        assert events.get(timeout=TIMEOUT).payload == {"text": "sleep"}
        assert client.stats.connections == 1
    assert any("may be busy" in record.getMessage() for record in caplog.records)


def wrapped(text: str | bytes) -> dict[str, Any]:
    """Make an event of what a server sends that knows no events."""
    return {"type": "answer", "payload": {"text": text}}
