"""The heartbeat thread: it shows the peer of one connection that we live, and finds out when the peer does not."""

from __future__ import annotations

import math
import time

from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.transport import Transport
from masquerade_ws.errors import DisconnectedError, SendError
from masquerade_ws.events import HeartbeatEvent
from masquerade_ws.lifecycle.pulse import Pulse, Verdict
from masquerade_ws.log import logger
from masquerade_ws.protocol.codec import encode

__all__ = ["beat"]


def beat(connection: Transport, event_queue: EventQueue, interval: float, timeout: float | None) -> None:
    """Run the heartbeat thread, which ends with the connection, whose end wakes it.

    Args:
        connection: The connection to keep and to watch.
        event_queue: Knows whether the reader pauses, in which time the peer cannot be heard.
        interval: Seconds from one heartbeat to the next.
        timeout: Seconds of silence after a heartbeat that a living peer may keep; ``None`` allows any.
    """
    pulse = Pulse(interval, timeout, time.monotonic(), time.process_time())
    while not connection.wait_tcp_closed(pulse.wake - time.monotonic()):
        now = time.monotonic()
        verdict = pulse.look(now, time.process_time(), _last_sign(connection, event_queue, pulse.unanswered))
        if verdict is Verdict.DEAD:
            connection.abort(DisconnectedError(f"the peer was silent for {timeout} s after a heartbeat"))
        elif verdict is Verdict.BEAT:
            before = connection.bytes_sent
            sent = _send(connection, pulse.patience(now))
            pulse.beaten(now, time.monotonic(), sent=sent, taken=connection.bytes_sent != before)


def _last_sign(connection: Transport, event_queue: EventQueue, since: float | None) -> float:
    """Return when the peer last gave a sign of life; infinity while it might, but is not read.

    The system is asked for that only if no sign has come ``since`` then.
    """
    if event_queue.full:
        return math.inf
    sign = max(connection.last_received, event_queue.resumed_at)
    if since is not None and sign <= since and connection.readable():
        return math.inf
    return sign


def _send(connection: Transport, patience: float) -> bool:
    try:
        connection.beat(encode(HeartbeatEvent({})), patience)
    except (SendError, DisconnectedError) as error:  # another thread's send goes on, or the connection ends with this
        logger.debug("a heartbeat was not sent: %s", error)
        return False
    logger.debug("sent a heartbeat")
    return True
