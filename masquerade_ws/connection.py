"""One WebSocket connection: open it, read it in bulk, send on it from any thread, close it."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING

from masquerade_ws.deadline import Deadline
from masquerade_ws.errors import ConnectError, DisconnectedError, SendError
from masquerade_ws.frames import FrameReceiver, Opcode, build_close
from masquerade_ws.opening import Options, open_channel
from masquerade_ws.sender import Sender
from masquerade_ws.transport import RECV_SIZE, Attempt, shutdown, wait

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Literal

    from typing_extensions import Self

    from masquerade_ws.handshake import Upgrade
    from masquerade_ws.tls import TLS
    from masquerade_ws.transport import Channel

__all__ = ["Connection"]

# Seconds that the end waits for: the answer to the peer's close, and the peer to close TCP first (RFC 6455, 7.1.1).
_LINGER = 1.0
_PINGS_KEPT = 8


class Connection:
    """A WebSocket connection (RFC 6455). One thread iterates over it; any thread sends and closes.

    Args:
        url: ``ws://`` or ``wss://``, without user name and fragment.
        headers: Further request headers.
        subprotocols: Names to offer, the preferred one first.
        ssl_context: Replaces the default, which verifies with the system's roots and wants TLS 1.2 or newer.
        proxy: URL of an HTTP or SOCKS proxy; ``None``: the environment's; ``False``: none.
        max_message_size: Bytes that a received message may have, after decompression.
        send_timeout: Seconds that a send may take.
        compression: ``"deflate"`` offers permessage-deflate (RFC 7692).

    Attributes:
        close_code: The close code (7.1.5): the peer's, 1005 for a close frame without one, 1006 for a loss without
            a closing handshake, our own once we failed or closed the connection; ``None`` while it is open.
        close_reason: The close reason (7.1.6).
        error: First cause of a loss; ``None`` while it is open, and after a closing handshake.
        subprotocol: What the server chose.
        latency: Round trip of the last answered ping, in seconds.
        last_received: ``time.monotonic()`` of the last byte received.
        bytes_received: Bytes received since the opening handshake.

    Raises:
        ValueError: An argument has a value that is not allowed.
        TypeError: An argument has the wrong type.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | Literal[False] | None = None,
        max_message_size: int = 16 * 2**20,
        send_timeout: float = 10.0,
        compression: Literal["deflate"] | None = None,
    ) -> None:
        self._options = Options.checked(
            url, headers, subprotocols, ssl_context, proxy, max_message_size, send_timeout, compression
        )
        self.close_code: int | None = None
        self.close_reason = ""
        self.error: Exception | None = None
        self.subprotocol: str | None = None
        self.latency: float | None = None
        self.last_received = 0.0
        self.bytes_received = 0
        # Guards the phase of life: _attempt, _sock, _tcp_open, and the decision how the connection ended.
        self._state_lock = threading.Lock()
        self._attempt: Attempt | None = None
        self._sock: socket.socket | None = None
        self._tcp_open = False
        self._tls: TLS | None = None
        self._sender: Sender
        self._receiver: FrameReceiver
        self._ended = threading.Event()
        # Guards the receive side: _receiver, TLS's incoming bytes, _backlog. Held during recv.
        self._read_lock = threading.Lock()
        self._backlog: list[str | bytes] = []
        self._over = False  # nothing more will be read
        self._pings: deque[tuple[bytes, float]] = deque(maxlen=_PINGS_KEPT)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | Literal[False] | None = None,
        timeout: float | None = 10.0,
        max_message_size: int = 16 * 2**20,
        send_timeout: float = 10.0,
        compression: Literal["deflate"] | None = None,
    ) -> Self:
        """Make a connection and connect it; see the class and ``connect`` for arguments and errors."""
        connection = cls(
            url,
            headers=headers,
            subprotocols=subprotocols,
            ssl_context=ssl_context,
            proxy=proxy,
            max_message_size=max_message_size,
            send_timeout=send_timeout,
            compression=compression,
        )
        connection.connect(timeout)
        return connection

    # Opening

    def connect(self, timeout: float | None) -> None:
        """Open the connection, once.

        Args:
            timeout: Seconds for look-up, TCP, proxy, TLS and opening handshake together; ``None``: no limit.

        Raises:
            ConnectError: It did not work, or another thread closed the connection meanwhile.
            RuntimeError: It was called before.
        """
        attempt = self._begin(timeout)
        try:
            channel, agreed = open_channel(self._options, attempt)
            self._publish(attempt, channel, agreed)
        except BaseException as exc:
            attempt.discard()
            self._decide(1006, "", exc if isinstance(exc, Exception) else None)
            self._ended.set()
            raise
        finally:
            with self._state_lock:
                self._attempt = None
                attempt.close()

    def _begin(self, timeout: float | None) -> Attempt:
        with self._state_lock:
            if self._attempt is not None or self._sock is not None:
                raise RuntimeError("connect() was called before")
            if self._ended.is_set():
                raise ConnectError(f"cannot connect to {self._options.request.target.name}: closed before")
            self._attempt = Attempt(timeout)
            return self._attempt

    def _publish(self, attempt: Attempt, channel: Channel, agreed: Upgrade) -> None:
        """Make the open channel visible to all threads, unless the attempt was cancelled at the last moment."""
        inflater, deflater = agreed.compression or (None, None)
        self.subprotocol = agreed.subprotocol
        self._tls = channel.tls
        self._sender = Sender(channel.sock, channel.tls, deflater)
        self._receiver = FrameReceiver(max_message_size=self._options.max_message_size, inflater=inflater)
        self.last_received = time.monotonic()
        with self._state_lock:
            if attempt.cancelled:
                raise ConnectError(f"cannot connect to {self._options.request.target.name}: closed meanwhile")
            self._sock = channel.sock
            self._tcp_open = True
        with self._read_lock:
            self._backlog += self._take(agreed.glued)

    # Receiving

    def __iter__(self) -> Iterator[str | bytes]:
        """Yield each message, ``str`` for text and ``bytes`` for binary; ends and raises as ``batches`` does."""
        return chain.from_iterable(self.batches())

    def batches(self) -> Iterator[list[str | bytes]]:
        """Yield the messages that came together in one piece of the stream, until the closing handshake.

        Raises:
            DisconnectedError: Any other end; what came before it has been yielded.
        """
        while (messages := self._receive()) is not None:
            if messages:
                yield messages
        self._finish(Deadline(_LINGER))
        if self.error is not None:
            raise self._loss(self.error)

    def _receive(self) -> list[str | bytes] | None:
        """Return the next messages; ``None`` at the end."""
        with self._read_lock:
            if self._backlog:
                messages, self._backlog = self._backlog, []
                return messages
            return self._read()

    def _read(self) -> list[str | bytes] | None:
        """Read once and parse that, under the read lock; ``None`` at the end."""
        if self._over or self._sock is None:
            return None
        cause = None
        try:
            data = self._recv(self._sock)
        except OSError as exc:
            data, cause = b"", exc
        if data:
            return self._take(data)
        self._lose(cause)
        return None

    def _recv(self, sock: socket.socket) -> bytes:
        """Block until there are bytes, or the stream ends; meanwhile send what the kernel would not take before."""
        while self._sender.stalled:
            wait(sock, None, read=True, write=True)
            self._sender.flush()
            if wait(sock, 0, read=True):
                break
        return sock.recv(RECV_SIZE)

    def _take(self, data: bytes) -> list[str | bytes]:
        """Turn bytes from the socket into messages, and note what else they bring."""
        self.last_received = time.monotonic()
        self.bytes_received += len(data)
        if self._tls is not None:
            data = self._tls.decrypt(data)
        receiver = self._receiver
        messages = receiver.feed(data)
        if receiver.close is not None:
            self._over = True
            self._decide(*receiver.close, None)
        elif receiver.violation is not None:
            self._over = True
            code, reason = receiver.violation.code, receiver.violation.reason
            self._decide(code, reason, DisconnectedError(f"the peer broke the protocol: {reason}", code, reason))
        elif self._tls is not None and self._tls.ended:
            self._lose(self._tls.fault)
        if receiver.pongs:
            self._note_pongs(receiver.pongs)
        if receiver.ping is not None:
            self._sender.pong(receiver.ping)
            receiver.ping = None
        try:
            self._sender.flush()
        except OSError as exc:
            self._lose(exc)
        return messages

    def _note_pongs(self, pongs: list[bytes]) -> None:
        for pong in pongs:
            for sent in list(self._pings):
                if sent[0] == pong:
                    self.latency = self.last_received - sent[1]
                    while self._pings.popleft() is not sent:
                        pass
                    break
        pongs.clear()

    def readable(self) -> bool:
        """Tell whether received bytes, or the stream's end, wait to be read."""
        try:
            return bool(self._backlog) or (self._sock is not None and wait(self._sock, 0, read=True))
        except OSError:
            return False

    # Sending

    def send(self, data: str | bytes) -> None:
        """Send a message: text for ``str``, binary for ``bytes``.

        Raises:
            SendError: It was not sent, or not wholly, within ``send_timeout``. A send that fails half-way ends
                the connection; one that only waited for another thread's send does not.
        """
        if isinstance(data, str):
            self._send(Opcode.TEXT, data.encode())
        elif isinstance(data, (bytes, bytearray, memoryview)):
            self._send(Opcode.BINARY, bytes(data))
        else:
            raise TypeError(f"data must be str or bytes, not {type(data).__name__}")

    def ping(self, data: bytes = b"") -> None:
        """Send a ping (5.5.2); its answer sets ``latency``.

        Raises:
            ValueError: More than 125 bytes.
            SendError: As ``send``.
        """
        if len(data) > 125:
            raise ValueError("data of a ping must not be longer than 125 bytes")
        self._pings.append((data, time.monotonic()))
        self._send(Opcode.PING, data)

    def _send(self, opcode: int, payload: bytes) -> None:
        if self._sock is None or self._ended.is_set():
            raise SendError("the connection is not open")
        try:
            self._sender.send(opcode, payload, self._options.send_timeout)
        except SendError:
            raise
        except BaseException as exc:
            error = SendError(f"sending failed: {exc}")
            error.__cause__ = exc
            self._decide(1006, "", error)
            self._drop()
            if isinstance(exc, OSError):
                raise error from exc
            raise

    @property
    def bytes_sent(self) -> int:
        """Bytes sent since the opening handshake."""
        return 0 if self._sock is None else self._sender.bytes_sent

    # Ending

    @property
    def ended(self) -> bool:
        """Whether the connection has ended and TCP is closed."""
        return self._ended.is_set()

    def wait_ended(self, timeout: float | None) -> bool:
        """Wait until the connection has ended, at most ``timeout`` seconds, and tell whether it has."""
        return self._ended.wait(timeout)

    def close(self, code: int = 1000, reason: str = "", timeout: float = 2.0) -> None:
        """Close the connection (7.1.2); what is received until the peer answers can still be iterated over.

        Safe from any thread at any time; ends a ``connect`` that is under way.

        Args:
            code: 1000 to 1003, 1007 to 1014 or 3000 to 4999.
            reason: At most 123 bytes of UTF-8.
            timeout: Seconds for the peer's answer; after that TCP is closed without it.

        Raises:
            ValueError: The code or the reason may not be sent.
        """
        payload = build_close(code, reason)
        deadline = Deadline(timeout)
        first = self._decide(code, reason, None)
        if self._sock is not None and not self._ended.is_set():
            if first and self._sender.close(payload, deadline):
                self._await_close(deadline)
            self._finish(deadline)
        else:
            self._cancel()

    def abort(self, cause: Exception) -> None:
        """Drop TCP now, without a closing handshake, which wakes the reader and all senders.

        Args:
            cause: Why; becomes ``error`` unless the connection had ended before.
        """
        self._decide(1006, "", cause)
        if self._sock is None:
            self._cancel()
        else:
            self._drop()

    def abandon(self) -> None:
        """Close the descriptor alone, in a forked child: the parent's connection stays as it is."""
        self._read_lock = threading.Lock()
        self._ended = threading.Event()
        self._ended.set()
        self._over = True

    def _cancel(self) -> None:
        """End an attempt, whose thread then sees Cancelled, or one that has not begun."""
        with self._state_lock:
            if self._attempt is not None:
                self._attempt.cancel()
            elif self._sock is None:
                self._ended.set()

    def _decide(self, code: int, reason: str, error: Exception | None) -> bool:
        """Set how the connection ended, once: the first cause stands."""
        with self._state_lock:
            if self.close_code is not None:
                return False
            self.error, self.close_reason, self.close_code = error, reason, code
            return True

    def _lose(self, cause: OSError | None) -> None:
        """Note that the stream has ended without a closing handshake."""
        self._over = True
        error = DisconnectedError("the connection was lost" + (f": {cause}" if cause else " without a closing handshake"))
        error.__cause__ = cause
        self._decide(1006, "", error)

    def _loss(self, error: Exception) -> DisconnectedError:
        if isinstance(error, DisconnectedError):
            return error
        loss = DisconnectedError(f"the connection was lost: {error}", self.close_code or 1006, self.close_reason)
        loss.__cause__ = error
        return loss

    def _await_close(self, deadline: Deadline) -> None:
        """Read until the peer's close frame; a thread that iterates gets the messages.

        The read lock comes free when the thread in ``recv`` has got something, perhaps that frame.
        """
        limit = self.bytes_received + self._options.max_message_size
        while self.bytes_received < limit and self._read_lock.acquire(timeout=deadline.remaining() or 0):
            try:
                if self._over or self._sock is None or not wait(self._sock, deadline.remaining(), read=True):
                    return
                self._backlog += self._read() or []
            except OSError:
                return
            finally:
                self._read_lock.release()

    def _finish(self, deadline: Deadline) -> None:
        """Answer how the peer ended, let it close TCP first (7.1.1), then close it."""
        if self._sock is not None and not self._ended.is_set():
            receiver = self._receiver
            if receiver.violation is not None:
                if self._sender.close(build_close(receiver.violation.code, receiver.violation.reason), deadline):
                    shutdown(self._sock, socket.SHUT_WR)
                self._drain(deadline)
            elif receiver.close is not None:
                code, _ = receiver.close
                self._sender.close(build_close(None if code == 1005 else code, ""), deadline)
                self._drain(deadline)
            self._drop()

    def _drain(self, deadline: Deadline) -> None:
        """Read until the peer closes TCP, for a short time: closing over unread bytes would reset the connection."""
        limit = Deadline(min(_LINGER, deadline.remaining() or 0))
        if self._read_lock.acquire(timeout=limit.remaining() or 0):
            try:
                while self._sock and not limit.expired() and wait(self._sock, limit.remaining(), read=True):
                    if not self._sock.recv(RECV_SIZE):
                        break
            except OSError:
                pass
            finally:
                self._read_lock.release()

    def _drop(self) -> None:
        """Shut TCP down, and close it as soon as no thread is busy with it."""
        sock = self._sock
        assert sock is not None
        with self._state_lock:
            if self._tcp_open:
                shutdown(sock, socket.SHUT_RDWR)
        # That wakes a reader in recv and a sender in its wait; both fail and leave, so both locks come free.
        with self._read_lock, self._sender.lock:
            self._over = True
            self._sender.ended = True
            with self._state_lock:
                self._tcp_open = False
            sock.close()
        self._ended.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self.close_code is not None:
            state = f"closed ({self.close_code})"
        else:
            state = "new" if self._sock is None else "open"
        return f"<Connection {self._options.request.target.name} {state}>"
