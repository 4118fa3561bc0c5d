"""An open connection: the ways in which it ends, and TCP closed once and by the right side.

Three words name what has ended, here and in the modules that this one builds on:

* ``recv_closed``: nothing more will be read, after a close frame, a violation or the end of the stream;
* ``send_closed``: nothing more will be sent, after our close frame or a frame that was sent in part;
* ``tcp_closed``: the socket is closed, so that both of the others hold.

Five verbs end a connection:

* ``close`` does the closing handshake (RFC 6455, 7.1.2) and then finishes;
* ``finish`` answers how the peer ended, sends TLS's close_notify, lets the peer end first (7.1.1), and closes TCP;
* ``abort`` shuts TCP down at once, and closes it when no thread uses it any more;
* ``cut`` shuts TCP down alone, which wakes the threads that use it: they see the end of the stream and close it;
* ``after_fork`` closes the descriptor in a forked child and leaves the parent's connection as it is.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from typing import TYPE_CHECKING

from masquerade_ws.connection.sockets import is_failure, shutdown
from masquerade_ws.connection.tcp_info import acknowledged
from masquerade_ws.deadline import Deadline
from masquerade_ws.errors import DisconnectedError, SendError, copy_of
from masquerade_ws.protocol.frames import build_close

if TYPE_CHECKING:
    from collections.abc import Iterator

    from masquerade_ws.connection.closure import Closure
    from masquerade_ws.connection.receiver import Receiver
    from masquerade_ws.connection.sender import Sender

__all__ = ["LINGER", "EstablishedConnection"]

# Seconds that the peer has at the end to take our answer to its close, and to end TLS or close TCP first (RFC 6455,
# 7.1.1).
LINGER = 1.0


class EstablishedConnection:
    """The socket of an open connection, with what sends and receives on it.

    Args:
        sock: The connected socket.
        sender: Its send side.
        receiver: Its receive side.
        closure: Where its end is noted.
        limit: Bytes to read for a close frame of the peer's, at most.
    """

    def __init__(self, sock: socket.socket, sender: Sender, receiver: Receiver, closure: Closure, limit: int) -> None:
        self.sender = sender
        self.receiver = receiver
        self._sock = sock
        self._closure = closure
        self._limit = limit
        # Guards the descriptor from being shut down after it is closed, when its number may be another socket's.
        # Reentrant, since a signal handler may close the connection that its own thread is closing.
        self._lock = threading.RLock()

    def batches(self) -> Iterator[list[str | bytes]]:
        """Yield the messages that arrived together, until the end, which is then to be finished.

        Raises:
            DisconnectedError: If the end was not a closing handshake.
        """
        while (messages := self.receiver.receive()) is not None:
            if messages:
                yield messages
                del messages  # not to be kept until the next come
        self._closure.check()

    def acknowledged(self, within: float) -> bool | None:
        """Return whether the peer's system acknowledges what is sent; ``None`` if our system cannot tell."""
        return acknowledged(self._sock, within)

    def send(
        self, opcode: int, payload: bytes, timeout: float, patience: float | None = None, *, of_user: bool = True
    ) -> None:
        """Send a frame, as the sender does; a failure half-way ends the connection.

        The peer may have closed it before that, with a close frame that waits to be read: then that is how it ended.

        Args:
            opcode: The frame's.
            payload: The frame's.
            timeout: Seconds that it may take.
            patience: Seconds that it may wait for another thread's send; ``None``: ``timeout``.
            of_user: Whether the user sends it; otherwise its failure is a loss of the connection like any other.

        Raises:
            SendError: If it was not sent.
            DisconnectedError: If that ends the connection, and the user did not send it.
        """
        try:
            until = self.sender.send(opcode, payload, timeout, patience)
            if self.sender.held:
                self._await_tls(until)
        except SendError:
            raise
        except BaseException as cause:
            if not (isinstance(cause, OSError) and is_failure(cause)):
                self.abort(SendError("sending was interrupted"))  # with half a frame sent perhaps
                raise
            why = cause.strerror or cause
            failed = SendError(f"sending failed ({why})")
            error = failed if of_user else DisconnectedError(f"a heartbeat could not be sent ({why})")
            error.__cause__ = cause.with_traceback(None)
            patience = 0 if isinstance(cause, TimeoutError) else LINGER
        else:
            return
        self._closure.suppose(error)
        if self._closure.code is None:
            # What has failed can be read to its end at once. What is merely slow is not waited for any longer.
            self.receiver.await_close(Deadline(patience), self._limit)
        self.abort(error)
        raise copy_of(error)

    def _await_tls(self, until: float) -> None:
        """Wait until TLS no longer holds up what was sent, while the peer does a new handshake (TLS 1.2).

        Only what the peer sends next can end that. Whichever thread reads it sends the rest, or else this one does.
        """
        deadline = Deadline(until - time.monotonic())
        while self.sender.held and self.receiver.read_on(deadline):
            if deadline.expired() and self.sender.held:
                raise TimeoutError(errno.ETIMEDOUT, "timed out, as the peer does not go on with its TLS handshake")
        self.sender.settle(until)

    def close(self, payload: bytes, deadline: Deadline) -> None:
        """Do the closing handshake (7.1.2), and finish."""
        if self.sender.close(payload, deadline):
            self.receiver.await_close(deadline, self._limit)
        self.finish(deadline)

    def finish(self, deadline: Deadline) -> None:
        """Answer how the peer ended, let it close TCP first (7.1.1), then close it.

        Args:
            deadline: When to close TCP in any case; after `LINGER` seconds at the latest.
        """
        if self._closure.tcp_closed:
            return
        left = deadline.remaining()
        linger = Deadline(LINGER if left is None else min(LINGER, left))
        answer = self._answer()
        taken = answer is not None and self.sender.close(answer, linger)
        self.sender.end_tls()  # before any shutdown, after which nothing goes out
        if taken and self.receiver.frames.violation is not None and not self.sender.held:
            shutdown(self._sock, socket.SHUT_WR)
        if answer is not None:
            self.receiver.drain(linger)
            self.sender.end_tls()  # unless it was sent before: TLS may have held up the answer
        self.abort()

    def _answer(self) -> bytes | None:
        """Return the payload of the close frame that answers the peer; ``None`` if nothing is to be answered."""
        frames = self.receiver.frames
        if frames.violation is not None:
            return build_close(frames.violation.code, frames.violation.reason)
        if frames.close is not None:
            code, _ = frames.close
            return build_close(None if code == 1005 else code, "")
        return None

    def abort(self, cause: Exception | None = None) -> None:
        """Shut TCP down, and close it once no thread uses it; ``cause`` stands if it is the first."""
        if cause is not None:
            self._closure.decide(1006, "", cause)
        self.cut()  # both sides fail and leave, so both locks come free
        with self.receiver.lock, self.sender.lock, self._lock:
            self.receiver.recv_closed = self.sender.send_closed = True
            self._sock.close()
            self._closure.note_tcp_closed()
        self.receiver.announce_read()  # to threads that wait to read on, which then find that nothing more will come

    def cut(self) -> None:
        """Shut TCP down, which wakes a reader in recv and a sender in its wait."""
        with self._lock:
            if not self._closure.tcp_closed:
                shutdown(self._sock, socket.SHUT_RDWR)

    def after_fork(self) -> None:
        """Close the descriptor alone, in a forked child, where every lock may be held for ever."""
        self.receiver.after_fork()
        self.sender.send_closed = True
        self._sock.close()
