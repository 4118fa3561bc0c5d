"""The callables of an attempt run on a thread of their own, and nobody waits for them longer than wanted."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from masquerade_ws.connection.connection import Connection
from masquerade_ws.errors import ConnectError
from masquerade_ws.lifecycle.asking import Asking
from tests.support.raw_server import until
from tests.support.scenes import TIMEOUT, Hang, names_of_threads, running


def test_the_answer_comes_from_a_thread_that_has_ended_by_then() -> None:
    connection = Connection("ws://localhost/ws")
    names: list[str] = []

    def prepare() -> Connection:
        names.append(threading.current_thread().name)
        return connection

    on_the_way: set[Asking] = set()
    assert Asking(prepare).ask(TIMEOUT, on_the_way) is connection
    assert names == ["masquerade-ws-token"]
    assert names_of_threads() == []
    assert on_the_way == set()


@pytest.mark.parametrize("error", [ConnectError("no"), LookupError("no"), SystemExit(1)])
def test_what_the_callables_raise_is_raised(error: BaseException) -> None:
    def prepare() -> Any:
        raise error

    with pytest.raises(type(error)) as caught:
        Asking(prepare).ask(None, set())
    assert caught.value is error
    assert names_of_threads() == []


def test_callables_that_take_too_long_fail_the_attempt_and_what_they_bring_late_comes_to_nothing(hang: Hang) -> None:
    on_the_way: set[Asking] = set()
    asking = Asking(hang)  # type: ignore[arg-type]
    with pytest.raises(ConnectError, match=r"have not returned within token_timeout \(0.05 s\)$"):
        asking.ask(0.05, on_the_way)
    assert on_the_way == {asking}
    hang.over.set()
    until(lambda: not on_the_way and names_of_threads() == [])


def test_a_cancelled_call_is_waited_for_no_longer(hang: Hang) -> None:
    asking = Asking(hang)  # type: ignore[arg-type]
    waiting = running(lambda: asking.ask(None, set()))
    assert hang.entered.wait(TIMEOUT)
    asking.cancel()
    assert waiting.result() is None
    hang.over.set()
    until(lambda: names_of_threads() == [])


def test_while_eight_hang_no_other_is_made(hang: Hang) -> None:
    on_the_way: set[Asking] = set()
    for _ in range(8):
        with pytest.raises(ConnectError, match="token_timeout"):
            Asking(hang).ask(0.001, on_the_way)  # type: ignore[arg-type]
    with pytest.raises(ConnectError, match="still hang in 8 earlier attempts"):
        Asking(lambda: Connection("ws://localhost/ws")).ask(None, on_the_way)
    assert len(names_of_threads()) == 8
    hang.over.set()
    until(lambda: not on_the_way and names_of_threads() == [])
    assert Asking(lambda: Connection("ws://localhost/ws")).ask(None, on_the_way) is not None


def test_a_thread_that_is_refused_does_not_count_as_one_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    on_the_way: set[Asking] = set()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(ConnectError, match="no thread could be started"):
        Asking(lambda: Connection("ws://localhost/ws")).ask(None, on_the_way)
    assert on_the_way == set()
