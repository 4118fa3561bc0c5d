"""Entries of the streams: their ids, and what stands in them.

Ids are the relay's, not the engine's: ``<epoch>-<n>``. An epoch is the time of one relay's leading, in milliseconds
since 1970 at its begin, and n counts the entries of a stream in it, from 0 and without holes. The engine refuses an id
that is not above its top one, so that an id alone fences a relay off that does not lead any more, makes a repeat
harmless, and shows what is missing.

==========  ==========================  ===============================================================================
entry       in                          fields
==========  ==========================  ===============================================================================
`Blob`      ``ev``                      ``b``: raw texts, joined by newlines; ``t``: when they came
`KeyEvent`  ``key``                     ``t``: as in its ``ev`` entry; ``y``: type; ``j``: job; ``e``: raw text; ``p``:
                                        place in ``ev``
`Control`   ``ev`` and ``key``          ``c``: JSON with a ``kind``
`Outgoing`  ``out``, ids of the engine  ``e``: raw text; ``s``: who sends; ``d``: milliseconds in which it is to be sent
==========  ==========================  ===============================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

__all__ = [
    "BACK",
    "BAD",
    "DROPPED",
    "FORMAT",
    "LOST",
    "START",
    "UNSENT",
    "ZERO",
    "Blob",
    "Control",
    "EntryId",
    "Foreign",
    "KeyEvent",
    "Outgoing",
    "decode",
    "decode_outgoing",
    "encode_blob",
    "encode_control",
    "encode_key_event",
    "encode_outgoing",
    "one_line",
    "place",
]

FORMAT = 1  # of the entries, told by `START` and by the status

START = "start"  # a relay begins to lead: previous, relay, format, gap
LOST = "lost"  # it has lost the gateway, or goes: code, reason
BACK = "back"  # it has the gateway again: gap
DROPPED = "dropped"  # its buffer was full: count
UNSENT = "unsent"  # what a worker gave it was not sent, or may not have been: sender, id, reason
BAD = "bad"  # a message that is not JSON: data


class EntryId(NamedTuple):
    """The id of an entry; ids compare as they do to the engine."""

    epoch: int
    n: int

    @classmethod
    def parse(cls, text: str | bytes) -> EntryId:
        """Return the id that a text is.

        Raises:
            ValueError: If it is none.
        """
        epoch, dash, n = (text.decode("ascii") if isinstance(text, bytes) else text).partition("-")
        if not (dash and epoch.isdecimal() and n.isdecimal()):
            raise ValueError(f"not the id of an entry: {text[:40]!r}")
        return cls(int(epoch), int(n))

    def __str__(self) -> str:
        return f"{self.epoch}-{self.n}"

    def after(self) -> EntryId:
        """Return the next id of the epoch."""
        return EntryId(self.epoch, self.n + 1)


ZERO = EntryId(0, 0)


def place(entry: EntryId, index: int) -> str:
    """Return the place of a text in the stream ``ev``, which is the ``id`` of its event.

    Args:
        entry: The entry that it is in.
        index: Its number in it, from 0.
    """
    return f"{entry.epoch}-{entry.n}.{index}"


class Blob(NamedTuple):
    """What the gateway sent, as it came.

    Attributes:
        texts: The raw JSON texts, joined by newlines.
        received_ms: When they came to the relay, in milliseconds since 1970.
    """

    texts: bytes
    received_ms: int

    def split(self) -> list[bytes]:
        """Return the texts."""
        return self.texts.split(b"\n")


class KeyEvent(NamedTuple):
    """One key event.

    Attributes:
        received_ms: When it came to the relay, in milliseconds since 1970.
        type: Its type.
        job: The job's id, empty for an event without one.
        text: The raw JSON text.
        place: Its place in ``ev``.
    """

    received_ms: int
    type: str
    job: str
    text: bytes
    place: str


class Control(NamedTuple):
    """What a relay says of itself; a kind that is not known is to be passed over.

    Attributes:
        kind: `START`, or another of the kinds.
        fields: The rest.
    """

    kind: str
    fields: Mapping[str, Any]


class Foreign(NamedTuple):
    """An entry that no relay wrote.

    Attributes:
        problem: What is wrong with it.
    """

    problem: str


class Outgoing(NamedTuple):
    """What a worker gives to the relay, to be sent to the gateway.

    Attributes:
        text: The raw JSON text.
        sender: The id of its client.
        timeout_ms: Milliseconds from the entry's id on in which it is to be sent.
    """

    text: bytes
    sender: str
    timeout_ms: int


Entry: TypeAlias = Blob | KeyEvent | Control | Foreign


def encode_blob(texts: Sequence[bytes], received_ms: int) -> list[bytes]:
    """Return the fields of a `Blob`, as ``XADD`` takes them."""
    return [b"b", b"\n".join(texts), b"t", b"%d" % received_ms]


def encode_key_event(event: KeyEvent) -> list[bytes]:
    """Return the fields of a `KeyEvent`."""
    return [
        *(b"t", b"%d" % event.received_ms, b"y", event.type.encode("utf-8", "replace")),
        *(b"j", event.job.encode("utf-8", "replace"), b"e", event.text, b"p", event.place.encode()),
    ]


def encode_control(kind: str, **fields: Any) -> list[bytes]:
    """Return the fields of a `Control`."""
    return [b"c", json.dumps({"kind": kind, **fields}).encode()]


def encode_outgoing(message: Outgoing) -> list[bytes]:
    """Return the fields of an `Outgoing`."""
    return [b"e", message.text, b"s", message.sender.encode(), b"d", b"%d" % message.timeout_ms]


def decode(fields: Sequence[bytes]) -> Entry:
    """Return what an entry of ``ev`` or ``key`` is.

    Args:
        fields: Names and values in turn, as the engine replies them.
    """
    values = _by_name(fields)
    try:
        if b"b" in values:
            return Blob(values[b"b"], int(values[b"t"]))
        if b"c" in values:
            return _control_of(values[b"c"])
        kind, job, spot = (str(values[name], "utf-8") for name in (b"y", b"j", b"p"))
        return KeyEvent(int(values[b"t"]), kind, job, values[b"e"], spot)
    except (KeyError, ValueError, RecursionError) as error:
        return Foreign(f"it has the fields {sorted(values)}, not those of a relay's ({type(error).__name__})"[:200])


def decode_outgoing(fields: Sequence[bytes]) -> Outgoing | Foreign:
    """Return what an entry of ``out`` is."""
    values = _by_name(fields)
    try:
        return Outgoing(values[b"e"], str(values[b"s"], "utf-8"), int(values[b"d"]))
    except (KeyError, ValueError) as error:
        return Foreign(f"it has the fields {sorted(values)}, not those of a client's ({type(error).__name__})"[:200])


def _by_name(fields: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(fields[::2], fields[1::2], strict=True))


def _control_of(value: bytes) -> Control:
    said: object = json.loads(value)
    if not isinstance(said, dict):
        raise ValueError("not an object")
    members = cast("dict[str, Any]", said)
    kind: object = members.pop("kind")
    if not isinstance(kind, str):
        raise ValueError("kind is not a str")
    return Control(kind, members)


def one_line(message: str | bytes) -> bytes | None:
    """Return a message without raw CR and LF, so that newlines can part it from others.

    In JSON both stand between tokens only, where a space means the same (RFC 8259, sections 2 and 7).

    Args:
        message: As the gateway sent it.

    Returns:
        The text; ``None`` for a message that has raw CR or LF and is not JSON.
    """
    text = message.encode("utf-8", "surrogatepass") if isinstance(message, str) else message
    if b"\n" not in text and b"\r" not in text:
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    return text.translate(_TO_SPACES)


_TO_SPACES = bytes.maketrans(b"\r\n", b"  ")
