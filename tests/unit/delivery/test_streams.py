from __future__ import annotations

import itertools
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masquerade_ws.delivery.blocking import GET_TOKEN, LISTENER, PREDICATE, Guard
from masquerade_ws.delivery.filters import Filter, Where
from masquerade_ws.delivery.stream_index import StreamIndex
from masquerade_ws.delivery.streams import EventStream
from masquerade_ws.errors import DisconnectedError, EventsDroppedError, WaitTimeoutError
from masquerade_ws.events import Event

Stream: TypeAlias = EventStream[Any]


class Exit(SystemExit):
    """An exit of the user's own kind."""


def make_stream(*names: str, where: Where = None, maxsize: float = 100) -> Stream:
    index = StreamIndex(Guard())
    stream: Stream = EventStream(index, Filter(names, where, index.guard), maxsize)
    index.add(stream)
    return stream


def feed(stream: Stream, *types: str) -> None:
    for name in types:
        stream.offer(Event(name))


@contextmanager
def background(action: Callable[[], object]) -> Iterator[list[Any]]:
    """Run an action on another thread; its result or exception is in the list once the block is left."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(action())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield outcome
    thread.join(10)
    assert not thread.is_alive()


def wait_until_waiting(stream: Stream, threads: int = 1) -> None:
    """Wait until so many threads wait in a stream."""
    deadline = time.monotonic() + 10
    while len(stream._changed._waiters) < threads:  # type: ignore[attr-defined]
        assert time.monotonic() < deadline, "nobody waits"
        time.sleep(0.001)


# Getting.


def test_events_are_handed_out_in_their_order() -> None:
    stream = make_stream()
    feed(stream, "a", "b")
    assert stream.get().type == "a"
    assert stream.get(timeout=0).type == "b"


def test_a_get_waits_for_an_event() -> None:
    stream = make_stream()
    with background(stream.get) as outcome:
        wait_until_waiting(stream)
        feed(stream, "a")
    assert outcome[0].type == "a"


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_a_get_gives_up_after_its_time(timeout: float) -> None:
    expected = rf"^no event of a, b\.\* came within {timeout} s; no other event came meanwhile$"
    with pytest.raises(WaitTimeoutError, match=expected):
        make_stream("a", "b.*").get(timeout)


def test_who_waited_in_vain_learns_which_event_came_last() -> None:
    stream = make_stream("a")
    stream._owner.newest_event = "before", time.monotonic() - 100
    with pytest.raises(WaitTimeoutError, match=r"; no other event came meanwhile$"):
        stream.get(0)
    stream._owner.newest_event = "b\x1b" + "c" * 1000, time.monotonic() + 100
    expected = r"within 0\.01 s; the last event of any type was b\\x1bc{92}\.\.\., -[0-9.]+ s ago$"
    for member in (stream.get, stream.wait_for):
        with pytest.raises(WaitTimeoutError, match=expected):
            member(timeout=0.01)


def test_of_several_that_get_each_event_goes_to_one() -> None:
    stream = make_stream()
    with background(stream.get) as one, background(stream.get) as other:
        wait_until_waiting(stream, 2)
        feed(stream, "a", "b")
    assert sorted([one[0].type, other[0].type]) == ["a", "b"]


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), 10**400])
def test_a_time_that_cannot_be_waited_for_is_refused(timeout: float) -> None:
    stream = make_stream()
    feed(stream, "a")
    for wait in (stream.get, stream.wait_for):
        with pytest.raises(ValueError, match=r"^timeout must be at least 0 "):
            wait(timeout=timeout)
    assert stream.get().type == "a"


@pytest.mark.parametrize("timeout", ["1", True, ()])
def test_a_time_that_is_not_a_number_is_refused(timeout: Any) -> None:
    stream = make_stream()
    for wait in (stream.get, stream.wait_for):
        with pytest.raises(TypeError, match=rf"^timeout must be a number of seconds, not {type(timeout).__name__}$"):
            wait(timeout=timeout)


@pytest.mark.parametrize("role", [LISTENER, GET_TOKEN, PREDICATE])
def test_waiting_where_others_wait_for_the_thread_is_refused(role: str) -> None:
    stream = make_stream()
    feed(stream, "a")
    with stream._owner.guard.running(role):
        with pytest.raises(RuntimeError, match=rf"^get would block in {role}"):
            stream.get()
        with pytest.raises(RuntimeError, match=rf"^wait_for would block in {role}"):
            stream.wait_for()
        with pytest.raises(RuntimeError, match=rf"^get would block in {role}"):
            next(stream)
    assert stream.get().type == "a"


# Waiting for one that matches.


def test_what_does_not_match_stays_in_the_stream() -> None:
    stream = make_stream()
    feed(stream, "a", "b", "c", "b")
    assert stream.wait_for("b", "c").type == "b"
    stream.close()
    assert [event.type for event in stream] == ["a", "c", "b"]


def test_a_wait_goes_on_until_an_event_matches() -> None:
    stream = make_stream()
    feed(stream, "a")
    with background(lambda: stream.wait_for("b.*", where={"n": 1})) as outcome:
        wait_until_waiting(stream)
        feed(stream, "b.c")
        wait_until_waiting(stream)
        stream.offer(Event("b.c", {"n": 1}))
    assert (outcome[0].type, outcome[0].payload) == ("b.c", {"n": 1})
    stream.close()
    assert [event.type for event in stream] == ["a", "b.c"]


def test_a_wait_without_types_takes_any_event_of_the_stream() -> None:
    stream = make_stream("a", "connected")
    feed(stream, "a")
    assert stream.wait_for().type == "a"


def test_a_wait_asks_its_predicate_once_an_event() -> None:
    stream = make_stream()
    asked: list[str] = []
    feed(stream, "a", "b")

    def is_c(event: Event) -> bool:
        asked.append(event.type)
        return event.type == "c"

    with background(lambda: stream.wait_for(where=is_c)) as outcome:
        wait_until_waiting(stream)
        feed(stream, "c")
    assert outcome[0].type == "c"
    assert asked == ["a", "b", "c"]


def test_what_the_predicate_of_a_wait_raises_leaves_the_stream_as_it_is() -> None:
    stream = make_stream()
    feed(stream, "a")
    with pytest.raises(KeyError, match=r"n"):
        stream.wait_for(where=lambda event: event.payload["n"])
    assert stream.get().type == "a"


def test_an_event_that_another_thread_took_meanwhile_is_not_returned() -> None:
    stream = make_stream()
    feed(stream, "a", "a")
    taken: list[Event] = []

    def take_the_first(event: Event) -> bool:
        if not taken:
            with background(stream.get) as outcome:
                pass
            taken.extend(outcome)
        return True

    second = stream.wait_for(where=take_the_first)
    assert taken[0] is not second
    assert repr(stream).endswith(", 0 buffered>")


def test_a_wait_for_a_match_gives_up_after_its_time() -> None:
    stream = make_stream()
    feed(stream, "a")
    for timeout in (0, 0.01):
        with pytest.raises(
            WaitTimeoutError, match=rf"^no event of b, c came within {timeout} s; no other event came meanwhile$"
        ):
            stream.wait_for("b", "c", timeout=timeout)
    assert stream.get().type == "a"


def test_a_wait_with_bad_arguments_is_refused() -> None:
    stream = make_stream()
    with pytest.raises(ValueError, match=r"^type "):
        stream.wait_for("a*")
    with pytest.raises(TypeError, match=r"^where must be "):
        stream.wait_for(where=1)  # type: ignore[arg-type]


# Overflow.


def test_a_full_stream_drops_the_oldest_and_says_so_once() -> None:
    stream = make_stream(maxsize=2)
    feed(stream, "a", "b", "c", "d")
    assert stream.dropped == 2
    with pytest.raises(EventsDroppedError) as caught:
        stream.get()
    assert caught.value.count == 2
    assert [stream.get().type, stream.get().type] == ["c", "d"]
    feed(stream, "e", "f", "g")
    assert stream.dropped == 3
    with pytest.raises(EventsDroppedError, match=r"^1 "):
        next(stream)
    assert next(stream).type == "f"


def test_a_wait_for_a_match_tells_of_an_overflow_first() -> None:
    stream = make_stream(maxsize=1)
    feed(stream, "a", "b")
    with pytest.raises(EventsDroppedError):
        stream.wait_for("b")
    assert stream.wait_for("b").type == "b"


def test_an_overflow_during_a_wait_is_reported() -> None:
    stream = make_stream(maxsize=2)
    with background(lambda: stream.wait_for("z")) as outcome:
        wait_until_waiting(stream)
        feed(stream, "a", "b", "c")
    assert isinstance(outcome[0], EventsDroppedError)


def test_an_overflow_is_reported_after_the_end_too() -> None:
    stream = make_stream(maxsize=1)
    feed(stream, "a", "b")
    stream.close()
    with pytest.raises(EventsDroppedError):
        stream.get()
    assert [event.type for event in stream] == ["b"]


def test_an_offer_tells_whether_another_event_had_to_go() -> None:
    stream = make_stream(maxsize=1)
    assert [stream.offer(Event("a")), stream.offer(Event("b"))] == [False, True]


# The end.


def test_a_closed_stream_hands_out_what_it_has_and_then_says_that_it_is_closed() -> None:
    stream = make_stream()
    feed(stream, "a", "b")
    stream.close()
    feed(stream, "c")
    assert stream.get().type == "a"
    with pytest.raises(DisconnectedError) as caught:
        stream.wait_for("c")
    assert (str(caught.value), caught.value.code) == ("the stream is closed", 1000)
    assert [event.type for event in stream] == ["b"]
    for wait in (stream.get, stream.wait_for):
        with pytest.raises(DisconnectedError, match=r"^the stream is closed$"):
            wait(timeout=0)


def test_the_first_cause_of_the_end_stands() -> None:
    stream = make_stream()
    stream.end(DisconnectedError("first", 1001, "bye"))
    stream.end(ValueError("second"))
    stream.close()
    with pytest.raises(DisconnectedError) as caught:
        stream.get()
    assert (str(caught.value), caught.value.code, caught.value.reason) == ("first", 1001, "bye")


@pytest.mark.parametrize("member", ["get", "wait_for", "__next__"])
def test_the_end_wakes_all_who_wait(member: str) -> None:
    stream = make_stream()
    wait = getattr(stream, member)
    with background(wait) as one, background(wait) as other:
        wait_until_waiting(stream, 2)
        stream.close()
    expected = StopIteration if member == "__next__" else DisconnectedError
    assert [type(one[0]), type(other[0])] == [expected, expected]


def test_asking_an_ended_stream_again_and_again_piles_nothing_up() -> None:
    stream = make_stream()
    stream.close()
    lengths = []
    for _ in range(3):
        with pytest.raises(DisconnectedError) as caught:
            stream.get()
        lengths.append(len(traceback.extract_tb(caught.value.__traceback__)))
    assert lengths[0] == lengths[2]


class EmptyError(Exception):
    """One that counts as false."""

    def __len__(self) -> int:
        return 0


class OwnError(DisconnectedError):
    """One of the user's own that cannot be copied."""

    def __init__(self) -> None:
        super().__init__("mine", 4000)


FAILURES = [KeyError("n"), EmptyError(), OwnError(), DisconnectedError("of another client"), StopIteration(), Exit()]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_what_the_predicate_raised_is_raised_as_it_is_once_the_buffer_is_empty(failure: BaseException) -> None:
    stream = make_stream()
    feed(stream, "a")
    stream.fail(failure)
    assert stream.get().type == "a"
    for member in (stream.get, stream.wait_for):
        with pytest.raises(type(failure)) as caught:
            member()
        assert caught.value is failure


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_loop_over_a_stream_whose_predicate_raised_does_not_end_in_silence(failure: BaseException) -> None:
    stream = make_stream()
    feed(stream, "a")
    stream.fail(failure)
    assert next(stream).type == "a"
    with pytest.raises((type(failure), RuntimeError)) as caught:
        list(stream)
    assert failure in (caught.value, caught.value.__cause__)


@pytest.mark.parametrize("member", ["get", "wait_for", "__next__"])
def test_a_failure_that_counts_as_false_wakes_those_who_wait(member: str) -> None:
    stream = make_stream()
    with background(getattr(stream, member)) as outcome:
        wait_until_waiting(stream)
        stream.fail(EmptyError())
        stream.close()
    assert isinstance(outcome[0], EmptyError)


@pytest.mark.parametrize("end", [lambda stream: stream.fail(raised(KeyError())), lambda stream: stream.close()])
def test_a_stream_that_is_asked_again_and_again_raises_no_longer_traceback(end: Callable[[Stream], None]) -> None:
    stream = make_stream()
    end(stream)
    lengths = set()
    for _ in range(100):
        with pytest.raises((KeyError, DisconnectedError)) as caught:
            stream.get()
        lengths.add(len(list(traceback.walk_tb(caught.value.__traceback__))))
    assert len(lengths) == 1


def raised(error: Exception) -> Exception:
    """Return an error with a traceback."""
    try:
        raise error
    except Exception as caught:
        return caught


def test_a_second_end_changes_nothing() -> None:
    stream = make_stream()
    stream.fail(KeyError())
    stream.fail(ValueError())
    stream.close()
    with pytest.raises(KeyError):
        stream.get()


def test_a_stream_of_a_client_that_rests_hands_out_what_it_has_and_waits_for_nothing() -> None:
    stream, cause = make_stream(), DisconnectedError("at rest", 4000)
    asked: list[int] = []

    def why_idle(serial: int) -> DisconnectedError:
        asked.append(serial)
        return cause

    stream._owner.why_idle = why_idle  # type: ignore[method-assign]
    feed(stream, "a")
    assert next(stream).type == "a"
    for member in (stream.get, stream.wait_for):
        with pytest.raises(DisconnectedError, match=r"^at rest$") as caught:
            member()
        assert (caught.value.code, caught.value is cause) == (4000, False)
    assert list(stream) == []
    assert set(asked) == {stream.serial}
    stream._owner.why_idle = lambda serial: None  # type: ignore[method-assign]
    feed(stream, "b")
    assert next(stream).type == "b"


def test_leaving_the_context_closes_the_stream() -> None:
    with make_stream() as stream:
        feed(stream, "a")
    assert [event.type for event in stream] == ["a"]
    with pytest.raises(StopIteration):
        next(stream)
    stream.close()


def test_a_stream_is_its_own_iterator() -> None:
    stream = make_stream()
    assert iter(stream) is stream
    feed(stream, "a", "b")
    assert [event.type for event in itertools.islice(stream, 2)] == ["a", "b"]


def test_a_stream_keeps_what_it_was_told_to() -> None:
    class Client:
        """What a stream's reader keeps alive."""

    index, client = StreamIndex(Guard()), Client()
    stream: Stream = EventStream(index, Filter((), None, index.guard), 1, client)
    alive = weakref.ref(client)
    del client
    assert alive() is not None
    del stream
    assert alive() is None


def test_a_stream_shows_what_it_takes_and_how_it_stands() -> None:
    stream = make_stream("a", "b.*", where={"token": "secret"})
    feed(stream, "a")
    assert repr(stream) == "<EventStream of a, b.*, open, 1 buffered>"
    stream.close()
    assert repr(stream) == "<EventStream of a, b.*, ended, 1 buffered>"


def test_in_a_forked_child_a_stream_has_ended_though_its_lock_was_held_when_the_process_forked() -> None:
    stream = make_stream()
    feed(stream, "a")
    stream._changed.acquire()
    stream.after_fork(DisconnectedError("the process forked"))
    assert stream.get().type == "a"
    with pytest.raises(DisconnectedError, match="the process forked"):
        stream.get()


@settings(deadline=None)
@given(st.lists(st.sampled_from(["offer", "get", "wait"]), max_size=60), st.integers(1, 5))
def test_every_event_is_handed_out_once_in_order_or_counted_as_dropped(steps: list[str], maxsize: int) -> None:
    stream = make_stream(maxsize=maxsize)
    offered, got, told = 0, [], 0
    for step in [*steps, *["get"] * (2 * maxsize)]:
        try:
            if step == "offer":
                offered += 1
                stream.offer(Event("a", {"n": offered}))
            else:
                got.append((stream.get if step == "get" else stream.wait_for)(timeout=0).payload["n"])
        except EventsDroppedError as overflow:
            told += overflow.count
        except WaitTimeoutError:
            pass
    assert got == sorted(set(got))
    assert len(got) + told == offered
    assert stream.dropped == told
