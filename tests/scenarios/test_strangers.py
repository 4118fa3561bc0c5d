"""What a server says, in log lines and in the texts of errors: it forges no line and commands no terminal."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from masquerade_ws import DisconnectedError, ImageGenerationError, WebSocketClient
from masquerade_ws.delivery.image_jobs import _text_of
from masquerade_ws.testing import EventServer
from tests.support.raw_server import until
from tests.support.scenes import TIMEOUT, Record, client_of

EVIL = "\x1b[2J\x9b31m\r\nERROR forged\u2028\u202e\x00"


def longest(caplog: pytest.LogCaptureFixture) -> int:
    """Return the length of the longest line, after a look at all of them."""
    assert all(message.isprintable() for message in caplog.messages)
    return max(map(len, caplog.messages))


def test_what_is_received_is_logged_escaped_and_cut(
    client: WebSocketClient, masquerade_server: EventServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "masquerade_ws")
    record = Record(client, "error", "news")
    with client:
        masquerade_server.broadcast_raw(EVIL)
        masquerade_server.broadcast_raw(EVIL.encode() + b"\xff")
        masquerade_server.broadcast_raw(json.dumps({"type": "news", "payload": {"a": EVIL * 10_000}}))
        masquerade_server.emit("news", {"a": EVIL})
        record.wait("news", 2)
        client.emit("hello", {"a": "b" * 2**20, "c": EVIL})
    assert sum(message.startswith("received ") for message in caplog.messages) >= 4
    assert longest(caplog) < 600


def test_a_type_of_megabytes_makes_a_short_warning(
    client: WebSocketClient, masquerade_server: EventServer, caplog: pytest.LogCaptureFixture
) -> None:
    news = Record(client, "news")
    with client:
        masquerade_server.broadcast_raw(json.dumps({"type": "\x1b" * 2**20, "payload": 1}))
        for _ in range(100):
            masquerade_server.broadcast_raw(json.dumps({"type": "connected", "payload": {"a": EVIL}}))
        masquerade_server.emit("news")
        news.wait("news")
    assert len(caplog.messages) == 2, "the second kind is logged once"
    assert longest(caplog) < 600


def test_a_close_reason_is_logged_and_raised_escaped(
    masquerade_server: EventServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "masquerade_ws")
    with client_of(masquerade_server.url, auto_reconnect=False) as client:
        gone = Record(client, "disconnected")
        client.connect()
        stream = client.events("news")
        masquerade_server.close(4000, EVIL)
        with pytest.raises(DisconnectedError) as caught:
            stream.get(TIMEOUT)
        assert str(caught.value).isprintable()
        assert (caught.value.reason, gone.wait("disconnected").reason) == (EVIL, EVIL)
    longest(caplog)


def test_the_reason_of_a_job_that_failed_is_kept_as_it_is_and_shown_escaped(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    def start() -> str:
        masquerade_server.emit("image.generation.failed", {"job_id": "1", "error": EVIL * 1000})
        return "1"

    with client, pytest.raises(ImageGenerationError) as caught:
        client.run_image_job(start, timeout=TIMEOUT)
    assert caught.value.reason == EVIL * 1000
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_what_is_nested_too_deep_to_be_shown_is_shown_as_that() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert _text_of(deep) == "(nested too deep)"


class BrokenHandler(logging.Handler):
    """A handler of the user's logging that raises, whatever it is given."""

    def emit(self, record: Any) -> None:
        raise LookupError("in a handler")


def test_a_log_handler_that_raises_ends_no_thread(
    client: WebSocketClient, masquerade_server: EventServer, capsys: pytest.CaptureFixture[str]
) -> None:
    logger, broken = logging.getLogger("masquerade_ws"), BrokenHandler()
    record = Record(client, "news", "connected")
    client.on("news", lambda event: 1 / 0)  # nobody listens to the error
    level = logger.level
    logger.addHandler(broken)
    logger.setLevel(logging.DEBUG)
    try:
        client.connect()
        masquerade_server.emit("news")
        masquerade_server.broadcast_raw("{")
        masquerade_server.drop()
        record.wait("connected", 2)
        until(lambda: client.state == "connected")
        masquerade_server.emit("news")
        record.wait("news", 2)
        client.emit("hello")
        client.disconnect()
    finally:
        logger.removeHandler(broken)
        logger.setLevel(level)
    assert "LookupError: in a handler" in capsys.readouterr().err
