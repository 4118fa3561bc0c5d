"""A relay: one connection to the gateway, whose events it appends to streams for any number of workers.

========================  ==========================  ================================================================
thread                    waits in                    what wakes it, and why it then ends
========================  ==========================  ================================================================
``masquerade-ws-relay``   the buffer, the engine      messages, `Relay.stop`; it ends once it has handed over or
                                                      appended what there is, for which it has `_LAST` seconds: after
                                                      that `Relay.stop` shuts its connection down
``masquerade-ws-outbox``  the engine, the gateway     `Outbox.stop`, called by the relay's thread
those of the client       as ever                     ``disconnect()``, called by the relay's thread
========================  ==========================  ================================================================

The relay's thread owns all that is said in the streams. The gateway's reader thread fills the buffer and the outbox's
thread takes what workers send; both leave what is to be appended in the buffer.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from masquerade_ws.client import Client
from masquerade_ws.lifecycle.threads import Thread, start
from masquerade_ws.log import logger
from masquerade_ws.relay.buffer import Buffer
from masquerade_ws.relay.engine import Engine, EngineError, EngineRefusal, EngineUrl
from masquerade_ws.relay.gateway import Gateway, View
from masquerade_ws.relay.key_events import KeyEvents
from masquerade_ws.relay.keys import Keys
from masquerade_ws.relay.leader import Leader
from masquerade_ws.relay.lock import Lock
from masquerade_ws.relay.outbox import Outbox
from masquerade_ws.relay.parts import Clock, Parts
from masquerade_ws.relay.standby import Standby, WrongGateway
from masquerade_ws.relay.streams import Streams
from masquerade_ws.relay.survey import Survey, survey
from masquerade_ws.relay.tail import Tail
from masquerade_ws.relay.trimming import Trim

__all__ = ["KEY_EVENTS", "Relay", "RelayError", "Report", "Settings"]

KEY_EVENTS = ("image.generation.completed", "image.generation.failed")
_REPLY = 5.0  # seconds for an answer of the engine, after which the connection counts as lost
_CONNECT = 5.0
_AGAIN = 0.5  # seconds before the next try at an engine that is away
_LAST = 5.0  # seconds for the end
_NOT_LET_IN = {"NOAUTH", "NOPERM", "WRONGPASS"}
_LARGEST_ENTRY = 256  # bytes of a key event, by which the number of entries is bounded before their list is filled


class RelayError(Exception):
    """The relay cannot work; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a relay is to do.

    Attributes:
        namespace: The namespace of its keys.
        key_events: The types that go into the stream of key events.
        standby: Whether it keeps its own connection to the gateway while it stands by.
        linger: Seconds between two flushes, at least, unless there is much.
        keep_seconds: How long events stay in the stream.
        keep_bytes: How much of them.
        keep_key_seconds: How long key events stay in theirs.
        keep_key_bytes: How much of them.
        buffer_bytes: How much is kept while the engine is away.
    """

    namespace: str = "default"
    key_events: tuple[str, ...] = KEY_EVENTS
    standby: Literal["hot", "cold"] = "hot"
    linger: float = 0.01
    keep_seconds: float = 300.0
    keep_bytes: int = 64 * 2**20
    keep_key_seconds: float = 3600.0
    keep_key_bytes: int = 256 * 2**20
    buffer_bytes: int = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Report:
    """Where a relay stands.

    Attributes:
        role: ``"leader"``, ``"standby"`` or ``"stopped"``.
        gateway: The state of the client.
        engine: Why the engine is away; empty while it is not.
        events: Messages received.
        bytes: Their bytes.
        flushes: Entries with messages that were appended.
        buffered: Bytes received and not appended.
        dropped: Messages that found the buffer full.
        sent: Messages of workers that were sent.
        unsent: Messages of workers that were not, or may not have been.
        last_event_at: When the last message came, in seconds since 1970; ``None`` before the first.
    """

    role: Literal["leader", "standby", "stopped"]
    gateway: str
    engine: str
    events: int
    bytes: int
    flushes: int
    buffered: int
    dropped: int
    sent: int
    unsent: int
    last_event_at: float | None

    @property
    def healthy(self) -> bool:
        """Whether it does what it is there for: a leader with a gateway, or one that stands by."""
        return not self.engine and (self.role == "standby" or (self.role == "leader" and self.gateway == "connected"))


class Relay:
    """A relay.

    Args:
        url: The engine.
        settings: What it is to do.
        make_client: Makes the client of the gateway.
        gateway_name: The gateway's URL without query. Two relays of one namespace must have the same.

    Raises:
        ValueError: If the namespace is not allowed.
    """

    def __init__(
        self, url: EngineUrl, settings: Settings, make_client: Callable[[Gateway], Client], gateway_name: str
    ) -> None:
        self._url = url
        keys = Keys(settings.namespace)
        digest = sha256(gateway_name.encode()).hexdigest()[:8]
        relay = f"{digest}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        buffer, clock = Buffer(settings.buffer_bytes), Clock()
        gateway = Gateway(buffer)
        most = max(1000, int(settings.keep_seconds / max(settings.linger, 0.001)))
        self._parts = parts = Parts(
            relay=relay,
            keys=keys,
            linger=settings.linger,
            cold=settings.standby == "cold",
            buffer=buffer,
            view=View(),
            tail=Tail(settings.buffer_bytes // 2),  # the other half is for what comes before the next look
            streams=Streams(
                keys,
                KeyEvents(settings.key_events),
                relay,
                Trim(settings.keep_seconds, settings.keep_bytes, most),
                Trim(
                    settings.keep_key_seconds,
                    settings.keep_key_bytes,
                    max(1000, settings.keep_key_bytes // _LARGEST_ENTRY),
                ),
            ),
            lock=Lock(keys, relay),
            outbox=Outbox(self._make_engine, keys, gateway, buffer, clock.engine_ms),
            client=make_client(gateway),
            clock=clock,
        )
        self._keys = keys
        self._standby = Standby(parts)
        self._leader = Leader(parts, self._standby.complete)
        self._engine = self._make_engine()  # that of the moment, or one that is closed
        self._away = "not connected yet"
        self._thread: Thread | None = None
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self.survey: Survey | None = None
        self.survey_to_tell: Survey | None = None

    @property
    def client(self) -> Client:
        """The client of the gateway."""
        return self._parts.client

    def start(self) -> None:
        """Start the relay's thread."""
        self._thread = start("relay", self._run)

    def stop(self) -> None:
        """End the relay: it hands over, or appends what it has and says that it goes.

        Raises:
            RelayError: If it ended because it cannot work.
        """
        self._parts.stopping.set()
        self._parts.buffer.wake()
        if not self._ended.wait(_LAST):
            self._engine.shutdown()
        self.wait(None)

    def wait(self, timeout: float | None) -> bool:
        """Wait for the end; return whether it has come.

        Raises:
            RelayError: If it ended because it cannot work.
        """
        if not self._ended.wait(timeout):
            return False
        if self._failure is not None:
            raise self._failure
        return True

    def report(self) -> Report:
        """Return where the relay stands."""
        parts = self._parts
        stats = parts.client.stats
        return Report(
            role="stopped" if self._ended.is_set() else "leader" if parts.streams.leads else "standby",
            gateway=parts.client.state,
            engine=self._away,
            events=parts.buffer.messages,
            bytes=parts.buffer.bytes,
            flushes=parts.streams.flushes,
            buffered=parts.buffer.size,
            dropped=parts.buffer.dropped_total,
            sent=parts.outbox.sent,
            unsent=parts.outbox.unsent,
            last_event_at=None if stats.last_event_at is None else stats.last_event_at.timestamp(),
        )

    # The relay's thread

    def _make_engine(self) -> Engine:
        return Engine(self._url, self._keys, reply_timeout=_REPLY)

    def _run(self) -> None:
        try:
            while not self._parts.stopping.is_set():
                self._work()
        except WrongGateway as error:
            self._failure = RelayError(str(error))
        except BaseException as error:
            self._failure = error
        finally:
            try:
                self._parts.outbox.stop()
                self._parts.client.disconnect(timeout=_LAST / 2)
            finally:
                self._ended.set()

    def _work(self) -> None:
        """Work with one connection to the engine, until it ends or the relay does."""
        self._engine = engine = self._make_engine()
        try:
            engine.connect(_CONNECT)
            self._look_around(engine)
            self._away = ""
            while not self._parts.stopping.is_set():
                if self._parts.streams.leads:
                    self._leader.lead(engine)
                else:
                    self._standby.stand_by(engine)
            self._standby.leave(engine)
        except EngineError as error:
            self._note_away(error)
        finally:
            engine.close()
        self._parts.stopping.wait(_AGAIN)

    def _look_around(self, engine: Engine) -> None:
        if self.survey is None:
            found = survey(engine)
            if found.problem is not None:
                raise RelayError(f"the engine {self._url.name}: {found.problem}")
            self.survey = self.survey_to_tell = found

    def _note_away(self, error: EngineError) -> None:
        if self.survey is None and isinstance(error, EngineRefusal) and error.code in _NOT_LET_IN:
            raise RelayError(str(error)) from None
        if str(error) != self._away:
            logger.info("%s; trying again", error)
        self._away = str(error)
