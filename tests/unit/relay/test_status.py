"""What relays show of themselves, and when that has expired."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from masquerade_ws.relay.entries import EntryId
from masquerade_ws.relay.status import Expiry, Status

STATUS = Status(
    relay="r1",
    epoch=5,
    key_events=("a", "b"),
    gateway=True,
    code=None,
    reason="",
    ev=EntryId(5, 0),
    key=EntryId(5, 1),
    alive=9,
    sure=1_700_000_000_000,
)


@pytest.mark.parametrize("status", [STATUS, replace(STATUS, gateway=False, code=1006, reason="é")])
def test_what_is_written_is_what_is_read(status: Status) -> None:
    assert Status.read(status.write()) == status


@pytest.mark.parametrize(
    "value", [b"", b"{", b"[]", b"1", b"{}", b"[" * 100_000, b'{"format":1}', b'{"format":1,"ev":3}']
)
def test_a_status_that_no_relay_wrote_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="what no relay wrote"):
        Status.read(value)


def test_a_status_of_another_format_says_what_to_do() -> None:
    value = json.dumps({**json.loads(STATUS.write()), "format": 2}).encode()
    with pytest.raises(ValueError, match="writes format 2, this version reads format 1: install the same version"):
        Status.read(value)


def test_a_value_that_changes_is_alive() -> None:
    expiry = Expiry()
    assert all(expiry.look(b"%d" % second, float(second)) for second in range(20))


def test_a_value_that_is_not_there_is_not_alive() -> None:
    expiry = Expiry()
    assert not expiry.look(None, 0.0)


def test_a_value_unchanged_for_four_seconds_has_expired() -> None:
    expiry = Expiry()
    assert [expiry.look(b"1", second / 2) for second in range(10)] == [True] * 8 + [False] * 2


def test_counting_begins_anew_after_a_pause_of_more_than_two_seconds() -> None:
    expiry = Expiry()
    assert [expiry.look(b"1", at) for at in (0.0, 1.5, 3.6, 5.0, 7.0, 7.5, 7.7)] == [True] * 6 + [False]


def test_a_writer_is_there_for_sure_once_it_was_seen_to_renew() -> None:
    expiry = Expiry()
    looks = [(b"1", 0.0), (b"1", 1.0), (b"2", 2.0), (b"2", 3.0), (b"2", 4.0), (b"2", 6.0), (b"3", 7.0), (None, 8.0)]
    seen = []
    for value, at in looks:
        expiry.look(value, at)
        seen.append(expiry.moving)
    assert seen == [False, False, True, True, True, False, True, False]


def test_a_writer_has_to_show_itself_again_after_a_pause() -> None:
    expiry = Expiry()
    for value, at in ((b"1", 0.0), (b"2", 1.0), (b"3", 9.0)):
        expiry.look(value, at)
    assert not expiry.moving
