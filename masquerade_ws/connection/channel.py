"""The byte stream of an attempt."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from masquerade_ws.connection.sockets import RECV_SIZE, ignoring_failures, send_now
from masquerade_ws.connection.tls import NestedTLS
from masquerade_ws.errors import ConnectError

if TYPE_CHECKING:
    from masquerade_ws.connection.attempt import Attempt
    from masquerade_ws.connection.tls import TLS

__all__ = ["Channel"]

_RECORD_TYPES = range(20, 24)  # change_cipher_spec, alert, handshake, application_data (RFC 8446, 5.1)


class Channel:
    """The byte stream of an attempt: its socket, and TLS on it once that is started.

    Args:
        attempt: Has a connected socket, which does not block.
    """

    def __init__(self, attempt: Attempt) -> None:
        assert attempt.sock is not None
        self.attempt = attempt
        self.sock = attempt.sock
        self.tls: TLS | NestedTLS | None = None
        self._plain = b""  # received already
        self._unsent = False  # something was sent in part, after which nothing may follow

    def recv(self, size: int = RECV_SIZE) -> bytes:
        """Return the next bytes; ``b""`` at the end of the stream."""
        if self._plain:
            plain, self._plain = self._plain, b""
            return plain
        while self.tls is None or not self.tls.recv_closed:
            data = self._recv_raw(size)
            if not data or self.tls is None:
                return data
            plain = self.tls.decrypt(data)
            self._send_raw(self.tls.take())
            if plain:
                return plain
        if self.tls.fault is not None:
            raise self.tls.fault
        return b""

    def sendall(self, data: bytes) -> None:
        """Send all the bytes."""
        self._send_raw(data if self.tls is None else self.tls.encrypt(data))

    def start_tls(self, tls: TLS, advice: str) -> None:
        """Do a TLS handshake, within the TLS that there is if a proxy speaks that.

        Args:
            tls: The new TLS.
            advice: What to do if the peer does not speak TLS.

        Raises:
            ConnectError: If the peer does not speak TLS, or says nothing at all.
            ssl.SSLError: If the peer's certificate or its TLS is not acceptable.
        """
        self.attempt.phase = "the TLS handshake"
        answer = b""
        try:
            while not tls.handshake():
                self.sendall(tls.take())
                data = self.recv()
                answer = answer or data
                tls.receive(data)
        except ssl.SSLError as error:
            if not answer:
                what = "the peer ended the connection without an answer, so it may not speak TLS"
                raise ConnectError(f"{what}; {advice}") from error.with_traceback(None)
            if answer[0] not in _RECORD_TYPES:
                raise ConnectError(f"the peer does not speak TLS; {advice}") from error.with_traceback(None)
            self._send_last(tls.take() if self.tls is None else self.tls.encrypt(tls.take()))
            raise
        self.sendall(tls.take())
        self.tls = tls if self.tls is None else NestedTLS(self.tls, tls)
        self._plain = self.tls.decrypt(b"")  # what came along with the peer's last word

    def end_tls(self) -> None:
        """Send TLS's close_notify, if there is TLS, as far as that goes without waiting."""
        if self.tls is not None:
            self._send_last(self.tls.close())

    def _recv_raw(self, size: int) -> bytes:
        while True:
            self.attempt.check()  # a peer that never pauses gets no more time either
            try:
                return self.sock.recv(size)
            except BlockingIOError:
                pass
            self.attempt.wait(read=True)

    def _send_raw(self, data: bytes) -> None:
        view = memoryview(data)
        self._unsent = True
        # To send nothing would report a reset, and lose the answer before it.
        while view and (view := view[send_now(self.sock, view) :]):
            self.attempt.wait(write=True)
        self._unsent = False

    def _send_last(self, record: bytes) -> None:
        """Send a last record, close_notify or the alert that says why (RFC 8446, 6), without waiting."""
        if not self._unsent:
            with ignoring_failures():
                send_now(self.sock, record)
