"""Sockets whose bytes pass through a gate, where the faults of the test server happen.

A frozen gate holds bytes back in both directions; a cut socket is shut down or reset. The server on top sees an
ordinary socket and does not know that the fault was intended.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
import weakref
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Gate", "GatedSocket", "Listener"]

_LINGER_ZERO = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class Gate:
    """What the listening socket and the sockets of the connections share.

    Args:
        changed: Guards everything here, the flags of the sockets and the records of the server; notified when they
            change.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self.changed = changed
        self.frozen = False
        self.stopped = False
        self.sockets: set[GatedSocket] = set()
        self.threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

    def after_fork(self) -> None:
        """Close the descriptors of all connections in a forked child, without the lock, which may be held there."""
        for gated in self.sockets:
            socket.socket.close(gated)


class GatedSocket(socket.socket):
    """The socket of one connection, whose bytes pass through the gate."""

    def __init__(self, gate: Gate, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self.gate = gate
        self.opening = False  # the handshake is answered, but the server has not recorded the connection yet
        self.dead = False  # cut or closed: reading finds the end, sending fails
        self._sending = threading.Lock()  # guards the order of the bytes: of those held back and those being sent
        self._held = b""

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Receive, while the gate is open."""
        if not self._passes():
            return b""
        data = super().recv(bufsize, flags)
        return data if self._passes() else b""

    def _passes(self) -> bool:
        """Wait while the gate is frozen; return whether the socket is still usable. Woken by thaw, cut and close."""
        with self.gate.changed:
            self.gate.changed.wait_for(lambda: self.dead or not self.gate.frozen)
            return not self.dead

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send, or hold back while the gate is frozen."""
        with self._sending:
            if self.dead:
                raise ConnectionResetError("the test server cut this connection")
            self._held += bytes(data)
            if not self.gate.frozen:
                self._flush(flags)

    def thaw(self) -> None:
        """Send what was held back, unless the peer has gone."""
        if (
            self._held
        ):  # read without the lock: a send to a peer that reads nothing keeps it, and then nothing is held back
            with self._sending, suppress(OSError):
                self._flush()

    def _flush(self, flags: int = 0) -> None:
        data, self._held = self._held, b""
        super().sendall(data, flags)

    def cut(self, *, reset: bool = False) -> None:
        """End the connection without a closing handshake; every thread that waits on this socket wakes and ends."""
        with self.gate.changed, suppress(OSError):  # OSError: the peer closed it first
            self.dead = True
            self.gate.changed.notify_all()
            if reset:
                self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            # close() sends the reset, but only once no thread waits in recv(): shutdown() wakes it. Shutting down the
            # other direction as well would send a FIN first; it is needed to wake a send that the peer does not read.
            super().shutdown(socket.SHUT_RD if reset and not self._sending.locked() else socket.SHUT_RDWR)

    def shutdown(self, how: int) -> None:
        """Shut down, unless it was cut."""
        if not self.dead:
            super().shutdown(how)

    def close(self) -> None:
        """Close, and leave the gate."""
        with self.gate.changed:
            self.dead = True
            self.gate.sockets.discard(self)
            self.gate.changed.notify_all()
        super().close()


class Listener(socket.socket):
    """The listening socket, which accepts gated sockets.

    Args:
        gate: The gate; once it is stopped, `wake` ends the loop over the connections.
        port: The port to listen on; 0 picks a free one.
    """

    def __init__(self, gate: Gate, port: int) -> None:
        with ExitStack() as stack:
            plain = stack.enter_context(socket.create_server(("127.0.0.1", port), backlog=1024))
            woken, self._waking = map(stack.enter_context, socket.socketpair())
            self._selector = stack.enter_context(selectors.DefaultSelector())
            for sock in (plain, woken):
                self._selector.register(sock, selectors.EVENT_READ)
            super().__init__(fileno=plain.detach())
            self._parts = stack.pop_all()
        self.setblocking(False)  # accept() must not wait for a peer that has gone again
        self._gate = gate

    def connections(self) -> Iterator[tuple[GatedSocket, Any]]:
        """Yield each connection and the address of its peer."""
        while True:
            self._selector.select()
            if self._gate.stopped:
                return
            with suppress(OSError):  # the peer has gone again
                yield self.accept()

    def accept(self) -> tuple[GatedSocket, Any]:
        """Accept a connection."""
        plain, address = super().accept()
        gated = GatedSocket(self._gate, plain.detach())
        gated.setblocking(True)  # whatever it inherits from the listener or from `socket.setdefaulttimeout`
        with self._gate.changed:
            self._gate.sockets.add(gated)
        return gated, address

    def wake(self) -> None:
        """Wake the loop over the connections."""
        self._waking.close()

    def close(self) -> None:
        """Close, with what wakes the loop."""
        self._parts.close()
        super().close()
