from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import pytest

from masquerade_ws.delivery.blocking import LISTENER, Guard
from masquerade_ws.delivery.dispatcher import Delivery, dispatch
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import AnyEvent, Filter
from masquerade_ws.delivery.listeners import Listeners
from masquerade_ws.delivery.stream_index import StreamIndex
from masquerade_ws.delivery.streams import EventStream
from masquerade_ws.delivery.takers import Takers
from masquerade_ws.errors import ConnectError, DisconnectedError, ParseError
from masquerade_ws.events import ConnectedEvent, DisconnectedEvent, ErrorEvent, Event
from masquerade_ws.stats import Counters
from masquerade_ws.timestamps import timestamp_now
from tests.support.messages import NOON, wire
from tests.support.raw_server import until
from tests.support.scenes import Hang

DISCONNECTED = DisconnectedEvent(NOON, 1000, "", will_reconnect=False)
CONNECTED = ConnectedEvent(NOON, reconnected=False, attempts=1, gap=None)


class DispatcherRoom:
    """A queue, its thread and what its listeners were called with."""

    def __init__(self, size: int = 100, around_event: Callable[[Any], AbstractContextManager[object]] | None = None):
        self.guard = Guard()
        self.listeners = Listeners()
        self.streams = StreamIndex(self.guard)
        self.counters = Counters()
        self.takers = Takers(self.listeners, self.streams)
        self.delivery = Delivery(self.takers, around_event, self.counters)
        self.queue = EventQueue(size)
        self.told: list[Any] = []
        self.ended = threading.Event()
        self.end_waits: Callable[[], object] = lambda: None
        self.thread = threading.Thread(target=self._run, daemon=True)  # or a test that fails would hang

    def _run(self) -> None:
        with suppress(SystemExit):  # as `threading` does, unlike pytest
            dispatch(self.queue, weakref.ref(self.delivery), self.guard, self.ended.set, self.end_waits)

    def tell(self, event: AnyEvent) -> None:
        """Listen."""
        self.told.append(event.type)

    def deliver(self, *events: AnyEvent) -> list[Any]:
        """Deliver events on this thread and return what was reported."""
        for event in events:
            self.delivery.deliver(event, self.queue)
        return self.told

    def run_out(self) -> list[Any]:
        """Let the thread deliver what is queued and end; return what was reported."""
        self.queue.finish()
        self.join()
        return self.told

    def join(self) -> None:
        self.thread.join(10)
        assert not self.thread.is_alive()
        assert self.ended.is_set()


@contextmanager
def reader(queue: EventQueue, *types: str) -> Iterator[list[bool]]:
    """Queue events on another thread; what `put` said is in the list once the block is left."""
    outcome: list[bool] = []
    thread = threading.Thread(target=lambda: outcome.append(queue.put([Event(name) for name in types])))
    thread.start()
    yield outcome
    thread.join(10)
    assert not thread.is_alive()


def wait_until_full(queue: EventQueue) -> None:
    """Wait until a reader waits for room."""
    until(lambda: queue.full)


def drained(queue: EventQueue) -> list[str]:
    return [event.type for event in queue.waiting()]


# The queue.


def test_events_leave_the_queue_in_the_order_they_came() -> None:
    queue = EventQueue(10)
    queue.post(CONNECTED)
    assert queue.put([Event("a"), Event("b")])
    queue.post(ErrorEvent(ValueError(), "parse", NOON))
    assert queue.wait()
    assert drained(queue) == ["connected", "a", "b", "error"]


def test_a_reader_waits_while_the_queue_is_full_and_goes_on_when_it_is_half_empty() -> None:
    queue = EventQueue(4)
    with reader(queue, *"abcdef") as outcome:
        wait_until_full(queue)
        assert outcome == []
        assert len(queue._queue) == 4
        waiting = queue.waiting()
        assert next(waiting).type == "a"
        assert queue.full
        assert queue.resumed_at == 0
        assert next(waiting).type == "b"
    assert outcome == [True]
    assert not queue.full
    assert queue.resumed_at > 0
    assert drained(queue) == ["c", "d", "e", "f"]


def test_a_batch_larger_than_the_queue_passes_through_it() -> None:
    room = DispatcherRoom(size=1)
    room.listeners.add("*", room.tell)
    room.thread.start()
    names = [str(number) for number in range(50)]
    with reader(room.queue, *names) as outcome:
        pass
    assert outcome == [True]
    assert room.run_out() == names


def test_the_client_s_own_events_never_wait() -> None:
    queue = EventQueue(1)
    queue.put([Event("a")])
    queue.post(CONNECTED, CONNECTED)
    assert drained(queue) == ["a", "connected", "connected"]


def test_a_released_reader_hands_over_what_it_holds_and_reads_no_more() -> None:
    queue = EventQueue(1)
    with reader(queue, *"abc") as outcome:
        wait_until_full(queue)
        queue.release()
    assert outcome == [False]
    assert not queue.put([Event("d")])
    queue.post(CONNECTED)
    assert drained(queue) == ["a", "b", "c", "d", "connected"]


def test_what_is_posted_wakes_the_thread() -> None:
    room = DispatcherRoom()
    room.listeners.add("connected", room.tell)
    room.thread.start()
    for count in range(1, 100):
        room.queue.post(CONNECTED)
        room.queue.wake()
        until(lambda count=count: len(room.told) == count)
    assert room.run_out() == ["connected"] * 99


def test_after_the_finish_the_queue_is_emptied() -> None:
    queue = EventQueue(10)
    queue.put([Event("a")])
    queue.finish()
    assert queue.wait()
    assert drained(queue) == ["a"]
    assert not queue.wait()


def test_a_finish_releases_the_reader() -> None:
    queue = EventQueue(1)
    with reader(queue, *"ab") as outcome:
        wait_until_full(queue)
        queue.finish()
    assert outcome == [False]


# Items that hold several events.


class Bundles:
    """Puts bundles of events into a queue and takes the events out of them."""

    def __init__(self, size: int) -> None:
        self.queue = EventQueue(size, self._decode)
        self.unheeded: list[BaseException | None] = []

    def put(self, *names: str) -> bool:
        going_on = self.queue.put([names])
        self.queue.more_in += len(names) - 1
        return going_on

    def _decode(self, queue: EventQueue, _: object) -> Iterator[AnyEvent]:
        for names in queue.take_out():
            for left in range(len(names) - 1, -1, -1):
                queue.unheeded = None
                yield Event(names[-1 - left])
                self.unheeded.append(queue.unheeded)
                queue.more_out += left > 0
            queue.make_room()


def test_a_bundle_counts_as_the_events_in_it() -> None:
    bundles = Bundles(10)
    assert bundles.put("a", "b", "c")
    assert bundles.put("d")
    assert bundles.queue.length == 4
    waiting = bundles.queue.waiting()
    lengths = [bundles.queue.length for _ in waiting]
    assert lengths == [3, 2, 1, 0]


def test_a_reader_waits_for_the_events_of_a_bundle() -> None:
    bundles = Bundles(4)
    bundles.put(*"abcdef")  # as many as came together, however many may wait
    outcome: list[bool] = []
    thread = threading.Thread(target=lambda: outcome.append(bundles.put("g")), daemon=True)
    thread.start()
    wait_until_full(bundles.queue)
    waiting = bundles.queue.waiting()
    taken = [next(waiting).type for _ in range(6)]
    assert outcome == []
    taken += [event.type for event in waiting]
    thread.join(10)
    assert outcome == [True]
    assert taken + drained(bundles.queue) == [*"abcdefg"]
    assert bundles.queue.length == 0


def test_bundles_that_an_abandoned_queue_drops_count_no_more() -> None:
    bundles = Bundles(10)
    bundles.put("a", "b", "c")
    bundles.queue.post(CONNECTED)
    bundles.queue.abandon()
    assert bundles.queue.length == 1


def test_who_makes_the_events_learns_which_of_them_a_listener_did_not_take() -> None:
    room = DispatcherRoom()
    bundles = Bundles(10)
    failure = ValueError("no")

    def listen(event: AnyEvent) -> None:
        if event.type == "b":
            raise failure

    room.listeners.add("*", listen)
    bundles.put("a", "b", "c")
    room.delivery.drain(bundles.queue)
    assert bundles.unheeded == [None, failure, None]


# Messages that came unread.


def put_undecoded(queue: EventQueue, *messages: str | bytes) -> None:
    """Put messages as they came, once the thread is at rest."""
    until(lambda: queue.admit_undecoded(len(messages)))
    queue.put(messages)


def test_a_thread_at_rest_reads_messages_itself_and_tells_which_are_no_events() -> None:
    room = DispatcherRoom()
    room.listeners.add("*", room.told.append)
    room.listeners.add("error", room.told.append)
    room.thread.start()
    put_undecoded(room.queue, wire("a", n=1), "{", wire("b").encode())
    first, error, last = room.run_out()
    assert (first, last) == (Event("a", {"n": 1}, NOON), Event("b", {}, NOON))
    assert isinstance(error.error, ParseError)


def test_a_thread_that_is_busy_has_more_to_do_or_would_be_left_little_room_gets_no_unread_messages(hang: Hang) -> None:
    room = DispatcherRoom(size=4)
    room.listeners.add("hang", hang)
    assert not room.queue.admit_undecoded(2), "it has not started"
    room.thread.start()
    until(lambda: room.queue.admit_undecoded(2))
    assert room.queue.admit_undecoded(1)
    assert not room.queue.admit_undecoded(3)
    room.queue.post(CONNECTED)
    assert not room.queue.admit_undecoded(2), "it has not been woken"
    room.queue.put([Event("hang")])
    assert hang.entered.wait(10)
    assert not room.queue.admit_undecoded(2)
    hang.over.set()
    until(lambda: room.queue.admit_undecoded(2))
    room.run_out()
    assert not room.queue.admit_undecoded(2), "it has ended"


def test_a_message_that_waits_unread_behind_a_listener_keeps_the_time_of_its_receipt(hang: Hang) -> None:
    room = DispatcherRoom()
    room.listeners.add("hang", hang)
    room.listeners.add("late", room.told.append)
    room.listeners.add("error", room.told.append)
    room.thread.start()
    put_undecoded(room.queue, wire("hang"), '{"type": "late"}', "{")
    received = timestamp_now()
    assert hang.entered.wait(10)
    until(lambda: timestamp_now() > received)
    hang.over.set()
    late, error = room.run_out()
    assert late.timestamp <= received
    assert error.timestamp <= received


def test_what_is_dropped_undecoded_is_gone(hang: Hang) -> None:
    room = DispatcherRoom()
    room.listeners.add("hang", hang)
    for name in ("*", "error", "connected"):
        room.listeners.add(name, room.tell)
    room.thread.start()
    put_undecoded(room.queue, wire("hang"), wire("a"), "{", b"\xff")
    room.queue.post(CONNECTED)
    assert hang.entered.wait(10)
    room.queue.abandon()
    hang.over.set()
    assert room.run_out() == ["hang", "connected"]


# The end.


def test_what_waits_for_a_thread_that_is_given_up_is_gone_but_the_client_s_own_events_are_handed_back() -> None:
    queue = EventQueue(10)
    assert queue.give_up() == []
    queue.put([Event("a")])
    queue.post(CONNECTED)
    assert queue.give_up() == [CONNECTED]
    assert drained(queue) == []


def test_an_abandoned_queue_hands_out_the_client_s_own_events_and_ends() -> None:
    queue = EventQueue(10)
    queue.put([Event("a")])
    queue.post(CONNECTED)
    queue.abandon()
    queue.finish()
    assert queue.wait()
    assert drained(queue) == ["connected"]
    assert not queue.wait()


def test_a_thread_that_could_end_while_the_last_events_are_sorted_out_delivers_them(
    hang: Hang, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = DispatcherRoom()
    room.listeners.add("hang", hang)
    room.listeners.add("connected", room.tell)
    room.thread.start()
    room.queue.put([Event("hang"), Event("a")])
    assert hang.entered.wait(10)
    room.queue.post(CONNECTED)
    room.queue.finish()
    take_own = room.queue._take_own

    def take_slowly() -> list[AnyEvent]:
        taken = take_own()
        hang.over.set()
        room.thread.join(0.2)  # it is not to end, however long this takes
        return taken

    monkeypatch.setattr(room.queue, "_take_own", take_slowly)
    room.queue.abandon()
    assert room.run_out() == ["connected"]


def test_what_the_reader_brings_to_an_abandoned_queue_comes_too_late() -> None:
    queue = EventQueue(1)
    with reader(queue, *"ab") as outcome:
        wait_until_full(queue)
        queue.abandon()
        queue.finish()
    assert outcome == [False]
    assert not queue.put([Event("c")])
    assert drained(queue) == []


def test_a_queue_in_a_forked_child_needs_no_lock_and_ends() -> None:
    queue = EventQueue(10)
    queue.put([Event("a")])
    queue._changed.acquire()
    queue.after_fork()
    assert not queue.wait()
    assert not queue.put([])


# Listeners.


def test_listeners_are_called_in_their_order_with_the_event() -> None:
    room, got = DispatcherRoom(), []
    room.listeners.add("a", lambda event: got.append(("first", event)))
    room.listeners.add("*", lambda event: got.append(("second", event)))
    event = Event("a")
    room.deliver(event, Event("a.b"))
    assert [(name, told.type) for name, told in got] == [("first", "a"), ("second", "a"), ("second", "a.b")]
    assert got[0][1] is event


def test_a_once_listener_is_called_once_though_it_delivers_within() -> None:
    room = DispatcherRoom()

    def nested(event: Event) -> None:
        room.tell(event)
        room.deliver(event)

    room.listeners.add("a", nested, once=True)
    assert room.deliver(Event("a"), Event("a")) == ["a"]


def test_a_listener_removed_by_an_earlier_one_is_not_called_any_more() -> None:
    room = DispatcherRoom()
    room.listeners.add("a", lambda event: room.listeners.remove("a", room.tell))
    room.listeners.add("a", room.tell)
    assert room.deliver(Event("a")) == []


def test_a_once_listener_removed_by_an_earlier_one_is_not_called_any_more() -> None:
    room = DispatcherRoom()
    room.listeners.add("a", lambda event: room.listeners.remove("a", room.tell))
    room.listeners.add("a", room.tell, once=True)
    assert room.deliver(Event("a"), Event("a")) == []


def test_the_thread_calls_no_listener_that_an_earlier_one_removed() -> None:
    room = DispatcherRoom()

    def remove_at_the_second(event: AnyEvent) -> None:
        if room.told:
            room.listeners.remove("a", room.tell)

    room.listeners.add("a", remove_at_the_second)
    room.listeners.add("a", room.tell)
    room.queue.put([Event("a"), Event("a")])
    room.delivery.drain(room.queue)
    assert room.told == ["a"]


def test_a_listener_added_by_another_is_called_from_the_next_event_on() -> None:
    room = DispatcherRoom()
    room.listeners.add("a", lambda event: room.listeners.add("a", room.tell))
    assert room.deliver(Event("a")) == []
    assert room.deliver(Event("a")) == ["a"]


def test_a_listener_runs_where_waits_are_refused() -> None:
    room, roles = DispatcherRoom(), []
    room.listeners.add("a", lambda event: roles.append(room.guard.role))
    room.queue.put([Event("a")])
    room.thread.start()
    room.run_out()
    assert roles == [LISTENER]


def test_a_client_event_goes_to_streams_as_well_and_a_server_event_does_not() -> None:
    room = DispatcherRoom()
    stream: EventStream[Any] = EventStream(room.streams, Filter(["connected", "a"], None, room.guard), 10)
    room.streams.add(stream)
    room.listeners.add("connected", room.tell)
    assert room.deliver(CONNECTED, Event("a")) == ["connected"]
    stream.close()
    assert list(stream) == [CONNECTED]


# Listeners that raise.


def boom(event: AnyEvent) -> None:
    raise KeyError(event.type)


def collect_errors(room: DispatcherRoom) -> list[ErrorEvent]:
    errors: list[ErrorEvent] = []
    room.listeners.add("error", errors.append)
    return errors


def test_a_listener_that_raises_disturbs_no_other_and_is_an_error_event(caplog: pytest.LogCaptureFixture) -> None:
    room = DispatcherRoom()
    errors = collect_errors(room)
    room.listeners.add("a", boom)
    room.listeners.add("a", room.tell)
    assert room.deliver(Event("a"), Event("a")) == ["a", "a"]
    assert [(repr(error.error), error.context) for error in errors] == [("KeyError('a')", "handler")] * 2
    assert caplog.records == []


class Timeout(BaseException):
    """As gevent's: not an `Exception`, and not an exit."""


FAILURES = [Timeout(), asyncio.CancelledError(), GeneratorExit(), StopIteration(), StopAsyncIteration(), MemoryError()]


@pytest.mark.parametrize("error", FAILURES, ids=repr)
@pytest.mark.parametrize("plain", [True, False])
def test_a_listener_may_raise_any_base_but_an_exit(error: BaseException, plain: bool) -> None:
    room = DispatcherRoom(around_event=None if plain else lambda event: nullcontext())
    errors = collect_errors(room)
    room.listeners.add("a", raiser(error))
    room.listeners.add("a", room.tell)
    room.thread.start()
    room.queue.put([Event("a"), Event("a"), Event("a")])
    assert room.run_out() == ["a", "a", "a"]
    assert [told.error if isinstance(error, Exception) else told.error.__cause__ for told in errors] == [error] * 3
    assert {told.context for told in errors} == {"handler"}


@pytest.mark.parametrize("error", FAILURES, ids=repr)
@pytest.mark.parametrize("place", ["call", "enter", "exit"])
def test_a_context_may_raise_any_base_but_an_exit(error: BaseException, place: str) -> None:
    room = DispatcherRoom(around_event=Broken(place, error, "a"))
    errors = collect_errors(room)
    room.listeners.add("a", room.tell)
    room.thread.start()
    room.queue.put([Event("a"), Event("a")])
    assert room.run_out() == ["a", "a"]
    assert [told.error if isinstance(error, Exception) else told.error.__cause__ for told in errors] == [error] * 2


def test_an_error_listener_that_raises_is_logged_and_the_others_still_run(caplog: pytest.LogCaptureFixture) -> None:
    room = DispatcherRoom()
    room.listeners.add("a", boom)
    room.listeners.add("error", boom)
    errors = collect_errors(room)
    room.listeners.add("a", room.tell)
    assert room.deliver(Event("a")) == ["a"]
    assert [repr(error.error) for error in errors] == ["KeyError('a')"]
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "a listener raised while it handled an error event")
    assert record.exc_info is not None
    assert repr(record.exc_info[1]) == "KeyError('error')"


def test_an_error_that_nobody_listens_to_is_a_warning_and_one_of_a_listener_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    room = DispatcherRoom()
    room.listeners.add("a", boom)
    room.deliver(Event("a"), ErrorEvent(ConnectError("refused", 401), "connection", NOON))
    first, second = caplog.records
    assert (first.levelno, second.levelno) == (logging.ERROR, logging.WARNING)
    assert first.getMessage() == "handler error, and nobody listens to errors: KeyError('a')"
    assert first.exc_text is not None
    assert "in boom" in first.exc_text
    assert second.getMessage() == "connection error, and nobody listens to errors: ConnectError('refused')"
    assert not second.exc_info


def test_the_message_that_is_not_an_event_is_not_logged_with_its_error(caplog: pytest.LogCaptureFixture) -> None:
    DispatcherRoom().deliver(ErrorEvent(ParseError("not JSON", "private"), "parse", NOON))
    assert "ParseError('not JSON')" in caplog.text
    assert "private" not in caplog.text


def test_an_error_that_a_stream_takes_is_not_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    room = DispatcherRoom()
    stream: EventStream[Any] = EventStream(room.streams, Filter(["error"], None, room.guard), 10)
    room.streams.add(stream)
    room.deliver(ErrorEvent(ConnectError("refused"), "connection", NOON))
    assert stream.get(0).context == "connection"
    assert caplog.records == []


def test_an_error_of_a_listener_comes_before_the_next_event() -> None:
    room = DispatcherRoom()
    room.listeners.add("a", boom)
    for name in ("error", "b"):
        room.listeners.add(name, room.tell)
    room.queue.put([Event("a"), Event("b"), Event("a"), Event("b")])
    room.thread.start()
    assert room.run_out() == ["error", "b"] * 2


def test_errors_of_listeners_and_of_messages_are_counted_heard_or_not() -> None:
    room = DispatcherRoom()
    room.listeners.add("a", boom)
    parse = ErrorEvent(ParseError("not JSON", "{"), "parse", NOON)
    room.deliver(Event("a"), parse, ErrorEvent(ConnectError("refused"), "connection", NOON))
    assert (room.counters.handler_errors, room.counters.parse_errors) == (1, 1)
    room.listeners.add("error", boom)
    room.deliver(parse)
    assert (room.counters.handler_errors, room.counters.parse_errors) == (2, 2)


# What is entered around the listeners.


def test_a_context_is_entered_around_all_listeners_of_each_event() -> None:
    @contextmanager
    def around(event: AnyEvent) -> Iterator[None]:
        room.told.append(f"enter {event.type}")
        yield
        room.told.append(f"exit {event.type}")

    room = DispatcherRoom(around_event=around)
    room.listeners.add("*", room.tell)
    room.listeners.add("a", boom)
    room.listeners.add("error", room.tell)
    assert room.deliver(Event("a"), Event("b")) == [
        *("enter a", "a", "enter error", "error", "exit error", "exit a"),
        *("enter b", "b", "exit b"),
    ]


def test_no_context_is_entered_for_an_event_without_listeners() -> None:
    entered: list[AnyEvent] = []

    def around(event: AnyEvent) -> AbstractContextManager[None]:
        entered.append(event)
        return nullcontext()

    DispatcherRoom(around_event=around).deliver(Event("a"), CONNECTED)
    assert entered == []


class Broken:
    """A context manager that raises where it is told to, for one type of event or for each."""

    def __init__(self, place: str, error: BaseException | None = None, type: str = "") -> None:
        self.place = place
        self.error = LookupError(place) if error is None else error
        self.type = type
        self.inside = ""

    def __call__(self, event: AnyEvent) -> Broken:
        self.inside = event.type
        self._raise_in("call")
        return self

    def __enter__(self) -> None:
        self._raise_in("enter")

    def __exit__(self, *exc: object) -> None:
        self._raise_in("exit")

    def _raise_in(self, place: str) -> None:
        if place == self.place and self.type in ("", self.inside):
            raise self.error


@pytest.mark.parametrize("place", ["call", "enter", "exit"])
def test_a_context_that_raises_is_an_error_event_and_the_listeners_run(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    room = DispatcherRoom(around_event=Broken(place))
    errors = collect_errors(room)
    room.listeners.add("a", room.tell)
    assert room.deliver(Event("a")) == ["a"]
    assert [(repr(error.error), error.context) for error in errors] == [(f"LookupError('{place}')", "handler")]
    assert [record.getMessage() for record in caplog.records] == ["around_event raised while it handled an error event"]


@pytest.mark.parametrize("answer", [None, 1, "context"])
def test_what_is_not_a_context_is_an_error_event_and_the_listeners_run(answer: Any) -> None:
    room = DispatcherRoom(around_event=lambda event: answer if event.type == "a" else nullcontext())
    errors = collect_errors(room)
    room.listeners.add("a", room.tell)
    assert room.deliver(Event("a")) == ["a"]
    expected = f"TypeError('around_event must return a context manager, not {type(answer).__name__}')"
    assert [(repr(error.error), error.context) for error in errors] == [(expected, "handler")]


def test_a_context_sees_no_exception_of_a_listener() -> None:
    seen: list[object] = []

    class Watching:
        def __enter__(self) -> None:
            pass

        def __exit__(self, kind: object, value: object, trace: object) -> bool:
            seen.append(value)
            return True

    room = DispatcherRoom(around_event=lambda event: Watching())
    errors = collect_errors(room)
    room.listeners.add("a", boom)
    room.deliver(Event("a"))
    assert len(errors) == 1
    assert seen == [None, None]


# The thread.


def test_the_thread_waits_for_events_and_ends_after_the_last() -> None:
    room = DispatcherRoom()
    room.listeners.add("*", room.tell)
    room.thread.start()
    room.queue.put([Event("a")])
    until(lambda: room.told)
    room.queue.put([Event("b"), Event("c")])
    assert room.run_out() == ["a", "b", "c"]


def test_the_thread_ends_with_its_client() -> None:
    room = DispatcherRoom()
    room.thread.start()
    del room.delivery
    gc.collect()
    room.queue.put([Event("a")])
    room.join()
    assert not room.queue.put([Event("b")])


def raiser(error: BaseException) -> Callable[[object], Any]:
    """Return user code that raises."""

    def fail(event: object) -> Any:
        raise error

    return fail


class Killed(SystemExit):
    """An exit of the user's own kind."""


EXITS = [SystemExit(1), KeyboardInterrupt(), Killed()]


@pytest.mark.parametrize("around_event", [None, lambda event: nullcontext()])
@pytest.mark.parametrize("error", EXITS, ids=repr)
def test_a_listener_that_exits_ends_the_session_with_one_error_and_its_last_events(
    error: BaseException, around_event: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    room = DispatcherRoom(size=1, around_event=around_event)
    errors = collect_errors(room)
    room.listeners.add("a", raiser(error))
    for name in ("a", "b", "connected"):
        room.listeners.add(name, room.tell)
    room.thread.start()
    with reader(room.queue, "a", "b", "b", "b", "b") as outcome:
        pass
    assert outcome == [False]
    assert room.ended.wait(10)
    assert not room.queue.put([Event("c")])
    room.queue.post(CONNECTED)
    room.queue.wake()
    assert room.run_out() == ["connected"]
    assert [(str(told.error), told.error.__cause__, told.context) for told in errors] == [
        (f"a listener raised {type(error).__name__}", error, "handler")
    ]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("place", ["call", "enter", "exit"])
def test_a_context_that_exits_ends_the_session_with_one_error(place: str, caplog: pytest.LogCaptureFixture) -> None:
    room = DispatcherRoom(around_event=Broken(place, SystemExit(), "a"))
    errors = collect_errors(room)
    room.listeners.add("a", room.tell)
    room.thread.start()
    room.queue.put([Event("a"), Event("a")])
    assert room.ended.wait(10)
    assert room.run_out() == (["a"] if place == "exit" else [])
    assert [str(told.error) for told in errors] == ["around_event raised SystemExit"]
    assert caplog.records == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_itself_notifies_whoever_supervises_it_and_lets_the_reader_pass() -> None:
    """As when the memory runs out between two listeners."""

    class Starved(Delivery):
        def drain(self, queue: EventQueue) -> None:
            raise MemoryError

    room = DispatcherRoom()
    room.delivery = Starved(room.takers, None, room.counters)
    room.thread.start()
    room.queue.put([Event("a")])
    room.join()
    assert not room.queue.put([Event("b")])


def test_a_listener_of_the_last_events_that_exits_as_well_changes_nothing() -> None:
    room = DispatcherRoom()
    errors = collect_errors(room)
    for name in ("a", "connected", "disconnected"):
        room.listeners.add(name, raiser(SystemExit()))
    room.listeners.add("disconnected", room.tell)
    room.thread.start()
    room.queue.put([Event("a")])
    assert room.ended.wait(10)
    room.queue.post(CONNECTED, DISCONNECTED)
    assert room.run_out() == ["disconnected"]
    assert len(errors) == 1


def test_a_listener_of_errors_that_exits_ends_the_session(caplog: pytest.LogCaptureFixture) -> None:
    room = DispatcherRoom()
    room.listeners.add("a", boom)
    room.listeners.add("error", raiser(SystemExit()))
    room.listeners.add("a", room.tell)
    room.thread.start()
    room.queue.put([Event("a")])
    assert room.ended.wait(10)
    assert room.run_out() == []
    assert [record.getMessage() for record in caplog.records] == ["a listener raised while it handled an error event"]


def test_an_event_is_not_kept_alive_once_it_is_delivered() -> None:
    class Payload:
        """Something that shows whether it is still there."""

    room = DispatcherRoom()
    room.listeners.add("a", room.tell)
    room.thread.start()
    value = Payload()
    alive = weakref.ref(value)
    room.queue.put([Event("a", {"value": value})])
    del value
    until(lambda: alive() is None)
    assert room.run_out() == ["a"]


def test_a_listener_under_way_comes_back_to_the_client_s_own_events_when_its_queue_is_abandoned() -> None:
    room, entered, leave = DispatcherRoom(), threading.Event(), threading.Event()

    def hang(event: AnyEvent) -> None:
        entered.set()
        leave.wait(10)

    room.listeners.add("a", hang)
    for name in ("b", "error"):
        room.listeners.add(name, room.tell)
    room.thread.start()
    room.queue.put([Event("a"), Event("b")])
    entered.wait(10)
    room.queue.post(ErrorEvent(DisconnectedError("over"), "connection", NOON))
    room.queue.abandon()
    leave.set()
    assert room.run_out() == ["error"]


# What comes back late.


class LateRoom(DispatcherRoom):
    """A dispatcher whose thread is given up while a listener of ``a`` hangs; then the listener fails."""

    def __init__(self, around_event: Callable[[Any], AbstractContextManager[object]] | None = None) -> None:
        super().__init__(around_event=around_event)
        self.entered = threading.Event()
        self.leave = threading.Event()
        self.listeners.add("a", self.hang)
        for name in ("*", "error", "connected"):
            self.listeners.add(name, self.tell)

    def hang(self, event: AnyEvent) -> Any:
        self.entered.set()
        assert self.leave.wait(10)
        raise KeyError("late")

    def come_back_late(self) -> list[Any]:
        """Give the thread up while it hangs; return what was reported after that."""
        self.thread.start()
        assert self.entered.wait(10)
        self.queue.abandon()
        self.queue.finish()
        self.queue.give_up()
        self.leave.set()
        self.join()
        return self.told


@pytest.mark.parametrize("around_event", [None, lambda event: nullcontext()])
def test_a_listener_that_was_given_up_comes_back_to_nothing(
    around_event: Any, caplog: pytest.LogCaptureFixture
) -> None:
    room = LateRoom(around_event)
    stream: EventStream[Any] = EventStream(room.streams, Filter(["error"], None, room.guard), 10)
    room.streams.add(stream)
    room.queue.put([Event("a"), Event("b")])
    assert room.come_back_late() == []
    stream.close()
    assert list(stream) == []
    assert caplog.records == []


@pytest.mark.parametrize("error", EXITS, ids=repr)
def test_an_exit_that_comes_back_late_is_not_reported_either(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    room = LateRoom()
    room.listeners.remove("a", room.hang)

    def leave(event: AnyEvent) -> None:
        with suppress(KeyError):
            room.hang(event)
        raise error

    room.listeners.remove("*", room.tell)
    room.listeners.add("a", leave)
    room.listeners.add("a", room.tell)
    room.queue.put([Event("a")])
    assert room.come_back_late() == []
    assert capsys.readouterr().err == ""


def test_a_context_is_left_when_its_listener_comes_back_late_and_what_that_raises_is_not_reported() -> None:
    left: list[str] = []

    class Context:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *exc: object) -> None:
            left.append("left")
            raise LookupError("late")

    room = LateRoom(lambda event: Context())
    room.queue.put([Event("a")])
    assert room.come_back_late() == []
    assert left == ["left"]


def test_around_event_that_comes_back_late_has_no_listener_called() -> None:
    room = LateRoom(lambda event: room.hang(event))
    room.queue.put([Event("a")])
    assert room.come_back_late() == []


def test_a_predicate_of_a_client_event_that_comes_back_late_has_no_listener_called() -> None:
    room = LateRoom()
    stream: EventStream[Any] = EventStream(room.streams, Filter(["connected"], room.hang, room.guard), 10)
    room.streams.add(stream)
    room.queue.post(CONNECTED)
    assert room.come_back_late() == []
