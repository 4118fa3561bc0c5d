from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masquerade_ws.connection import Connection
from masquerade_ws.delivery.blocking import Guard
from masquerade_ws.delivery.dispatcher import Delivery, dispatch
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import AnyEvent, Filter
from masquerade_ws.delivery.listeners import Listeners
from masquerade_ws.delivery.message_decoder import MessageDecoder
from masquerade_ws.delivery.reader import Intake, read
from masquerade_ws.delivery.stream_index import StreamIndex
from masquerade_ws.delivery.streams import EventStream
from masquerade_ws.delivery.takers import Takers
from masquerade_ws.errors import DisconnectedError, EventsDroppedError, ParseError
from masquerade_ws.events import ErrorEvent, Event
from masquerade_ws.stats import Counters
from tests.support.messages import NOON, wire
from tests.support.raw_server import Peer, RawServer, close_payload, frame, until


class IntakeRoom:
    """An intake, and what it feeds."""

    def __init__(self, size: int = 100) -> None:
        self.listeners = Listeners()
        self.streams = StreamIndex(Guard())
        self.takers = Takers(self.listeners, self.streams)
        self.counters = Counters()
        self.intake = Intake(self.takers, self.counters)
        self.queue = EventQueue(size)
        self.ended = threading.Event()

    def stream(self, *names: str, **where: Any) -> EventStream[Any]:
        stream: EventStream[Any] = EventStream(self.streams, Filter(names, where, self.streams.guard), 100)
        self.streams.add(stream)
        return stream

    def take(self, batch: list[str | bytes]) -> Sequence[Any]:
        """Take messages in."""
        return [event for events in self.intake.take(batch, self.queue) for event in events]

    def read(self, connection: Connection) -> threading.Thread:
        """Start a reader thread."""
        intake = weakref.ref(self.intake)
        thread = threading.Thread(target=lambda: read(connection, self.queue, intake, self.ended.set))
        thread.start()
        return thread


def types(events: Sequence[AnyEvent]) -> list[str]:
    return [event.type for event in events]


def join(thread: threading.Thread) -> None:
    thread.join(10)
    assert not thread.is_alive()


# Taking messages in.


def test_what_somebody_listens_to_is_for_the_dispatcher_in_the_order_of_arrival() -> None:
    room = IntakeRoom()
    room.listeners.add("a.*", repr)
    room.listeners.add("b", repr)
    batch: list[str | bytes] = [wire("b"), wire("a.x", n=1), wire("c"), wire("a.y").encode(), wire("b")]
    events = room.take(batch)
    assert types(events) == ["b", "a.x", "a.y", "b"]
    assert events[1] == Event("a.x", {"n": 1}, NOON)


def test_what_nobody_listens_to_is_not_queued() -> None:
    assert IntakeRoom().take([wire("a"), wire("b")]) == []


def test_a_batch_that_is_listened_to_in_full_is_for_the_dispatcher_in_full() -> None:
    room = IntakeRoom()
    room.listeners.add("*", repr)
    assert types(room.take([wire("a"), wire("b")])) == ["a", "b"]


def test_streams_are_fed_at_once_listeners_or_not() -> None:
    room = IntakeRoom()
    some, every = room.stream("a", n=1), room.stream()
    assert room.take([wire("a", n=1), wire("a", n=2), wire("b")]) == []
    some.close()
    every.close()
    assert [event.payload for event in some] == [{"n": 1}]
    assert types(list(every)) == ["a", "a", "b"]


def test_those_who_read_a_stream_are_woken_once_for_events_that_came_together() -> None:
    class Counting(threading.Condition):
        woken = 0

        def notify_all(self) -> None:
            self.woken += 1
            super().notify_all()

    room = IntakeRoom()
    streams = [room.stream(), room.stream("a", "b")]
    for stream in streams:
        stream._changed = Counting(stream._lock)
    room.take([wire("a"), wire("b"), "{", wire("a")])
    room.take([wire("c"), wire("d")])
    assert [vars(stream)["_changed"].woken for stream in streams] == [2, 1]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "b.c", "d"]), st.integers(0, 2)), min_size=1, max_size=30),
    st.lists(st.sampled_from([(), ("a",), ("b.*", "a"), ("b",), ("*",)]), max_size=4),
    st.lists(st.sampled_from(["a", "b", "b.*", "*"]), max_size=2),
    st.lists(st.sampled_from(["ask", "where"]), max_size=2),
    st.integers(1, 5),
)
def test_each_stream_gets_what_it_takes_in_order_whatever_else_is_open(
    sent: list[tuple[str, int]],
    plain: list[tuple[str, ...]],
    conditional: list[str],
    kinds: list[str],
    maxsize: int,
) -> None:
    room = IntakeRoom()
    streams: list[tuple[EventStream[Any], Filter]] = []
    conditions: list[Any] = [{"n": 1} if kind == "where" else (lambda event: event.payload["n"] > 0) for kind in kinds]
    for names, where in [(names, None) for names in plain] + [
        ((name,), where) for name in conditional for where in conditions
    ]:
        taken = Filter(names, where, room.streams.guard)
        streams.append((EventStream(room.streams, taken, maxsize), taken))
        room.streams.add(streams[-1][0])
    room.listeners.add("d", repr)
    assert types(room.take([wire(name, n=n) for name, n in sent])) == ["d" for name, _ in sent if name == "d"]
    for stream, taken in streams:
        due = [event for event in (Event(name, {"n": n}, NOON) for name, n in sent) if taken.covers(event)]
        stream.close()
        assert stream.dropped == max(0, len(due) - maxsize)
        if stream.dropped:
            with pytest.raises(EventsDroppedError, match=rf"^{stream.dropped} "):
                stream.get()
        assert list(stream) == due[-maxsize:]
    assert room.streams.dropped == sum(stream.dropped for stream, _ in streams)


def test_a_message_that_is_not_an_event_is_an_error_event_in_its_place_and_reaches_no_stream() -> None:
    room = IntakeRoom()
    room.listeners.add("*", repr)
    stream = room.stream("*")
    first, error, last = room.take([wire("a"), "{", wire("b")])
    assert types([first, last]) == ["a", "b"]
    assert isinstance(error, ErrorEvent)
    assert isinstance(error.error, ParseError)
    assert (error.context, error.error.data) == ("parse", "{")
    stream.close()
    assert types(list(stream)) == ["a", "b"]


def test_a_batch_that_was_held_up_until_its_session_was_abandoned_reaches_nobody() -> None:
    room = IntakeRoom()
    room.listeners.add("*", repr)
    stream = room.stream()
    room.queue.abandon()
    assert list(room.take([wire("a")])) == []
    stream.close()
    assert list(stream) == []


def test_a_dispatcher_thread_at_rest_gets_the_messages_as_they_came_unless_somebody_waits() -> None:
    room = IntakeRoom(size=4)
    room.listeners.add("a", repr)
    messages: list[str | bytes] = [wire("a"), "{"]
    delivery = Delivery(room.takers, None, room.counters)
    dispatching = room.queue, weakref.ref(delivery), room.streams.guard, room.ended.set, lambda: None
    thread = threading.Thread(target=dispatch, args=dispatching, daemon=True)
    thread.start()
    until(lambda: room.queue.admit_undecoded(2))
    assert room.take(messages) == messages
    assert room.counters.messages_received == 2
    assert types(room.take([wire("a"), wire("b"), wire("a")])) == ["a", "a"], "half of the room is for unread messages"
    stream = room.stream("a")
    assert types(room.take(messages)) == ["a", "error"]
    stream.close()
    assert room.take(messages) == messages
    room.listeners.remove("a", repr)
    assert list(room.take([wire("a")])) == [], "it is not woken for nothing"
    room.queue.finish()
    join(thread)


def test_an_error_is_for_the_dispatcher_though_nobody_listens() -> None:
    assert types(IntakeRoom().take(["{", wire("a")])) == ["error"]


def test_every_message_is_counted_malformed_ones_and_those_that_nobody_takes_too() -> None:
    room = IntakeRoom()
    room.take([wire("a"), "{", b"\xff"])
    before = room.counters.snapshot(None)["last_event_at"]
    room.take([wire("a")])
    assert room.counters.snapshot(None)["messages_received"] == 4
    assert room.counters.snapshot(None)["last_event_at"] >= before


def test_what_nobody_takes_is_not_decoded() -> None:
    room = IntakeRoom()
    room.listeners.add("a", repr)
    stream = room.stream("b")
    assert room.take([wire("a"), wire("b")]) != []
    assert not room.takers.fronts.worth_a_look
    assert room.take([wire("c")]) == []
    cut = wire("c")[:-1]
    assert types(room.take([cut, wire("a"), cut.encode(), wire("b"), cut])) == ["a"]
    assert room.streams.newest_event is not None
    assert room.streams.newest_event[0] == "c"
    room.take([wire("b"), '{"payload":1}'])
    assert room.streams.newest_event[0] == "error"
    stream.close()
    assert types(list(stream)) == ["b", "b", "b"]
    room.listeners.add("*", repr)
    assert types(room.take([cut])) == ["error"]


def test_a_stream_that_a_predicate_opens_gets_what_follows_in_the_same_batch() -> None:
    room = IntakeRoom()
    opened: list[EventStream[Any]] = []

    def open_another(event: Event) -> bool:
        opened.append(room.stream("b"))
        return True

    asking: EventStream[Any] = EventStream(room.streams, Filter(["a"], open_another, room.streams.guard), 1)
    room.streams.add(asking)
    room.take([wire("b", n=1), wire("a"), wire("b", n=2), wire("b", n=3)])
    opened[0].close()
    assert [event.payload["n"] for event in opened[0]] == [2, 3]


def test_the_dispatcher_thread_does_not_decode_what_nobody_listens_to_any_more() -> None:
    room = IntakeRoom()
    heard: list[Event] = []
    room.listeners.add("a", heard.append)
    delivery = Delivery(room.takers, None, room.counters)
    room.queue.put([wire("a", n=0)])
    delivery.drain(room.queue)
    assert not room.takers.fronts.worth_a_look
    unread: list[str | bytes] = [wire("b"), wire("b")[:-1], wire("a", n=1), wire("b"), wire("a", n=2).encode()]
    room.queue.put(unread)
    delivery.drain(room.queue)
    assert [event.payload["n"] for event in heard] == [0, 1, 2]
    assert room.counters.parse_errors == 0
    room.listeners.remove("a", heard.append)
    room.queue.put([wire("a")[:-1]])
    delivery.drain(room.queue)
    assert room.counters.parse_errors == 0
    room.listeners.add("*", repr)
    room.queue.put([wire("a")[:-1]])
    delivery.drain(room.queue)
    assert room.counters.parse_errors == 1


def test_messages_are_logged_for_debugging_alone(caplog: pytest.LogCaptureFixture) -> None:
    room = IntakeRoom()
    caplog.set_level(logging.INFO, "masquerade_ws")
    room.take([wire("quiet")])
    assert caplog.text == ""
    caplog.set_level(logging.DEBUG, "masquerade_ws")
    room.take([wire("loud")])
    assert caplog.messages == [f"received {wire('loud')}"]


# The user's own wire format.


def letters(message: str | bytes) -> Iterator[Event]:
    """Make an event of each letter of a message."""
    for letter in str(message):
        made.append(letter)
        yield Event(letter, {}, NOON)


made: list[str] = []


@pytest.fixture
def lettering() -> IntakeRoom:
    """An intake whose wire format is `letters`."""
    made.clear()
    room = IntakeRoom()
    decoder = MessageDecoder(letters, room.streams.guard)
    room.intake = Intake(room.takers, room.counters, decoder)
    return room


def test_events_of_the_user_s_own_format_go_to_streams_and_listeners(lettering: IntakeRoom) -> None:
    lettering.listeners.add("a", repr)
    stream = lettering.stream("b")
    assert types(lettering.take(["abca"])) == ["a", "a"]
    stream.close()
    assert types(list(stream)) == ["b"]


def test_each_message_of_the_user_s_own_format_is_decoded_whoever_takes_what(lettering: IntakeRoom) -> None:
    lettering.listeners.add("z", repr)
    lettering.stream("z")
    assert lettering.take([wire("b")]) == []
    assert made == list(wire("b"))


def test_a_generator_goes_on_only_once_its_events_are_queued(lettering: IntakeRoom) -> None:
    lettering.listeners.add("*", repr)
    parts = iter(lettering.intake.take(["a" * 10_000], lettering.queue))
    assert len(next(parts)) == len(made)
    assert len(made) <= 100
    assert len(next(parts)) == len(made) / 2


def test_what_comes_late_of_a_format_whose_session_was_abandoned_reaches_nobody(lettering: IntakeRoom) -> None:
    lettering.listeners.add("*", repr)
    stream = lettering.stream()
    parts = iter(lettering.intake.take(["a" * 10_000], lettering.queue))
    next(parts)
    lettering.queue.abandon()
    assert list(parts) == []
    assert len(made) == 101, "no more is asked for"
    stream.close()
    assert len(list(stream)) == 100


# The thread.


def test_the_thread_reads_until_the_closing_handshake() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade(glued=frame(1, wire("a").encode()) + frame(1, wire("b").encode()))
        peer.send(frame(8, close_payload(1001, "bye")))
        peer.read_close()

    room = IntakeRoom()
    room.listeners.add("*", repr)
    with RawServer(script) as server:
        connection = Connection.open(server.url, proxy=False)
        join(room.read(connection))
        connection.finish()
    assert room.ended.is_set()
    assert types(list(room.queue.waiting())) == ["a", "b"]
    assert (connection.close_code, connection.error) == (1001, None)


def test_the_thread_ends_in_silence_with_a_connection_that_is_lost() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade(glued=frame(1, wire("a").encode()))
        peer.sock.close()

    room = IntakeRoom()
    room.listeners.add("*", repr)
    with RawServer(script) as server:
        connection = Connection.open(server.url, proxy=False)
        join(room.read(connection))
        connection.finish()
    assert room.ended.is_set()
    assert types(list(room.queue.waiting())) == ["a"]
    assert isinstance(connection.error, DisconnectedError)


def talk(peer: Peer) -> None:
    """Send an event for each message."""
    peer.upgrade()
    while True:
        peer.read_frame()
        peer.send(frame(1, wire("a").encode()))


def test_the_thread_ends_with_its_client() -> None:
    room = IntakeRoom()
    with RawServer(talk) as server, Connection.open(server.url, proxy=False) as connection:
        thread = room.read(connection)
        del room.intake
        gc.collect()
        connection.send("go on")
        join(thread)
        assert room.ended.is_set()
        assert not connection.tcp_closed
        connection.abort(DisconnectedError("the test is over"))


def test_the_thread_keeps_no_client_alive_while_it_waits() -> None:
    room = IntakeRoom()
    room.listeners.add("a", repr)
    with RawServer(talk) as server, Connection.open(server.url, proxy=False) as connection:
        thread = room.read(connection)
        connection.send("go on")
        assert room.queue.wait()
        intake = weakref.ref(room.intake)
        del room.intake
        until(lambda: intake() is None)
        connection.abort(DisconnectedError("the test is over"))
        join(thread)


def test_the_thread_ends_when_the_dispatcher_takes_no_more_and_hands_over_what_it_holds() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade(glued=b"".join(frame(1, wire(name).encode()) for name in "abc"))
        peer.read_to_end()

    room = IntakeRoom(size=1)
    room.listeners.add("*", repr)
    with RawServer(script) as server, Connection.open(server.url, proxy=False) as connection:
        thread = room.read(connection)
        until(lambda: room.queue.full)
        room.queue.release()
        join(thread)
        assert room.ended.is_set()
        assert types(list(room.queue.waiting())) == ["a", "b", "c"]
        connection.abort(DisconnectedError("the test is over"))


def test_events_that_nobody_listens_to_do_not_stop_the_thread() -> None:
    room = IntakeRoom()
    stream = room.stream()
    with RawServer(talk) as server, Connection.open(server.url, proxy=False) as connection:
        thread = room.read(connection)
        for _ in range(3):
            connection.send("go on")
            assert stream.get(10).type == "a"
        connection.abort(DisconnectedError("the test is over"))
        join(thread)
    assert list(room.queue.waiting()) == []
