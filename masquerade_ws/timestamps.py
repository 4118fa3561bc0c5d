"""Timestamps: ISO 8601 texts, the instants that they name, and the numbers that servers send in their place."""

from __future__ import annotations

import re
import time
from datetime import date, datetime, timedelta, timezone

__all__ = ["time_of", "timestamp_now", "timestamp_of", "timestamp_of_number"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECONDS_FROM = 10**11  # as seconds that would be the year 5138

# ISO 8601 in its basic and extended formats, with a space for the T as RFC 3339 allows it (section 5.6). Python reads
# most of it from 3.11 on, and neither ordinal dates nor leap seconds.
_DATE = (
    r"(?P<year>[0-9]{4})(?:-?W(?P<week>[0-9]{2})-?(?P<weekday>[1-7])"
    r"|-?(?P<ordinal>[0-9]{3})|-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})|(?P<month_>[0-9]{2})(?P<day_>[0-9]{2}))"
)
_TIME = r"(?P<hour>[0-9]{2})(?::?(?P<minute>[0-9]{2})(?::?(?P<second>[0-9]{2}))?)?(?:[.,](?P<fraction>[0-9]+))?"
_OFFSET = r"(?P<sign>[+-])(?P<hours>[0-9]{2})(?::?(?P<minutes>[0-9]{2}))?"
_ISO_8601 = re.compile(rf"{_DATE}(?:[Tt ]{_TIME}(?:[Zz]|{_OFFSET})?)?")


def timestamp_of(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as the wire has it: UTC with milliseconds and a ``Z`` (ISO 8601)."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"


def timestamp_now() -> str:
    """Return the present time as the wire has it."""
    return timestamp_of(time.time())


def timestamp_of_number(number: float) -> str | None:
    """Return the timestamp of an instant that a server gave as a number, or ``None`` if no date has it.

    Args:
        number: Seconds since the epoch; from 10^11 on, milliseconds.
    """
    try:
        unit = timedelta(milliseconds=1) if number >= _MILLISECONDS_FROM else timedelta(seconds=1)
        instant = _EPOCH + unit * number
    except (ValueError, OverflowError):  # not a number, or outside the years 1 to 9999
        return None
    precision = "microseconds" if instant.microsecond % 1000 else "milliseconds"
    return instant.isoformat(timespec=precision)[: -len("+00:00")] + "Z"


def time_of(timestamp: str) -> datetime | None:
    """Return the instant that an ISO 8601 text names, aware, or ``None`` if it does not name one.

    Without an offset it is taken as UTC. What a microsecond does not show is cut off.
    """
    parts = _ISO_8601.fullmatch(timestamp)
    if parts is None:
        return None
    try:
        start = datetime.combine(_date_of(parts), datetime.min.time(), _zone_of(parts))
        return start + _since_midnight(parts)
    except (ValueError, OverflowError):  # no month has a 31st of that name, no clock a 61st minute
        return None


def _date_of(parts: re.Match[str]) -> date:
    year = int(parts["year"])
    if parts["week"]:
        return date.fromisocalendar(year, int(parts["week"]), int(parts["weekday"]))
    if parts["ordinal"]:
        day = date(year, 1, 1) + timedelta(days=int(parts["ordinal"]) - 1)
        if day.year != year:
            raise ValueError("the year has no such day")
        return day
    return date(year, int(parts["month"] or parts["month_"]), int(parts["day"] or parts["day_"]))


def _since_midnight(parts: re.Match[str]) -> timedelta:
    hour, minute, second = (int(parts[name] or 0) for name in ("hour", "minute", "second"))
    unit = 1 if parts["second"] else 60 if parts["minute"] else 3600
    microseconds = int((parts["fraction"] or "0")[:15].ljust(15, "0")) * unit // 10**9
    since = timedelta(hours=hour, minutes=minute, seconds=second, microseconds=microseconds)
    # A leap second is the first one of the next minute; 24:00 is the end of the day (ISO 8601:2004).
    if minute > 59 or second > 60 or since > timedelta(days=1):
        raise ValueError("the day has no such time")
    return since


def _zone_of(parts: re.Match[str]) -> timezone:
    if not parts["sign"]:
        return timezone.utc
    if int(parts["minutes"] or 0) > 59:
        raise ValueError("no offset has that many minutes")
    offset = timedelta(hours=int(parts["hours"]), minutes=int(parts["minutes"] or 0))
    return timezone(-offset if parts["sign"] == "-" else offset)
