"""Fuzz the codec: ``python tests/fuzz/fuzz_codec.py -max_total_time=30 tests/fuzz/corpus/codec``.

The first byte of an input tells whether the message is binary, the rest is the message.
"""

from __future__ import annotations

import json
import math
import sys

import atheris

with atheris.instrument_imports(include=["masquerade_ws"]):
    from masquerade_ws.errors import ParseError
    from masquerade_ws.events import ErrorEvent, Event, timestamp_now
    from masquerade_ws.protocol import codec


def read_int(text: str) -> int | float:
    """Return an integer as orjson reads it: beyond 64 bits as a float."""
    number = int(text)
    return number if -(2**63) <= number < 2**64 or math.isinf(float(text)) else float(text)


as_orjson_reads = json.JSONDecoder(parse_int=read_int)


def check_verdict(text: str) -> None:
    """Check that orjson reads what the standard library does, and refuses the rest but for its depth."""
    try:
        standard = codec._standard_loads(text)
    except RecursionError:
        return
    except ValueError:
        standard = ValueError
    try:
        fast = codec._loads(text)
    except ValueError:
        fast = ValueError
    assert fast == standard or fast == as_orjson_reads.decode(text)


def check_event(message: str | bytes) -> None:
    """Check that a message alone and one in a batch mean the same, and that an event survives the way back."""
    [batched] = codec.decode_each([message], timestamp_now)
    try:
        event = codec.decode(message)
    except ParseError as error:
        assert error.data is message
        assert isinstance(batched, ErrorEvent)
        assert str(batched.error) == str(error)
        return
    assert isinstance(batched, Event)
    assert type(batched) is type(event)
    assert (batched.type, batched.payload) == (event.type, event.payload)
    try:
        text = codec.encode(event)
    except ValueError as error:
        assert "nested too deep" in str(error)
    else:
        assert codec.decode(text) == event


def test_one_input(data: bytes) -> None:
    """Check a message as the connection hands it over: bytes, or text that was UTF-8."""
    text = data[1:].decode("utf-8", "ignore")
    check_verdict(text)
    check_event(data[1:] if data[:1] == b"b" else text)


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
