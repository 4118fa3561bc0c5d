"""TLS without I/O: the bytes of both directions pass through memory, so that reading and sending never meet."""

from __future__ import annotations

import errno
import ssl
import threading
from contextlib import suppress

__all__ = ["TLS", "NestedTLS", "default_context"]

_RECORD = 65536  # more than the largest TLS record holds
_MOST_OWED = 2**18  # bytes of answers to a peer that takes none, some 10,000 to its demands for new keys


def default_context() -> ssl.SSLContext:
    """Return a context with the system's roots, checking names, for TLS 1.2 and newer."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class TLS:
    """The client's end of a TLS connection.

    Args:
        context: Roots, versions, certificates.
        host: The name or address that the peer's certificate must be for, as it is looked up.

    Attributes:
        recv_closed: Whether the peer has closed its direction, or sent what is not valid.
        fault: What was not valid.
    """

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self.recv_closed = False
        self.fault: ssl.SSLError | None = None
        self._plain = b""  # to be encrypted once a new handshake of the peer's allows it
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        # Guards the OpenSSL object and both buffers, which no two threads may use at once. Reentrant, since a signal
        # handler may close the connection that its own thread iterates over.
        self._lock = threading.RLock()
        # Neither a zone nor the dot at the end of a name is known to the peer (RFC 6066, 3).
        name = host.partition("%")[0].removesuffix(".")
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    @property
    def held(self) -> bool:
        """Whether something that was to be sent waits for the peer to go on with a new handshake (TLS 1.2)."""
        return bool(self._plain)

    @property
    def owes(self) -> bool:
        """Whether records of TLS's own, such as a key update's answer, wait to be sent."""
        return self._outgoing.pending > 0

    def handshake(self) -> bool:
        """Go on with the handshake and return whether it is complete.

        Raises:
            ssl.SSLError: If the peer is not acceptable.
        """
        with self._lock:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                return False
            return True

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer; none at all are the end of the stream."""
        with self._lock:
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def decrypt(self, data: bytes) -> bytes:
        """Take bytes from the peer and return the plain text that they complete, up to a fault.

        What was held goes on to be sent if they end a handshake.
        """
        plain: list[bytes] = []
        with self._lock:
            self._incoming.write(data)
            try:
                self._read_into(plain)
                if self._plain and not self.recv_closed:
                    self._write(b"")
                if self._outgoing.pending > _MOST_OWED:
                    raise ssl.SSLError(errno.ENOBUFS, "the peer demands new keys of TLS and takes no answer")
            except ssl.SSLError as error:
                self.fault, self.recv_closed = error, True
        return b"".join(plain)

    def _read_into(self, plain: list[bytes]) -> None:
        # A read without bytes to read from would cost an exception.
        while self._incoming.pending or self._object.pending():
            try:
                piece = self._object.read(_RECORD)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLZeroReturnError:  # the peer's close_notify, after ours
                piece = b""
            if not piece:
                self.recv_closed = True
                return
            plain.append(piece)

    def encrypt(self, data: bytes) -> bytes:
        """Return the records to send for ``data``, after those of TLS's own that wait.

        While the peer does a new handshake (TLS 1.2), which only what it sends next can end, ``data`` is held.
        """
        with self._lock:
            self._write(data)
            return self._outgoing.read()

    def _write(self, data: bytes) -> None:
        view = memoryview(self._plain + data if self._plain else data)
        self._plain = b""
        try:
            while view:
                view = view[self._object.write(view) :]
        except ssl.SSLWantReadError:
            self._plain = bytes(view)

    def close(self) -> bytes:
        """Return our close_notify, the last record (RFC 8446, 6.1), after those that wait; nothing the second time.

        The peer may send on, and what it sends can still be decrypted.
        """
        with self._lock:
            with suppress(ssl.SSLError):  # it asks for the peer's close_notify at once, which may come later or never
                self._object.unwrap()
            return self._outgoing.read()

    def take(self) -> bytes:
        """Return the records of TLS's own that wait to be sent."""
        return self.encrypt(b"")


class NestedTLS:
    """TLS with the server within TLS with a proxy, used as one.

    Args:
        outer: With the proxy.
        inner: With the server, through the proxy.
    """

    def __init__(self, outer: TLS | NestedTLS, inner: TLS) -> None:
        self._outer = outer
        self._inner = inner

    @property
    def held(self) -> bool:
        """Whether either holds something up."""
        return self._inner.held or self._outer.held

    @property
    def owes(self) -> bool:
        """Whether records of either's own wait to be sent."""
        return self._inner.owes or self._outer.owes

    @property
    def recv_closed(self) -> bool:
        """Whether the peer has closed its direction of either, or sent what is not valid."""
        return self._inner.recv_closed or self._outer.recv_closed

    @property
    def fault(self) -> ssl.SSLError | None:
        """What was not valid."""
        return self._inner.fault or self._outer.fault

    def decrypt(self, data: bytes) -> bytes:
        """Take bytes from the peer and return the plain text that they complete, up to a fault."""
        return self._inner.decrypt(self._outer.decrypt(data))

    def encrypt(self, data: bytes) -> bytes:
        """Return the records to send for ``data``, after those of TLS's own that wait."""
        return self._outer.encrypt(self._inner.encrypt(data))

    def close(self) -> bytes:
        """Return the close_notify of both, the inner one first."""
        return self._outer.encrypt(self._inner.close()) + self._outer.close()

    def take(self) -> bytes:
        """Return the records of TLS's own that wait to be sent."""
        return self.encrypt(b"")
