"""A front of a server, as a balancer is: it may do TLS, shake hands anew, and send interim responses."""

from __future__ import annotations

import contextlib
import itertools
import random
import select
import socket
import ssl
import threading
import time
from types import TracebackType

from tests.support.openssl import renegotiate, update_keys

__all__ = ["Front"]

CHUNK = 65536
INTERIM = [
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 102 Processing\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n",
]


class _Clear:
    """A connection without TLS."""

    def receive(self, data: bytes) -> bytes:
        return data

    def send(self, data: bytes) -> bytes:
        return data

    def shake(self) -> bytes:
        return b""

    def end(self) -> bytes:
        return b""


class _Ciphered:
    """The server's end of TLS, between two buffers. One thread uses it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._unsent = bytearray()  # what waits for the end of a handshake

    def receive(self, data: bytes) -> bytes:
        self._incoming.write(data)
        clear = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            while chunk := self._tls.read(CHUNK):
                clear += chunk
        return clear

    def send(self, data: bytes) -> bytes:
        self._unsent += data
        with contextlib.suppress(ssl.SSLWantReadError):
            while self._unsent:
                del self._unsent[: self._tls.write(bytes(self._unsent))]
        return self._outgoing.read()

    def shake(self) -> bytes:
        version = self._tls.version()
        if version is not None:
            (update_keys if version == "TLSv1.3" else renegotiate)(self._tls)
        return self.send(b"")

    def end(self) -> bytes:
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        return self._outgoing.read()


class Front:
    """Listen on loopback and pass each connection on; now and then send interim responses, or shake hands anew.

    Args:
        port: The server's.
        tls: Do TLS with the client.
        seed: Of what is left to chance.
        period: Seconds between two new handshakes, in the mean.
    """

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None, seed: object = 0, period: float = 1.0) -> None:
        self._server_port = port
        self._tls = tls
        self._seed = seed
        self._period = period
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._lock = threading.Lock()  # guards all below
        self._open: set[socket.socket] = set()
        self._stopped = False
        self.handshakes = 0  # that were asked for
        self.interim = 0
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Front:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._stopped = True
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that passes its bytes on
        with contextlib.suppress(OSError), socket.socket() as waker:
            waker.connect(("127.0.0.1", self.port))
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        threads: list[threading.Thread] = []
        for number in itertools.count():
            client, _ = self._listener.accept()
            if self._stopped:
                client.close()
                break
            chance = random.Random(f"{self._seed}/{number}")
            thread = threading.Thread(target=self._serve, args=(client, chance), daemon=True)
            threads = [each for each in threads if each.is_alive()]
            threads.append(thread)
            thread.start()
        for thread in threads:
            thread.join()

    def _serve(self, client: socket.socket, chance: random.Random) -> None:
        with client, contextlib.suppress(OSError):
            server = socket.create_connection(("127.0.0.1", self._server_port))
            with server:
                for sock in (client, server):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._open |= {client, server}
                try:
                    if not self._stopped:
                        self._pass_on(client, server, chance)
                finally:
                    with self._lock:
                        self._open -= {client, server}

    def _pass_on(self, client: socket.socket, server: socket.socket, chance: random.Random) -> None:
        link = _Clear() if self._tls is None else _Ciphered(self._tls)
        interim = [chance.choice(INTERIM) for _ in range(chance.choice([0, 0, 1, 3]))]
        due = time.monotonic() + chance.expovariate(1 / self._period)
        while True:
            ready, _, _ = select.select([client, server], [], [], max(0.0, due - time.monotonic()))
            if client in ready:
                if not (data := client.recv(CHUNK)):
                    return
                server.sendall(link.receive(data))
                client.sendall(link.send(b""))
            if server in ready:
                data = server.recv(CHUNK)
                for response in interim if data else ():
                    client.sendall(link.send(response))
                self.interim += len(interim)
                interim = []
                client.sendall(link.send(data) if data else link.end())
                if not data:
                    return
            if time.monotonic() >= due:
                due = time.monotonic() + chance.expovariate(1 / self._period)
                client.sendall(link.shake())
                self.handshakes += 1
