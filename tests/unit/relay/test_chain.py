"""What is missing in a stream shows in the ids of its entries."""

from __future__ import annotations

from typing import Any

import pytest

from masquerade_ws.relay.chain import Chain, Gap
from masquerade_ws.relay.entries import BACK, DROPPED, LOST, START, ZERO, Blob, Control, EntryId, Foreign

BLOB = Blob(b"{}", 0)


def chain_at(epoch: int, n: int, *, led: bool = True) -> Chain:
    chain = Chain()
    chain.begin(EntryId(epoch, n), ZERO, led=led)
    return chain


def start(previous: Any, gap: Any = None) -> Control:
    return Control(START, {"previous": previous, "relay": "it", "format": 1, "gap": gap})


def test_entries_without_holes_are_whole() -> None:
    chain = chain_at(5, 7)
    assert chain.take(EntryId(5, 8), BLOB) is None
    assert chain.take(EntryId(5, 9), Control("unknown", {})) is None
    assert chain.take(EntryId(9, 0), start("5-9")) is None
    assert chain.take(EntryId(9, 1), BLOB) is None
    assert chain.last == chain.cursor == EntryId(9, 1)


@pytest.mark.parametrize(("n", "words"), [(9, "1 entry"), (20, "12 entries")])
def test_a_hole_is_a_gap_of_known_size(n: int, words: str) -> None:
    assert chain_at(5, 7).take(EntryId(5, n), BLOB) == Gap(f"{words} of the stream went unread")


@pytest.mark.parametrize(
    ("previous", "words"),
    [
        ("5-9", "2 entries of the stream went unread"),
        ("5-6", "lost the history"),
        ("4-9", "lost the history"),
        ("0-0", "lost the history"),
        (None, "lost the history"),
        (7, "lost the history"),
    ],
)
def test_a_start_after_another_entry_than_mine_is_a_gap(previous: Any, words: str) -> None:
    gap = chain_at(5, 7).take(EntryId(9, 0), start(previous, 3.0))
    assert gap is not None
    assert words in gap.reason
    assert gap.seconds is None


def test_a_start_on_a_stream_of_which_nothing_is_known_has_lost_its_history() -> None:
    gap = Chain().take(EntryId(9, 0), start("5-1"))
    assert gap is not None
    assert "lost the history" in gap.reason


@pytest.mark.parametrize(
    ("entry_id", "entry"), [(EntryId(9, 3), BLOB), (EntryId(9, 0), BLOB), (EntryId(9, 2), start("5-7"))]
)
def test_an_epoch_that_does_not_begin_is_a_gap(entry_id: EntryId, entry: Blob | Control) -> None:
    gap = chain_at(5, 7).take(entry_id, entry)
    assert gap is not None
    assert gap.reason == f"the stream goes on with entry {entry_id}, and what came before it was not read"


@pytest.mark.parametrize("seconds", [0, 2.5])
def test_what_the_relay_says_is_missing_is_a_gap(seconds: float) -> None:
    chain = chain_at(5, 7)
    told = chain.take(EntryId(9, 0), start("5-7", seconds))
    assert told == Gap(f"the relay had no connection to the gateway for {seconds:.1f} s", seconds)
    assert chain.take(EntryId(9, 1), Control(BACK, {"gap": seconds})) == told
    gap = chain.take(EntryId(9, 2), Control(DROPPED, {"count": 1}))
    assert gap == Gap("the relay's buffer was full, and 1 event is missing")


def test_the_gateway_is_lost_and_comes_back() -> None:
    chain = chain_at(5, 7)
    assert chain.take(EntryId(5, 8), Control(LOST, {"code": 1012, "reason": "restart"})) is None
    assert (chain.led, chain.code, chain.reason) == (False, 1012, "restart")
    assert chain.take(EntryId(5, 9), Control(BACK, {"gap": None})) is None
    assert chain.led
    assert chain.take(EntryId(5, 10), Control(LOST, {"code": "x"})) is None
    assert (chain.led, chain.code, chain.reason) == (False, 1006, "")
    chain.take(EntryId(5, 11), BLOB)
    assert chain.led


def test_control_entries_that_the_status_takes_in_are_passed_over() -> None:
    chain = Chain()
    chain.begin(EntryId(5, 7), EntryId(5, 9), led=True)
    chain.take(EntryId(5, 8), Control(LOST, {"code": 1006, "reason": ""}))
    assert chain.led
    chain.take(EntryId(5, 9), Control(BACK, {"gap": 3.0}))
    chain.take(EntryId(5, 10), Control(LOST, {"code": 1006, "reason": ""}))
    assert not chain.led


def test_entries_that_were_taken_are_known_after_going_back() -> None:
    chain = chain_at(5, 7)
    chain.take(EntryId(9, 0), start("5-7"))
    chain.go_back()
    assert chain.cursor == ZERO
    assert [chain.knows(EntryId(*each)) for each in ((5, 0), (5, 7), (5, 8), (9, 0), (9, 1), (1, 0))] == [
        *(True, True, False, True, False, False)
    ]


def test_only_some_epochs_are_remembered() -> None:
    chain = chain_at(1, 0)
    for epoch in range(2, 30):
        chain.take(EntryId(epoch, 0), start(f"{epoch - 1}-0"))
    assert [epoch for epoch in range(30) if chain.knows(EntryId(epoch, 0))] == [*range(14, 30)]


def test_what_no_relay_wrote_moves_the_cursor_alone() -> None:
    chain = chain_at(5, 7)
    assert chain.take(EntryId(99, 3), Foreign("odd")) is None
    assert (chain.last, chain.cursor) == (EntryId(5, 7), EntryId(99, 3))
    assert not chain.knows(EntryId(99, 3))
