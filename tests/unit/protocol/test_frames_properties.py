"""What holds for every stream of frames, wherever it is cut."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from masquerade_ws.protocol.deflate import Deflater, Inflater
from masquerade_ws.protocol.frames import BINARY, CONT, PING, PONG, TEXT, FrameReceiver, build_frame

LIMIT = 5000

quick = settings(max_examples=100, deadline=None)
contents = st.one_of(st.text(max_size=200), st.binary(max_size=200), st.sampled_from(["é" * 100, b"x" * 1000]))
cuts = st.lists(st.integers(0, 3000), max_size=8)


def frame(opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False) -> bytes:
    """Return a server's frame."""
    length = len(payload)
    size = bytes((length,)) if length < 126 else b"\x7e" + length.to_bytes(2, "big")
    return bytes((fin << 7 | rsv1 << 6 | opcode,)) + size + payload


@dataclass(frozen=True)
class Message:
    """A message, and how a server sends it."""

    content: str | bytes
    fragments: list[int]
    control: list[tuple[int, bytes]]
    compressed: bool

    def encode(self, deflater: Deflater) -> bytes:
        payload = self.content.encode() if isinstance(self.content, str) else self.content
        if self.compressed:
            payload = deflater.deflate(payload)
        opcode: int = TEXT if isinstance(self.content, str) else BINARY
        *parts, last = pieces(payload, self.fragments)
        data = b""
        for number, part in enumerate(parts):
            data += frame(opcode if not number else CONT, part, fin=False, rsv1=self.compressed and not number)
            data += b"".join(frame(kind, text) for kind, text in self.control)
        return data + frame(CONT if parts else opcode, last, rsv1=self.compressed and not parts)


messages_sent = st.lists(
    st.builds(
        Message,
        contents,
        st.lists(st.integers(0, 200), max_size=3),
        st.lists(st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125)), max_size=2),
        st.booleans(),
    ),
    max_size=6,
)


def pieces(data: bytes, places: list[int]) -> list[bytes]:
    """Cut the data at these places, some of which may lie beyond its end."""
    edges = [0, *sorted(places), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges)]


def outcome(chunks: list[bytes], *, compression: bool) -> tuple[object, ...]:
    """Return everything that a receiver reports after these chunks."""
    peer = FrameReceiver(max_message_size=LIMIT, inflater=Inflater() if compression else None)
    messages = [message for chunk in chunks for message in peer.feed(chunk)]
    assert len(peer.pongs) < 100
    fault = peer.violation and (peer.violation.code, peer.violation.reason)
    if compression and fault and fault[0] != 1002:
        # zlib withholds what stands before corrupt data in the same chunk: more faults than one may be the first.
        fault = (1007, "")
    return messages, peer.pings, peer.pongs, peer.close, fault


@quick
@given(messages_sent, cuts)
def test_every_split_of_a_valid_stream_gives_the_messages_sent(sent: list[Message], places: list[int]) -> None:
    deflater = Deflater()
    data = b"".join(message.encode(deflater) for message in sent)
    peer = FrameReceiver(max_message_size=LIMIT, inflater=Inflater())
    received = [message for chunk in pieces(data, places) for message in peer.feed(chunk)]
    assert received == [message.content for message in sent]
    assert peer.violation is None


@quick
@given(messages_sent, st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=3), cuts, st.booleans())
def test_every_split_of_a_damaged_stream_has_the_same_outcome(
    sent: list[Message], damage: list[tuple[int, int]], places: list[int], compression: bool
) -> None:
    deflater = Deflater()
    data = bytearray(b"".join(message.encode(deflater) for message in sent))
    for place, byte in damage:
        data[place : place + 1] = bytes((byte,))
    whole = outcome([bytes(data)], compression=compression)
    assert outcome(pieces(bytes(data), places), compression=compression) == whole
    assert outcome([bytes((byte,)) for byte in data], compression=compression) == whole


@quick
@given(
    st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([b"\x81\x01a", b"\xc1", b"\x00\x00", b"\x89\x00"]))),
    st.booleans(),
)
def test_random_bytes_raise_nothing_whatever_the_split(chunks: list[bytes], compression: bool) -> None:
    assert outcome(chunks, compression=compression) == outcome([b"".join(chunks)], compression=compression)


@quick
@given(st.lists(st.binary(max_size=2000), max_size=5), st.integers(8, 15), st.booleans(), cuts)
def test_what_is_deflated_inflates_to_itself(texts: list[bytes], bits: int, takeover: bool, places: list[int]) -> None:
    deflater, inflater = Deflater(bits, takeover), Inflater(bits, takeover)
    for text in texts:
        *parts, last = pieces(deflater.deflate(text), places)
        plain = b"".join(inflater.inflate(part, False, LIMIT) for part in parts)
        assert plain + inflater.inflate(last, True, LIMIT) == text


@quick
@given(st.binary(max_size=500), st.integers(0, 200))
def test_inflating_anything_never_exceeds_the_limit_by_more_than_a_byte(data: bytes, limit: int) -> None:
    peer = FrameReceiver(max_message_size=limit, inflater=Inflater())
    for message in peer.feed(frame(BINARY, data, rsv1=True)):
        assert len(message) <= limit


@quick
@given(st.sampled_from([TEXT, BINARY, PING]), st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking_is_its_own_inverse(opcode: int, payload: bytes, key: bytes) -> None:
    built = build_frame(opcode, payload, key)
    head = len(built) - len(payload)
    assert built[head - 4 : head] == key
    assert bytes(byte ^ key[at % 4] for at, byte in enumerate(built[head:])) == payload
