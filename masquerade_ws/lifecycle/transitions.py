"""The life cycle of a client as a table."""

from __future__ import annotations

from enum import Enum, auto

from masquerade_ws.events import ConnectionState

__all__ = ["STATES", "TRANSITIONS", "Phase", "Trigger"]


class Phase(Enum):
    """Where a session is."""

    PENDING = auto()  # waits for the session before it
    CONNECTING = auto()
    CONNECTED = auto()
    WAITING = auto()  # for the next attempt
    CLOSING = auto()
    ENDED = auto()


class Trigger(Enum):
    """What moves a session on."""

    START = auto()
    OPENED = auto()
    FAILED = auto()
    LOST = auto()
    GAVE_UP = auto()  # an attempt failed or a connection was lost, and there will be no other
    RETRY = auto()
    STOP = auto()
    CLOSED = auto()
    ABANDON = auto()


TRANSITIONS: dict[tuple[Phase, Trigger], Phase] = {
    (Phase.PENDING, Trigger.START): Phase.CONNECTING,
    (Phase.PENDING, Trigger.STOP): Phase.ENDED,
    (Phase.PENDING, Trigger.ABANDON): Phase.ENDED,
    (Phase.CONNECTING, Trigger.OPENED): Phase.CONNECTED,
    (Phase.CONNECTING, Trigger.FAILED): Phase.WAITING,
    (Phase.CONNECTING, Trigger.GAVE_UP): Phase.ENDED,
    (Phase.CONNECTING, Trigger.STOP): Phase.CLOSING,
    (Phase.CONNECTING, Trigger.ABANDON): Phase.ENDED,
    (Phase.CONNECTED, Trigger.LOST): Phase.WAITING,
    (Phase.CONNECTED, Trigger.GAVE_UP): Phase.ENDED,
    (Phase.CONNECTED, Trigger.STOP): Phase.CLOSING,
    (Phase.CONNECTED, Trigger.ABANDON): Phase.ENDED,
    (Phase.WAITING, Trigger.RETRY): Phase.CONNECTING,
    (Phase.WAITING, Trigger.STOP): Phase.CLOSING,
    (Phase.WAITING, Trigger.ABANDON): Phase.ENDED,
    (Phase.CLOSING, Trigger.CLOSED): Phase.ENDED,
    (Phase.CLOSING, Trigger.ABANDON): Phase.ENDED,
}


STATES: dict[Phase, ConnectionState] = {
    Phase.CONNECTING: "connecting",
    Phase.CONNECTED: "connected",
    Phase.WAITING: "disconnected",
    Phase.CLOSING: "disconnecting",
    Phase.ENDED: "disconnected",
}
