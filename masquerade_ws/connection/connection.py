"""One WebSocket connection: open it, read it in bulk, send on it from any thread, close it."""

from __future__ import annotations

import threading
import time
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from masquerade_ws.checks import check_duration
from masquerade_ws.connection.attempt import Attempt, Cancelled
from masquerade_ws.connection.closure import Closure
from masquerade_ws.connection.established import LINGER, EstablishedConnection
from masquerade_ws.connection.opening import open_channel
from masquerade_ws.connection.options import ConnectionOptions
from masquerade_ws.connection.receiver import Receiver
from masquerade_ws.connection.sender import Sender
from masquerade_ws.deadline import Deadline
from masquerade_ws.errors import ConnectError, DisconnectedError, SendError, copy_of
from masquerade_ws.protocol.frames import BINARY, PING, TEXT, FrameReceiver, build_close
from masquerade_ws.protocol.uri import parse_uri

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Literal

    from typing_extensions import Self

    from masquerade_ws.connection.channel import Channel
    from masquerade_ws.connection.handshake import Upgrade

__all__ = ["Connection"]


class Connection:
    """A WebSocket connection (RFC 6455). One thread iterates over it; any thread sends and closes.

    `open` makes one and connects it. The words for its ends, and the verbs that end it, are explained in
    `masquerade_ws.connection.established`.

    Args:
        url: ``ws://`` or ``wss://``, without user name and fragment.
        options: The other arguments of `open`; ``None`` takes the defaults.

    Attributes:
        subprotocol: What the server chose.

    Raises:
        TypeError: If ``url`` is of the wrong type.
        ValueError: If ``url`` has a value that is not allowed.
    """

    def __init__(self, url: str, options: ConnectionOptions | None = None) -> None:
        self._name = "(refused)"  # what `repr` shows of a connection whose URL is
        self._closure = Closure()
        # Guards the phase of life, which is _attempt, _established and, before there was either, the end. Reentrant,
        # since a finalizer that disconnects may run at any line.
        self._lock = threading.RLock()
        self._attempt: Attempt | None = None
        self._established: EstablishedConnection | None = None
        self.subprotocol: str | None = None
        self._uri = parse_uri(url)
        self._name = self._uri.name
        self._options = options or ConnectionOptions()

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
        """Make a connection and connect it.

        Args:
            url: ``ws://`` or ``wss://``, without user name and fragment.
            headers: Further request headers.
            subprotocols: Names to offer, the preferred one first.
            ssl_context: Replaces the default, which verifies with the system's roots and wants TLS 1.2 or newer.
            proxy: URL of an HTTP, HTTPS or SOCKS proxy; ``None`` takes the environment's, ``False`` none.
            timeout: Seconds for look-up, TCP, proxy, TLS and opening handshake together; ``None``: no limit.
            max_message_size: Bytes that a received message may have, after decompression.
            send_timeout: Seconds that a send may take.
            compression: ``"deflate"`` offers permessage-deflate (RFC 7692).

        Raises:
            ConnectError: If it did not work.
            TypeError: If an argument is of the wrong type.
            ValueError: If an argument has a value that is not allowed.
        """
        options = ConnectionOptions(
            headers=headers,
            subprotocols=subprotocols,
            ssl_context=ssl_context,
            proxy=proxy,
            max_message_size=max_message_size,
            send_timeout=send_timeout,
            compression=compression,
        )
        connection = cls(url, options)
        connection.connect(timeout)
        return connection

    def connect(self, timeout: float | None) -> None:
        """Open the connection, once.

        Args:
            timeout: Seconds for look-up, TCP, proxy, TLS and opening handshake together; ``None``: no limit.

        Raises:
            ConnectError: If it did not work, or another thread closed the connection meanwhile.
            RuntimeError: If it was called before.
        """
        if timeout is not None:
            check_duration("timeout", timeout)
        attempt = self._begin(timeout)
        try:
            if self._closure.tcp_closed:
                raise ConnectError(f"cannot connect to {self._name}: closed before")
            open_channel(self._uri, self._options, attempt, partial(self._publish, attempt))
        except BaseException as error:
            with self._lock:
                attempt.close()
            self._closure.decide(1006, "", copy_of(error) if isinstance(error, ConnectError) else None)
            self._closure.note_tcp_closed()
            raise
        finally:
            with self._lock:
                self._attempt = None
                attempt.close()

    def _begin(self, timeout: float | None) -> Attempt:
        with self._lock:
            if self._attempt is not None or self._established is not None:
                raise RuntimeError("connect() was called before")
            self._attempt = Attempt(timeout)
            return self._attempt

    def _publish(self, attempt: Attempt, channel: Channel, agreed: Upgrade) -> None:
        """Let all threads use the channel, unless the attempt was cancelled at the last moment."""
        inflater, deflater = agreed.compression or (None, None)
        sender = Sender(channel.sock, channel.tls, deflater)
        frames = FrameReceiver(max_message_size=self._options.max_message_size, inflater=inflater)
        receiver = Receiver(channel.sock, channel.tls, frames, sender, self._closure)
        receiver.preload(agreed.glued)
        self.subprotocol = agreed.subprotocol
        limit = self._options.max_message_size
        established = EstablishedConnection(channel.sock, sender, receiver, self._closure, limit)
        with self._lock:
            self._established = established  # set before the look: a signal handler may close it in between
            if not attempt.cancelled:
                attempt.sock = None
                return
            self._established = None
        raise Cancelled

    @property
    def awaits(self) -> bool:
        """Whether the attempt waited for somebody; a gateway answers, or it does not."""
        return False

    def gap_since(self, lost_at: float) -> float:
        """Return the seconds since ``lost_at``, by the monotonic clock: a gateway sends nothing again.

        Args:
            lost_at: When the connection before this one was lost.
        """
        return time.monotonic() - lost_at

    # Receiving

    def __iter__(self) -> Iterator[str | bytes]:
        """Yield each message, ``str`` for text and ``bytes`` for binary; at the end answer the peer and close.

        Raises:
            DisconnectedError: If the end was not a closing handshake; what came before it has been yielded.
        """
        return chain.from_iterable(self._finishing(self.batches()))

    def _finishing(self, batches: Iterator[list[str | bytes]]) -> Iterator[list[str | bytes]]:
        try:
            yield from batches
        except DisconnectedError:
            self.finish()
            raise
        self.finish()

    def batches(self) -> Iterator[list[str | bytes]]:
        """Yield the messages that arrived together, until the closing handshake; `finish` is to be called after it.

        Raises:
            DisconnectedError: If it ended otherwise; what came before that has been yielded.
        """
        if self._established is None:
            raise DisconnectedError("the connection is not open")
        return self._established.batches()

    def readable(self) -> bool:
        """Return whether something received waits to be read, be it the stream's end."""
        return self._established is not None and self._established.receiver.readable()

    def acknowledged(self, within: float) -> bool | None:
        """Return whether the peer's system acknowledges what is sent; ``None`` if our system cannot tell.

        While something is on its way, an acknowledgement in the last ``within`` seconds counts.
        """
        return None if self._established is None else self._established.acknowledged(within)

    # Sending

    def send(self, data: str | bytes) -> None:
        """Send a message: text for ``str``, binary for ``bytes``.

        Raises:
            SendError: If it was not sent within ``send_timeout``. A send that fails half-way ends the connection; one
                that only waited for another thread's send does not.
            TypeError: If ``data`` is neither.
        """
        if isinstance(data, str):
            self._send(TEXT, data.encode())
        elif isinstance(data, (bytes, bytearray, memoryview)):
            self._send(BINARY, bytes(data))
        else:
            raise TypeError(f"data must be str or bytes, not {type(data).__name__}")

    def ping(self, data: bytes = b"") -> None:
        """Send a ping (5.5.2); its answer sets ``latency``.

        Raises:
            TypeError: If ``data`` is not ``bytes``.
            ValueError: If it is longer than 125 bytes.
            SendError: As for `send`.
        """
        if not isinstance(data, bytes):
            raise TypeError(f"data must be bytes, not {type(data).__name__}")
        if len(data) > 125:
            raise ValueError("data must not be longer than 125 bytes")
        self._send(PING, data)

    def beat(self, text: str | None, patience: float) -> None:
        """Send a message and a ping, but let other threads' sends go first for at most ``patience`` seconds.

        Args:
            text: The message; ``None`` leaves it at the ping.
            patience: As said.

        Raises:
            SendError: If it was not sent, and that is not why the connection ends.
            DisconnectedError: If that is why the connection ends: nobody asked for this send.
        """
        deadline = Deadline(patience)
        if text is not None:
            self._send(TEXT, text.encode(), deadline.remaining(), of_user=False)
        self._send(PING, b"", deadline.remaining(), of_user=False)

    def _send(self, opcode: int, payload: bytes, patience: float | None = None, *, of_user: bool = True) -> None:
        if self._established is None:
            raise SendError("the connection is not open")
        self._established.send(opcode, payload, self._options.send_timeout, patience, of_user=of_user)

    # Ending

    def close(self, code: int = 1000, reason: str = "", timeout: float = 2.0) -> None:
        """Close the connection (7.1.2); what arrives until the peer answers can still be iterated over.

        Safe from any thread at any time; ends a `connect` that is under way.

        Args:
            code: 1000 to 1003, 1007 to 1014 or 3000 to 4999.
            reason: At most 123 bytes of UTF-8.
            timeout: Seconds for the peer's answer; after that TCP is closed without it.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If an argument has a value that is not allowed.
        """
        if not isinstance(code, int) or not isinstance(reason, str):
            raise TypeError("code must be an int and reason a str")
        payload = build_close(code, reason)
        check_duration("timeout", timeout)
        if self.tcp_closed:
            return
        deadline = Deadline(timeout)
        first = self._closure.decide(code, reason)
        established = self._cancel()
        if established is None:
            return
        if first:
            established.close(payload, deadline)
        else:
            established.finish(deadline)

    def finish(self) -> None:
        """Answer how the peer ended the connection, let it end TLS or close TCP first, and close TCP.

        That takes at most a second.
        """
        if self._established is not None:
            self._established.finish(Deadline(LINGER))

    def abort(self, cause: Exception) -> None:
        """Shut TCP down now, without a closing handshake, which wakes the reader and all senders, and close it.

        Args:
            cause: Why; becomes ``error`` unless the connection had ended before.
        """
        if self.tcp_closed:
            return
        self.cut(cause)
        if self._established is not None:
            self._established.abort()

    def cut(self, cause: Exception) -> None:
        """Do as `abort`, but leave it to the threads that use TCP, and so wake, to close it."""
        self._closure.decide(1006, "", cause)
        established = self._cancel()
        if established is not None:
            established.cut()

    def after_fork(self) -> None:
        """Close the descriptor alone, in a forked child: the parent's connection stays as it is.

        Takes no lock, since a thread that is not here any more may hold it.
        """
        self._closure.after_fork()
        if self._established is not None:
            self._established.after_fork()
        elif self._attempt is not None:
            self._attempt.close()

    def _cancel(self) -> EstablishedConnection | None:
        """Return what is established, or else end the attempt, whose thread then sees Cancelled, or the one to come."""
        with self._lock:
            if self._attempt is not None:
                self._attempt.cancel()
            elif self._established is None:
                self._closure.note_tcp_closed()
            return self._established

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # What it is like

    @property
    def tcp_closed(self) -> bool:
        """Whether the connection has ended and TCP is closed."""
        return self._closure.tcp_closed

    def wait_tcp_closed(self, timeout: float | None) -> bool:
        """Wait until TCP is closed, at most ``timeout`` seconds; return whether it is."""
        return self._closure.wait_tcp_closed(timeout)

    @property
    def close_code(self) -> int | None:
        """The close code (7.1.5), ``None`` while the connection is open.

        It is the peer's; 1005 for a close frame without one; 1006 for a loss without a closing handshake; our own
        once we failed or closed the connection.
        """
        return self._closure.code

    @property
    def close_reason(self) -> str:
        """The close reason (7.1.6)."""
        return self._closure.reason

    @property
    def error(self) -> Exception | None:
        """First cause of a loss; ``None`` while the connection is open, and after a closing handshake."""
        return self._closure.error

    @property
    def latency(self) -> float | None:
        """Round trip of the last answered ping, in seconds."""
        return None if self._established is None else self._established.receiver.latency

    @property
    def last_received(self) -> float:
        """``time.monotonic()`` of the last byte received."""
        return 0.0 if self._established is None else self._established.receiver.last_received

    @property
    def messages_sent(self) -> int:
        """Messages sent."""
        return 0 if self._established is None else self._established.sender.messages_sent

    @property
    def bytes_received(self) -> int:
        """Bytes received since the opening handshake, as they came."""
        return 0 if self._established is None else self._established.receiver.bytes_received

    @property
    def bytes_sent(self) -> int:
        """Bytes sent since the opening handshake, as they went."""
        return 0 if self._established is None else self._established.sender.bytes_sent

    def __repr__(self) -> str:
        if "_closure" not in vars(self):
            return "<Connection that was not made>"
        if self.close_code is not None:
            state = f"closed with {self.close_code}"
        else:
            state = "not open" if self._established is None else "open"
        return f"<Connection {self._name} {state}>"
