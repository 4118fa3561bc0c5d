"""What a relay that stands by has received and not seen in the stream, and the reverse."""

from __future__ import annotations

import time

from masquerade_ws.relay.buffer import OVERHEAD, Batch, Note, texts_of
from masquerade_ws.relay.entries import BAD
from masquerade_ws.relay.tail import Tail, Texts

LIMIT = 2**20


def batch(*texts: str, ms: int = 1_000_000, at: float | None = None) -> Batch:
    return Batch("\n".join(texts).encode(), len(texts), ms, time.monotonic() if at is None else at)


def bad(data: str, ms: int = 1_000_000) -> Note:
    return Note(BAD, {"data": data}, time.monotonic(), ms, len(data) + OVERHEAD, 1)


def rest(tail: Tail) -> list[str]:
    return [text.decode() for item in tail.take() for text, *_ in texts_of(item)]


def test_what_is_seen_is_struck() -> None:
    tail = Tail(LIMIT)
    tail.receive([batch("a", "b", "c"), bad("x\ny"), bad("z\n")])
    tail.see(batch("b"), remember=True)
    tail.see(bad("x\ny"), remember=True)
    assert rest(tail) == ["a", "c", "\nz\n"]
    assert tail.size == 0
    assert not tail.awaits(time.monotonic())


def test_of_equal_texts_the_oldest_is_struck() -> None:
    tail = Tail(LIMIT)
    tail.receive([batch("a", ms=1_000_000), batch("a", ms=1_001_000)])
    tail.see(batch("a", ms=1_001_000), remember=True)
    [item] = tail.take()
    assert isinstance(item, Batch)
    assert item.received_ms == 1_001_000


def test_an_equal_text_that_is_more_than_ten_seconds_older_is_another_event() -> None:
    tail = Tail(LIMIT)
    tail.receive([batch("a", ms=1_000_000)])
    tail.see(batch("a", ms=1_011_000), remember=True)
    assert rest(tail) == ["a"]


def test_what_is_seen_first_strikes_what_comes_then() -> None:
    tail = Tail(LIMIT)
    tail.see(batch("a", "b"), remember=True)
    tail.see(batch("c"), remember=False)
    assert tail.awaits(time.monotonic())
    tail.receive([batch("a", "c")])
    assert tail.without_seen(batch("b", "d", "b"))[0].texts == b"d\nb"  # type: ignore[union-attr]
    assert rest(tail) == ["c"]
    assert not tail.awaits(time.monotonic())


def test_what_was_seen_at_another_time_strikes_nothing() -> None:
    tail = Tail(LIMIT)
    tail.see(batch("a", ms=1_000_000), remember=True)
    tail.receive([batch("a", ms=1_011_000), batch("a", ms=989_000)])
    assert rest(tail) == ["a", "a"]


def test_what_was_seen_is_waited_for_for_ten_seconds() -> None:
    tail = Tail(LIMIT)
    tail.see(batch("a", at=100.0), remember=True)
    assert tail.awaits(109.0)
    assert not tail.awaits(111.0)


def test_the_oldest_go_when_there_is_too_much() -> None:
    tail = Tail(3 * (1 + OVERHEAD))
    tail.receive([batch("a", "b", "c", "d", "e")])
    assert tail.dropped == 2
    assert rest(tail) == ["c", "d", "e"]


def test_what_is_older_than_something_that_was_dropped_goes_as_well() -> None:
    tail = Tail(LIMIT)
    tail.receive([batch("a", "b")])
    tail.receive([batch("f")], 3)
    assert tail.dropped == 5
    assert rest(tail) == ["f"]


def test_striking_takes_as_long_for_many_texts_as_for_few() -> None:
    texts = Texts(2**30)
    for n in range(20_000):
        texts.add((b"%d" % n, 0, 0.0))
    begin = time.process_time()
    for n in reversed(range(20_000)):
        assert texts.strike(b"%d" % n, 0)
    assert time.process_time() - begin < 5  # a scan would take minutes
    assert len(texts) == texts.size == 0
