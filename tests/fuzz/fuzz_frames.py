"""Fuzz the frame receiver: ``python tests/fuzz/fuzz_frames.py -max_total_time=30 tests/fuzz/corpus/frames``.

The first byte of an input chooses the options, the second seeds the cuts, the rest is what the server sends.
"""

from __future__ import annotations

import random
import sys
import tracemalloc

import atheris

with atheris.instrument_imports(include=["masquerade_ws"]):
    from masquerade_ws.protocol.deflate import Inflater
    from masquerade_ws.protocol.frames import FrameReceiver

LIMITS = (0, 100, 5000, 2**20)
MEMORY = 8 * 2**20  # what the largest limit may cost with all its copies


def outcome(chunks: list[bytes], options: int) -> tuple[object, ...]:
    """Return everything that a receiver tells after these chunks, having checked what must hold meanwhile."""
    limit = LIMITS[options & 3]
    inflater = Inflater(context_takeover=bool(options & 8)) if options & 4 else None
    peer = FrameReceiver(max_message_size=limit, inflater=inflater)
    messages: list[str | bytes] = []
    for chunk in chunks:
        ended = peer.close is not None or peer.violation is not None
        new = peer.feed(chunk)
        assert not (ended and new)
        assert all(len(text if isinstance(text, bytes) else text.encode()) <= limit for text in new)
        assert len(peer.pongs) < 100
        messages += new
    assert peer.close is None or peer.violation is None
    assert peer.violation is None or peer.violation.code in {1002, 1007, 1009}
    fault = peer.violation and (peer.violation.code, peer.violation.reason)
    if inflater and fault and fault[0] != 1002:
        # zlib withholds what stands before corrupt data in the same chunk: more faults than one may be the first.
        fault = (1007, "")
    return messages, peer.pings, peer.pongs, peer.close, fault


def split(data: bytes, seed: int) -> list[bytes]:
    """Cut the data at random places."""
    chooser = random.Random(seed)
    chunks = []
    while data:
        size = chooser.choice((1, 2, 3, 10, 100, 1000))
        chunks.append(data[:size])
        data = data[size:]
    return chunks


def test_one_input(data: bytes) -> None:
    """Check that the outcome does not depend on the cuts, and that memory stays within bounds."""
    if len(data) < 2:
        return
    options, seed, stream = data[0], data[1], data[2:]
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    whole = outcome([stream], options)
    assert tracemalloc.get_traced_memory()[1] - before < MEMORY + 50 * len(stream)
    assert outcome(split(stream, seed), options) == whole
    assert outcome([bytes((byte,)) for byte in stream], options) == whole


if __name__ == "__main__":
    tracemalloc.start()
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
