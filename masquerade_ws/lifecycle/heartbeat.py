"""The heartbeat thread: it shows the peer of one connection that we live, and finds out when the peer does not."""

from __future__ import annotations

import math
import time
from functools import partial

from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.transport import Heart
from masquerade_ws.errors import DisconnectedError, SendError
from masquerade_ws.events import HeartbeatEvent
from masquerade_ws.lifecycle.options import HeartbeatOptions
from masquerade_ws.lifecycle.pulse import Pulse, Verdict
from masquerade_ws.log import logger
from masquerade_ws.protocol.codec import encode

__all__ = ["beat"]

_BUSY = (
    "the peer has been silent for %g s after a heartbeat, but its system is alive: its program may be busy, and has %s "
    "(busy_timeout)"
)
# What a silence was that ended the connection, and what to set.
_DEATHS = {
    Verdict.DEAD: "for {0.heartbeat_timeout:g} s after a heartbeat, and so was its system: heartbeat_timeout ran out, "
    "which may be longer where the network fails for longer",
    Verdict.SILENT: "for {0.heartbeat_timeout:g} s after a heartbeat: heartbeat_timeout ran out, which must be longer "
    "where the server is busy for longer, since this system cannot tell a busy peer from a dead one",
    Verdict.STUCK: "for {0.busy_timeout:g} s after a heartbeat, but its system is alive: busy_timeout ran out, which "
    "must be longer where the server is busy for longer",
}


def beat(connection: Heart, event_queue: EventQueue, options: HeartbeatOptions) -> None:
    """Run the heartbeat thread, which ends with the connection, whose end wakes it.

    Args:
        connection: The connection to keep and to watch.
        event_queue: Knows whether the reader pauses, in which time the peer cannot be heard.
        options: The client's.
    """
    timeout, busy_timeout = options.heartbeat_timeout, options.busy_timeout
    pulse = Pulse(options.heartbeat_interval, timeout, busy_timeout, time.monotonic(), time.process_time())
    acknowledged = partial(connection.acknowledged, (timeout or 0.0) / 2)
    while not connection.wait_tcp_closed(pulse.wake - time.monotonic()):
        now = time.monotonic()
        sign = _last_sign(connection, event_queue, pulse.unanswered)
        verdict = pulse.look(now, time.process_time(), sign, acknowledged)
        if verdict is Verdict.BEAT:
            before = connection.bytes_sent
            text = encode(HeartbeatEvent({})) if options.heartbeat_message else None
            sent = _send(connection, text, pulse.patience(now))
            pulse.beaten(now, time.monotonic(), sent=sent, taken=connection.bytes_sent != before)
        elif verdict is Verdict.BUSY:
            logger.info(_BUSY, timeout, "any time" if busy_timeout is None else f"until {busy_timeout:g} s after it")
        elif verdict in _DEATHS:
            connection.abort(DisconnectedError(f"the peer was silent {_DEATHS[verdict].format(options)}"))


def _last_sign(connection: Heart, event_queue: EventQueue, since: float | None) -> float:
    """Return when the peer last gave a sign of life; infinity while it might, but is not read.

    The system is asked for that only if no sign has come ``since`` then.
    """
    if event_queue.full:
        return math.inf
    sign = max(connection.last_received, event_queue.resumed_at)
    if since is not None and sign <= since and connection.readable():
        return math.inf
    return sign


def _send(connection: Heart, text: str | None, patience: float) -> bool:
    try:
        connection.beat(text, patience)
    except (SendError, DisconnectedError) as error:  # another thread's send goes on, or the connection ends with this
        logger.debug("a heartbeat was not sent: %s", error)
        return False
    logger.debug("sent a heartbeat")
    return True
