"""permessage-deflate, RFC 7692: negotiation and both halves of the compression."""

from __future__ import annotations

import random
import zlib

import pytest
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.headers import build_extension, parse_extension

from masquerade_ws.protocol.deflate import OFFER, Deflater, Inflater, negotiate

BIG = 2**20
HELLO = bytes.fromhex("f248cdc9c90700")  # "Hello" in 7.2.3.1


def test_7_2_3_1_one_compressed_block() -> None:
    assert Inflater().inflate(HELLO, True, BIG) == b"Hello"
    assert Deflater().deflate(b"Hello") == HELLO


def test_7_2_3_2_a_shared_window() -> None:
    inflater, deflater = Inflater(), Deflater()
    shorter = bytes.fromhex("f200110000")
    assert [inflater.inflate(data, True, BIG) for data in (HELLO, shorter)] == [b"Hello"] * 2
    assert [deflater.deflate(b"Hello") for _ in range(2)] == [HELLO, shorter]


def test_7_2_3_3_a_block_without_compression() -> None:
    assert Inflater().inflate(bytes.fromhex("000500faff48656c6c6f00"), True, BIG) == b"Hello"


def test_7_2_3_4_a_block_that_calls_itself_final_and_messages_after_it() -> None:
    inflater = Inflater()
    final = bytes.fromhex("f348cdc9c9070000")
    assert [inflater.inflate(data, True, BIG) for data in (final, final, HELLO)] == [b"Hello"] * 3


def test_7_2_3_5_two_blocks_in_one_message() -> None:
    assert Inflater().inflate(bytes.fromhex("f248050000 00ffff cac9c90700"), True, BIG) == b"Hello"


def test_7_2_3_6_an_empty_message_is_one_byte() -> None:
    deflater, inflater = Deflater(), Inflater()
    for text in (b"", b"", b"x", b"", b"y"):
        packed = deflater.deflate(text)
        assert packed == b"\x00" or text
        assert inflater.inflate(packed, True, BIG) == text


def test_7_2_2_pieces_give_what_the_whole_gives() -> None:
    inflater = Inflater()
    packed = Deflater().deflate(b"abc" * 1000)
    parts = [inflater.inflate(packed[at : at + 1], at == len(packed) - 1, BIG) for at in range(len(packed))]
    assert b"".join(parts) == b"abc" * 1000


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("bits", range(8, 16))
def test_7_1_every_window_works_both_ways(bits: int, takeover: bool) -> None:
    deflater, inflater = Deflater(bits, takeover), Inflater(bits, takeover)
    texts = [b"masquerade " * 5000, bytes(range(256)) * 300, b"", b"masquerade"]
    packed = [deflater.deflate(text) for text in texts]
    assert [inflater.inflate(data, True, BIG) for data in packed] == texts
    assert len(packed[0]) < len(texts[0])


@pytest.mark.parametrize("bits", range(9, 16))
def test_7_1_2_2_a_window_is_not_exceeded(bits: int) -> None:
    text = bytes(range(256)) * 400
    strict = zlib.decompressobj(-bits)
    assert strict.decompress(Deflater(bits).deflate(text) + b"\x00\x00\xff\xff") == text


def test_7_1_2_2_a_window_of_8_bits_is_not_exceeded_either() -> None:
    deflater = Deflater(8)
    deflater.deflate(bytes(range(256)) * 2)
    # Whatever went before, nothing but the last byte is looked back at.
    packed = deflater.deflate(bytes(range(256)) * 2 + b"x" * 100)
    fresh = zlib.decompressobj(-15, zdict=b"\xff")
    assert fresh.decompress(packed + b"\x00\x00\xff\xff") == bytes(range(256)) * 2 + b"x" * 100


def test_7_1_1_without_takeover_each_message_stands_alone() -> None:
    deflater = Deflater(15, False)
    assert deflater.deflate(b"Hello") == deflater.deflate(b"Hello") == HELLO
    inflater = Inflater(15, False)
    assert inflater.inflate(HELLO, True, BIG) == b"Hello"
    with pytest.raises(zlib.error):
        inflater.inflate(bytes.fromhex("f200110000"), True, BIG)


@pytest.mark.parametrize("limit", [0, 1, 99])
@pytest.mark.parametrize("final", [True, False])
def test_output_ends_one_byte_above_the_limit(limit: int, final: bool) -> None:
    packed = Deflater().deflate(bytes(100))
    assert Inflater().inflate(packed, final, limit) == bytes(limit + 1)


@pytest.mark.parametrize("final", [True, False])
def test_output_at_the_limit_is_whole(final: bool) -> None:
    assert Inflater().inflate(Deflater().deflate(bytes(100)), final, 100) == bytes(100)


def test_output_after_a_final_block_counts_towards_the_limit() -> None:
    compressor = zlib.compressobj(wbits=-15)
    twice = (compressor.compress(bytes(100)) + compressor.flush()) * 2
    assert Inflater().inflate(twice, False, 150) == bytes(151)
    assert Inflater().inflate(twice, False, 200) == bytes(200)
    assert Inflater().inflate(twice, False, 99) == bytes(100)


def test_what_only_the_tail_brings_out_counts_towards_the_limit() -> None:
    # A stored block of four bytes whose content is the tail itself.
    assert Inflater().inflate(b"\x00\x04\x00\xfb\xff", True, 4) == b"\x00\x00\xff\xff"
    assert Inflater().inflate(b"\x00\x04\x00\xfb\xff", True, 2) == b"\x00\x00\xff"


def test_corrupt_data_raises() -> None:
    with pytest.raises(zlib.error):
        Inflater().inflate(b"\xff\xff\xff", False, BIG)


def test_a_flood_of_final_blocks_raises_however_it_is_cut() -> None:
    flood = b"\x03\x00" * 1000
    with pytest.raises(zlib.error):
        Inflater().inflate(flood, False, BIG)
    drip = Inflater()
    pieces = (drip.inflate(flood[at : at + 2], False, BIG) for at in range(0, len(flood), 2))
    with pytest.raises(zlib.error):
        list(pieces)


def test_a_final_block_in_each_of_many_messages_is_not_a_flood() -> None:
    inflater = Inflater()
    assert {inflater.inflate(bytes.fromhex("f348cdc9c9070000"), True, BIG) for _ in range(200)} == {b"Hello"}


# 7.1: Negotiation


def test_7_1_the_offer_is_one_that_another_implementation_accepts() -> None:
    [(name, params)] = parse_extension(OFFER)
    factory = ServerPerMessageDeflateFactory(server_max_window_bits=11, client_max_window_bits=12)
    accepted, extension = factory.process_request_params(params, [])
    inflater, deflater = negotiate(build_extension([(name, accepted)]))
    packed = deflater.deflate(b"x" * 1000)
    assert Inflater(12).inflate(packed, True, BIG) == b"x" * 1000
    assert (extension.remote_max_window_bits, extension.local_max_window_bits) == (12, 11)
    assert inflater.inflate(Deflater(11).deflate(b"y" * 9999), True, BIG) == b"y" * 9999


@pytest.mark.parametrize(
    "accepted",
    [
        "permessage-deflate",
        " permessage-deflate ",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate;client_max_window_bits=8;server_max_window_bits=15",
        'permessage-deflate; client_max_window_bits = "10"',
        "permessage-deflate\t;\tserver_no_context_takeover ; client_no_context_takeover",
    ],
)
def test_7_1_valid_answers_are_accepted(accepted: str) -> None:
    inflater, deflater = negotiate(accepted)
    assert Inflater().inflate(deflater.deflate(b"out"), True, BIG) == b"out"
    assert inflater.inflate(HELLO, True, BIG) == b"Hello"


def test_7_1_1_context_takeover_is_as_the_server_answered() -> None:
    kept_in, kept_out = negotiate("permessage-deflate")
    reset_in, _ = negotiate("permessage-deflate; server_no_context_takeover")
    _, reset_out = negotiate("permessage-deflate; client_no_context_takeover")
    assert kept_out.deflate(b"Hello") != kept_out.deflate(b"Hello")
    assert reset_out.deflate(b"Hello") == reset_out.deflate(b"Hello")
    for inflater in (kept_in, reset_in):
        inflater.inflate(HELLO, True, BIG)
    assert kept_in.inflate(bytes.fromhex("f200110000"), True, BIG) == b"Hello"
    with pytest.raises(zlib.error):
        reset_in.inflate(bytes.fromhex("f200110000"), True, BIG)


def test_7_1_2_windows_are_as_the_server_answered() -> None:
    text = random.Random(1).randbytes(1000) * 2  # a match at a distance that 9 bits do not reach
    _, narrow = negotiate("permessage-deflate; client_max_window_bits=9; server_max_window_bits=15")
    assert zlib.decompressobj(-9).decompress(narrow.deflate(text) + b"\x00\x00\xff\xff") == text
    inflater, _ = negotiate("permessage-deflate; server_max_window_bits=9; client_max_window_bits=15")
    wide = Deflater(15)
    assert inflater.inflate(wide.deflate(text[:1000]), True, BIG) == text[:1000]
    with pytest.raises(zlib.error):
        inflater.inflate(wide.deflate(text[:1000]), True, BIG)


@pytest.mark.parametrize(
    "accepted",
    [
        "",
        "x-webkit-deflate-frame",
        "permessage-bzip2",
        "permessage-deflate, permessage-deflate",
        "permessage-deflate; server_no_context_takeover, x",
        "permessage-deflate;",
        "permessage-deflate; unknown",
        "permessage-deflate; =",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=08",
        "permessage-deflate; client_max_window_bits=+9",
        "permessage-deflate; client_max_window_bits=1\u0663",
        'permessage-deflate; client_max_window_bits="9',
    ],
)
def test_7_1_answers_that_the_offer_does_not_allow_are_refused(accepted: str) -> None:
    with pytest.raises(ValueError, match=r"extension|permessage-deflate"):
        negotiate(accepted)
