"""The life cycle of a client as a table.

A client lives one session after another: ``connect()`` makes a session, and ``disconnect()``, or giving up, ends it for
good. At any time a session is in one phase, and a trigger moves it to the next. The table lists every move that is
legal; any other is a bug, and raises.

What each phase means, and who moves a session out of it:

``PENDING``
    The session waits for the one before it to end: a listener may call ``disconnect()`` and ``connect()`` in one go,
    while its own session still waits for that listener to return. The supervisor thread starts it (``START``) as soon
    as the session before has ended or was abandoned. The client's state is still that of the session before.
``CONNECTING``
    An attempt is under way or about to begin. A session that need not wait for another enters this phase within
    ``connect()`` itself, so that its caller sees ``connecting`` at once; its supervisor thread then finds it there.
    That thread makes the attempt and reports how it went: ``OPENED``, ``FAILED`` when there will be another, and
    ``GAVE_UP`` when there will not.
``CONNECTED``
    A reader thread and a heartbeat thread use the connection. Whatever ends it, the reader notices, and mails that to
    the supervisor thread, which first moves the session on (``LOST`` when there will be another attempt, otherwise
    ``GAVE_UP``) and then closes TCP and joins the two threads: a peer that is slow to close its side may delay the next
    attempt, but not the news.
``WAITING``
    The delay before the next attempt. It ends when its time has come or when a ``connect()`` asks for an attempt now;
    in both cases the supervisor thread moves on (``RETRY``).
``CLOSING``
    Somebody called ``disconnect()``, or a listener ended the dispatcher thread. The supervisor thread enters the phase
    (``STOP``), does the closing handshake, waits for reader and heartbeat, and leaves it (``CLOSED``).
``ENDED``
    Nothing moves the session any more. Its supervisor thread lets the dispatcher thread deliver what is left, and ends.

Who may cause what:

* The supervisor thread makes every move but those below. Others ask for one: by mail, which wakes the thread, and by a
  flag under the life cycle's lock, which the thread reads once it is awake.
* ``connect()`` makes ``START`` for a session that need not wait, and ``START_FAILED`` when it cannot start the threads
  or is interrupted while it does.
* ``ABANDON`` is for a session that hangs, mostly in user code. The ``disconnect()`` that stopped it makes the move once
  its time has run out, and so does the next session, which waits no longer than that. What the supervisor thread of an
  abandoned session still does is seen by nobody. A supervisor thread that dies abandons its own session, so that nobody
  waits for it; and so does one whose session was stopped by user code on a thread for which the session waits, once the
  time has run out.
* ``FORKED`` ends each session in a forked child, whichever phase it was in: the threads are the parent's.

Who waits: a blocking ``connect()`` for the result of one attempt; ``disconnect()`` for the end of the session that it
stopped; a pending session for the end of the one before. Each of these waits has a limit or ends with ``ABANDON``.
"""

from __future__ import annotations

from enum import Enum, auto

from masquerade_ws.events import ConnectionState

__all__ = ["STATES", "TRANSITIONS", "Phase", "Trigger"]


class Phase(Enum):
    """Where a session is."""

    PENDING = auto()
    CONNECTING = auto()
    CONNECTED = auto()
    WAITING = auto()
    CLOSING = auto()
    ENDED = auto()


class Trigger(Enum):
    """What moves a session on."""

    START = auto()
    START_FAILED = auto()
    OPENED = auto()
    FAILED = auto()
    LOST = auto()
    GAVE_UP = auto()
    RETRY = auto()
    STOP = auto()
    CLOSED = auto()
    ABANDON = auto()
    FORKED = auto()


TRANSITIONS: dict[tuple[Phase, Trigger], Phase] = {
    (Phase.PENDING, Trigger.START): Phase.CONNECTING,
    (Phase.PENDING, Trigger.START_FAILED): Phase.ENDED,
    (Phase.PENDING, Trigger.STOP): Phase.ENDED,
    (Phase.PENDING, Trigger.ABANDON): Phase.ENDED,
    (Phase.PENDING, Trigger.FORKED): Phase.ENDED,
    (Phase.CONNECTING, Trigger.START_FAILED): Phase.ENDED,
    (Phase.CONNECTING, Trigger.OPENED): Phase.CONNECTED,
    (Phase.CONNECTING, Trigger.FAILED): Phase.WAITING,
    (Phase.CONNECTING, Trigger.GAVE_UP): Phase.ENDED,
    (Phase.CONNECTING, Trigger.STOP): Phase.CLOSING,
    (Phase.CONNECTING, Trigger.ABANDON): Phase.ENDED,
    (Phase.CONNECTING, Trigger.FORKED): Phase.ENDED,
    (Phase.CONNECTED, Trigger.LOST): Phase.WAITING,
    (Phase.CONNECTED, Trigger.GAVE_UP): Phase.ENDED,
    (Phase.CONNECTED, Trigger.STOP): Phase.CLOSING,
    (Phase.CONNECTED, Trigger.ABANDON): Phase.ENDED,
    (Phase.CONNECTED, Trigger.FORKED): Phase.ENDED,
    (Phase.WAITING, Trigger.RETRY): Phase.CONNECTING,
    (Phase.WAITING, Trigger.STOP): Phase.CLOSING,
    (Phase.WAITING, Trigger.ABANDON): Phase.ENDED,
    (Phase.WAITING, Trigger.FORKED): Phase.ENDED,
    (Phase.CLOSING, Trigger.CLOSED): Phase.ENDED,
    (Phase.CLOSING, Trigger.ABANDON): Phase.ENDED,
    (Phase.CLOSING, Trigger.FORKED): Phase.ENDED,
    (Phase.ENDED, Trigger.FORKED): Phase.ENDED,
}
"""Every legal move. What is not listed raises `KeyError`."""


STATES: dict[Phase, ConnectionState] = {
    Phase.CONNECTING: "connecting",
    Phase.CONNECTED: "connected",
    Phase.WAITING: "disconnected",
    Phase.CLOSING: "disconnecting",
    Phase.ENDED: "disconnected",
}
"""What `WebSocketClient.state` says in each phase that can be seen."""
