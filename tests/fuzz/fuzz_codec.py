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
    from masquerade_ws.events import ErrorEvent, Event
    from masquerade_ws.protocol import codec
    from masquerade_ws.timestamps import timestamp_now


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


def decoded(message: str | bytes) -> Event | ErrorEvent:
    """Return what a message carries."""
    [event] = codec.decode_each([message], timestamp_now)
    assert isinstance(event, Event | ErrorEvent)
    return event


def check_event(message: str | bytes) -> None:
    """Check that a message is an event, which survives the way back, or a parse error that holds it."""
    event = decoded(message)
    if isinstance(event, ErrorEvent):
        assert isinstance(event.error, ParseError)
        assert event.error.data is message
        assert not set(str(event.error)) & set("\r\n\x1b\x9b\u2028")
        return
    try:
        text = codec.encode(event)
    except ValueError as error:
        assert "nested too deep" in str(error)
    else:
        assert decoded(text) == event


def test_one_input(data: bytes) -> None:
    """Check a message as the connection hands it over: bytes, or text that was UTF-8."""
    text = data[1:].decode("utf-8", "ignore")
    check_verdict(text)
    check_event(data[1:] if data[:1] == b"b" else text)


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
