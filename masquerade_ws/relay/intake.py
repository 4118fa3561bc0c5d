"""Where entries become events, and gaps become events of the client."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import AnyEvent
from masquerade_ws.delivery.reader import Intake
from masquerade_ws.delivery.stream_index import Reconnection
from masquerade_ws.delivery.takers import Takers
from masquerade_ws.errors import ParseError, SendError
from masquerade_ws.events import ConnectedEvent, DisconnectedEvent, ErrorEvent, timestamp_now
from masquerade_ws.lifecycle.state import ClientState
from masquerade_ws.log import logger
from masquerade_ws.relay.bundle import Bundle
from masquerade_ws.relay.entries import BAD, Blob, Control, Foreign, KeyEvent
from masquerade_ws.relay.reading import Taken
from masquerade_ws.sanitize import excerpt

__all__ = ["RelayIntake"]


class RelayIntake(Intake):
    """Where what was read from the stream goes.

    Args:
        takers: Who listens and waits.
        state: The client's, under whose lock connections are counted.
    """

    def __init__(self, takers: Takers, state: ClientState) -> None:
        super().__init__(takers, state.counters)
        self._state = state
        self._strange = False  # whether an entry that no relay wrote was reported

    def take(self, batch: list[Any], queue: EventQueue) -> Iterator[Sequence[Any]]:
        """Feed the streams; yield what goes to the listeners, a part at a time.

        Texts that only listeners may want go to the dispatcher thread undecoded: decoding them there, each immediately
        before its listeners run, costs the processor's caches least.

        Args:
            batch: What was read together, each a `Taken`.
            queue: Where the parts go next.
        """
        for taken in batch:
            if taken.gap is not None:
                yield self._tell_gap(taken)
            if taken.error is not None:
                yield (ErrorEvent(taken.error, "handler", timestamp_now()),)
            if isinstance(taken.entry, Blob):
                yield from self._take_bundle(Bundle(taken.entry.texts, taken.entry.received_ms, str(taken.id)), queue)
            elif isinstance(taken.entry, KeyEvent):
                event = taken.entry
                yield from self._take_bundle(Bundle(event.text, event.received_ms, event.place, whole=True), queue)
            elif isinstance(taken.entry, Control):
                yield from self._take_note(taken.entry)
            elif isinstance(taken.entry, Foreign) and not self._strange:
                self._strange = True
                problem = f"entry {taken.id} of the stream was written by no relay: {taken.entry.problem}"
                yield (ErrorEvent(ParseError(problem), "parse", timestamp_now()),)

    def _take_bundle(self, bundle: Bundle, queue: EventQueue) -> Iterable[Sequence[Any]]:
        self._counters.count_messages(bundle.count)
        if logger.isEnabledFor(logging.DEBUG):
            for text in bundle.texts():
                logger.debug("received %s", excerpt(text))
        if self._streams:
            takers = None if self._takers.takes_all() else self._takers
            yield self._feed(bundle.events(takers), queue, bundle.last())
        elif self._listeners.serve:
            yield (bundle,)
            queue.more_in += bundle.count - 1

    def _take_note(self, entry: Control) -> Iterator[Sequence[AnyEvent]]:
        if entry.kind == BAD:
            data = str(entry.fields.get("data"))
            error: Exception = ParseError(f"a message is not JSON: {excerpt(data, 120)}", data)
            yield (ErrorEvent(error, "parse", timestamp_now()),)
        else:
            error = SendError(f"a message that was given to the relay: {excerpt(str(entry.fields.get('reason')))}")
            yield (ErrorEvent(error, "send", timestamp_now()),)

    def _tell_gap(self, taken: Taken) -> Sequence[AnyEvent]:
        """Tell of a gap: as a loss and a connection in one, between which nothing can be done."""
        assert taken.gap is not None
        reason, seconds = taken.gap.reason, taken.seconds
        with self._state.changed:
            self._counters.count_connection(seconds, reconnected=True)
            made = Reconnection(self._counters.connections, resumed=False)
        logger.info("events may be missing: %s", reason)
        self._streams.mark_connection(made)
        now = timestamp_now()
        return (
            DisconnectedEvent(now, 1006, reason, will_reconnect=True),
            ConnectedEvent(now, reconnected=True, attempts=1, gap=seconds),
        )
