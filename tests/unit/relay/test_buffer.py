"""What came from the gateway and is not yet in the streams."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace

import pytest

from masquerade_ws.relay.buffer import FULL, OVERHEAD, Batch, Buffer, Note, batches_of, texts_of
from masquerade_ws.relay.entries import BACK, BAD, DROPPED, LOST, UNSENT

LIMIT = 32 * 2**20


def taken(buffer: Buffer) -> list[Batch | Note]:
    items = []
    while (item := buffer.take(math.inf)) is not None:
        items.append(item)
    return items


def texts(buffer: Buffer) -> list[bytes]:
    return [text for item in taken(buffer) for text, *_ in texts_of(item)]


def lost(code: int = 1006) -> Note:
    return Note(LOST, {"code": code, "reason": ""}, time.monotonic())


def back() -> Note:
    return Note(BACK, {}, time.monotonic())


def test_what_came_together_or_soon_after_is_one_entry() -> None:
    buffer = Buffer(LIMIT)
    buffer.put_messages(["a", "é"])
    [first] = taken(buffer)
    assert isinstance(first, Batch)
    buffer.put_back([first, replace(first, texts=b"c", count=1, received_ms=first.received_ms + 100)])
    [batch] = taken(buffer)
    assert isinstance(batch, Batch)
    assert (batch.texts, batch.count) == ("a\né\nc".encode(), 3)
    assert buffer.empty
    assert buffer.size == 0
    assert (buffer.messages, buffer.bytes) == (2, 3)


def test_what_came_much_later_is_another_entry() -> None:
    buffer = Buffer(LIMIT)
    buffer.put_messages(["a"])
    [batch] = taken(buffer)
    buffer.put_back([batch, Batch(b"b", 1, batch.received_ms + 1000, batch.received_at + 1)])
    assert len(taken(buffer)) == 2


def test_an_entry_is_bounded_in_bytes() -> None:
    buffer = Buffer(LIMIT)
    buffer.put_back([Batch(b"x" * (FULL // 2), 1, 0, 0.0)] * 5)
    assert [item.count for item in taken(buffer)] == [2, 2, 1]


def test_a_flood_is_parted_into_entries_of_that_size() -> None:
    buffer = Buffer(LIMIT)
    sent = [f"{n:0130}" for n in range(5000)]
    buffer.put_messages(sent)
    items = taken(buffer)
    assert all(isinstance(item, Batch) and len(item.texts) <= FULL for item in items)
    assert len(items) == 3
    assert [text.decode() for item in items for text, *_ in texts_of(item)] == sent
    assert buffer.bytes == 5000 * 130


def test_what_came_after_a_time_is_left() -> None:
    buffer = Buffer(LIMIT)
    before = time.monotonic() - 1
    buffer.put_messages(["a"])
    assert buffer.take(before) is None
    assert buffer.oldest_at() is not None
    assert texts(buffer) == [b"a"]
    assert buffer.oldest_at() is None


def test_line_breaks_within_a_message_do_not_part_it() -> None:
    buffer = Buffer(LIMIT)
    buffer.put_messages(["a", '{"x":\r\n1}', "b"])
    assert texts(buffer) == [b"a", b'{"x":  1}', b"b"]


def test_a_message_with_line_breaks_that_is_not_json_becomes_a_note_in_its_place() -> None:
    buffer = Buffer(LIMIT)
    buffer.put_messages(["a", "b\nc", b"\xff\n", "d"])
    items = taken(buffer)
    assert [item.kind if isinstance(item, Note) else item.texts for item in items] == [b"a", BAD, BAD, b"d"]
    assert [item.fields for item in items if isinstance(item, Note)] == [{"data": "b\nc"}, {"data": "\\xff\n"}]
    again = batches_of(text for item in items for text in texts_of(item))
    assert [texts_of(item) for item in again] == [texts_of(item) for item in items]


def test_a_full_buffer_drops_the_oldest_and_says_how_many() -> None:
    buffer = Buffer(10 * (1000 + OVERHEAD))
    buffer.put_note(lost())
    for n in range(25):
        buffer.put_messages([f"{n:01000}"])
    assert buffer.size <= 10 * (1000 + OVERHEAD)
    dropped, kept, *rest = taken(buffer)
    assert isinstance(dropped, Note)
    assert isinstance(kept, Note)
    assert (dropped.kind, dropped.fields, kept.kind) == (DROPPED, {"count": 15}, LOST)
    assert [int(text) for item in rest for text, *_ in texts_of(item)] == [*range(15, 25)]
    assert buffer.dropped_total == 15


def test_of_what_comes_together_and_is_too_much_the_oldest_go() -> None:
    buffer = Buffer(16_000)
    buffer.put_messages([f"{n:0100}" for n in range(500)])
    dropped, *batches = taken(buffer)
    kept = [int(text) for batch in batches for text, *_ in texts_of(batch)]
    assert isinstance(dropped, Note)
    assert dropped.fields == {"count": 500 - len(kept)}
    assert kept == [*range(500 - len(kept), 500)]
    assert 12_000 < len(kept) * (100 + OVERHEAD) <= 16_000


def test_what_is_held_elsewhere_counts() -> None:
    buffer = Buffer(1000)
    buffer.elsewhere = 900
    buffer.put_messages(["x" * 100])
    assert not buffer.empty
    [note] = taken(buffer)
    assert isinstance(note, Note)
    assert note.kind == DROPPED


def test_what_was_dropped_elsewhere_is_reported() -> None:
    buffer = Buffer(1000)
    buffer.note_dropped(3)
    [note] = taken(buffer)
    assert isinstance(note, Note)
    assert note.fields == {"count": 3}


def test_a_return_and_a_loss_with_nothing_between_are_one_loss() -> None:
    buffer = Buffer(LIMIT)
    for note in (back(), lost(1), back(), lost(2), back(), lost(3)):
        buffer.put_note(note)
    assert [item.fields.get("code") for item in taken(buffer) if isinstance(item, Note)] == [None, 1]


def test_a_return_after_which_something_came_is_kept() -> None:
    buffer = Buffer(LIMIT)
    for note in (lost(), back()):
        buffer.put_note(note)
    buffer.put_messages(["a"])
    buffer.put_note(lost())
    assert [getattr(item, "kind", "batch") for item in taken(buffer)] == [LOST, BACK, "batch", LOST]


def test_messages_are_taken_up_to_a_note() -> None:
    buffer = Buffer(LIMIT)
    buffer.put_messages(["a", "b\nc"])
    buffer.put_note(lost())
    buffer.put_messages(["d"])
    assert buffer.take_note() is None
    items, dropped = buffer.take_messages()
    assert ([item.count for item in items], dropped) == ([1, 1], 0)
    assert buffer.take_messages() == ([], 0)
    note = buffer.take_note()
    assert note is not None
    assert note.kind == LOST
    assert texts(buffer) == [b"d"]
    assert buffer.take_note() is None


def test_a_wait_ends_when_something_is_due() -> None:
    buffer = Buffer(LIMIT)
    buffer.put_messages(["a"])
    assert buffer.wait(time.monotonic() + 60, time.monotonic() + 0.01)


def test_a_wait_ends_at_once_when_there_is_enough() -> None:
    buffer = Buffer(LIMIT)
    threading.Timer(0.05, buffer.put_messages, [["x" * FULL]]).start()
    assert buffer.wait(time.monotonic() + 60, time.monotonic() + 60)


def test_a_wait_ends_in_its_time() -> None:
    buffer = Buffer(LIMIT)
    assert not buffer.wait(time.monotonic() + 0.01, 0.0)


@pytest.mark.parametrize("delay", [0.0, 0.05])
def test_a_wait_is_woken(delay: float) -> None:
    buffer = Buffer(LIMIT)
    threading.Timer(delay, buffer.wake).start()
    assert not buffer.wait(time.monotonic() + 60, time.monotonic() + 60)


def test_a_note_ends_the_wait_for_the_first_item() -> None:
    buffer = Buffer(LIMIT)
    threading.Timer(0.05, buffer.put_note, [Note(UNSENT)]).start()
    assert buffer.wait(time.monotonic() + 60, 0.0)
