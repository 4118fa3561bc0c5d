"""How far a stream reaches."""

from __future__ import annotations

from masquerade_ws.relay.entries import ZERO, EntryId
from masquerade_ws.relay.trimming import Trim


def test_until_the_list_is_filled_the_number_of_entries_is_bounded() -> None:
    trim = Trim(10.0, 1000, 7)
    assert trim.words() == ("MAXLEN", "~", 7)
    trim.add(EntryId(1, 0), 0.0, 100)
    assert trim.words() == ("MAXLEN", "~", 7)


def test_entries_beyond_the_bytes_go() -> None:
    trim = Trim(1e9, 1000, 7)
    for n in range(50):
        trim.add(EntryId(1, n), 0.0, 100)
    assert trim.words() == ("MINID", "~", "1-40")


def test_entries_beyond_the_age_go() -> None:
    trim = Trim(10.0, 10**9, 7)
    for n in range(50):
        trim.add(EntryId(1, n), float(n), 100)
    assert trim.words() == ("MINID", "~", "1-38")  # the 39th was there until ten seconds ago, and so was the 38th


def test_the_list_of_a_stream_of_many_entries_is_short() -> None:
    trim = Trim(3600.0, 10**9, 7)
    for n in range(10_000):
        trim.add(EntryId(1, n), n / 10, 100)
    assert len(trim._parts) < 700


def test_what_was_lost_is_dated() -> None:
    trim = Trim(300.0, 10**9, 7)
    assert trim.lost_since(ZERO) is None
    for n in range(10):
        trim.add(EntryId(1, n), float(2 * n), 100)
    assert trim.lost_since(EntryId(1, 4)) == 8.0
    assert trim.lost_since(ZERO) == 0.0


def test_a_new_epoch_forgets() -> None:
    trim = Trim(1.0, 100, 7)
    for n in range(10):
        trim.add(EntryId(1, n), float(n), 100)
    trim.begin()
    assert trim.words() == ("MAXLEN", "~", 7)
    assert trim.lost_since(ZERO) is None
