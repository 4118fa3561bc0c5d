from __future__ import annotations

import gc
import sys
import threading
import weakref
from types import FrameType
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masquerade_ws.delivery.blocking import Guard, holds
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import AnyEvent, Filter, Where
from masquerade_ws.delivery.stream_index import Reconnection, StreamIndex
from masquerade_ws.delivery.streams import EventStream
from masquerade_ws.errors import DisconnectedError
from masquerade_ws.events import ConnectedEvent, DisconnectedEvent, ErrorEvent, Event

NOON = "2026-11-22T12:00:00.000Z"
Stream: TypeAlias = EventStream[Any]


def subscribe(
    index: StreamIndex, *names: str, where: Where = None, maxsize: float = 100, polls: bool = False
) -> Stream:
    stream: Stream = EventStream(index, Filter(names, where, index.guard), maxsize)
    index.add(stream, polls=polls)
    return stream


def feed(index: StreamIndex, *events: AnyEvent) -> list[AnyEvent]:
    """Put events that came together into the streams, as the reader thread does."""
    return index.feed(events, EventQueue(10), None)


def drain(stream: Stream) -> list[Any]:
    """Close a stream and return what it has buffered."""
    stream.close()
    return list(stream)


@pytest.fixture
def index() -> StreamIndex:
    return StreamIndex(Guard())


def test_an_event_goes_to_each_stream_that_takes_it(index: StreamIndex) -> None:
    streams = [subscribe(index, *names) for names in ([], ["a"], ["a.*"], ["b", "a.b"], ["c"], ["a", "a.*"])]
    a, ab = Event("a"), Event("a.b")
    assert index.deliver(a)
    assert index.deliver(ab)
    assert [drain(stream) for stream in streams] == [[a, ab], [a], [ab], [ab], [], [a, ab]]


def test_a_stream_gets_an_event_once_however_many_of_its_names_fit(index: StreamIndex) -> None:
    stream = subscribe(index, "a.b", "a.*", "*")
    index.deliver(Event("a.b"))
    assert len(drain(stream)) == 1


def test_streams_without_a_condition_take_all_events_of_their_types(index: StreamIndex) -> None:
    plain = [subscribe(index, *names) for names in ("a", ["a", "b.*"], ["*"])]

    def all_of(type: str) -> list[Stream] | None:
        found = index._look_up(type)
        assert index._by_type[type] is found
        return None if isinstance(found, list) else [stream for entry in found if (stream := entry()) is not None]

    assert all_of("a") == plain
    assert all_of("b.c") == plain[1:]
    assert all_of("c") == plain[2:]
    some = subscribe(index, "b.c", where={"n": 1})
    asking = subscribe(index, "c", where=lambda event: True)
    assert "a" not in index._by_type
    assert (all_of("a"), all_of("b.c"), all_of("c")) == (plain, None, None)
    some.close()
    index.narrow(asking, Filter(["a.b"], {"n": 1}, index.guard))
    assert (all_of("b.c"), all_of("c"), all_of("a.b")) == (plain[1:], plain[2:], None)
    del plain[0]
    assert all_of("a") == plain


def test_what_is_remembered_of_types_stays_small_whatever_the_server_says(index: StreamIndex) -> None:
    stream = subscribe(index)
    for number in range(5000):
        assert isinstance(index._look_up(f"{number}"), tuple)
    assert isinstance(index._look_up("a" * 1_000_000), tuple)
    assert 0 < len(index._by_type) <= 1024
    assert max(map(len, index._by_type)) <= 256
    assert not stream.ended


def test_an_event_that_nobody_takes_is_reported_as_such(index: StreamIndex) -> None:
    assert not index.deliver(Event("a"))
    stream = subscribe(index, "a", where={"n": 1})
    assert not index.deliver(Event("a"))
    assert not index.deliver(Event("a", {"n": 2}))
    assert not index.deliver(Event("a", {"n": [1]}))
    assert index.deliver(Event("a", {"n": 1}))
    assert len(drain(stream)) == 1


def test_an_index_is_true_while_it_has_streams(index: StreamIndex) -> None:
    assert not index
    stream = subscribe(index)
    assert index
    stream.close()
    assert not index


def test_a_client_event_goes_to_those_who_name_it(index: StreamIndex) -> None:
    named, starred = subscribe(index, "disconnected", where={"code": 1006}), subscribe(index, "*")
    gone = DisconnectedEvent(NOON, 1006, "", will_reconnect=True)
    assert index.deliver(gone)
    assert not index.deliver(DisconnectedEvent(NOON, 1000, "", will_reconnect=False))
    assert (drain(named), drain(starred)) == ([gone], [])


def test_an_error_that_has_no_hash_is_delivered(index: StreamIndex) -> None:
    class OddError(Exception):
        __hash__ = None  # type: ignore[assignment]

    stream, other = (
        subscribe(index, "error", where={"context": "handler"}),
        subscribe(index, "error", where={"error": 1}),
    )
    assert index.deliver(ErrorEvent(OddError(), "handler", NOON))
    assert (len(drain(stream)), drain(other)) == (1, [])


def test_a_predicate_that_raises_ends_its_own_stream_alone(index: StreamIndex) -> None:
    def picky(event: Event) -> bool:
        return bool(event.payload["n"])

    broken, whole = subscribe(index, where=picky), subscribe(index)
    assert index.deliver(Event("a", {"n": 1}))
    assert index.deliver(Event("b"))
    assert index.deliver(Event("c", {"n": 1}))
    assert broken.get().type == "a"
    with pytest.raises(KeyError, match=r"n"):
        broken.get()
    assert [event.type for event in drain(whole)] == ["a", "b", "c"]


def test_a_removal_that_an_interrupt_cut_short_is_done_once_more(index: StreamIndex) -> None:
    """It may come after the removal, and before that is noted."""
    gone, stays = subscribe(index, "a"), subscribe(index, "a")
    (entry, _) = index._entries
    index._due.extend([entry, entry])
    assert index.deliver(Event("a"))
    assert not index._due
    assert (drain(gone), len(drain(stays))) == ([], 1)


def test_no_predicate_is_asked_for_a_stream_that_has_ended_meanwhile(index: StreamIndex) -> None:
    """As when a predicate hangs until its client has been disconnected."""
    asked: list[str] = []
    streams: list[Stream] = []

    def end_all(event: Event) -> bool:
        asked.append(event.type)
        index.end(index.newest(), DisconnectedError("over"))
        return True

    streams += [subscribe(index, where=end_all), subscribe(index, where=end_all)]
    index.deliver(Event("a"))
    assert asked == ["a"]
    assert [list(stream) for stream in streams] == [[], []]


def test_a_predicate_may_open_and_close_streams(index: StreamIndex) -> None:
    opened: list[Stream] = []

    def open_another(event: Event) -> bool:
        opened.append(subscribe(index))
        opened[-1].close()
        return True

    stream = subscribe(index, where=open_another)
    assert index.deliver(Event("a"))
    assert len(opened) == 1
    assert len(drain(stream)) == 1


def test_what_full_streams_dropped_is_counted(index: StreamIndex) -> None:
    streams = [subscribe(index, maxsize=size) for size in (1, 2, 10)]
    for _ in range(5):
        index.deliver(Event("a"))
    assert [stream.dropped for stream in streams] == [4, 3, 0]
    assert index.dropped == 7


def test_a_closed_stream_gets_nothing_more(index: StreamIndex) -> None:
    stream = subscribe(index)
    index.deliver(Event("a"))
    stream.close()
    assert not index.deliver(Event("b"))
    assert [event.type for event in stream] == ["a"]


def test_removing_a_stream_twice_is_harmless(index: StreamIndex) -> None:
    stream, other = subscribe(index, "a"), subscribe(index, "a")
    index.discard(stream)
    index.discard(stream)
    index.deliver(Event("a"))
    assert (drain(stream), len(drain(other))) == ([], 1)


# Streams that nobody refers to.


def test_a_stream_that_nothing_refers_to_is_collected(index: StreamIndex) -> None:
    gone = weakref.ref(subscribe(index, "a"))
    gc.collect()
    assert gone() is None
    assert not index.deliver(Event("a"))
    assert not index


def test_streams_that_are_forgotten_without_an_event_leave_nothing_behind(index: StreamIndex) -> None:
    for number in range(1000):
        subscribe(index, "a", where={"job_id": str(number)})
    gc.collect()
    last = subscribe(index, "b")
    assert len(index._entries) == 1
    assert list(index._by_name) == ["b"]
    last.close()
    assert index._by_name == {}


def test_a_stream_that_is_collected_while_an_event_is_on_its_way_is_left_out(index: StreamIndex) -> None:
    streams = [subscribe(index)]

    def forget(event: Event) -> bool:
        streams.clear()
        return True

    stays = subscribe(index, where=forget)
    assert index.deliver(Event("a"))
    assert index.deliver(Event("b"))
    assert len(drain(stays)) == 2


# Narrowing.


def test_a_narrowed_stream_takes_what_its_new_filter_does(index: StreamIndex) -> None:
    stream = subscribe(index, "a", "b")
    index.deliver(Event("b"))
    index.narrow(stream, Filter(["a"], {"n": 1}, index.guard))
    for event in (Event("b"), Event("a"), Event("a", {"n": 1})):
        index.deliver(event)
    assert [(event.type, event.payload) for event in drain(stream)] == [("b", {}), ("a", {"n": 1})]
    assert not index


def test_an_index_is_not_empty_while_its_only_stream_is_narrowed(index: StreamIndex) -> None:
    stream = subscribe(index, "a")
    taken_out, go_on = threading.Event(), threading.Event()
    seen: list[bool] = []

    def stop_at_the_insertion(frame: FrameType, event: str, argument: object) -> None:
        if frame.f_code.co_name == "_insert":
            taken_out.set()
            go_on.wait(10)

    def narrow() -> None:
        sys.settrace(stop_at_the_insertion)
        index.narrow(stream, Filter(["b"], None, index.guard))
        sys.settrace(None)

    threads = [threading.Thread(target=narrow), threading.Thread(target=lambda: seen.append(bool(index)))]
    threads[0].start()
    assert taken_out.wait(10)
    threads[1].start()
    threads[1].join(0.1)  # time to see the moment in which it is out
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert seen == [True]


def test_narrowing_a_stream_that_has_ended_is_harmless(index: StreamIndex) -> None:
    stream = subscribe(index)
    index.end(index.newest(), DisconnectedError("over"))
    index.narrow(stream, Filter(["a"], None, index.guard))
    assert not index.deliver(Event("a"))
    with pytest.raises(DisconnectedError, match=r"^over$"):
        stream.get()


# Reconnections.


def test_streams_that_poll_get_the_news_of_each_connection(index: StreamIndex) -> None:
    polling, other = subscribe(index, "a", polls=True), subscribe(index, "a")
    event, connections = Event("a"), [Reconnection(1, resumed=False), Reconnection(2, resumed=True)]
    index.mark_connection(connections[0])
    index.deliver(event)
    index.mark_connection(connections[1])
    assert drain(polling) == [connections[0], event, connections[1]]
    assert drain(other) == [event]


def test_a_polling_stream_that_is_gone_is_left_out(index: StreamIndex) -> None:
    subscribe(index, polls=True)
    gc.collect()
    index.mark_connection(Reconnection(1, resumed=False))
    assert not index.deliver(Event("a"))


# The end.


def test_streams_up_to_a_number_are_ended_and_later_ones_are_not(index: StreamIndex) -> None:
    old, forgotten = subscribe(index), subscribe(index)
    newest = index.newest()
    young = subscribe(index)
    del forgotten
    gc.collect()
    index.end(newest, DisconnectedError("over", 1000))
    assert index.deliver(Event("a"))
    with pytest.raises(DisconnectedError, match=r"^over$"):
        old.get()
    assert young.get().type == "a"


def test_after_a_fork_all_streams_have_ended_and_new_ones_work(index: StreamIndex) -> None:
    stream, forgotten = subscribe(index), subscribe(index)
    index.deliver(Event("a"))
    del forgotten
    gc.collect()
    stream._changed.acquire()
    index._lock.acquire()
    index.after_fork(DisconnectedError("forked"))
    assert not index
    assert stream.get().type == "a"
    with pytest.raises(DisconnectedError, match=r"^forked$"):
        stream.get()
    young = subscribe(index, "b")
    index.deliver(Event("b"))
    assert young.get().type == "b"


# Against the filter itself.

NAMES = st.sampled_from(["a", "a.b", "a.b.c", "a.*", "a.b.*", "*", "b", "connected", "error"])
SCALARS = st.sampled_from([0, 1, 1.0, True, False, None, "1", "", "x", 2**70])
VALUES = SCALARS | st.sampled_from([[], [1], {"x": 1}, {}])
FIELDS = st.dictionaries(st.sampled_from(["job_id", "n", "attempts", "reconnected"]), VALUES, max_size=3)
PREDICATES = st.sampled_from([lambda event: event.type == "a", lambda event: False, lambda event: 1])
FILTERS = st.builds(
    lambda names, where: Filter(names, where, Guard()),
    st.lists(NAMES, max_size=3),
    st.none() | FIELDS | PREDICATES,
)
EVENTS: st.SearchStrategy[AnyEvent] = st.builds(
    Event, st.sampled_from(["a", "a.b", "a.b.c", "a.", "b", "c"]), FIELDS
) | st.builds(ConnectedEvent, st.just(NOON), st.booleans(), st.integers(0, 2), st.none())


@pytest.mark.parametrize("together", [False, True])
@settings(deadline=None)
@given(
    plan=st.lists(st.tuples(FILTERS, FILTERS, st.sampled_from(["keep", "narrow", "close", "forget"]))),
    events=st.lists(EVENTS, min_size=1),
)
def test_the_index_finds_exactly_the_streams_whose_filters_cover_an_event(
    together: bool, plan: list[tuple[Filter, Filter, str]], events: list[AnyEvent]
) -> None:
    index = StreamIndex(Guard())
    streams: list[Stream] = []
    for first, second, fate in plan:
        stream: Stream = EventStream(index, first, 100)
        index.add(stream)
        if fate == "narrow":
            index.narrow(stream, second)
        elif fate == "close":
            stream.close()
        if fate in {"keep", "narrow"}:
            streams.append(stream)
        del stream
    subscribe(index).close()  # buries the forgotten
    if together:
        feed(index, *events)
        events = [event for event in events if isinstance(event, Event)]
    for event in () if together else events:
        covering = [stream for stream in streams if stream.filter.covers(event)]
        assert index.deliver(event) is bool(covering)
    for stream in streams:
        expected = [event for event in events if stream.filter.covers(event)]
        assert [id(event) for event in drain(stream)] == [id(event) for event in expected]
    assert index._by_name == {}
    assert index._entries == {}
    assert index._patterns == ()


def test_an_event_meets_no_wait_on_another_job(index: StreamIndex) -> None:
    met: list[str] = []

    class Job(str):
        def __hash__(self) -> int:
            return hash(str(self))

        def __eq__(self, other: object) -> bool:
            met.append(str(other))
            return str(self) == other

    streams = [subscribe(index, "a", where={"job_id": str(number)}) for number in range(2000)]
    assert index.deliver(Event("a", {"job_id": Job("7")}, NOON))
    assert [number for number, stream in enumerate(streams) if drain(stream)] == [7]
    assert len(met) < 10


@pytest.mark.parametrize("change", ["addition", "narrowing"])
def test_a_change_amid_the_look_without_the_lock_costs_no_stream_its_event(index: StreamIndex, change: str) -> None:
    first, wide = subscribe(index, "a", where={"n": 1}), subscribe(index, "a", where={"m": 1})
    feed(index, Event("a", {"n": 2}))
    changed: list[Stream] = []

    class Late(dict[Any, Any]):
        """Is asked a moment before the change."""

        def __contains__(self, key: object) -> bool:
            found = super().__contains__(key)
            if not changed and change == "addition":
                changed.append(subscribe(index, "a", where={"n": 2}))
            elif not changed:
                changed.append(wide)
                index.narrow(wide, Filter(["a"], {"n": 2}, index.guard))
            return found

    table, _ = index._tables_for("a")
    table.entries = Late(table.entries)
    event = Event("a", {"n": 2, "m": 1})
    feed(index, event)
    assert drain(first) == []
    assert drain(changed[0]) == [event]


@pytest.mark.parametrize("change", ["insertion", "removal"])
def test_a_change_that_an_interrupt_cut_short_leaves_no_stale_look(index: StreamIndex, change: str) -> None:
    """Whichever line it cuts, what comes after that is found."""

    def interrupted_at(line: int) -> bool:
        left = line
        stream = subscribe(index, "a.*", where={"n": 1})
        feed(index, Event("a.b", {"n": 2}))

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal left
            if not frame.f_code.co_filename.endswith("delivery/stream_index.py"):
                return None
            if event == "line" and frame.f_code.co_name in {"_insert", "_remove"}:
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt
            return trace

        tracing = sys.gettrace()
        sys.settrace(trace)
        try:
            if change == "removal":
                stream.close()
            else:
                subscribe(index, "a.*", where={"m": 1})
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(tracing)
        fresh = subscribe(index, "a.*", where={"n": 2})
        event = Event("a.b", {"n": 2})
        feed(index, event)
        assert drain(fresh) == [event]
        stream.close()
        return left <= 0

    assert next(line for line in range(1, 100) if not interrupted_at(line)) > 5


def test_threads_that_come_and_go_lose_no_event(index: StreamIndex) -> None:
    stays = subscribe(index, "a", maxsize=10_000)
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            subscribe(index, "a", where={"n": 1})
            subscribe(index, "a.*").close()

    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(300):
        index.deliver(Event("a", {"n": number}))
    stop.set()
    for thread in threads:
        thread.join()
    assert [event.payload["n"] for event in drain(stays)] == list(range(300))


def test_what_an_interrupted_insertion_left_behind_is_removed(index: StreamIndex) -> None:
    stream = subscribe(index, "a", "b.*")
    del index._by_name["b.*"]  # as if it had not come so far
    stream.close()
    assert (index._entries, index._by_name, index._patterns) == ({}, {}, ())


def test_a_stream_that_a_finalizer_closes_in_the_middle_of_a_change_is_buried_by_the_next(index: StreamIndex) -> None:
    first, second = subscribe(index, "a"), subscribe(index, "a")
    with index._lock:
        first.close()
        assert len(index._entries) == 2
    second.close()
    assert (index._entries, index._by_name) == ({}, {})


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("change", ["add", "narrow", "discard"])
def test_a_stream_that_a_signal_handler_opens_in_the_middle_of_a_change_costs_no_other_its_events(
    index: StreamIndex, change: str, keep: bool
) -> None:
    """Whichever line it cuts, all streams are in the index afterwards that have not been closed, and none else."""

    def streams_at(line: int) -> tuple[bool, list[Stream]]:
        left, opened = line, list[Stream]()

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal left
            if not frame.f_code.co_filename.endswith("stream_index.py"):
                return None
            if event == "line" and holds(index._holder) and left:
                left -= 1
                if not left:
                    opened.append(subscribe(index, "a"))
                    if not keep:
                        opened.pop().close()
            return trace

        stream: Stream = EventStream(index, Filter(["a"], None, index.guard), 100)
        if change != "add":
            index.add(stream)
        before = sys.gettrace()  # coverage's, on this thread
        sys.settrace(trace)
        try:
            if change == "add":
                index.add(stream)
            elif change == "narrow":
                index.narrow(stream, Filter(["a"], {"n": 1}, index.guard))
            else:
                index.discard(stream)
        finally:
            sys.settrace(before)
        return not left, opened if change == "discard" else [stream, *opened]

    line = 1
    while True:
        cut, streams = streams_at(line)
        event = Event("a", {"n": 1})
        index.deliver(event)
        assert [list(stream._buffer) for stream in streams] == [[event]] * len(streams), line
        for stream in streams:
            stream.close()
        assert (index._entries, index._by_name, index._patterns) == ({}, {}, ()), line
        if not cut:
            break
        line += 1
    assert line > 5
