"""A worker's connection to the relay, by way of the engine: the kind of connection that its life cycle asks for.

Its states are those of the whole way: it is open when the engine is reached and a relay leads that is connected to the
gateway, and it is lost when one of the three is.

Who uses it: the supervisor thread connects; the reader thread takes the batches and blocks in ``XREAD`` for two seconds
at most; the heartbeat thread cuts it when an answer of the engine is overdue; any thread may end it. Who ends it shuts
the socket down, which wakes the thread in a call; that thread closes it when it leaves, and if there is none, whoever
ends it does.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from masquerade_ws.connection.closure import Closure
from masquerade_ws.deadline import Deadline
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.errors import ConnectError, DisconnectedError, SendError
from masquerade_ws.relay.chain import Gap
from masquerade_ws.relay.engine import Command, EngineError, EngineLost, EngineRefusal
from masquerade_ws.relay.entries import (
    LOST,
    ZERO,
    Blob,
    Control,
    EntryId,
    Foreign,
    KeyEvent,
    Outgoing,
    decode,
    encode_outgoing,
)
from masquerade_ws.relay.line import Line
from masquerade_ws.relay.place import Place
from masquerade_ws.relay.status import EXPIRY, Expiry
from masquerade_ws.sanitize import excerpt

__all__ = ["Reading", "Taken", "tend"]

OVERDUE = 3.0  # seconds that an answer of the engine may take
LOOK = 1.9  # seconds without news until the next look at the status; two looks may be 2 s apart
CHECK = 10.0  # seconds without news until the next look at the top of the stream
PAUSE = 1.0  # seconds between two looks of an attempt that waits for a relay
OUT_LENGTH = 100_000  # entries of the stream ``out``, about


class Taken(NamedTuple):
    """What was read: an entry, or a gap before it.

    Attributes:
        id: The id of the entry.
        entry: The entry; ``None`` if it says how the relay is, and no more.
        gap: What is missing before it.
        seconds: For how long.
        error: What is to be reported, as what became of an event.
    """

    id: EntryId
    entry: Blob | KeyEvent | Control | Foreign | None
    gap: Gap | None
    seconds: float
    error: Exception | None = None


class Reading:
    """One connection.

    Args:
        place: Where the session has read to.
        send_timeout: Seconds that a send may take.

    Attributes:
        awaits: Whether the attempt failed because no relay leads, or none that is connected to the gateway.
        latency: Seconds that the last look at the status took.
    """

    def __init__(self, place: Place, send_timeout: float) -> None:
        self._place = place
        self._chain = place.chain
        self._engine = place.engine(None)
        self._line = Line(lambda: place.engine(send_timeout), send_timeout)  # for what is sent
        self._send_timeout = send_timeout
        self._closure = Closure()
        self._expiry = Expiry()
        self._pending: list[Any] = []  # entries that the attempt has read and not taken
        self._told = False  # whether a gap before the first of them is told with the connection
        self._gap_seconds: float | None = None
        # Guards whether a thread uses the connection, who then closes it, together with the end. Reentrant, since a
        # signal handler may end it at any line.
        self._lock = threading.RLock()
        self._in_use = False
        self._due = math.inf  # when the answer under way is overdue, by the monotonic clock
        self.awaits = False
        self.latency: float | None = None
        self.messages_sent = 0
        self.bytes_received = 0
        self.bytes_sent = 0

    @property
    def close_code(self) -> int | None:
        """How it ended."""
        return self._closure.code

    @property
    def close_reason(self) -> str:
        """The reason that goes with the code."""
        return self._closure.reason

    @property
    def error(self) -> Exception | None:
        """The first cause of a loss."""
        return self._closure.error

    # Connecting

    def connect(self, timeout: float | None) -> None:
        """Reach the engine, and wait until a relay leads that is connected to the gateway.

        Args:
            timeout: Seconds for all of that.

        Raises:
            ConnectError: If it did not work.
        """
        deadline = Deadline(timeout)
        failure = "closed before"
        if self._enter():
            try:
                self._engine.connect(deadline.remaining())
                failure = self._await_relay(deadline)
                self._engine.set_reply_timeout(None)
            except (EngineError, ValueError) as error:
                failure = str(error)
            finally:
                if failure:
                    self._closure.decide(1006, "")
                self._leave(for_good=bool(failure))
        if failure:
            raise ConnectError(failure)

    def _await_relay(self, deadline: Deadline) -> str:
        """Wait until a relay leads; return what is missing, if none does in time."""
        self._engine.set_reply_timeout(OVERDUE + PAUSE)
        found = self._first_look() if self._chain.last is None else self._look_again()
        while not found:
            left = deadline.remaining()
            if left == 0 or self._closure.code is not None:
                self.awaits = True
                return self._missing()
            found = self._wait(PAUSE if left is None else min(left, PAUSE))
        return ""

    def _first_look(self) -> bool:
        """Read the top id, then the status: what comes after the top is read later, so nothing can slip between."""
        place = self._place
        replies = self._engine.pipeline(
            [
                ("XREVRANGE", place.stream, "+", "-", "COUNT", 1),
                ("GET", place.keys.status),
                ("GET", place.keys.leader),
            ]
        )
        for reply in replies:
            if isinstance(reply, EngineRefusal):
                raise reply
        top, value, leader = replies
        place.look(value)
        self._chain.cursor = EntryId.parse(top[0][0]) if top else ZERO
        if not top or place.status is None:
            return False
        gateway = place.status.gateway
        self._chain.begin(self._chain.cursor, place.last_control(place.status), led=gateway)
        place.read_at = place.checked_at = time.monotonic()
        place.gone = leader is None
        return gateway and not place.gone

    def _look_again(self) -> bool:
        """Go on where the connection before this one ended, or the attempt."""
        self._check_top()
        return self._wait(0.0)

    def _wait(self, seconds: float) -> bool:
        """Read on, waiting for what comes; return whether a relay leads."""
        reply = self._read(seconds)
        if self._chain.last is None:
            return self._first_look()
        for number, (name, fields) in enumerate(reply):
            entry_id, entry = EntryId.parse(name), decode(fields)
            if self._chain.knows(entry_id):
                self._chain.cursor = entry_id
                continue
            if isinstance(entry, Blob | KeyEvent):  # a sign of a leader, and not to be taken before `connected`
                if (gap := self._chain.gap_before(entry_id, entry)) is not None:
                    self._note(gap)
                    self._told = True
                self._begin_with(reply[number:])
                return True
            was_led = self._chain.led
            self._note(self._chain.take(entry_id, entry))
            if self._chain.led and (self._place.gone or not was_led):
                self._begin_with(reply[number + 1 :])
                return True
        return not reply and self._leads()

    def _begin_with(self, reply: list[Any]) -> None:
        self._pending, self._place.gone = reply, False

    def _leads(self) -> bool:
        """Return whether a relay leads that is connected to the gateway, by what it shows of itself now."""
        place = self._place
        moved = place.look(self._call(0.0, "GET", place.keys.status))
        leader = self._call(0.0, "GET", place.keys.leader)
        place.gone = place.gone and not (leader is not None and moved)
        gateway = place.status is not None and place.status.gateway
        return leader is not None and gateway and self._chain.led and not place.gone

    def _note(self, gap: Gap | None) -> None:
        """Note a gap before the connection, which is told with it."""
        if gap is not None:
            self._gap_seconds = max(self._gap_seconds or 0.0, self._seconds_of(gap))

    def _seconds_of(self, gap: Gap) -> float:
        return time.monotonic() - self._place.read_at if gap.seconds is None else gap.seconds

    def _missing(self) -> str:
        namespace, status = self._place.keys.namespace, self._place.status
        if status is None or status.gateway or self._place.gone:
            return f"no relay is running for namespace {namespace!r}; start one with: masquerade-ws relay"
        why = f"code {status.code}" + (f", {excerpt(status.reason)}" if status.reason else "")
        return f"the relay of namespace {namespace!r} has no connection to the gateway ({why})"

    def gap_since(self, lost_at: float) -> float | None:
        """Return for how many seconds events may have been missed, or ``None`` if none was."""
        return self._gap_seconds

    # Reading

    def batches(self) -> Iterator[list[Taken]]:
        """Yield what came together, until the end.

        Raises:
            DisconnectedError: If the relay did not say goodbye.
        """
        if not self._enter():
            raise DisconnectedError("the connection is not open")
        try:
            while self._closure.code is None:
                if batch := self._next_batch():
                    yield batch
        except (EngineError, ValueError) as error:
            self._closure.decide(1006, "", self._loss_by(error))
        finally:
            self._closure.decide(1006, "", DisconnectedError("the reader thread ended before the connection"))
            self._leave(for_good=True)
        self._closure.check()

    def _next_batch(self) -> list[Taken]:
        """Return what comes next; nothing if nothing came in time."""
        reply, self._pending = self._pending or self._read(self._pause()), []
        if reply:
            return self._take(reply)
        self._look()
        return []

    def _loss_by(self, error: Exception) -> DisconnectedError:
        lost = str(error) if isinstance(error, ValueError) else f"the engine was lost: {error}"
        return DisconnectedError(lost)

    def _pause(self) -> float:
        """Return for how long to wait for news: until the next look, or until the relay has been still for too long."""
        return max(0.0, min(LOOK, self._expiry.since + EXPIRY - time.monotonic()))

    def _read(self, seconds: float) -> list[Any]:
        """Return the next entries, waiting for them; none if there are none in time."""
        place = self._place
        block = max(1, int(seconds * 1000))
        reply = self._call(
            block / 1000,
            *("XREAD", "COUNT", place.count, "BLOCK", block, "STREAMS", place.stream, str(self._chain.cursor)),
        )
        return reply[0][1] if reply else []

    def _call(self, blocks: float, *command: str | bytes | int) -> Any:
        """Run a command that blocks for so many seconds; the heartbeat thread cuts it when that takes longer."""
        self._due = time.monotonic() + blocks + OVERDUE
        try:
            return self._engine.call(*command)
        finally:
            self._due = math.inf

    def _take(self, reply: list[Any]) -> list[Taken]:
        """Take entries up to the one that says that the gateway was lost."""
        batch: list[Taken] = []
        chain, place = self._chain, self._place
        for name, fields in reply:
            entry_id = EntryId.parse(name)
            if chain.knows(entry_id):
                chain.cursor = entry_id
                continue
            entry = decode(fields)
            gap = chain.take(entry_id, entry)
            if self._told:
                gap, self._told = None, False
            self.bytes_received += sum(map(len, fields))
            said = None if isinstance(entry, Control) and not place.concerns(entry) else entry
            if said is not None or gap is not None:
                batch.append(Taken(entry_id, said, gap, self._seconds_of(gap) if gap else 0.0))
            if isinstance(entry, Control) and entry.kind == LOST:
                self._lose_gateway()
                break
        place.read_at = place.checked_at = self._expiry.since = time.monotonic()
        return batch

    def _lose_gateway(self) -> None:
        code, reason = self._chain.code, self._chain.reason
        error = None
        if code == 1006:
            error = DisconnectedError("the relay lost the gateway", code, reason)
        self._closure.decide(code, reason, error)

    def _look(self) -> None:
        """Look, without news, whether the relay lives and whether the stream is still the one that was read."""
        begun = time.monotonic()
        value = self._call(0.0, "GET", self._place.keys.status)
        now = time.monotonic()
        self.latency = now - begun
        self._place.look(value)
        if not self._expiry.look(value or b"", now):  # a relay renews a status that was lost
            self._place.gone = True
            gone = DisconnectedError(f"the relay is gone: it has shown no sign of life for {EXPIRY:g} s")
            gone.reason = "the relay is gone"
            self._closure.decide(1006, gone.reason, gone)
        elif now - self._place.checked_at >= CHECK:
            self._check_top()
        self._place.read_at = now

    def _check_top(self) -> None:
        """Read the stream from the beginning, if the engine has lost entries that were taken."""
        self._place.checked_at = time.monotonic()
        top = self._call(0.0, "XREVRANGE", self._place.stream, "+", "-", "COUNT", 1)
        if (EntryId.parse(top[0][0]) if top else ZERO) < self._chain.cursor:
            self._chain.go_back()

    # Sending

    def send(self, data: str | bytes) -> None:
        """Give a message to the relay; return when the engine has it.

        Raises:
            SendError: If the engine does not take it in time; unless the time went by in waiting for another thread's
                send, or the engine refused it, that ends the connection.
        """
        text = data.encode() if isinstance(data, str) else data
        message = Outgoing(text, self._place.name, int(self._send_timeout * 1000))
        command: Command = ("XADD", self._place.keys.out, "MAXLEN", "~", OUT_LENGTH, "*", *encode_outgoing(message))
        try:
            self._line.call(*command)
        except EngineError as error:
            failure = SendError(f"the message was not given to the relay: {error}")
            failure.__cause__ = error.with_traceback(None)
            if isinstance(error, EngineLost):
                self.abort(failure)
            raise failure from error
        self.messages_sent += 1
        self.bytes_sent += len(text)

    # Ending

    def _enter(self) -> bool:
        """Begin to use the connection; return whether it has not ended."""
        with self._lock:
            self._in_use = self._closure.code is None
            return self._in_use

    def _leave(self, *, for_good: bool) -> None:
        """Use the connection no more; close it, if it has ended or is to."""
        with self._lock:
            self._in_use = False
            ended = for_good or self._closure.code is not None
        if ended:
            self._close()

    def _close(self) -> None:
        self._line.end()
        self._engine.close()
        self._closure.note_tcp_closed()

    def _end(self) -> None:
        """Wake the thread that uses it, which closes it, or close it."""
        self._engine.shutdown()
        self._line.end()
        with self._lock:
            in_use = self._in_use
        if not in_use:
            self._close()

    def finish(self) -> None:
        """Do nothing: the reader has closed it."""

    def close(self, code: int = 1000, reason: str = "", timeout: float = 2.0) -> None:
        """End it; there is nobody to say goodbye to."""
        self._closure.decide(code, reason)
        self._end()

    def abort(self, cause: Exception) -> None:
        """End it at once, for this cause unless it has ended before, and wake all threads that use it."""
        self._closure.decide(1006, "", cause)
        self._end()

    def cut(self, cause: Exception) -> None:
        """Wake all threads that use it; they close it."""
        self._closure.decide(1006, "", cause)
        self._engine.shutdown()

    def wait_tcp_closed(self, timeout: float | None) -> bool:
        """Wait until nothing is open any more; return whether that is so."""
        return self._closure.wait_tcp_closed(timeout)

    def after_fork(self) -> None:
        """Close what is open, in a forked child."""
        self._lock = threading.RLock()
        self._engine.after_fork()
        self._line.after_fork()
        self._closure.after_fork()

    # The heartbeat thread

    def tend(self) -> float:
        """Cut what is overdue; return the seconds until the next look."""
        now = time.monotonic()
        if now >= self._due:
            self.abort(DisconnectedError(f"the engine was lost: it has not answered for {OVERDUE:g} s"))
        return min(self._due - now, OVERDUE) if self._due > now else OVERDUE


def tend(connection: Reading, _queue: EventQueue) -> None:
    """Run the heartbeat thread of a connection, which ends with it."""
    seconds = OVERDUE
    while not connection.wait_tcp_closed(seconds):
        seconds = connection.tend()
