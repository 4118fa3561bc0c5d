"""What user code raises, and what it brings when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest

from masquerade_ws import DisconnectedError, MasqueradeError, WebSocketClient
from masquerade_ws.testing import EventServer
from tests.support.raw_server import until
from tests.support.scenes import FOUR, TIMEOUT, Hang, Record, client_of, names_of_threads, running


class Timeout(BaseException):
    """As gevent's: not an `Exception`, and not an exit."""


FAILURES = [Timeout(), asyncio.CancelledError(), GeneratorExit(), pytest.fail.Exception("failed"), StopIteration()]
EXITS = [SystemExit(1), KeyboardInterrupt()]


def raiser(error: BaseException) -> Callable[..., Any]:
    """Return user code that raises."""

    def fail(*_: object) -> Any:
        raise error

    return fail


@contextmanager
def failing_exit(error: BaseException) -> Iterator[None]:
    yield
    raise error


PLACES: dict[str, Callable[[BaseException], Callable[[Any], AbstractContextManager[object]]]] = {
    "call": raiser,
    "exit": lambda error: lambda event: failing_exit(error) if event.type == "news" else nullcontext(),
}


# What it raises.


@pytest.mark.parametrize("error", FAILURES, ids=repr)
def test_a_listener_that_raises_no_exit_is_reported_and_its_client_lives_on(
    client: WebSocketClient, masquerade_server: EventServer, error: BaseException
) -> None:
    client.on("news", raiser(error))
    record = Record(client)
    news = Record(client, "news")
    client.connect()
    masquerade_server.emit("news")
    masquerade_server.emit("news")
    news.wait("news", 2)
    told = record.wait("error", 2)
    assert error in (told.error, told.error.__cause__)
    assert isinstance(told.error, Exception)
    assert told.context == "handler"
    assert client.state == "connected"
    assert record.of("disconnected") == []


@pytest.mark.parametrize("error", FAILURES, ids=repr)
def test_an_around_event_that_raises_no_exit_is_reported_and_its_client_lives_on(
    masquerade_server: EventServer, error: BaseException
) -> None:
    around = PLACES["exit"](error)
    with client_of(masquerade_server.url, around_event=around) as client:
        record, news = Record(client), Record(client, "news")
        client.connect()
        masquerade_server.emit("news")
        masquerade_server.emit("news")
        news.wait("news", 2)
        assert error in (told := record.wait("error", 2).error, told.__cause__)
        assert client.state == "connected"


@pytest.mark.parametrize("error", EXITS, ids=repr)
def test_a_listener_that_exits_ends_its_client_with_one_error_and_the_last_events(
    client: WebSocketClient, masquerade_server: EventServer, error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    record = Record(client)
    client.on("news", raiser(error))
    client.connect()
    stream = client.events("news", "error", "disconnected")
    wait = running(lambda: client.wait_for("never", timeout=TIMEOUT))
    until(lambda: len(client._streams._entries) == 2)
    masquerade_server.emit("news")
    masquerade_server.emit("news")
    gone = record.wait("disconnected")
    assert not gone.will_reconnect
    with pytest.raises(DisconnectedError):
        wait.result()
    until(lambda: names_of_threads() == [])
    (told,) = record.of("error")
    assert isinstance(told.error, MasqueradeError)
    assert (told.error.__cause__, told.context) == (error, "handler")
    assert record.story[-4:] == ["error", "connected > disconnecting", "disconnecting > disconnected", "disconnected"]
    assert [event.type for event in stream][-2:] == ["error", "disconnected"]
    assert client.state == "disconnected"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [*FAILURES, *EXITS, DisconnectedError("of another")], ids=repr)
def test_a_predicate_that_raises_ends_a_loop_over_its_stream_with_that(
    client: WebSocketClient, masquerade_server: EventServer, error: BaseException
) -> None:
    with client:
        stream = client.events("news", where=raiser(error))
        other = client.events("news")
        masquerade_server.emit("news")
        assert other.get(TIMEOUT).type == "news"

        def loop() -> list[Any]:
            return [event.type for event in stream]

        with pytest.raises((type(error), RuntimeError)) as caught:
            running(loop).result()
        assert error in (caught.value, caught.value.__cause__)
        assert client.state == "connected"


@pytest.mark.parametrize("error", [*FAILURES, *EXITS], ids=repr)
@pytest.mark.parametrize("place", ["poll", "on_progress", "start"])
def test_what_a_callable_of_a_wait_raises_is_raised_by_the_wait(
    client: WebSocketClient, masquerade_server: EventServer, error: BaseException, place: str
) -> None:
    def start() -> str:
        masquerade_server.emit("image.generation.progress", {"job_id": "1", "progress": 1})
        return "1"

    with client:
        arguments: dict[str, Any] = {"start": start, "timeout": TIMEOUT, place: raiser(error)}
        with pytest.raises(type(error)) as caught:
            running(lambda: client.run_image_job(**arguments)).result()
        assert caught.value is error
        assert client.state == "connected"


# What it brings late.


@pytest.mark.parametrize("around_event", [None, lambda event: nullcontext()])
def test_a_listener_that_a_disconnect_gave_up_on_comes_back_to_nothing(
    masquerade_server: EventServer, hang: Hang, around_event: Any, caplog: pytest.LogCaptureFixture
) -> None:
    over = threading.Event()

    def hang_then_fail(event: object) -> None:
        hang(event)
        try:
            raise KeyError("late")
        finally:
            over.set()

    with client_of(masquerade_server.url, around_event=around_event) as client:
        client.on("news", hang_then_fail)
        news = Record(client, "news")
        client.connect()
        masquerade_server.emit("news")
        assert hang.entered.wait(TIMEOUT)
        client.disconnect(timeout=0.05)
        client.off("news", hang_then_fail)
        errors = Record(client, "error")
        client.connect()
        stream = client.events("error")
        hang.over.set()
        assert over.wait(TIMEOUT)
        until(lambda: names_of_threads().count("masquerade-ws-dispatcher") == 1)
        masquerade_server.emit("news")
        news.wait("news")
        assert len(news.events) == 1
    assert errors.events == []
    assert list(stream) == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_predicate_that_a_disconnect_gave_up_on_comes_back_to_nothing(
    client: WebSocketClient, masquerade_server: EventServer, hang: Hang
) -> None:
    asked: list[str] = []

    def ask(event: Any) -> bool:
        asked.append(event.type)
        return True

    news = Record(client, "news")
    client.connect()
    streams = [client.events("news", where=hang), client.events("news", where=ask)]
    masquerade_server.emit("news")
    assert hang.entered.wait(TIMEOUT)
    client.disconnect(timeout=0.05)
    client.connect()
    hang.over.set()
    until(lambda: names_of_threads().count("masquerade-ws-reader") == 1)
    assert asked == []
    assert [list(stream) for stream in streams] == [[], []]
    assert news.events == []


@pytest.mark.parametrize("error", EXITS, ids=repr)
def test_a_log_handler_that_exits_ends_no_thread_of_the_client(
    masquerade_server: EventServer, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: set[str] = set()

    class Leaving(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if str(record.threadName).startswith("masquerade-ws-"):
                logged.add(str(record.threadName))
                raise error

    monkeypatch.setattr(logging, "raiseExceptions", False)  # it is not to be reported either, here
    logger = logging.getLogger("masquerade_ws")
    handler, level = Leaving(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with client_of(masquerade_server.url, heartbeat_interval=0.05) as client:
            news = Record(client, "news")
            client.connect()
            masquerade_server.emit("news")
            news.wait("news")
            until(lambda: logged >= {f"masquerade-ws-{name}" for name in ("supervisor", "reader", "heartbeat")})
            masquerade_server.expect("heartbeat")
            assert names_of_threads() == FOUR
            assert client.state == "connected"
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


# Streams of a client that is not running.


def test_a_stream_made_before_the_first_connect_waits_for_it(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    stream = client.events("news")
    first = running(lambda: next(stream))
    with client:
        masquerade_server.emit("news", {"n": 1})
        assert first.result().payload == {"n": 1}
    with pytest.raises(DisconnectedError):
        stream.get(TIMEOUT)
    with client:
        masquerade_server.emit("news")
        assert list(stream) == [], "it ended with its session"


def test_a_stream_made_after_the_client_has_ended_rests_until_the_next_connect(
    client: WebSocketClient, masquerade_server: EventServer
) -> None:
    with client:
        pass
    stream = client.events("news")
    for _ in range(2):
        with pytest.raises(DisconnectedError, match="disconnect") as caught:
            stream.get(TIMEOUT)
        assert caught.value.code == 1000
        with pytest.raises(DisconnectedError):
            stream.wait_for("news", timeout=TIMEOUT)
        assert list(stream) == []
    with client:
        masquerade_server.emit("news", {"n": 1})
        assert stream.get(TIMEOUT).payload == {"n": 1}
    assert list(stream) == []


def test_a_stream_made_after_the_client_gave_up_says_why(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url, auto_reconnect=False) as client:
        record = Record(client)
        client.connect()
        masquerade_server.close(4000, "enough")
        record.wait("disconnected")
        stream = client.events("news")
        with pytest.raises(DisconnectedError, match="enough") as caught:
            stream.get(TIMEOUT)
        assert (caught.value.code, caught.value.reason) == (4000, "enough")
        client.disconnect()
        client.connect()
        masquerade_server.emit("news")
        assert list(stream) == [], "a disconnect() ended it for good"


def test_the_last_events_reach_a_stream_while_its_client_is_being_disconnected(
    client: WebSocketClient, masquerade_server: EventServer, hang: Hang
) -> None:
    client.on("state:change", lambda event: event.new_state == "disconnecting" and hang(event))
    client.connect()
    stream = client.events("state:change", "disconnected")
    loop = running(lambda: [event.type for event in stream])
    end = running(client.disconnect)
    assert hang.entered.wait(TIMEOUT)
    late = client.events("disconnected")
    with pytest.raises(DisconnectedError):
        late.get(TIMEOUT)
    hang.over.set()
    assert loop.result()[-3:] == ["state:change", "state:change", "disconnected"]
    end.result()
