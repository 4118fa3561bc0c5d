from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from masquerade_ws.delivery.blocking import Guard
from masquerade_ws.delivery.dispatcher import Delivery
from masquerade_ws.delivery.event_queue import EventQueue
from masquerade_ws.delivery.filters import AnyEvent, Filter
from masquerade_ws.delivery.listeners import Listeners
from masquerade_ws.delivery.reader import Intake
from masquerade_ws.delivery.stream_index import StreamIndex
from masquerade_ws.delivery.streams import EventStream
from masquerade_ws.delivery.takers import Takers
from masquerade_ws.events import ErrorEvent, Event
from masquerade_ws.protocol.codec import decode_each, type_of_front
from masquerade_ws.stats import Counters
from tests.support.interleaving import Interleaving
from tests.support.messages import NOON, wire

Stream: TypeAlias = EventStream[Any]


def takers_of(*names: str) -> Takers:
    """Return takers with a listener to each name, to whom an event has come that nobody takes."""
    takers = Takers(Listeners(), StreamIndex(Guard()))
    takers.fronts.worth_a_look = True
    for name in names:
        takers.listeners.add(name, repr)
    return takers


def subscribe(takers: Takers, *names: str) -> Stream:
    stream: Stream = EventStream(takers.streams, Filter(names, None, takers.streams.guard), 100)
    takers.streams.add(stream)
    return stream


def decoded(takers: Takers | None, *messages: str | bytes) -> list[AnyEvent]:
    return list(decode_each(messages, lambda: NOON, takers))


def types(events: Sequence[AnyEvent]) -> list[str]:
    return [event.type for event in events]


# Who takes a type.


def test_a_type_is_taken_by_listeners_and_by_streams_by_name_and_by_pattern() -> None:
    takers = takers_of("a", "b.*")
    streams = [subscribe(takers, "c"), subscribe(takers, "d.*")]
    assert [takers.takes(name) for name in ("a", "b.x", "c", "d.x")] == [True] * 4
    assert [takers.takes(name) for name in ("b", "x", "d", "*")] == [False] * 4
    streams.clear()
    assert not takers.takes("c"), "what nothing refers to takes nothing"


@pytest.mark.parametrize("every", [lambda takers: takers.listeners.add("*", repr), subscribe])
def test_somebody_who_asks_for_everything_takes_every_type(every: Callable[[Takers], object]) -> None:
    takers = takers_of("a.*")
    subscribe(takers, "b.*")
    assert not takers.takes_all()
    kept = every(takers)
    assert takers.takes_all()
    assert kept is not None


# Fronts.


@pytest.mark.parametrize("front", ['{"type":"a b', '{"type": "a b'])
def test_a_front_names_its_type(front: str) -> None:
    assert type_of_front(front) == "a b"


@pytest.mark.parametrize(
    "front",
    [
        "",
        "{",
        '{"type":"',
        '{"type": "',
        '{"type":1',
        '{"type":  "a',
        '{ "type":"a',
        '{"type" :"a',
        ' {"type":"a',
        '\ufeff{"type":"a',
        '{"Type":"a',
        '{"\\u0074ype":"a',
        '{"payload":{"type":"a',
        '{"type":"a\\',
        '{"type":"a\\u0062',
        '{"type":"a":"b',
        '[{"type":"a',
        '{"type":"connected',
        '{"type": "error',
    ],
)
def test_any_other_front_names_none(front: str) -> None:
    assert type_of_front(front) is None


def test_what_nobody_takes_is_passed_over_however_the_rest_looks() -> None:
    messages = [wire("b"), wire("b").encode(), '{"type":"b","payload":[', '{"type": "b", "payload": 1}', wire("a")]
    assert types(decoded(takers_of("a"), *messages)) == ["a"]
    assert types(decoded(None, *messages)) == ["b", "b", "error", "error", "a"]


@pytest.mark.parametrize(
    "message",
    [
        '{"type":"b","payload":{},"type":"a"}',
        '{"type":"b","payload":{},"\\u0074ype":"a"}',
        '{"type":"b","payload":{},"t\\u0079pe":"a"}',
        '{"type":"b","payload":{},"ty\\u0070e":"a"}',
        '{"type":"b","payload":{},"typ\\u0065":"a"}',
        '{"type":"b","type":"a"}',
        '{"payload":{"type":"b"},"type":"a"}',
        '{"payload":{},"type":"a"}',
        ' {"type":"a","payload":{}}',
        '{"type":"\\u0061","payload":{}}',
        '{"type":"a"}',
        '{"type":"a" ,"payload":{}}',
        '{"type":"a","payload":{"text":"\\"type\\":\\"b\\""}}',
    ],
)
def test_what_somebody_takes_is_decoded_however_it_is_written(message: str) -> None:
    assert types(decoded(takers_of("a"), wire("b"), message, message.encode())) == ["a", "a"]


@pytest.mark.parametrize("name", ["connected", "disconnected", "state:change", "error", ""])
def test_a_type_that_no_event_may_have_is_reported_though_nobody_takes_it(name: str) -> None:
    assert types(decoded(takers_of("a"), wire(name))) == ["error"]


@pytest.mark.parametrize("message", ["", "x", "[]", "1", b"\xff", '{"payload":{}}', '{"type":1,"payload":{}}'])
def test_a_message_that_names_no_type_is_reported(message: str | bytes) -> None:
    assert types(decoded(takers_of("a"), message)) == ["error"]


def test_a_change_counts_from_the_next_message_on() -> None:
    takers = takers_of("a")
    events = decode_each([wire("b"), wire("a"), wire("b"), wire("a"), wire("b")], lambda: NOON, takers)
    assert next(events).type == "a"
    stream = subscribe(takers, "b")
    assert [next(events).type for _ in range(2)] == ["b", "a"]
    stream.close()
    assert list(events) == []


def test_what_is_known_of_fronts_stays_small_whatever_the_server_says() -> None:
    takers = takers_of("a")
    longest = "b" * 1_000_000
    messages = [wire(f"b{number}") for number in range(5000)]
    assert types(decoded(takers, *messages, wire(longest), wire("a"))) == ["a"]
    assert 0 < len(takers.fronts.unwanted) <= 1024
    assert max(map(len, takers.fronts.unwanted)) <= 256
    takers.listeners.add(longest, repr)
    assert types(decoded(takers, wire(longest))) == [longest]


def test_fronts_are_looked_at_once_an_event_has_come_that_nobody_takes() -> None:
    takers = takers_of("a")
    takers.fronts.worth_a_look = False
    assert types(decoded(takers, wire("a"), wire("b"))) == ["a", "b"]
    assert takers.fronts.unwanted == {}


# What is delivered does not depend on it.

NAMES = st.sampled_from(["a", "a.", "a.b", "ab", "b", "", "*", "type", "connected", 'a","', "\\", '"type":"b', "é"])
ESCAPED_KEYS = ['"\\u0074ype"', '"t\\u0079pe"', '"ty\\u0070e"', '"typ\\u0065"', '"\\"type\\""']
KEYS = st.sampled_from(['"type"', '"payload"', '"timestamp"', '"a"', '"TYPE"', *ESCAPED_KEYS])
SPACES = st.sampled_from(["", "", "", " ", "\n", "\t "])


def objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return texts of objects, keys given twice and white space anywhere among them."""
    member = st.tuples(SPACES, KEYS, SPACES, SPACES, values, SPACES).map(
        lambda parts: f"{parts[0]}{parts[1]}{parts[2]}:{parts[3]}{parts[4]}{parts[5]}"
    )
    return st.lists(member, max_size=5).map(lambda members: f"{{{','.join(members)}}}")


VALUES: st.SearchStrategy[str] = st.recursive(
    NAMES.map(json.dumps)
    | NAMES.map(lambda name: json.dumps(name, ensure_ascii=False))
    | NAMES.map(lambda name: '"' + "".join(f"\\u{ord(letter):04x}" for letter in name) + '"')
    | st.sampled_from(["{}", "[]", "1", "null", "true", "NaN", "1e999", '"\\""', '"a\x00"', '"']),
    lambda inner: st.lists(inner).map(lambda items: f"[{','.join(items)}]") | objects(inner),
    max_leaves=5,
)


def plain(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return texts that begin as an event does."""
    return st.tuples(st.sampled_from(['{"type":', '{"type": ']), values, objects(values)).map(
        lambda parts: f"{parts[0]}{parts[1]},{parts[2][1:]}"
    )


TEXTS = st.tuples(plain(VALUES) | objects(VALUES) | VALUES | st.text(), st.integers(0, 60)).map(
    lambda parts: parts[0] if parts[1] > 30 else parts[0][: parts[1]]
)


@settings(deadline=None, max_examples=100)
@given(TEXTS, st.lists(NAMES.filter(lambda name: name and "*" not in name), max_size=2), st.booleans())
@example('{"type":"b","\\u0074ype":"a"}', ["a"], False)
@example('{"type":"a\\","payload":{}}', ["a"], False)
def test_what_is_delivered_is_what_a_plain_decoder_delivers(text: str, names: list[str], binary: bool) -> None:
    """What nobody takes may be missing, and what is wrong with it; nothing else is."""
    message = text.encode("utf-8", "surrogatepass") if binary else text
    takers = takers_of(*names)
    [expected] = decoded(None, message)
    for _ in range(2):  # when the front is new, and when it is known
        found = decoded(takers, message)
        if isinstance(expected, Event) and takers.takes(expected.type):
            assert found == [expected]
        elif found:
            assert types(found) == [expected.type]
        elif isinstance(expected, ErrorEvent):
            name = type_of_front(text.partition('",')[0])
            assert name is not None
            assert not takers.takes(name)


# While listeners and streams come and go.

FILES = ("takers.py", "codec.py", "listeners.py", "stream_index.py")


class Scene:
    """A thread to which events arrive, and one that changes who takes them.

    Attributes:
        taken: Whether a listener, or a stream, is there from before the next arrival on, until after it.
        due: The numbers of the events that somebody took when they arrived, and until they were passed on.
        got: The numbers of those that were delivered.
    """

    def __init__(self, switches: Sequence[int]) -> None:
        self.world = Interleaving(FILES, switches)
        self.takers = takers_of("other")
        for part in (self.takers.listeners, self.takers.streams):
            vars(part)["_lock"] = self.world.lock()
            vars(part)["_holder"] = threading.Condition(vars(part)["_lock"])
        self.taken = False
        self.changes = 0
        self.due: list[int] = []
        self.got: list[int] = []
        self.stream: Stream | None = None

    def arrive(self, deliver: Callable[[str], object]) -> None:
        """Let events arrive, one after the other, between which the other thread goes on."""
        for number in range(4):
            taken, changes = self.taken, self.changes
            deliver(wire("a", n=number))
            if taken and changes == self.changes:
                self.due.append(number)
            self.world.hand_over()

    def change(self, *acts: Callable[[], object]) -> None:
        """Do and undo in turn; an event that arrives in between is due."""
        for number, act in enumerate(acts):
            self.taken = False
            self.changes += 1
            act()
            self.taken = number % 2 == 0
            self.world.hand_over()

    def listen(self) -> None:
        self.takers.listeners.add("a", self.note)

    def ignore(self) -> None:
        self.takers.listeners.remove("a", self.note)

    def open(self) -> None:
        self.stream = subscribe(self.takers, "a")

    def close(self) -> None:
        assert self.stream is not None
        self.stream.close()
        for event in self.stream:
            self.note(event)

    def note(self, event: Event) -> None:
        self.got.append(event.payload["n"])

    def check(self) -> None:
        """Check that what was due was delivered, in order."""
        if self.stream is not None:
            self.close()
        assert self.got == sorted(set(self.got))
        assert set(self.due) <= set(self.got)


def read_for_streams(scene: Scene) -> None:
    intake, queue = Intake(scene.takers, Counters()), EventQueue(100)
    kept = subscribe(scene.takers, "another", "a.*")  # what is known of the streams is used
    scene.world.run(
        lambda: scene.arrive(lambda text: list(intake.take([text], queue))),
        lambda: scene.change(scene.open, scene.close, scene.open),
    )
    kept.close()


def read_for_listeners(scene: Scene) -> None:
    intake, queue = Intake(scene.takers, Counters()), EventQueue(100)

    def take(text: str) -> None:
        for events in intake.take([text], queue):
            for event in events:
                assert isinstance(event, Event)
                scene.note(event)

    scene.world.run(
        lambda: scene.arrive(take),
        lambda: scene.change(scene.listen, scene.ignore, scene.listen),
    )


def dispatch_unread(scene: Scene) -> None:
    delivery, queue = Delivery(scene.takers, None, Counters()), EventQueue(100)

    def arrive(text: str) -> None:
        queue.put([text])
        delivery.drain(queue)

    scene.world.run(
        lambda: scene.arrive(arrive),
        lambda: scene.change(scene.listen, scene.ignore, scene.listen),
    )


@pytest.mark.slow
@pytest.mark.parametrize("play", [read_for_streams, read_for_listeners, dispatch_unread])
def test_no_event_that_somebody_took_at_its_arrival_is_lost_at_whichever_lines_the_threads_change_turns(
    play: Callable[[Scene], None],
) -> None:
    """Turns change after each event and each act, and in between: at each line once, at pairs and triples by chance."""
    scene = Scene(())
    play(scene)
    scene.check()
    steps = scene.world.steps
    chance = random.Random(play.__name__)
    chosen = [chance.sample(range(1, steps), count) for count in (2, 3) for _ in range(50)]
    due = 0
    for switches in [[step] for step in range(1, steps)] + chosen:
        scene = Scene(switches)
        play(scene)
        scene.check()
        due += len(scene.due)
    assert due > 100, "hardly ever did somebody take an event"
