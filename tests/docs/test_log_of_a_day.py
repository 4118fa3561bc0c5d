"""The log of a day that a page shows is what a client writes on such a day."""

from __future__ import annotations

import logging
import re

import pytest

from masquerade_ws import Event
from masquerade_ws.testing import EventServer
from tests.docs.reading import text_of
from tests.support.scenes import Record, client_of


def lines_shown() -> list[str]:
    """Return the lines of the page, whole and without the times of day."""
    block = re.findall(r"\n    08:00:00 .+?\n\n", text_of("docs/howto/debugging.rst"), re.DOTALL)[0]
    whole = re.sub(r"\n {8}", " ", block)
    return [
        line[len("08:00:00 ") :].removesuffix(" Traceback (most recent call last): ...")
        for line in whole.split("\n    ")[1:]
    ]


def alike(line: str) -> str:
    """Return a line without what may differ: durations, the gateway's place, the system's numbers of errors."""
    line = re.sub(r"\d+(\.\d+)? s\b", "N s", line.strip())
    return re.sub(r"Errno \d+", "Errno N", re.sub(r"//[\w.]+:\d+/", "//gateway/", line))


def test_the_log_of_a_day_is_as_shown(masquerade_server: EventServer, caplog: pytest.LogCaptureFixture) -> None:
    def look_up(event: Event) -> object:
        return event.payload["image_url"]

    caplog.set_level("INFO", "masquerade_ws")
    with client_of(masquerade_server.url) as client:
        record = Record(client, "connected", "disconnected")
        client.on("system.notification", look_up)
        client.connect()
        masquerade_server.refuse(503)
        masquerade_server.close(1012, "restart")
        record.wait("connected", 2)
        masquerade_server.drop()
        record.wait("connected", 3)
        masquerade_server.close(1011, "out of paint")
        record.wait("connected", 4)
        with client.events("system.notification") as stream:
            masquerade_server.emit("system.notification", {"severity": "info", "message": "hello"})
            stream.get(timeout=20)
        client.disconnect()

    logged = [(entry.threadName, f"{entry.levelname} {entry.getMessage()}") for entry in caplog.records]
    shown = [alike(line) for line in lines_shown()]
    assert sorted(shown) == sorted(alike(line) for _, line in logged)
    for thread in {thread for thread, _ in logged}:  # each writes its lines in order
        left = iter(shown)
        assert all(alike(line) in left for name, line in logged if name == thread)
    (failure,) = [entry for entry in caplog.records if entry.levelno == logging.ERROR]
    assert failure.exc_info is not None
