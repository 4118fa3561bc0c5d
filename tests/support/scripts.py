"""What a raw server does with a connection: scripts that several modules need, and a server with one of them."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from tests.support.raw_server import Peer, RawServer, close_payload, frame

__all__ = ["deaf", "echo", "echo_server", "idle", "mute", "silent", "stay"]


def echo(peer: Peer, ends: list[int | None] | None = None) -> None:
    """Send back what the client sends, until it closes or vanishes; note its close code, or that there was none."""
    peer.upgrade()
    code = None
    try:
        while code is None:
            opcode, payload = peer.read_frame()
            if opcode == 8:
                code = int.from_bytes(payload[:2], "big")
            peer.send(frame(10 if opcode == 9 else opcode, payload))
    finally:
        if ends is not None:
            ends.append(code)


def stay(peer: Peer) -> None:
    """Keep a connection, on a raw server, until the client closes it, and answer that."""
    peer.read_close()
    peer.send(frame(8, close_payload(1000)))


def idle(peer: Peer) -> None:
    """Say nothing after the handshake, and answer the client's close."""
    peer.upgrade()
    stay(peer)


def silent(peer: Peer) -> None:
    """Answer nothing."""
    peer.read_request()
    peer.read_to_end()


def deaf(peer: Peer) -> None:
    """Read nothing after the handshake."""
    peer.upgrade()
    peer.hang()


def mute(peer: Peer) -> None:
    """Read everything and answer nothing after the handshake."""
    peer.upgrade()
    peer.read_to_end()


@contextmanager
def echo_server(scheme: str, directory: Path, kind: type[RawServer] = RawServer) -> Iterator[tuple[str, ...]]:
    """Serve ``ws`` or ``wss``; yield the arguments that a script needs to connect."""
    context = None
    arguments = []
    if scheme == "wss":
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.cert_pem.write_to_path(directory / "authority.pem")
        arguments.append(str(directory / "authority.pem"))
    with kind(echo, tls=context) as server:
        yield server.url, *arguments
