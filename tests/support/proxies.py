"""Proxies as scripts of a raw server: HTTP tunnels, SOCKS 4 and SOCKS 5."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from tests.support.raw_server import Peer

__all__ = ["dial", "http_proxy", "relay", "socks4_proxy", "socks5_proxy"]


def dial(port: int, host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.connect((host, port))  # without socket.getaddrinfo, which some tests replace
    return sock


def relay(peer: Peer, upstream: socket.socket) -> None:
    """Pass bytes both ways until either side ends."""

    def back() -> None:
        with suppress(OSError):  # the client has gone
            while data := upstream.recv(65536):
                peer.send(data)
            peer.sock.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=back, daemon=True)
    thread.start()
    with upstream:
        while data := peer.sock.recv(65536):
            upstream.sendall(data)
        with suppress(OSError):  # the server has closed its end as well
            upstream.shutdown(socket.SHUT_WR)
        thread.join(10)


def http_proxy(requests: list[Peer]) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        requests.append(peer)
        authority = peer.read_request().split(" ")[1]
        host, _, port = authority.rpartition(":")
        upstream = dial(int(port), host.strip("[]"))
        peer.send(b"HTTP/1.0 200 Connection established\r\nVia: test\r\n\r\n")
        relay(peer, upstream)

    return script


def socks5_proxy(asked: list[str], credentials: tuple[bytes, bytes] | None = None) -> Callable[[Peer], None]:
    """Return a SOCKS 5 proxy (RFC 1928 and 1929) that connects to loopback whatever it is asked for."""

    def script(peer: Peer) -> None:
        methods = peer.read(peer.read(2)[1])
        if credentials is None:
            assert 0 in methods
            peer.send(b"\x05\x00")
        else:
            assert 2 in methods
            peer.send(b"\x05\x02")
            username = peer.read(peer.read(2)[1])
            password = peer.read(peer.read(1)[0])
            peer.send(b"\x01\x00" if (username, password) == credentials else b"\x01\x01")
        kind = peer.read(4)[3]
        if kind == 3:
            asked.append(peer.read(peer.read(1)[0]).decode())
        else:
            family, size = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
            asked.append(socket.inet_ntop(family, peer.read(size)))
        port = int.from_bytes(peer.read(2), "big")
        upstream = dial(port)
        peer.send(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
        relay(peer, upstream)

    return script


def socks4_proxy(asked: list[str]) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        head = peer.read(8)
        while peer.read(1) != b"\x00":  # the user's name
            pass
        name = b""
        if head[4:7] == b"\x00\x00\x00":
            while (char := peer.read(1)) != b"\x00":
                name += char
        asked.append(name.decode() or socket.inet_ntoa(head[4:8]))
        upstream = dial(int.from_bytes(head[2:4], "big"))
        peer.send(b"\x00\x5a" + bytes(6))
        relay(peer, upstream)

    return script
