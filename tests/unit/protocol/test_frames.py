"""The receive rules of RFC 6455, each under its section, and the frames that a client sends."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest
from websocket import ABNF
from websockets.frames import Frame
from websockets.frames import Opcode as PeerOpcode
from websockets.streams import StreamReader

from masquerade_ws.protocol.deflate import Deflater, Inflater
from masquerade_ws.protocol.frames import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    FrameReceiver,
    Violation,
    build_close,
    build_frame,
)

LIMIT = 2**20


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, length: int | None = None) -> bytes:
    """Return a server's frame, perhaps with a length that is a lie."""
    length = len(payload) if length is None else length
    first = bytes((fin << 7 | rsv << 4 | opcode,))
    if length < 126:
        return first + bytes((length,)) + payload
    if length < 65536:
        return first + b"\x7e" + length.to_bytes(2, "big") + payload
    return first + b"\x7f" + length.to_bytes(8, "big") + payload


def receiver(max_message_size: int = LIMIT, *, deflate: bool = False) -> FrameReceiver:
    return FrameReceiver(max_message_size=max_message_size, inflater=Inflater() if deflate else None)


def fault(data: bytes, max_message_size: int = LIMIT, *, deflate: bool = False) -> int:
    """Return the close code that the data earns, which must be the same byte by byte, and at its last byte."""
    whole = receiver(max_message_size, deflate=deflate)
    whole.feed(data)
    by_byte = receiver(max_message_size, deflate=deflate)
    for position in range(len(data)):
        assert by_byte.violation is None, "earlier than said"
        by_byte.feed(data[position : position + 1])
    assert whole.violation is not None
    assert by_byte.violation is not None
    assert str(whole.violation) == str(by_byte.violation)
    return whole.violation.code


def read(data: bytes, *, deflate: bool = False) -> list[str | bytes]:
    """Return the messages of a faultless stream, which must be the same byte by byte (long ones: nearly so)."""
    whole, by_byte = receiver(deflate=deflate), receiver(deflate=deflate)
    messages = whole.feed(data)
    step = 1 + len(data) // 10_000
    assert messages == [text for at in range(0, len(data), step) for text in by_byte.feed(data[at : at + step])]
    assert whole.violation is None
    assert by_byte.violation is None
    assert (whole.pings, whole.pongs, whole.close) == (by_byte.pings, by_byte.pongs, by_byte.close)
    return messages


@contextmanager
def peak_below(limit: int) -> Generator[None, None, None]:
    """Fail if the Python heap grows by ``limit`` bytes or more inside."""
    gc.collect()
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit


# 5.1: Overview


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_5_1_a_masked_frame_is_refused_at_its_second_byte(opcode: int) -> None:
    assert fault(bytes((0x80 | opcode, 0x80))) == 1002


# 5.2: Base framing


@pytest.mark.parametrize("length", [0, 1, 2, 125, 126, 127, 130, 65535, 65536])
def test_5_2_text_and_binary_of_every_length_form_are_read(length: int) -> None:
    assert read(frame(TEXT, b"x" * length) + frame(BINARY, b"y" * length)) == ["x" * length, b"y" * length]


@pytest.mark.parametrize("rsv", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING])
def test_5_2_reserved_bits_are_refused_at_the_first_byte(rsv: int, opcode: int) -> None:
    assert fault(frame(opcode, rsv=rsv)[:1]) == 1002


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("fin", [True, False])
def test_5_2_reserved_opcodes_are_refused_at_the_first_byte(opcode: int, fin: bool) -> None:
    assert fault(frame(opcode, fin=fin)[:1]) == 1002


def test_5_2_a_64_bit_length_with_its_top_bit_is_refused_at_that_bit() -> None:
    assert fault(b"\x81\x7f\x80") == 1002


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("length", [0, 1, 125])
def test_5_2_a_short_length_in_16_bits_is_refused(opcode: int, length: int) -> None:
    header = bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big")
    assert fault(header) == 1002
    broken = receiver()
    assert broken.feed(header + b"x" * length) == []
    assert broken.violation is not None


@pytest.mark.parametrize("length", [0, 125, 126, 65535])
def test_5_2_a_short_length_in_64_bits_is_refused(length: int) -> None:
    assert fault(b"\x82\x7f" + length.to_bytes(8, "big")) == 1002


def test_5_2_an_empty_chunk_changes_nothing() -> None:
    peer = receiver()
    assert peer.feed(b"") == []
    assert peer.feed(b"\x81") == []
    assert peer.feed(b"") == []
    assert peer.feed(b"\x01a") == ["a"]


def test_5_2_messages_before_a_fault_are_returned_and_nothing_after_it_is_read() -> None:
    peer = receiver()
    data = frame(TEXT, b"one") + frame(BINARY, b"two") + frame(3) + frame(TEXT, b"three") + frame(PING, b"late")
    assert peer.feed(data) == ["one", b"two"]
    first = peer.violation
    assert first is not None
    assert peer.feed(frame(TEXT, b"four") + b"\x81\x80") == []
    assert peer.violation is first
    assert peer.pings == []


def test_5_2_a_violation_reads_well_and_holds_nothing_of_what_was_sent() -> None:
    peer = receiver()
    peer.feed(frame(TEXT, b"secret\xff"))
    violation = peer.violation
    assert violation is not None
    assert str(violation) == "invalid UTF-8 (1007)"
    assert repr(violation) == "Violation(1007, 'invalid UTF-8')"
    assert (violation.__context__, violation.__cause__, violation.__traceback__) == (None, None, None)


@pytest.mark.parametrize(
    ("wire", "detail"),
    [
        (frame(TEXT, b"x" * 101), "max_message_size is 100 bytes"),
        (frame(3), "opcode 0x3"),
        (frame(CLOSE, (1005).to_bytes(2, "big")), "the peer's is 1005"),
        (frame(PING, fin=False), ""),
    ],
)
def test_5_2_a_violation_says_which_number_or_argument_it_concerns(wire: bytes, detail: str) -> None:
    peer = receiver(100)
    peer.feed(wire)
    assert peer.violation is not None
    assert peer.violation.detail == detail


def test_5_2_a_raised_rule_leaves_no_trace_of_the_data_either() -> None:
    peer = receiver()
    peer.feed(b"\x83secret")
    violation = peer.violation
    assert isinstance(violation, Violation)
    assert (violation.__context__, violation.__cause__, violation.__traceback__) == (None, None, None)


# 5.4: Fragmentation


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_5_4_fragments_are_joined(opcode: int) -> None:
    data = frame(opcode, b"a", fin=False) + frame(CONT, b"b" * 200, fin=False) + frame(CONT, b"c")
    assert read(data * 2) == ["a" + "b" * 200 + "c" if opcode == TEXT else b"a" + b"b" * 200 + b"c"] * 2


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_5_4_empty_fragments_are_read(opcode: int) -> None:
    empty = frame(opcode, fin=False) + frame(CONT, fin=False) + frame(CONT)
    around = frame(opcode, fin=False) + frame(CONT, b"x", fin=False) + frame(CONT)
    assert read(empty + around) == (["", "x"] if opcode == TEXT else [b"", b"x"])


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_5_4_line_ends_in_fragments_stay_as_they_are(opcode: int) -> None:
    content = b"\r\n \n \r \n\r"
    data = frame(opcode, content[:1], fin=False) + frame(CONT, content[1:])
    assert read(data) == [content.decode() if opcode == TEXT else content]


def test_5_4_control_frames_may_stand_between_fragments() -> None:
    peer = receiver()
    data = frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(CONT, b"b", fin=False) + frame(PONG, b"q")
    assert peer.feed(data + frame(CONT, b"c")) == ["abc"]
    assert peer.pings == [b"p"]
    assert peer.pongs == [b"q"]


@pytest.mark.parametrize("fin", [True, False])
def test_5_4_a_continuation_of_nothing_is_refused_at_its_first_byte(fin: bool) -> None:
    assert fault(frame(CONT, fin=fin)[:1]) == 1002
    assert fault(frame(TEXT, b"x") + frame(CONT, fin=fin)[:1]) == 1002
    assert fault(frame(TEXT, fin=False) + frame(CONT) + frame(CONT, fin=fin)[:1]) == 1002


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("fin", [True, False])
def test_5_4_a_new_message_inside_an_unfinished_one_is_refused_at_its_first_byte(opcode: int, fin: bool) -> None:
    assert fault(frame(BINARY, fin=False) + frame(opcode, fin=fin)[:1]) == 1002


# 5.5: Control frames


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_5_5_a_fragmented_control_frame_is_refused_at_its_first_byte(opcode: int) -> None:
    assert fault(frame(opcode, fin=False)[:1]) == 1002


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("length", [126, 127])
def test_5_5_a_control_frame_above_125_bytes_is_refused_at_its_second_byte(opcode: int, length: int) -> None:
    assert fault(bytes((0x80 | opcode, length))) == 1002


def test_5_5_a_control_frame_of_125_bytes_is_read() -> None:
    peer = receiver()
    peer.feed(frame(PING, b"p" * 125) + frame(PONG, b"q" * 125) + frame(CLOSE, b"\x03\xe8" + b"r" * 123))
    assert (peer.pings, peer.pongs, peer.close) == ([b"p" * 125], [b"q" * 125], (1000, "r" * 123))


# 5.5.1: Close


def test_5_5_1_a_close_frame_without_a_code_reads_as_1005() -> None:
    peer = receiver()
    peer.feed(frame(CLOSE))
    assert peer.close == (1005, "")


def test_5_5_1_code_and_reason_are_read() -> None:
    peer = receiver()
    peer.feed(frame(CLOSE, b"\x0f\xa0" + "zurück".encode()))
    assert peer.close == (4000, "zurück")
    assert peer.violation is None


def test_5_5_1_half_a_code_is_refused_at_the_second_byte() -> None:
    assert fault(frame(CLOSE, b"\x03")[:2]) == 1002


def test_5_5_1_a_close_frame_after_data_ends_the_stream_and_what_follows_is_ignored() -> None:
    peer = receiver()
    data = frame(TEXT, b"one") + frame(CLOSE, b"\x03\xe9") + frame(TEXT, b"two") + b"\xff\xff"
    assert peer.feed(data) == ["one"]
    assert peer.feed(frame(TEXT, b"three")) == []
    assert peer.close == (1001, "")
    assert peer.violation is None


def test_5_5_1_a_close_frame_may_interrupt_a_message() -> None:
    peer = receiver()
    assert peer.feed(frame(TEXT, b"one", fin=False) + frame(CLOSE, b"\x03\xe8") + frame(CONT)) == []
    assert peer.close == (1000, "")


@pytest.mark.parametrize("reason", [b"\xff", b"ok\xc3", b"\xed\xa0\x80"])
def test_5_5_1_a_reason_that_is_not_utf_8_is_refused(reason: bytes) -> None:
    assert fault(frame(CLOSE, b"\x03\xe8" + reason)) == 1007


# 5.5.2 and 5.5.3: Ping and Pong


def test_5_5_2_pings_are_kept_until_the_caller_takes_them() -> None:
    peer = receiver()
    peer.feed(frame(PING, b"1") + frame(PING, b"2") + frame(PING))
    peer.feed(frame(PING, b"3"))
    assert peer.pings == [b"1", b"2", b"", b"3"]
    peer.pings.clear()
    peer.feed(frame(TEXT, b"x"))
    assert peer.pings == []


def test_5_5_3_of_a_flood_of_pongs_only_the_latest_few_are_kept() -> None:
    peer = receiver()
    pongs = peer.pongs
    peer.feed(b"".join(frame(PONG, b"%d" % number) for number in range(1000)))
    assert peer.pongs is pongs
    assert 1 < len(pongs) < 100
    assert pongs[-2:] == [b"998", b"999"]


# 7.4: Status codes


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_7_4_codes_that_may_not_be_sent_are_refused(code: int) -> None:
    assert fault(frame(CLOSE, code.to_bytes(2, "big"))) == 1002
    with pytest.raises(ValueError, match="code"):
        build_close(code, "")


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_7_4_codes_that_may_be_sent_are_read_and_built(code: int) -> None:
    peer = receiver()
    peer.feed(frame(CLOSE, build_close(code, "why")))
    assert peer.close == (code, "why")


# 8.1: UTF-8


@pytest.mark.parametrize("bad", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90", b"\xce\xba\xe1\x62"])
@pytest.mark.parametrize("around", [0, 200, 70000])
def test_8_1_invalid_utf_8_is_refused_though_the_frame_goes_on(bad: bytes, around: int) -> None:
    whole = receiver()
    whole.feed(frame(TEXT, b"x" * around + bad + b"y" * around))
    assert whole.violation is not None
    assert whole.violation.code == 1007
    part = receiver()
    part.feed(frame(TEXT, b"x" * around + bad, length=2 * around + len(bad) + 10))
    assert part.violation is not None
    assert part.violation.code == 1007


def test_8_1_invalid_utf_8_is_refused_at_the_byte_that_shows_it() -> None:
    assert fault(frame(TEXT, b"ok\xe1\xbd", fin=False) + frame(CONT, b"b")) == 1007
    assert fault(frame(TEXT, b"ok\xc0", fin=False)) == 1007
    assert fault(frame(TEXT, b"ok\xf4\x90", length=9)) == 1007


@pytest.mark.parametrize("cut", ["é", "€", "😀"])
def test_8_1_a_sequence_may_be_cut_by_fragments_anywhere(cut: str) -> None:
    encoded = f"a{cut}b".encode()
    for at in range(len(encoded)):
        assert read(frame(TEXT, encoded[:at], fin=False) + frame(CONT, encoded[at:])) == [f"a{cut}b"]
    each = b"".join(frame(CONT, bytes((byte,)), fin=False) for byte in encoded)
    assert read(frame(TEXT, fin=False) + each + frame(CONT)) == [f"a{cut}b"]


@pytest.mark.parametrize("cut", ["é", "€", "😀"])
def test_8_1_a_sequence_cut_by_the_end_of_the_message_is_refused(cut: str) -> None:
    encoded = cut.encode()[:-1]
    assert fault(frame(TEXT, b"a" + encoded)) == 1007
    assert fault(frame(TEXT, b"a" + encoded, fin=False) + frame(CONT)) == 1007


def test_8_1_binary_messages_hold_any_bytes() -> None:
    assert read(frame(BINARY, bytes(range(256)))) == [bytes(range(256))]


# 7.4.1 and 10.4: Implementation-specific limits (1009)


@pytest.mark.parametrize("limit", [0, 10, 125, 126, 65535, 65536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_10_4_a_message_above_the_limit_is_refused_at_its_header(limit: int, opcode: int) -> None:
    allowed, too_big = frame(opcode, b"x" * limit), frame(opcode, b"x" * (limit + 1))
    assert len(receiver(limit).feed(allowed)) == 1
    assert fault(too_big[: len(too_big) - limit - 1], limit) == 1009
    assert receiver(limit).feed(too_big) == []


def test_10_4_fragments_are_counted_together() -> None:
    start = frame(TEXT, b"x" * 6, fin=False) + frame(CONT, b"x" * 4, fin=False)
    assert receiver(10).feed(start + frame(CONT)) == ["x" * 10]
    assert fault(start + frame(CONT, b"x")[:2], 10) == 1009


def test_10_4_each_message_is_counted_anew() -> None:
    assert receiver(3).feed((frame(TEXT, b"abc") + frame(BINARY, b"a", fin=False) + frame(CONT, b"bc")) * 2) == [
        *("abc", b"abc"),
        *("abc", b"abc"),
    ]


@pytest.mark.parametrize("rsv", [0, 4])
def test_10_4_a_header_that_announces_a_terabyte_allocates_nothing(rsv: int) -> None:
    peer = receiver(2**24, deflate=True)
    header = frame(BINARY, rsv=rsv, length=2**40)
    with peak_below(16384):
        peer.feed(header)
    assert peer.violation is not None
    assert peer.violation.code == 1009


def large_message(opcode: int, content: str, size: int, fragment: int) -> Iterator[bytes]:
    """Yield a message in fragments, each in chunks as a socket would give them."""
    chunk = content.encode() * (65536 // len(content.encode()))
    for at in range(0, size, fragment):
        yield frame(CONT if at else opcode, fin=at + fragment == size, length=fragment)
        for begin in range(0, fragment, len(chunk)):
            yield chunk[: fragment - begin]


@pytest.mark.parametrize(
    ("opcode", "content"), [(BINARY, "x"), *((TEXT, content) for content in ("x", "é", "€x", "😀"))]
)
@pytest.mark.parametrize("fragment", [2**24, 2**16, 2**13])
def test_10_4_a_large_message_costs_less_than_three_times_its_size(opcode: int, content: str, fragment: int) -> None:
    size = 2**24
    peer = receiver(size)
    messages: list[str | bytes] = []
    with peak_below(3 * size):
        for chunk in large_message(opcode, content, size, fragment):
            messages += peer.feed(chunk)
    assert messages == [content * (size // len(content.encode())) if opcode == TEXT else bytes(content * size, "ascii")]
    assert peer.violation is None


def test_10_4_a_message_in_the_smallest_fragments_costs_little_more() -> None:
    peer = receiver()
    count = 2**16
    chunk = frame(CONT, "é".encode(), fin=False) * 2**10
    peer.feed(frame(TEXT, fin=False))
    with peak_below(3 * 2 * count + 2**20):
        for _ in range(count // 2**10):
            peer.feed(chunk)
        [message] = peer.feed(frame(CONT))
    assert message == "é" * count


def test_10_4_a_message_that_came_to_nothing_is_let_go() -> None:
    peer = receiver(2**24)
    with peak_below(2**23):
        peer.feed(frame(BINARY, b"x" * 2**20, fin=False))
        peer.feed(frame(TEXT))
        assert tracemalloc.get_traced_memory()[0] < 2**16


def cost_of_single_bytes(before: int) -> float:
    """Return the processor time that 500 bytes take one by one when ``before`` bytes of the message are there."""
    peer = receiver(2**24)
    peer.feed(frame(TEXT, b"x" * before, length=2**24))
    start = time.process_time()
    for _ in range(500):
        peer.feed(b"x")
    return time.process_time() - start


def test_10_4_a_byte_costs_the_same_at_a_large_message_s_end_as_at_its_start() -> None:
    at_start = min(cost_of_single_bytes(0) for _ in range(3))
    at_end = min(cost_of_single_bytes(2**23) for _ in range(3))
    assert at_end < 20 * at_start  # copying what is there would cost hundreds of times as much


# RFC 7692, 6: RSV1 marks a compressed message


def test_rfc7692_6_compressed_messages_are_read_beside_plain_ones() -> None:
    deflater = Deflater()
    data = b"".join(
        frame(TEXT, deflater.deflate(text), rsv=4) + frame(BINARY, deflater.deflate(text), rsv=4) + frame(TEXT, text)
        for text in (b"hello hello", b"", b"hello hello", "€".encode() * 1000)
    )
    assert read(data, deflate=True) == [
        message
        for text in ("hello hello", "", "hello hello", "€" * 1000)
        for message in (text, text.encode(), text)
    ]  # fmt: skip


def test_rfc7692_6_a_fragmented_compressed_message_with_control_frames_between() -> None:
    packed = Deflater().deflate("zurück zurück".encode() * 50)
    data = (
        frame(TEXT, packed[:5], rsv=4, fin=False)
        + frame(PING, b"p")
        + frame(CONT, fin=False)
        + frame(CONT, packed[5:-3], fin=False)
        + frame(PONG, b"q")
        + frame(CONT, packed[-3:])
    )
    assert read(data, deflate=True) == ["zurück zurück" * 50]


def test_rfc7692_6_an_empty_last_fragment_ends_a_compressed_message() -> None:
    packed = Deflater().deflate(b"hello")
    data = frame(TEXT, packed, rsv=4, fin=False) + frame(CONT)
    assert read(data * 2, deflate=True) == ["hello"] * 2


@pytest.mark.parametrize("rsv", [4, 5, 6])
@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_rfc7692_6_a_compressed_control_frame_is_refused_at_its_first_byte(opcode: int, rsv: int) -> None:
    assert fault(frame(opcode, rsv=rsv)[:1], deflate=True) == 1002


@pytest.mark.parametrize("first", [0, 4])
def test_rfc7692_6_the_mark_on_a_continuation_is_refused_at_its_first_byte(first: int) -> None:
    assert fault(frame(BINARY, fin=False, rsv=first) + frame(CONT, rsv=4)[:1], deflate=True) == 1002


@pytest.mark.parametrize("rsv", [1, 2, 5, 7])
def test_rfc7692_6_the_other_reserved_bits_stay_reserved(rsv: int) -> None:
    assert fault(frame(TEXT, rsv=rsv)[:1], deflate=True) == 1002


def test_rfc7692_6_compression_without_agreement_is_refused_at_the_first_byte() -> None:
    assert fault(frame(TEXT, Deflater().deflate(b"x"), rsv=4)[:1]) == 1002


def test_rfc7692_6_corrupt_data_is_refused() -> None:
    peer = receiver(deflate=True)
    assert peer.feed(frame(TEXT, b"plain") + frame(TEXT, b"\xff" * 20, rsv=4)) == ["plain"]
    assert peer.violation is not None
    assert peer.violation.code == 1007
    assert peer.violation.__context__ is None


def test_rfc7692_6_utf_8_is_checked_after_inflation_at_the_earliest_fragment() -> None:
    deflater = Deflater()
    bad = deflater.deflate(b"fine \xff")
    peer = receiver(deflate=True)
    peer.feed(frame(TEXT, bad, rsv=4, fin=False))
    assert peer.violation is not None
    assert peer.violation.code == 1007
    cut = receiver(deflate=True)
    cut.feed(frame(TEXT, Deflater().deflate(b"cut \xc3"), rsv=4))
    assert cut.violation is not None
    assert cut.violation.code == 1007


@pytest.mark.parametrize("fin", [True, False])
def test_rfc7692_6_the_limit_counts_after_inflation(fin: bool) -> None:
    for size, code in ((1000, None), (1001, 1009)):
        peer = receiver(1000, deflate=True)
        data = frame(BINARY, Deflater().deflate(b"x" * size), rsv=4, fin=fin) + (b"" if fin else frame(CONT))
        assert len(peer.feed(data)) == (0 if code else 1)
        assert (peer.violation and peer.violation.code) == code


def test_rfc7692_6_data_that_compression_made_longer_is_within_the_limit() -> None:
    noise = bytes(range(256)) * 4
    packed = Deflater(8).deflate(noise)
    assert len(packed) > len(noise)
    assert receiver(len(noise), deflate=True).feed(frame(BINARY, packed, rsv=4)) == [noise]


def test_rfc7692_6_a_bomb_stops_at_the_limit() -> None:
    bomb = frame(BINARY, Deflater().deflate(bytes(2**26)), rsv=4)
    peer = receiver(2**20, deflate=True)
    with peak_below(2**22):
        assert peer.feed(bomb) == []
    assert peer.violation is not None
    assert peer.violation.code == 1009


def test_rfc7692_6_an_endless_message_that_inflates_to_nothing_is_refused() -> None:
    peer = receiver(1000, deflate=True)
    peer.feed(frame(BINARY, rsv=4, fin=False) + frame(CONT, b"\x00\x00\x00\xff\xff" * 100, fin=False) * 100)
    assert peer.violation is not None
    assert peer.violation.code == 1009


# What a client sends


def parse(data: bytes) -> Frame:
    """Read a client's frame with another implementation."""
    stream = StreamReader()
    stream.feed_data(data)
    parser = Frame.parse(stream.read_exact, mask=True)
    with pytest.raises(StopIteration) as stop:
        next(parser)
    assert not stream.buffer
    result = stop.value.value
    assert isinstance(result, Frame)
    return result


@pytest.mark.parametrize("length", [0, 1, 3, 4, 125, 126, 150, 65535, 65536, 65537, 200_001])
def test_5_3_a_built_frame_is_masked_whole_and_of_minimal_length(length: int) -> None:
    payload = (bytes(range(251)) * (length // 251 + 1))[:length]
    built = build_frame(BINARY, payload, b"\x01\xfe\x80\x7f")
    assert parse(built) == Frame(PeerOpcode.BINARY, payload)
    assert len(built) - length == (6 if length < 126 else 8 if length < 65536 else 14)
    assert ABNF.mask(built[-length - 4 : -length], payload) == built[-length:] if length else True


def test_rfc7692_6_a_built_frame_can_be_marked_as_compressed() -> None:
    assert build_frame(TEXT, b"x", bytes(4), rsv1=True)[0] == 0xC1
    assert build_frame(TEXT, b"x", bytes(4))[0] == 0x81


def test_5_3_masking_a_large_payload_takes_little_more_than_twice_its_size() -> None:
    payload = bytes(2**24)
    with peak_below(2 * 2**24 + 2**20):
        build_frame(BINARY, payload, b"\x01\xfe\x80\x7f")


def test_5_5_1_a_close_payload_is_code_and_reason() -> None:
    assert build_close(1000, "bye") == b"\x03\xe8bye"
    assert build_close(None, "") == b""
    assert len(build_close(4999, "é" * 61 + "x")) == 125


@pytest.mark.parametrize(("code", "reason"), [(1000, "x" * 124), (1000, "é" * 62), (None, "x"), (1000, "\ud800")])
def test_5_5_1_a_reason_that_cannot_be_sent_is_named(code: int | None, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^reason "):
        build_close(code, reason)
