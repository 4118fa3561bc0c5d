"""A server that does what its script says, byte by byte, for what a correct server never does."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType

import trustme

__all__ = [
    "HANDSHAKE",
    "Peer",
    "RawServer",
    "close_payload",
    "frame",
    "held",
    "loopback",
    "shown",
    "silent_port",
    "tcp_pair",
    "tls_contexts",
    "until",
]

HANDSHAKE = 129  # bytes of the answer to a handshake
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """Return an unmasked frame."""
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65536:
        return head + b"\x7e" + struct.pack("!H", len(payload)) + payload
    return head + b"\x7f" + struct.pack("!Q", len(payload)) + payload


def close_payload(code: int, reason: str = "") -> bytes:
    """Return the payload of a close frame."""
    return struct.pack("!H", code) + reason.encode()


def tls_contexts(
    *names: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context for these names and one version of TLS, and a client's that trusts it."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("localhost", "127.0.0.1", "::1"))).configure_cert(server)
    server.minimum_version = server.maximum_version = version
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@contextlib.contextmanager
def tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield two connected sockets with small buffers."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as near:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        near.connect(listener.getsockname())
        far, _ = listener.accept()
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with far:
            yield near, far


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """Yield a port of 127.0.0.1 that answers to no SYN, since its backlog is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as waiting:
        for _ in range(4):
            sock = waiting.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def loopback(port: int) -> tuple[int, int, int, str, tuple[str, int]]:
    """Return an address of this machine as a look-up would."""
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port)


def shown(error: BaseException | None) -> str:
    """Return all that an exception and what it is chained to can show, suppressed contexts included."""
    if error is None:
        return ""
    return f"{error} {error!r} {error.args} {shown(error.__cause__)} {shown(error.__context__)}"


def until(condition: Callable[[], object], timeout: float = 30.0) -> None:
    """Wait for a condition that nothing announces."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)


def held(lock: object) -> bool:
    """Return whether another thread holds a lock."""
    if free := lock.acquire(blocking=False):  # type: ignore[attr-defined]
        lock.release()  # type: ignore[attr-defined]
    return not free


class Peer:
    """The server's end of one connection.

    Attributes:
        request: The head of the request, once ``read_request`` or ``upgrade`` has read it.
    """

    def __init__(self, sock: socket.socket, test_over: threading.Event) -> None:
        self.sock = sock
        self._test_over = test_over
        self.request = ""
        self._buffer = bytearray()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)

    def read_request(self) -> str:
        """Read the head of a request."""
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head = self.read(self._buffer.index(b"\r\n\r\n") + 4)[:-4]
        self.request = head.decode("latin-1")
        return self.request

    def header(self, name: str) -> str | None:
        """Return a header of the request."""
        for line in self.request.split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None

    def accept_key(self) -> str:
        """Return what answers the request's key."""
        key = self.header("Sec-WebSocket-Key") or ""
        return base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()

    def upgrade(self, *headers: str, glued: bytes = b"") -> None:
        """Do the opening handshake, with further response headers and with bytes in the same segment."""
        self.read_request()
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {self.accept_key()}",
            *headers,
        ]
        self.send("\r\n".join([*lines, "", ""]).encode() + glued)

    def read(self, size: int) -> bytes:
        """Read exactly so many bytes."""
        while len(self._buffer) < size:
            self._fill()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def read_frame(self) -> tuple[int, bytes]:
        """Read a frame of the client's and return its opcode and its payload without the mask."""
        first, second = self.read(2)
        assert second & 0x80, "a client's frame must be masked"
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.read(8))
        key = int.from_bytes((self.read(4) * (length // 4 + 1))[:length], "big")
        return first & 0x0F, (int.from_bytes(self.read(length), "big") ^ key).to_bytes(length, "big")

    def read_close(self) -> int:
        """Read frames up to the client's close frame and return its code."""
        opcode, payload = self.read_frame()
        while opcode != 8:
            opcode, payload = self.read_frame()
        return int.from_bytes(payload[:2], "big") if payload else 1005

    def read_to_end(self) -> bytes:
        """Read until the client ends the stream, or resets it."""
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                self._fill()
        return bytes(self._buffer)

    def hang(self) -> None:
        """Neither read nor write anything until the test is over."""
        self._test_over.wait()

    def reset(self) -> None:
        """Reset the connection."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _fill(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise EOFError("the client ended the stream")
        self._buffer += data


class RawServer:
    """Listen on loopback and run ``script`` with each connection, on a thread of its own.

    A script that ends closes its connection. What a script raises, except that the client has gone, fails the test
    when the server is left.

    Args:
        script: What to do with a connection.
        tls: Do TLS first.
        host: The address to listen on.
    """

    def __init__(
        self, script: Callable[[Peer], object], *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self._script = script
        self._tls = tls
        self._stopping = threading.Event()
        self._failures: list[BaseException] = []
        self._peers: list[Peer] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.host = host
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """The WebSocket URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self._tls else 'ws'}://{host}:{self.port}/ws"

    def __enter__(self) -> RawServer:
        thread = threading.Thread(target=self._accept, daemon=True)
        self._threads.append(thread)
        thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        with socket.socket(self._listener.family) as waker:
            waker.connect((self.host, self.port))  # wakes accept, which then sees the flag
        self._threads[0].join(10)
        self._listener.close()
        for thread in self._threads:
            thread.join(1)  # most scripts end by themselves, now or because the client has gone
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)  # wakes a script that reads or writes
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "a script did not end"
        if kind is None and self._failures:
            raise self._failures[0]

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self._stopping.is_set():
                sock.close()
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = Peer(sock, self._stopping)
            self._peers.append(peer)
            thread = threading.Thread(target=self._serve, args=(peer,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, peer: Peer) -> None:
        try:
            if self._tls is not None:
                peer.sock = self._tls.wrap_socket(peer.sock, server_side=True)
            self._script(peer)
        except (EOFError, ConnectionError, ssl.SSLError):
            pass  # the client has gone, as it should sooner or later
        except BaseException as exc:
            self._failures.append(exc)
        finally:
            peer.sock.close()
