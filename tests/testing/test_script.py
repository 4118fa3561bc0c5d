"""Scripts: a job's life in one line."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from masquerade_ws.testing import EventServer, ExpectationError
from tests.support.raw_server import until

if TYPE_CHECKING:
    from masquerade_ws import WebSocketClient
    from masquerade_ws.testing import Step

TIMEOUT = 20.0  # seconds, for what is bound to happen


def excepthook_of(monkeypatch: pytest.MonkeyPatch) -> list[BaseException | None]:
    """Collect from now on what reaches ``threading.excepthook``, which pytest 8 sets anew for the test's own part."""
    failures: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: failures.append(args.exc_value))
    return failures


def script_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "masquerade-ws-testing-script"]


def test_a_script_plays_its_steps_in_their_order(
    masquerade_server: EventServer, masquerade_client: WebSocketClient
) -> None:
    done = threading.Event()
    with masquerade_client.events() as events:
        masquerade_server.script([("first", {"a": 1}), 0.01, ("second", {}), done.set, ("third", {})])

        assert [events.get(timeout=TIMEOUT).type for _ in range(3)] == ["first", "second", "third"]
    assert done.is_set()


def test_a_script_answers_one_event_each(masquerade_server: EventServer, masquerade_client: WebSocketClient) -> None:
    masquerade_server.script([("answer", {"number": 1})], on="ask")
    masquerade_server.script([("answer", {"number": 2})], on="ask")
    masquerade_server.script([("other", {})], on="other")

    with masquerade_client.events() as events:
        for number in (1, 2):
            masquerade_client.emit("ask")
            assert events.get(timeout=TIMEOUT).payload == {"number": number}
        masquerade_client.emit("ask")
        masquerade_client.emit("other")
        assert events.get(timeout=TIMEOUT).type == "other"


def test_what_starts_a_script_is_recorded_like_any_event(
    masquerade_server: EventServer, masquerade_client: WebSocketClient
) -> None:
    masquerade_server.script([("answer", {})], on="ask")
    with masquerade_client.events() as events:
        masquerade_client.emit("ask", {"a": 1})
        events.get(timeout=TIMEOUT)

    assert masquerade_server.expect("ask", timeout=0)["payload"] == {"a": 1}


def test_a_script_restarts_the_server(masquerade_server: EventServer, masquerade_client: WebSocketClient) -> None:
    steps: list[Step] = [
        masquerade_server.stop,
        0.01,
        masquerade_server.start,
        lambda: masquerade_server.wait_for_connections(1, TIMEOUT),
        ("back", {}),
    ]
    with masquerade_client.events() as events:
        masquerade_server.script(steps)

        assert events.get(timeout=TIMEOUT).type == "back"


def test_stopping_ends_a_script_in_its_pause() -> None:
    with EventServer() as server:
        server.script([600, server.start])
    assert script_threads() == []
    assert "stopped" in repr(server)


def test_stopping_ends_a_server_that_a_script_starts_meanwhile() -> None:
    stopping = threading.Event()
    server = EventServer()

    def restart() -> None:
        server.stop()
        assert stopping.wait(TIMEOUT)
        server.start()

    with server:
        server.script([restart])
        server.wait_for_connections(0)
        timer = threading.Timer(0.05, stopping.set)
        timer.start()
    timer.join()
    assert "stopped" in repr(server)
    assert script_threads() == []


def test_what_a_step_waits_for_in_vain_once_the_server_stops_is_not_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = excepthook_of(monkeypatch)
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        server.wait_for_connections(1, timeout=0.2)

    with EventServer() as server:
        server.script([wait, ("never", {})])
        assert waiting.wait(TIMEOUT)
    assert failures == []


def test_a_step_that_raises_ends_its_script_and_is_reported(
    masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = excepthook_of(monkeypatch)
    never = threading.Event()
    masquerade_server.script([lambda: masquerade_server.expect("job", timeout=0), never.set])
    for thread in script_threads():
        thread.join(TIMEOUT)

    assert [type(failure) for failure in failures] == [ExpectationError]
    assert not never.is_set()


def test_stopping_gives_up_on_a_step_that_never_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masquerade_ws.testing.server.PATIENCE", 0.1)
    release = threading.Event()
    server = EventServer()
    server.start()
    server.script([release.wait])

    with pytest.raises(RuntimeError, match=r"a step of a script has not ended for 0\.1 s"):
        server.stop()

    release.set()
    server.stop()
    assert script_threads() == []


def test_scripts_that_have_ended_are_forgotten(masquerade_server: EventServer) -> None:
    playing = masquerade_server._scripts
    for _ in range(20):
        masquerade_server.script([])
        playing._playing[-1].thread.join(TIMEOUT)

    assert len(playing._playing) == 1


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        ("image.generation.started", TypeError, "number 2 must be an event"),
        (("started",), TypeError, "number 2 must be an event"),
        (("started", None), TypeError, "number 2 must be an event"),
        ((7, {}), TypeError, "number 2 must be an event"),
        (None, TypeError, "number 2 must be an event"),
        (("started", {"a": object()}), TypeError, "not JSON serializable"),
        (("started", {"a": float("nan")}), ValueError, "not JSON compliant"),
        (-1, ValueError, "number 2 is not a pause in seconds: -1"),
        (float("nan"), ValueError, "number 2 is not a pause in seconds: nan"),
        (1e300, ValueError, "number 2 is not a pause in seconds"),
    ],
)
@pytest.mark.parametrize("on", [None, "ask"])
def test_a_wrong_step_is_refused_at_once(step: Any, error: type[Exception], message: str, on: str | None) -> None:
    server = EventServer()
    with pytest.raises(error, match=message):
        server.script([0, step], on=on)


def test_steps_get_the_event_that_starts_the_script(
    masquerade_server: EventServer, masquerade_client: WebSocketClient
) -> None:
    got: list[object] = []
    masquerade_server.script(
        [
            lambda event: got.append(event["payload"]),
            lambda: got.append("nothing"),
            lambda number=7: got.append(number),
            ("answer", lambda event: {"twice": 2 * event["payload"]["number"]}),
            got.append,
        ],
        on="ask",
    )
    with masquerade_client.events("answer") as answers:
        masquerade_client.emit("ask", {"number": 21})
        assert answers.get(timeout=TIMEOUT).payload == {"twice": 42}
    until(lambda: len(got) == 4)
    assert got[:3] == [{"number": 21}, "nothing", 7]
    assert got[3] == masquerade_server.expect("ask")


@pytest.mark.parametrize("step", [lambda event: None, ("answer", lambda event: {}), lambda event, other: None])
def test_a_step_that_wants_an_event_is_refused_where_none_comes(step: Any) -> None:
    with pytest.raises(TypeError, match="steps: number 2 wants the event that starts the script: give its type as on="):
        EventServer().script([0, step])


def test_a_step_that_wants_more_than_the_event_is_refused() -> None:
    with pytest.raises(TypeError, match="steps: number 1 must take no argument, or the event alone"):
        EventServer().script([lambda event, other: None], on="ask")


def test_a_function_that_does_not_say_what_it_wants_gets_nothing() -> None:
    with EventServer() as server:
        server.script([dict])
