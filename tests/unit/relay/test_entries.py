"""Entries and their ids."""

from __future__ import annotations

import pytest

from masquerade_ws.relay.entries import (
    START,
    ZERO,
    Blob,
    Control,
    EntryId,
    Foreign,
    KeyEvent,
    Outgoing,
    decode,
    decode_outgoing,
    encode_blob,
    encode_control,
    encode_key_event,
    encode_outgoing,
    one_line,
    place,
)
from masquerade_ws.relay.keys import Keys
from tests.support.engines import EngineServer


def test_ids_compare_as_numbers_do() -> None:
    assert ZERO < EntryId(9, 10) < EntryId(10, 9) < EntryId(10, 10) == EntryId.parse(b"10-10")


def test_an_id_is_written_as_the_engine_writes_it() -> None:
    assert str(EntryId(1700000000000, 7)) == "1700000000000-7"
    assert EntryId.parse("5-6").after() == EntryId(5, 7)


@pytest.mark.parametrize("text", ["", "5", "5-", "-5", "a-1", "1-b", "1--1", " 1-1", b"1_0-1"])
def test_what_is_not_an_id_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="not the id of an entry"):
        EntryId.parse(text)


def test_a_place_names_the_text_in_its_entry() -> None:
    assert place(EntryId(5, 6), 7) == "5-6.7"


def test_what_is_written_is_what_is_read(engine_server: EngineServer, namespace: str) -> None:
    stream = Keys(namespace).ev
    blob = Blob(b'{"type":"a"}\n{"type":"b"}', 1_700_000_000_123)
    key_event = KeyEvent(1_700_000_000_123, "image.generation.completed", "é1", b'{"type":"\xff"}', "5-6.7")
    control = Control(START, {"previous": "0-0", "gap": None})
    written = [
        encode_blob(blob.split(), blob.received_ms),
        encode_key_event(key_event),
        encode_control(START, previous="0-0", gap=None),
    ]
    for n, fields in enumerate(written):
        engine_server.run("XADD", stream, f"5-{n}", *fields)
    read = engine_server.run("XRANGE", stream, "-", "+")
    assert [decode(fields) for _, fields in read] == [blob, key_event, control]


def test_what_a_worker_writes_is_what_the_relay_reads() -> None:
    message = Outgoing(b'{"type":"a"}', "host-1-ab", 10_000)
    assert decode_outgoing(encode_outgoing(message)) == message


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [b"x", b"1"],
        [b"b", b"{}"],
        [b"b", b"{}", b"t", b"noon"],
        [b"c", b"{"],
        [b"c", b"[]"],
        [b"c", b"{}"],
        [b"c", b'{"kind":1}'],
        [b"c", b"[" * 100_000],
        [b"t", b"1", b"y", b"a", b"j", b"1", b"e", b"{}"],
        [b"t", b"1", b"y", b"\xff", b"j", b"1", b"e", b"{}", b"p", b"1-1.0"],
    ],
)
def test_an_entry_that_no_relay_wrote_is_recognized(fields: list[bytes]) -> None:
    assert isinstance(decode(fields), Foreign)


@pytest.mark.parametrize("fields", [[b"e", b"{}"], [b"e", b"{}", b"s", b"a", b"d", b"soon"]])
def test_an_outgoing_entry_that_no_client_wrote_is_recognized(fields: list[bytes]) -> None:
    assert isinstance(decode_outgoing(fields), Foreign)


def test_a_lone_surrogate_in_a_type_does_not_stop_the_relay() -> None:
    fields = encode_key_event(KeyEvent(1, "\ud800", "\udc00", b"{}", "1-1.0"))
    assert isinstance(decode(fields), KeyEvent)


def test_line_breaks_between_tokens_become_spaces() -> None:
    assert one_line('{\r\n"type": "a\\n"\n}') == b'{  "type": "a\\n" }'
    assert one_line(b'{"type":"a"}') == b'{"type":"a"}'


@pytest.mark.parametrize("message", ["a\nb", '{"type":"a\n"}', b"\xff\n", "[" * 100_000 + "\n"])
def test_line_breaks_in_what_is_not_json_are_noticed(message: str | bytes) -> None:
    assert one_line(message) is None


def test_a_text_without_line_breaks_is_kept_whatever_it_is() -> None:
    assert one_line("garbage") == b"garbage"
    assert one_line("\ud800") == b"\xed\xa0\x80"
