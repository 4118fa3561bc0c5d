from __future__ import annotations

import asyncio
import sys
import threading
import types
import warnings

import pytest

from masquerade_ws import DisconnectedError, WebSocketClient
from masquerade_ws.delivery.blocking import GET_TOKEN, LISTENER, PREDICATE, Guard


def test_a_thread_that_runs_no_user_code_may_block() -> None:
    Guard().check("wait_for")


@pytest.mark.parametrize("role", [LISTENER, GET_TOKEN, PREDICATE])
def test_a_wait_in_user_code_is_refused_by_its_name_and_the_place(role: str) -> None:
    guard = Guard()
    with (
        guard.running(role),
        pytest.raises(
            RuntimeError, match=f"^wait_for would block in {role}, and so hold up what it waits for; call it on"
        ),
    ):
        guard.check("wait_for")
    guard.check("wait_for")


def test_the_place_is_the_innermost_one() -> None:
    guard = Guard()
    with guard.running(LISTENER):
        with guard.running(PREDICATE):
            assert guard.role == PREDICATE
        assert guard.role == LISTENER
    assert guard.role is None


def test_user_code_that_raises_is_left_all_the_same() -> None:
    guard = Guard()
    with pytest.raises(KeyError), guard.running(LISTENER):
        raise KeyError
    assert guard.role is None


def test_another_thread_may_block() -> None:
    guard = Guard()
    roles: list[str | None] = []
    with guard.running(LISTENER):
        thread = threading.Thread(target=lambda: roles.append(guard.role))
        thread.start()
        thread.join()
    assert roles == [None]


def test_a_role_is_forgotten_but_for_the_code_around_it() -> None:
    guard = Guard()
    with guard.running(LISTENER):
        with guard.running(PREDICATE):
            guard.after_fork()
            assert guard.role is None
        assert guard.role == LISTENER
        guard.after_fork()
    assert guard.role is None


def test_another_client_may_be_waited_for() -> None:
    with Guard().running(LISTENER):
        Guard().check("wait_for")


def warned(client: WebSocketClient) -> list[warnings.WarningMessage]:
    """Return what two waits in a coroutine are warned of."""

    async def wait_twice() -> None:
        for _ in range(2):
            with pytest.raises(DisconnectedError):
                client.wait_for("one")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(wait_twice())
    return caught


def test_a_wait_that_holds_up_an_event_loop_is_warned_of_once_at_the_line_of_the_program() -> None:
    client = WebSocketClient("ws://localhost/", str)
    (warning,) = warned(client)
    assert warning.category is RuntimeWarning
    assert warning.filename == __file__
    assert str(warning.message) == (
        "wait_for holds up the event loop that runs on this thread; call it in asyncio.to_thread(), or await"
        " asyncio.wrap_future(client.future(...))"
    )
    assert warned(client) == []


def test_a_stream_that_has_an_event_holds_up_nothing() -> None:
    async def check() -> None:
        Guard().check("get", waits=False)

    asyncio.run(check())


def test_a_cell_of_a_notebook_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    assert warned(WebSocketClient("ws://localhost/", str)) == []


def test_a_thread_beside_the_loop_may_wait() -> None:
    asyncio.run(asyncio.to_thread(Guard().check, "wait_for"))


def test_a_program_without_asyncio_has_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "asyncio")
    Guard().check("wait_for")
