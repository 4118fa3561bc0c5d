"""The heartbeat thread: it shows the peer of one connection that we live, and finds out when the peer does not."""

from __future__ import annotations

import math
import time

from masquerade_ws.connection.connection import Connection
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.errors import DisconnectedError, SendError
from masquerade_ws.events import HeartbeatEvent
from masquerade_ws.log import logger
from masquerade_ws.protocol.codec import encode

__all__ = ["beat"]

_STOPPED = 0.5  # seconds; a thread that wakes later than that was stopped, with its process or with the machine


def beat(connection: Connection, dispatcher: EventQueue, interval: float, timeout: float | None) -> None:
    """Run the heartbeat thread, which ends with the connection, whose end wakes it.

    Args:
        connection: The connection to keep and to watch.
        dispatcher: Tells whether the reader pauses, in which time the peer cannot be heard.
        interval: Seconds from one heartbeat to the next.
        timeout: Seconds of silence after a heartbeat that a living peer may keep; ``None`` allows any.
    """
    due = time.monotonic() + interval
    silence = math.inf if timeout is None else timeout
    unanswered: float | None = None  # when the first heartbeat since the last sign of life was due
    limit = math.inf
    while not connection.wait_tcp_closed((wake := min(due, limit)) - time.monotonic()):
        now = time.monotonic()
        stopped = now - wake > _STOPPED  # the reader too, with the answer in its hands perhaps: ask anew
        if unanswered is not None and (stopped or _heard(connection, dispatcher, unanswered)):
            unanswered, limit = None, math.inf
        if now >= limit:
            connection.abort(DisconnectedError(f"the peer was silent for {timeout} s after a heartbeat"))
        elif now >= due or stopped:
            taken = connection.bytes_sent
            asked = _send(connection, min(limit - now, silence))
            sent = time.monotonic()
            # Not asked while another thread sends: alive if it takes that, at least.
            if unanswered is None and (asked or connection.bytes_sent == taken):
                unanswered, limit = now, (sent if asked else now) + silence
            due, limit = max(now + interval, sent), max(limit, sent)  # not past: that would look like a stop


def _heard(connection: Connection, dispatcher: EventQueue, since: float) -> bool:
    """Tell whether the peer gave a sign of life, or might have while we did not read."""
    if dispatcher.full or dispatcher.resumed_at > since:
        return True
    return connection.last_received > since or connection.readable()


def _send(connection: Connection, patience: float) -> bool:
    try:
        connection.beat(encode(HeartbeatEvent({})), patience)
    except SendError as error:  # either it broke the connection, which says so, or another thread's send goes on
        logger.debug("a heartbeat was not sent: %s", error)
        return False
    logger.debug("sent a heartbeat")
    return True
