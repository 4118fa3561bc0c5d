"""Fuzz the fronts of messages: ``python tests/fuzz/fuzz_fronts.py -max_total_time=30 tests/fuzz/corpus/fronts``.

The first byte of an input tells whether the message is binary, the rest is the message. Somebody takes type ``a``.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["masquerade_ws"]):
    from masquerade_ws.delivery.blocking import Guard
    from masquerade_ws.delivery.listeners import Listeners
    from masquerade_ws.delivery.stream_index import StreamIndex
    from masquerade_ws.delivery.takers import Takers
    from masquerade_ws.events import ErrorEvent
    from masquerade_ws.protocol.codec import decode_each, type_of_front

takers = Takers(Listeners(), StreamIndex(Guard()))
takers.fronts.worth_a_look = True
takers.listeners.add("a", repr)


def check(message: str | bytes, text: str) -> None:
    """Check that a plain decoder delivers the same, but for what nobody takes."""
    [expected] = decode_each([message], lambda: "now")
    found = list(decode_each([message], lambda: "now", takers))
    if found:
        assert [type(event) for event in found] == [type(expected)]
        assert isinstance(expected, ErrorEvent) or found == [expected]
    elif isinstance(expected, ErrorEvent):
        assert type_of_front(text.partition('",')[0]) not in {None, "a"}
    else:
        assert expected.type != "a"


def test_one_input(data: bytes) -> None:
    """Check a message as the connection hands it over: bytes, or text that was UTF-8."""
    text = data[1:].decode("utf-8", "ignore")
    check(data[1:] if data[:1] == b"b" else text, text)


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
