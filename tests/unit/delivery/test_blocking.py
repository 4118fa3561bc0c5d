from __future__ import annotations

import threading

import pytest

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
