"""TLS without I/O: the bytes of both directions pass through memory, so that reading and sending never meet."""

from __future__ import annotations

import ssl
import threading
from contextlib import suppress

__all__ = ["TLS", "default_context"]

_RECORD = 65536  # more than the largest TLS record holds


def default_context() -> ssl.SSLContext:
    """Return a context with the system's roots, checking names, for TLS 1.2 and newer."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class TLS:
    """The client's end of a TLS connection.

    Args:
        context: Roots, versions, certificates.
        host: The name or address that the peer's certificate must be for.

    Attributes:
        recv_closed: Whether the peer has closed its direction, or sent what is not valid.
        fault: What was not valid.
    """

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self.recv_closed = False
        self.fault: ssl.SSLError | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        # Guards the OpenSSL object and both buffers, which no two threads may use at once. Reentrant, since a signal
        # handler may close the connection that its own thread iterates over.
        self._lock = threading.RLock()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

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
        """Take bytes from the peer and return the plain text that they complete, up to a fault."""
        with self._lock:
            self._incoming.write(data)
            plain: list[bytes] = []
            # A read without bytes to read from would cost an exception.
            while self._incoming.pending or self._object.pending():
                try:
                    piece = self._object.read(_RECORD)
                except ssl.SSLWantReadError:
                    break
                except ssl.SSLZeroReturnError:  # the peer's close_notify, after ours
                    piece = b""
                except ssl.SSLError as error:
                    self.fault, piece = error, b""
                if not piece:
                    self.recv_closed = True
                    break
                plain.append(piece)
        return b"".join(plain)

    def encrypt(self, data: bytes) -> bytes:
        """Return the records to send for ``data``, after those of TLS's own that wait."""
        with self._lock:
            view = memoryview(data)
            while view:
                view = view[self._object.write(view) :]
            return self._outgoing.read()

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
