from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest

from masquerade_ws.timestamps import time_of, timestamp_now, timestamp_of_number

UTC = timezone.utc
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_a_timestamp_is_utc_with_milliseconds_and_a_z() -> None:
    text = timestamp_now()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    age = datetime.now(timezone.utc) - datetime.fromisoformat(text.replace("Z", "+00:00"))
    assert abs(age) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-22T12:00:00.000Z", NOON),
        ("2026-11-22T12:00:00Z", NOON),
        ("2026-11-22t12:00:00z", NOON),
        ("2026-11-22 12:00:00Z", NOON),
        ("2026-11-22T12:00:00", NOON),
        ("2026-11-22T12:00", NOON),
        ("2026-11-22T12", NOON),
        ("2026-11-22", NOON.replace(hour=0)),
        ("20261122T120000Z", NOON),
        ("20261122T1200+0000", NOON),
        ("2026-W47-7T12:00:00Z", NOON),
        ("2026W477T12Z", NOON),
        ("2026-326T12:00Z", NOON),
        ("2026326T12Z", NOON),
        ("2026-11-22T12:00:00+0000", NOON),
        ("2026-11-22T12:00:00+00", NOON),
        ("2026-11-22T12:00:00-00:00", NOON),
        ("2026-11-22T13:30:00+01:30", NOON),
        ("2026-11-22T06:00:00-06", NOON),
        ("2026-11-22T12:00:00.123456789Z", NOON.replace(microsecond=123456)),
        ("2026-11-22T12:00:00,5Z", NOON.replace(microsecond=500_000)),
        ("2026-11-22T12:00:00.9999999999999999999999Z", NOON.replace(microsecond=999_999)),
        ("2026-11-22T12:30.5Z", NOON.replace(minute=30, second=30)),
        ("2026-11-22T12.25Z", NOON.replace(minute=15)),
        ("2026-11-22T24:00:00Z", NOON.replace(day=23, hour=0)),
        ("2026-12-31T23:59:60Z", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2024-02-29", datetime(2024, 2, 29, tzinfo=UTC)),
        ("2024-366", datetime(2024, 12, 31, tzinfo=UTC)),
    ],
)
def test_iso_8601_names_an_instant(text: str, instant: datetime) -> None:
    found = time_of(text)
    assert found == instant
    assert found.utcoffset() is not None


def test_an_offset_is_kept() -> None:
    found = time_of("2026-11-22T13:30:00+01:30")
    assert found is not None
    assert found.utcoffset() == timedelta(hours=1, minutes=30)


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "yesterday", "1764000000", "2026", "2026-11", "22.11.2026", "11/22/2026", "T12:00"),
        *("2026-02-29", "2026-13-01", "2026-11-00", "2026-366", "2026-000", "2026-W54-1", "2026-W47-8", "0000-01-01"),
        *("2026-11-22T", "2026-11-22T25:00", "2026-11-22T24:00:01", "2026-11-22T12:60", "2026-11-22T12:00:61"),
        *("2026-11-22T12:00:00+24:00", "2026-11-22T12:00:00+01:60", "2026-11-22T12:00:00 UTC", "2026-11-22T12:00:00."),
        *("9999-12-31T24:00", "\u0662\u0660\u0662\u0666-11-22", "2026-11-22T12:00:00Z\n", " 2026-11-22"),
    ],
)
def test_any_other_text_names_none(text: str) -> None:
    assert time_of(text) is None


def test_a_timestamp_of_megabytes_is_read_at_once() -> None:
    assert time_of("2026-11-22T12:00:00." + "0" * 2**24 + "Z") == NOON


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.000Z"),
        (1764000000, "2025-11-24T16:00:00.000Z"),
        (1764000000.25, "2025-11-24T16:00:00.250Z"),
        (1764000000.123456, "2025-11-24T16:00:00.123456Z"),
        (10**11 - 1, "5138-11-16T09:46:39.000Z"),
        (10**11, "1973-03-03T09:46:40.000Z"),
        (1764000000123, "2025-11-24T16:00:00.123Z"),
    ],
)
def test_a_number_is_read_as_seconds_or_from_10_to_the_11_on_as_milliseconds(number: float, text: str) -> None:
    assert timestamp_of_number(number) == text


@pytest.mark.parametrize("number", [-(10**11), 10**15, 10**400, -(10**400), 1e300, float("inf"), float("nan")])
def test_a_number_that_no_date_has_is_none(number: float) -> None:
    assert timestamp_of_number(number) is None
