"""What workers send: out of the stream ``out``, to the gateway, in that order and at most once.

The thread ``masquerade-ws-outbox`` runs while this relay leads. It takes one entry at a time, so that nothing else is
half-done when it ends, and acknowledges it once it is sent. What is not sent becomes a note for the sender, and is
acknowledged with that, in one transaction, by the relay's thread.

It waits in the engine's ``XREADGROUP``, which `Outbox.stop` ends by shutting the connection down; for a connection to
the gateway, which `Gateway.release` ends; in a send, which ends with the gateway's connection; and in `Event.wait`
before it connects to the engine anew. It ends when it next looks at whether it is stopped, after each of these.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import cast

from masquerade_ws.deadline import Deadline
from masquerade_ws.errors import SendError
from masquerade_ws.lifecycle.threads import Thread, start
from masquerade_ws.log import logger
from masquerade_ws.relay.buffer import Buffer, Note
from masquerade_ws.relay.engine import Command, Engine, EngineError, EngineRefusal
from masquerade_ws.relay.entries import UNSENT, ZERO, EntryId, Foreign, Outgoing, decode_outgoing
from masquerade_ws.relay.gateway import Gateway
from masquerade_ws.relay.keys import Keys
from masquerade_ws.relay.streams import CONSUMER

__all__ = ["Outbox"]

_BLOCK_MS = 2000
_CONNECT = 5.0  # seconds
_AGAIN = 0.5  # seconds before the next try at an engine that is away
_HALF_DONE = "may have been sent: the relay that had it went away"


class Outbox:
    """Sends what workers give to the relay.

    Args:
        make_engine: Makes a connection to the engine, not yet connected.
        keys: Those of the namespace.
        gateway: Where to send.
        buffer: Takes the notes for the senders.
        engine_ms: Returns the engine's time, in milliseconds since 1970, by which the entries' ids are made.

    Attributes:
        sent: How many messages were sent.
        unsent: How many were not, or may not have been.
    """

    def __init__(
        self,
        make_engine: Callable[[], Engine],
        keys: Keys,
        gateway: Gateway,
        buffer: Buffer,
        engine_ms: Callable[[], float],
    ) -> None:
        self._make_engine = make_engine
        self._key = keys.out
        self._gateway = gateway
        self._buffer = buffer
        self._engine_ms = engine_ms
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # guards the connection, as `stop` finds it
        self._engine: Engine | None = None
        self._thread: Thread | None = None
        self._taken = ZERO  # the newest entry that this thread has had
        self._resumed = False  # whether it has seen all that another relay had left half-done
        self._done: list[Command] = []
        self.sent = 0
        self.unsent = 0

    def start(self) -> None:
        """Start the thread; what another relay has left half-done is reported first."""
        self._stopping.clear()
        self._taken, self._resumed = ZERO, False
        self._gateway.release(released=False)
        self._thread = start("outbox", self._run)

    def stop(self) -> list[Command]:
        """End the thread, which does not begin another send; return the commands that acknowledge what it has sent."""
        self._stopping.set()
        self._gateway.release(released=True)
        with self._lock:
            if self._engine is not None:
                self._engine.shutdown()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        done, self._done = self._done, []
        return done

    def _run(self) -> None:
        while not self._stopping.is_set():
            engine = self._make_engine()
            with self._lock:
                self._engine = engine
            try:
                engine.connect(_CONNECT)
                self._serve(engine)
            except EngineError as error:
                if not self._stopping.is_set():
                    logger.debug("the out stream: %s", error)
                    self._stopping.wait(_AGAIN)
            finally:
                with self._lock:
                    self._engine = None
                engine.close()

    def _serve(self, engine: Engine) -> None:
        self._make_group(engine)
        self._resume(engine)
        wait = ("XREADGROUP", "GROUP", CONSUMER, CONSUMER, "COUNT", 1, "BLOCK", _BLOCK_MS, "STREAMS", self._key, ">")
        while not self._stopping.is_set():
            *_, reply = engine.pipeline([*self._done, wait])
            self._done = []
            if isinstance(reply, EngineRefusal):
                if reply.code not in ("NOGROUP", "UNBLOCKED"):
                    raise reply
                self._make_group(engine)  # somebody deleted the stream
            elif reply:
                [[_, [[entry, fields]]]] = reply
                self._handle(entry, fields)

    def _make_group(self, engine: Engine) -> None:
        try:
            engine.call("XGROUP", "CREATE", self._key, CONSUMER, "0", "MKSTREAM")
        except EngineRefusal as refusal:
            if refusal.code != "BUSYGROUP":  # it is there
                raise

    def _resume(self, engine: Engine) -> None:
        """Handle what was read and not acknowledged: by another relay, or by this one if an answer did not arrive."""
        ask = ("XREADGROUP", "GROUP", CONSUMER, CONSUMER, "COUNT", 100, "STREAMS", self._key)
        while True:
            [[_, entries]] = engine.call(*ask, str(self._taken))
            for entry, fields in entries:
                if self._resumed:
                    self._handle(entry, fields)
                else:
                    self._taken = EntryId.parse(entry)
                    self._refuse(entry, fields, _HALF_DONE)
            if not entries:
                self._resumed = True
                return

    def _handle(self, entry: bytes, fields: list[bytes] | None) -> None:
        """Send an entry, and have it acknowledged, or note that it is not sent."""
        self._taken = EntryId.parse(entry)
        reason = self._send(entry, fields)
        if reason is None:
            self._done += [("XACK", self._key, CONSUMER, entry), ("XTRIM", self._key, "MINID", "~", entry)]
        else:
            self._refuse(entry, fields, reason)

    def _send(self, entry: bytes, fields: list[bytes] | None) -> str | None:
        """Send an entry; return what the sender is told if that did not work."""
        message = decode_outgoing(fields or [])
        if isinstance(message, Foreign):
            logger.warning("the out stream has an entry %s that no client wrote: %s", entry.decode(), message.problem)
            return None
        if not _is_event(message.text):
            return "not sent: it is not an event"
        left = (EntryId.parse(entry).epoch + message.timeout_ms - self._engine_ms()) / 1000
        connection = self._gateway.await_connection(Deadline(left)) if left > 0 else None
        if self._stopping.is_set():
            return "not sent: the relay was stopped, or does not lead any more"
        if connection is None:
            return f"not sent within {message.timeout_ms / 1000:g} s"
        try:
            connection.send(message.text.decode())
        except SendError as error:
            return f"may have been sent: {error}"
        self.sent += 1
        return None

    def _refuse(self, entry: bytes, fields: list[bytes] | None, reason: str) -> None:
        self.unsent += 1
        message = decode_outgoing(fields or [])
        sender = message.sender if isinstance(message, Outgoing) else ""
        said = {"sender": sender, "id": entry.decode(), "reason": reason}
        self._buffer.put_note(Note(UNSENT, said, time.monotonic(), outgoing=entry))


def _is_event(text: bytes) -> bool:
    try:
        value: object = json.loads(str(text, "utf-8"))
    except (ValueError, RecursionError):
        return False
    kind = cast("dict[str, object]", value).get("type") if isinstance(value, dict) else None
    return isinstance(kind, str) and kind != ""
