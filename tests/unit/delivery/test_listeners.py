from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from masquerade_ws.delivery.listeners import _CACHED_TYPES, Listeners


def first(event: object) -> None:
    """A handler."""


def second(event: object) -> None:
    """Another handler."""


class Hearer:
    def listen(self, event: object) -> None:
        """A handler that is a new object at each access."""


def handlers(listeners: Listeners, type: str) -> list[Callable[[Any], object]]:
    return [listener.handler for listener in listeners.for_type(type)]


def test_nobody_listens_at_first() -> None:
    assert Listeners().for_type("a") == ()


def test_those_who_listen_are_found_by_type_and_pattern_in_their_order() -> None:
    listeners = Listeners()
    for number, name in enumerate(["a.*", "a.b", "*", "b", "a.b.*"]):
        listeners.add(name, str if number % 2 else repr)
    assert [listener.type for listener in listeners.for_type("a.b")] == ["a.*", "a.b", "*"]
    assert [listener.type for listener in listeners.for_type("a.b.c")] == ["a.*", "*", "a.b.*"]
    assert [listener.type for listener in listeners.for_type("b")] == ["*", "b"]
    assert [listener.type for listener in listeners.for_type("error")] == []


def test_who_comes_or_goes_between_two_events_is_noticed() -> None:
    listeners = Listeners()
    listeners.add("a", first)
    assert handlers(listeners, "a") == [first]
    listeners.add("*", second)
    assert handlers(listeners, "a") == [first, second]
    listeners.remove("a", first)
    assert handlers(listeners, "a") == [second]


def test_the_same_handler_counts_once_for_a_type() -> None:
    listeners = Listeners()
    listeners.add("a", first)
    listeners.add("a", second)
    listeners.add("a", first)
    listeners.add("*", first)
    assert handlers(listeners, "a") == [first, second, first]
    listeners.remove("a", first)
    assert handlers(listeners, "a") == [second, first]


def test_a_method_is_the_same_at_each_access() -> None:
    listeners, room, other = Listeners(), Hearer(), Hearer()
    listeners.add("a", room.listen)
    listeners.add("a", room.listen)
    listeners.add("a", other.listen)
    assert handlers(listeners, "a") == [room.listen, other.listen]
    listeners.remove("a", room.listen)
    assert handlers(listeners, "a") == [other.listen]


def test_removing_what_is_not_there_is_ignored() -> None:
    listeners = Listeners()
    listeners.add("a", first)
    listeners.remove("a", second)
    listeners.remove("b", first)
    listeners.remove("*", first)
    assert handlers(listeners, "a") == [first]


def test_what_was_removed_is_inactive_for_an_event_under_way() -> None:
    listeners = Listeners()
    listeners.add("a", first)
    (listener,) = listeners.for_type("a")
    assert listener.active
    listeners.remove("a", first)
    assert not listener.active
    assert not listeners.claim(listener)


def test_a_once_listener_is_claimed_once() -> None:
    listeners = Listeners()
    listeners.add("a", first, once=True)
    (listener,) = listeners.for_type("a")
    assert listeners.claim(listener)
    assert not listeners.claim(listener)
    assert listeners.for_type("a") == ()


def test_of_many_threads_one_claims_a_once_listener() -> None:
    listeners = Listeners()
    listeners.add("a", first, once=True)
    (listener,) = listeners.for_type("a")
    start = threading.Barrier(8)
    claims: list[bool] = []

    def claim() -> None:
        start.wait()
        claims.append(listeners.claim(listener))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claims) == [False] * 7 + [True]


def test_a_lasting_registration_outdoes_a_single_one_whichever_came_first() -> None:
    for order in ([True, False], [False, True], [False, False]):
        listeners = Listeners()
        for once in order:
            listeners.add("a", first, once=once)
        (listener,) = listeners.for_type("a")
        assert listeners.claim(listener)
        assert handlers(listeners, "a") == [first]


def test_registering_once_twice_is_once() -> None:
    listeners = Listeners()
    listeners.add("a", first, once=True)
    listeners.add("a", first, once=True)
    (listener,) = listeners.for_type("a")
    assert listeners.claim(listener)
    assert listeners.for_type("a") == ()


@pytest.mark.parametrize("handler", [None, 1, "handler"])
def test_a_handler_that_cannot_be_called_is_refused(handler: Any) -> None:
    listeners = Listeners()
    with pytest.raises(TypeError, match=rf"^handler must be callable, not {type(handler).__name__}$"):
        listeners.add("a", handler)
    assert listeners.for_type("a") == ()


@pytest.mark.parametrize(("type", "error"), [("", ValueError), ("a*", ValueError), (None, TypeError), (1, TypeError)])
def test_a_name_that_is_not_a_type_is_refused(type: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^type "):
        Listeners().add(type, first)


def test_more_types_than_are_remembered_are_found_all_the_same() -> None:
    listeners = Listeners()
    listeners.add("a.*", first)
    for _ in range(2):
        for number in range(_CACHED_TYPES + 10):
            assert handlers(listeners, f"a.{number}") == [first]
            assert handlers(listeners, f"b.{number}") == []


def test_the_names_that_a_server_makes_up_take_no_memory_for_long() -> None:
    listeners = Listeners()
    listeners.add("*", first)
    tracemalloc.start()
    try:
        for number in range(64):
            assert handlers(listeners, f"{number}" + "x" * 2**20) == [first]
        assert tracemalloc.get_traced_memory()[0] < 2**22
    finally:
        tracemalloc.stop()


def test_a_lock_that_is_held_when_the_process_forks_is_replaced() -> None:
    listeners = Listeners()
    listeners.add("a", first)
    listeners._lock.acquire()
    listeners.after_fork()
    listeners.add("a", second)
    assert handlers(listeners, "a") == [first, second]


class Comparing:
    """A handler that equals others of its number, and has no hash."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Comparing) and other.number == self.number

    __hash__: Any = None

    def __call__(self, event: object) -> None:
        """Listen."""


def test_handlers_without_a_hash_are_told_apart_by_comparing_them() -> None:
    listeners = Listeners()
    for number in (1, 2, 1):
        listeners.add("a", Comparing(number))
    listeners.add("b", Comparing(1))
    assert handlers(listeners, "a") == [Comparing(1), Comparing(2)]
    listeners.remove("a", Comparing(1))
    assert handlers(listeners, "a") == [Comparing(2)]
    assert handlers(listeners, "b") == [Comparing(1)]


def test_a_handler_whose_hash_has_changed_is_claimed_once_all_the_same() -> None:
    class Changing(Comparing):
        def __hash__(self) -> int:
            return self.number

    listeners, handler = Listeners(), Changing(1)
    listeners.add("a", handler, once=True)
    (listener,) = listeners.for_type("a")
    handler.number = 2
    assert listeners.claim(listener)
    assert not listeners.claim(listener)


class CountingHash(Comparing):
    """A handler that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        CountingHash.compared += 1
        return super().__eq__(other)

    def __hash__(self) -> int:
        return self.number


def test_registering_and_removing_many_handlers_compares_none_with_all_others() -> None:
    listeners, many = Listeners(), [CountingHash(number) for number in range(20_000)]
    for handler in many:
        listeners.add("a", handler)
    for handler in many:
        listeners.remove("a", handler)
    assert CountingHash.compared < 2 * len(many)
    assert listeners.for_type("a") == ()


def test_many_threads_register_while_the_listeners_are_read() -> None:
    listeners, over = Listeners(), threading.Event()
    found: list[int] = []

    def read() -> None:
        while not over.is_set():
            found.append(len(listeners.for_type("a")))

    def register(base: int) -> None:
        for number in range(base, base + 500):
            listeners.add("a", Comparing(number).__call__)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=register, args=(base,)) for base in range(0, 2000, 500)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    reader.join()
    assert found == sorted(found)
    assert len(listeners.for_type("a")) == 2000


@pytest.mark.parametrize("change", ["remove", "add"])
def test_a_change_in_the_middle_of_another_is_kept(change: str) -> None:
    """As when the collector runs a finalizer that registers or unsubscribes."""
    listeners = Listeners()
    listeners.add("a", first)
    (known,) = listeners.for_type("a")

    class Meddling(Comparing):
        def __eq__(self, other: object) -> bool:
            getattr(listeners, change)("a", first)
            listeners.add("b", first)
            return False

        def __hash__(self) -> int:
            return 1

    listeners.add("a", Meddling(1))
    listeners.add("a", Meddling(2))
    numbers = [handler.number for handler in handlers(listeners, "a") if isinstance(handler, Meddling)]
    assert numbers == [1, 2]
    assert handlers(listeners, "b") == [first]
    assert known.active is (change == "add")
    assert (known in listeners.for_type("a")) is known.active
