"""Sockets that pass a gate, where the test server's faults happen.

A frozen gate holds bytes back in both directions, a cut socket hangs up or resets. The server above sees an
ordinary socket and never notices that a fault was meant.
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

LINGER_ZERO = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class Gate:
    """What the listening socket and the connections' sockets share.

    Args:
        changed: Guards everything here, the sockets' flags and what the server keeps; notified at each change of them.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self.changed = changed
        self.frozen = False
        self.stopped = False
        self.sockets: set[GatedSocket] = set()
        self.threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

    def abandon(self) -> None:
        """Close the descriptors of all connections and nothing else; a forked child may find the lock held."""
        for gated in self.sockets:
            socket.socket.close(gated)


class GatedSocket(socket.socket):
    """One connection's socket behind the gate."""

    def __init__(self, gate: Gate, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self.gate = gate
        self.opening = False  # the handshake is answered, the connection not yet in the server's records
        self.dead = False  # cut or closed: reads as ended, takes nothing more
        self._sending = threading.Lock()  # keeps the bytes in order: those held back and those on their way
        self._held = b""

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        if not self._passes():
            return b""
        data = super().recv(bufsize, flags)
        return data if self._passes() else b""

    def _passes(self) -> bool:
        """Wait while the gate is frozen; tell whether the connection still lives. Woken by thaw, cut and close."""
        with self.gate.changed:
            self.gate.changed.wait_for(lambda: self.dead or not self.gate.frozen)
            return not self.dead

    def sendall(self, data: Any, flags: int = 0) -> None:
        with self._sending:
            if self.dead:
                raise ConnectionResetError("the test server cut this connection")
            self._held += bytes(data)
            if not self.gate.frozen:
                self._flush(flags)

    def thaw(self) -> None:
        """Send what was held back; a peer that is gone already is no error."""
        if self._held:  # without the lock, which a peer that reads nothing may hold up: then nothing is held back
            with self._sending, suppress(OSError):
                self._flush()

    def _flush(self, flags: int = 0) -> None:
        data, self._held = self._held, b""
        super().sendall(data, flags)

    def cut(self, *, reset: bool = False) -> None:
        """End the connection without a closing handshake. Every thread that waits on this socket wakes and ends."""
        with self.gate.changed, suppress(OSError):  # OSError: the peer was faster
            self.dead = True
            self.gate.changed.notify_all()
            if reset:
                self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
            # A reset is sent by close(), and only if no thread waits in recv: shutdown wakes it. Shutting down the
            # other direction too would send a FIN first; it is needed to wake a send that the peer does not take.
            super().shutdown(socket.SHUT_RD if reset and not self._sending.locked() else socket.SHUT_RDWR)

    def shutdown(self, how: int) -> None:
        if not self.dead:
            super().shutdown(how)

    def close(self) -> None:
        with self.gate.changed:
            self.dead = True
            self.gate.sockets.discard(self)
            self.gate.changed.notify_all()
        super().close()


class Listener(socket.socket):
    """The listening socket, whose connections stand behind the gate.

    Args:
        gate: The gate; once it is stopped, :meth:`wake` ends the loop over the connections.
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
        self.setblocking(False)  # a peer that has gone again leaves nothing to wait for
        self._gate = gate

    def connections(self) -> Iterator[tuple[GatedSocket, Any]]:
        """Yield each connection and its peer's address."""
        while True:
            self._selector.select()
            if self._gate.stopped:
                return
            with suppress(OSError):  # the peer was faster
                yield self.accept()

    def accept(self) -> tuple[GatedSocket, Any]:
        plain, address = super().accept()
        gated = GatedSocket(self._gate, plain.detach())
        gated.setblocking(True)  # whatever the listener hands down, or `socket.setdefaulttimeout`
        with self._gate.changed:
            self._gate.sockets.add(gated)
        return gated, address

    def wake(self) -> None:
        """Wake the loop over the connections."""
        self._waking.close()

    def close(self) -> None:
        self._parts.close()
        super().close()
