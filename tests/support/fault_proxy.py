"""A TCP proxy that does to each connection what its script says: the faults of a network, at a byte's precision."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal

__all__ = ["FaultProxy", "Faults", "Kind", "chaos"]

Kind = Literal["none", "pause", "truncate", "reset", "vanish", "silence", "stall"]
LINGER_ZERO = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
CHUNK = 65536
HOLD = 60.0  # seconds of a stall; a client that gave up in it cannot be noticed


@dataclass(frozen=True)
class Faults:
    """What happens to one connection.

    Attributes:
        kind: ``pause`` holds the stream up and goes on; the others are for good. ``truncate`` ends both streams,
            ``reset`` resets, ``vanish`` pulls the cable: no FIN reaches the client, and the server is cut off;
            ``silence`` takes all that the client sends and answers nothing; ``stall`` does not even take it.
        at: How many bytes pass before that.
        upwards: Whether those are counted on the way to the server, not on the way to the client.
        pause: Seconds of a pause.
        latency: Seconds that each piece takes.
        jitter: Seconds more, at most, by chance.
        segment: Bytes of the largest piece.
    """

    kind: Kind = "none"
    at: int = 0
    upwards: bool = False
    pause: float = 0.0
    latency: float = 0.0
    jitter: float = 0.0
    segment: int = CHUNK


def chaos(seed: int, *, longest: int) -> Callable[[int], Faults]:
    """Return a script of all faults within the first ``longest`` bytes; the same for the same seed."""
    kinds: list[Kind] = ["none", "pause", "truncate", "reset", "vanish", "silence", "stall"]

    def script(number: int) -> Faults:
        chance = random.Random(f"{seed}/{number}")
        at = chance.choice([chance.randrange(400), chance.randrange(longest)])
        faults = Faults(chance.choice(kinds), at, upwards=chance.random() < 0.2, pause=chance.uniform(0, 1))
        if chance.random() < 0.3:
            faults = replace(faults, latency=chance.uniform(0, 0.02), jitter=chance.uniform(0, 0.05))
        if chance.random() < 0.3:
            faults = replace(faults, segment=chance.choice([1, 7, 100]), latency=0.0, jitter=0.0)
        return faults

    return script


class Session:
    """One connection through the proxy: two threads, one for each direction, and one that closes after them.

    Attributes:
        passed: How many bytes have passed to the client (``"down"``) and to the server (``"up"``).
        struck: The fault has happened.
    """

    def __init__(self, client: socket.socket, server: socket.socket, faults: Faults, seed: str) -> None:
        self.passed = {"down": 0, "up": 0}
        self.struck = threading.Event()
        self._client = client
        self._server = server
        self._faults = faults
        self._chance = random.Random(seed)
        self._over = threading.Event()
        self._pumps = [
            threading.Thread(target=self._pump, args=(server, client, "down"), daemon=True),
            threading.Thread(target=self._pump, args=(client, server, "up"), daemon=True),
        ]
        self._closer = threading.Thread(target=self._close, daemon=True)
        for thread in (*self._pumps, self._closer):
            thread.start()

    @property
    def alive(self) -> bool:
        """Whether it holds sockets and threads still."""
        return self._closer.is_alive()

    def join(self) -> None:
        """Wait for its threads."""
        self._closer.join()

    def end(self, *, reset: bool = False) -> None:
        """End both streams, which wakes both threads; a reset goes out once both have left the sockets."""
        self._over.set()
        with contextlib.suppress(OSError):
            if reset:
                self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
            self._client.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        for thread in self._pumps:
            thread.join()
        self._client.close()
        self._server.close()

    def _pump(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(CHUNK)) and not self.struck.is_set():
                for piece in self._pieces(data, way):
                    self._over.wait(self._faults.latency + self._faults.jitter * self._chance.random())
                    sink.sendall(piece)
                    self.passed[way] += len(piece)
        if not self.struck.is_set():
            self.end()
        elif way == "up" and self._faults.kind in ("vanish", "silence", "stall"):
            self._linger()

    def _pieces(self, data: bytes, way: str) -> Iterator[bytes]:
        """Cut data into segments, up to the byte where a fault for good happens."""
        faults = self._faults
        struck_here = faults.kind != "none" and way == ("up" if faults.upwards else "down")
        while data and not self.struck.is_set():
            size, left = faults.segment, faults.at - self.passed[way]
            if struck_here and 0 < left < size:
                size = left
            if not struck_here or left > 0:
                yield data[:size]
                data = data[size:]
            if struck_here and self.passed[way] >= faults.at:
                struck_here = False
                self._strike()

    def _strike(self) -> None:
        kind = self._faults.kind
        if kind == "pause":
            self._faults = replace(self._faults, kind="none")
            self._over.wait(self._faults.pause)
            return
        self.struck.set()
        if kind in ("truncate", "reset"):
            self.end(reset=kind == "reset")
        elif kind == "vanish":
            with contextlib.suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)

    def _linger(self) -> None:
        """Stay, for the client not to notice anything, until it goes."""
        if self._faults.kind == "stall":
            self._over.wait(HOLD)
        with contextlib.suppress(OSError):
            while self._client.recv(CHUNK):
                pass
        self.end()


class FaultProxy:
    """Listen on loopback and pass each connection on, with the faults of the script.

    Args:
        port: The server's.
        script: Tells the faults of a connection by its number, from 0.
        seed: Of what is left to chance.
    """

    def __init__(self, port: int, script: Callable[[int], Faults] = lambda number: Faults(), *, seed: int = 0) -> None:
        self._port = port
        self._script = script
        self._seed = seed
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._lock = threading.Lock()  # guards the three below
        self._sessions: list[Session] = []
        self._stopped = False
        self.accepted = 0
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        """The WebSocket URL."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def sessions(self) -> list[Session]:
        """The connections that have not ended."""
        with self._lock:
            self._sessions = [session for session in self._sessions if session.alive]
            return list(self._sessions)

    def cut(self) -> None:
        """Reset all connections."""
        for session in self.sessions:
            session.end(reset=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._stopped = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept, but not everywhere
        with contextlib.suppress(OSError), socket.socket() as waker:
            waker.connect(("127.0.0.1", self.port))
        self._thread.join()
        self._listener.close()
        for session in self.sessions:
            session.end()
            session.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._stopped:
                    client.close()
                    return
                self._begin(client)

    def _begin(self, client: socket.socket) -> None:
        number, self.accepted = self.accepted, self.accepted + 1
        try:
            server = socket.create_connection(("127.0.0.1", self._port))
        except OSError:  # the server is down
            client.close()
            return
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sessions.append(Session(client, server, self._script(number), f"{self._seed}/{number}"))
            if len(self._sessions) % 100 == 0:
                self._sessions = [session for session in self._sessions if session.alive]
