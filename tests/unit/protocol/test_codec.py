from __future__ import annotations

import importlib.util
import json
import math
import re
import subprocess
import sys
from collections import UserDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType, ModuleType
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from masquerade_ws.errors import ParseError
from masquerade_ws.events import (
    CLIENT_EVENT_TYPES,
    EVENT_CLASSES,
    ErrorEvent,
    Event,
    HeartbeatEvent,
    ImageGenerationCompletedEvent,
)
from masquerade_ws.protocol import codec
from masquerade_ws.sanitize import excerpt
from masquerade_ws.timestamps import timestamp_now

NOON = "2026-11-22T12:00:00.000Z"
DEPTH = 200_000


def load_codec() -> ModuleType:
    """Return the module executed anew, under a name of its own."""
    spec = importlib.util.spec_from_file_location("masquerade_ws.codec_anew", codec.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Without orjson, `test_orjson_changes_no_verdict` skips and says so, for all of them.
VARIANTS = ["with orjson", "without orjson"] if importlib.util.find_spec("orjson") else ["without orjson"]


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> ModuleType:
    """The codec as it is with the extra for speed, and as it is without."""
    if request.param == "with orjson":
        return load_codec()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "orjson", None)
        return load_codec()


def decoder(module: ModuleType) -> Callable[[str | bytes], Event]:
    """Return a function that decodes one message with a codec, and raises the error of one that is not an event."""

    def decode(message: str | bytes) -> Event:
        (event,) = module.decode_each([message], timestamp_now)
        if not isinstance(event, ErrorEvent):
            return cast("Event", event)
        assert event.context == "parse"
        raise event.error

    return decode


@pytest.fixture(scope="module")
def decode(variant: ModuleType) -> Callable[[str | bytes], Event]:
    """The codec's way of one message."""
    return decoder(variant)


def message_with(**members: Any) -> str:
    return json.dumps({"type": "x", "payload": {}, "timestamp": NOON, **members})


def test_orjson_reads_messages_if_it_is_there_and_the_standard_library_if_not(variant: ModuleType) -> None:
    big = decoder(variant)('{"type": "x", "payload": {"n": 123456789012345678901234567890}}').payload["n"]
    assert type(big) is (int if variant._fast_loads is None else float)


# What is an event.


def test_a_message_becomes_the_event_that_it_carries(decode: Callable[[str | bytes], Event]) -> None:
    event = decode('{"type": "x.y", "payload": {"a": [1, 2.5, null, true, "ü"]}, "timestamp": "' + NOON + '"}')
    assert type(event) is Event
    assert (event.type, event.payload, event.timestamp) == ("x.y", {"a": [1, 2.5, None, True, "ü"]}, NOON)


@pytest.mark.parametrize(("name", "cls"), EVENT_CLASSES.items())
def test_a_known_type_becomes_its_class(decode: Callable[[str | bytes], Event], name: str, cls: type[Event]) -> None:
    event = decode(message_with(type=name, payload={"job_id": "1"}))
    assert type(event) is cls
    assert event.type == name


def test_a_binary_message_is_read_as_utf_8(decode: Callable[[str | bytes], Event]) -> None:
    assert decode(message_with(payload={"a": "ü"}).encode()).payload == {"a": "ü"}
    assert decode('{"type": "ü"}'.encode()).type == "ü"


@pytest.mark.parametrize("message", ['{"type": "x"}', '{"type": "x", "payload": null}'])
def test_no_payload_reads_as_an_empty_one(decode: Callable[[str | bytes], Event], message: str) -> None:
    assert decode(message).payload == {}


@pytest.mark.parametrize("timestamp", [None, True, False, [], {}, 1e300, -1e300, -(10**11), 10**15])
def test_a_timestamp_that_is_absent_or_no_instant_reads_as_now(
    decode: Callable[[str | bytes], Event], timestamp: object
) -> None:
    before = timestamp_now()
    for message in (message_with(timestamp=timestamp), '{"type": "x"}'):
        assert before <= decode(message).timestamp <= timestamp_now()


def test_a_timestamp_is_taken_as_it_is(decode: Callable[[str | bytes], Event]) -> None:
    assert decode(message_with(timestamp="")).timestamp == ""
    assert decode(message_with(timestamp="yesterday")).timestamp == "yesterday"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1764000000, "2025-11-24T16:00:00.000Z"),
        (1764000000.5, "2025-11-24T16:00:00.500Z"),
        (1764000000123, "2025-11-24T16:00:00.123Z"),
    ],
)
def test_a_number_as_timestamp_reads_as_the_text_of_that_instant(
    decode: Callable[[str | bytes], Event], number: float, text: str
) -> None:
    assert decode(message_with(timestamp=number)).timestamp == text


def test_further_members_are_kept(decode: Callable[[str | bytes], Event]) -> None:
    extra = {"id": 1, "extra": {"a": 1}}
    assert decode(message_with(**extra)) == Event("x", {}, NOON, extra)
    assert decode('{"seq": 7, "type": "heartbeat"}').extra == {"seq": 7}
    assert decode(message_with()).extra == {}


def test_of_a_key_given_twice_the_last_one_counts(decode: Callable[[str | bytes], Event]) -> None:
    event = decode('{"type": "a", "type": "b", "payload": 1, "payload": {"k": 1, "k": 2}}')
    assert (event.type, event.payload) == ("b", {"k": 2})


@pytest.mark.parametrize("around", [" ", "\n", "\r\n", "\t", " \t\r\n "])
def test_white_space_around_a_message_means_nothing(decode: Callable[[str | bytes], Event], around: str) -> None:
    assert decode(around + message_with() + around) == Event("x", {}, NOON)
    assert decode(message_with() + around) == Event("x", {}, NOON)
    assert decode(around + message_with()) == Event("x", {}, NOON)


def test_a_lone_surrogate_written_as_an_escape_is_kept(decode: Callable[[str | bytes], Event]) -> None:
    event = decode(r'{"type": "x\ud800", "payload": {"a\udfff": "\ud83d"}}')
    assert (event.type, event.payload) == ("x\ud800", {"a\udfff": "\ud83d"})
    assert decode(codec.encode(event)) == event


def test_a_pair_of_surrogates_written_as_escapes_is_one_character(decode: Callable[[str | bytes], Event]) -> None:
    assert decode(r'{"type": "\ud83d\ude00"}').type == "\U0001f600"


@pytest.mark.parametrize("name", ["a\x00b", " ", "*", "a.*", "Connected", "t" * 100_000])
def test_any_text_but_none_is_a_type(decode: Callable[[str | bytes], Event], name: str) -> None:
    assert decode(message_with(type=name)).type == name


def test_integers_of_64_bits_are_exact(decode: Callable[[str | bytes], Event]) -> None:
    numbers = [2**63 - 1, -(2**63), 2**64 - 1, 0, -1]
    assert decode(message_with(payload={"n": numbers})).payload["n"] == numbers


def test_a_number_that_is_too_small_reads_as_zero(decode: Callable[[str | bytes], Event]) -> None:
    assert decode('{"type": "x", "payload": {"n": 1e-999}}').payload == {"n": 0.0}


def test_a_payload_nested_deeper_than_orjson_goes_is_read(decode: Callable[[str | bytes], Event]) -> None:
    depth = sys.getrecursionlimit() // 3
    value = decode('{"type": "x", "payload": {"a": ' + "[" * depth + "]" * depth + "}}").payload["a"]
    for _ in range(depth - 1):
        (value,) = value
    assert value == []


# What is none.

NOT_JSON = [
    "",
    " ",
    "{",
    "}",
    '{"type": "x"',
    '{"type": "x"}}',
    '{"type": "x"}{"type": "y"}',
    '{"type": "x"} x',
    '{"type": "x",}',
    "{'type': 'x'}",
    "{type: 'x'}",
    '{"type": "x" "payload": {}}',
    '{"type": "x\ny"}',
    '{"type": "x\x00"}',
    r'{"type": "\x"}',
    r'{"type": "\u12"}',
    '{"type": "x", "payload": {"a": 01}}',
    '{"type": "x", "payload": {"a": +1}}',
    '{"type": "x", "payload": {"a": .5}}',
    '{"type": "x", "payload": {"a": 0x1}}',
    '{"type": "x", "payload": {"a": [1,]}}',
    '{"type": "x"} // comment',
    "hello",
    "nul",
    "\u00a0" + '{"type": "x"}',
    "\f" + '{"type": "x"}',
    "\ufeff" + '{"type": "x"}',
]
TOO_LARGE = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1.5e400", "9" * 5000]
NO_OBJECT = ["null", "true", "1", '"x"', "[]", '[{"type": "x"}]', "-0.5"]


@pytest.mark.parametrize("message", NOT_JSON, ids=repr)
def test_what_is_not_json_is_a_parse_error(decode: Callable[[str | bytes], Event], message: str) -> None:
    for data in (message, message.encode()):
        with pytest.raises(ParseError, match=r"^a message is not JSON: ") as caught:
            decode(data)
        assert caught.value.data is data
        assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("number", TOO_LARGE, ids=lambda number: f"{number}"[:20])
@pytest.mark.parametrize("template", ['{"type": "x", "payload": {"a": %s}}', '{"type": "x", "other": [%s]}', "%s"])
def test_numbers_that_no_float_holds_and_names_of_none_are_parse_errors(
    decode: Callable[[str | bytes], Event], number: str, template: str
) -> None:
    with pytest.raises(ParseError, match=r"^a message is not JSON: ") as caught:
        decode(template % number)
    assert caught.value.data == template % number


def test_why_a_number_is_refused_is_said(decode: Callable[[str | bytes], Event]) -> None:
    with pytest.raises(ParseError, match=r"NaN is not JSON"):
        decode('{"type": "x", "payload": {"a": NaN}}')
    with pytest.raises(ParseError, match=r"a number is too large"):
        decode('{"type": "x", "payload": {"a": 1e999}}')


@pytest.mark.parametrize("message", NO_OBJECT)
def test_json_that_is_not_an_object_is_a_parse_error(decode: Callable[[str | bytes], Event], message: str) -> None:
    with pytest.raises(ParseError, match=rf"^a message is not a JSON object: {re.escape(message)}$") as caught:
        decode(message)
    assert caught.value.data == message


@pytest.mark.parametrize(
    "message",
    ["{}", '{"payload": {}}', *(message_with(type=kind) for kind in (None, "", 1, True, ["x"], {"x": 1}))],
)
def test_no_type_or_one_that_is_not_text_is_a_parse_error(decode: Callable[[str | bytes], Event], message: str) -> None:
    with pytest.raises(
        ParseError, match=r"^a message has no type, or one that is not a non-empty string: \{"
    ) as caught:
        decode(message)
    assert caught.value.data == message


@pytest.mark.parametrize("payload", [0, 1, False, True, "", "x", [], [1], 1.5])
def test_a_payload_of_another_kind_is_a_parse_error(decode: Callable[[str | bytes], Event], payload: object) -> None:
    with pytest.raises(ParseError, match=r'^the payload of a message is not an object: \{"type": "x"') as caught:
        decode(message_with(payload=payload))
    assert caught.value.data == message_with(payload=payload)


@pytest.mark.parametrize("own", sorted(CLIENT_EVENT_TYPES))
def test_a_name_of_the_client_s_own_is_a_parse_error(decode: Callable[[str | bytes], Event], own: str) -> None:
    with pytest.raises(ParseError, match=rf"^a message has a type that is one of the client's own: .*{own}") as caught:
        decode(message_with(type=own))
    assert caught.value.data == message_with(type=own)


@pytest.mark.parametrize("data", [b"\xff", b'{"type": "\xff"}', b'{"type": "\xed\xa0\x80"}', b"\xff\xfe{\x00}\x00"])
def test_binary_that_is_not_utf_8_is_a_parse_error(decode: Callable[[str | bytes], Event], data: bytes) -> None:
    with pytest.raises(ParseError, match=r"^a message is not JSON: ") as caught:
        decode(data)
    assert caught.value.data is data


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_binary_in_another_encoding_is_a_parse_error(decode: Callable[[str | bytes], Event], encoding: str) -> None:
    with pytest.raises(ParseError):
        decode(message_with().encode(encoding))


@pytest.mark.parametrize(
    "message",
    [
        "[" * DEPTH,
        "[" * DEPTH + "]" * DEPTH,
        '{"type": "x", "payload": {"a": ' + "[" * DEPTH + "]" * DEPTH + "}}",
        '{"type": "x", "payload": ' + '{"a":' * DEPTH + "1" + "}" * DEPTH + "}",
        '{"type": ' + "[" * DEPTH + "]" * DEPTH + "}",
    ],
    ids=["open", "closed", "arrays", "objects", "type"],
)
def test_a_message_nested_200_000_deep_is_a_parse_error(decode: Callable[[str | bytes], Event], message: str) -> None:
    with pytest.raises(ParseError, match=r"^a message is not JSON: ") as caught:
        decode(message)
    assert caught.value.data is message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)  # fmt: skip
TYPES = st.text(min_size=1).filter(lambda name: name not in CLIENT_EVENT_TYPES)
EVENTS = st.builds(Event, TYPES, st.dictionaries(st.text(), JSON, max_size=5), st.text())
# One codec serves all examples of a test: it has no state.
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@shared
@given(event=EVENTS)
def test_what_is_encoded_is_decoded_to_the_same(decode: Callable[[str | bytes], Event], event: Event) -> None:
    text = codec.encode(event)
    assert decode(text) == event
    assert decode(text.encode()) == event
    assert repr(decode(text).payload) == repr(event.payload)  # 1, 1.0 and True are not the same here


@shared
@given(message=st.text() | st.binary() | JSON.map(json.dumps) | st.text(alphabet='{}[]",:ntfe1-+. \\utype'))
def test_any_message_is_an_event_or_a_parse_error(decode: Callable[[str | bytes], Event], message: str | bytes) -> None:
    try:
        event = decode(message)
    except ParseError as error:
        data = error.data
        assert data is message
    else:
        assert isinstance(event, Event)
        assert event.type
        assert isinstance(event.payload, dict)
        assert isinstance(event.timestamp, str)


def outcome_of(decode: Callable[[str | bytes], Event], message: str) -> object:
    try:
        return decode(message)
    except ParseError:
        return "refused"


@settings(deadline=None)
@given(message=st.text(alphabet='{}[]",:truefalsn01eE-+. \\ud8payotmi') | JSON.map(json.dumps))
def test_orjson_changes_no_verdict(message: str) -> None:
    pytest.importorskip("orjson", reason="needs orjson")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "_loads", codec._standard_loads)
        slow = outcome_of(decoder(codec), f'{{"type": "x", "timestamp": "", "payload": {{"a": {message}}}}}')
    fast = outcome_of(decoder(codec), f'{{"type": "x", "timestamp": "", "payload": {{"a": {message}}}}}')
    assert fast == slow


STARVED = """
import resource, sys
sys.modules["orjson"] = None
from masquerade_ws.protocol import codec
from masquerade_ws.sanitize import excerpt
message = '{"type": "x", "timestamp": "", "payload": {"a": [' + "{}," * 5_000_000 + "{}]}}"
resource.setrlimit(resource.RLIMIT_AS, (300 * 2**20, 300 * 2**20))
[error] = codec.decode_each([message], lambda: "now")
print(error.context, error.error.data is message, str(error.error)[:46])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system must hold a process to its share of memory")
def test_a_message_that_is_too_much_for_the_memory_is_a_parse_error() -> None:
    done = subprocess.run([sys.executable, "-c", STARVED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("parse True there is not enough memory to decode a message\n", "")


def test_a_message_for_which_the_memory_runs_out_comes_with_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process the memory only seems to run out."""

    def starve(*_: object) -> Any:
        raise MemoryError

    monkeypatch.setattr(codec, "_fast_scan", starve)
    monkeypatch.setattr(codec._reading, "scan", starve)
    monkeypatch.setattr(codec, "_loads", starve)
    with pytest.raises(ParseError, match=r"^there is not enough memory to decode a message: \{") as caught:
        decoder(codec)(message_with())
    assert caught.value.data == message_with()


def test_where_threads_run_at_once_each_reads_for_itself_and_gets_the_same_events() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "orjson", None)
        patch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
        module = load_codec()
    texts = [message_with(), "{", message_with(more=[1]), '{"type": "heartbeat"}', f"{message_with()} "]
    scanners = set()

    def decode() -> list[Any]:
        scanners.add(module._reading.scan)
        return list(module.decode_each(texts, lambda: NOON))

    with ThreadPoolExecutor(1) as pool:
        events, others = decode(), pool.submit(decode).result()
    assert len(scanners) == 2
    assert [event.type for event in events] == ["x", "error", "x", "heartbeat", "x"]
    plain = list(codec.decode_each(texts, lambda: NOON))
    for place in (0, 2, 3, 4):
        assert events[place] == others[place] == plain[place]
        assert type(events[place]) is type(plain[place])
    assert events[2].extra == {"more": [1]}
    assert events[0].extra == {}


def test_of_many_messages_each_becomes_its_event_or_its_error(variant: ModuleType) -> None:
    known = ErrorEvent(ValueError(), "send", NOON)
    messages = [message_with(), "{", message_with(type="heartbeat").encode(), known, '{"type": "y"}', Event("z")]
    first, second, third, own, fourth, decoded = variant.decode_each(messages, lambda: "at dawn")
    assert (first, third) == (Event("x", {}, NOON), HeartbeatEvent({}, NOON))
    assert type(third) is HeartbeatEvent
    assert isinstance(second, ErrorEvent)
    assert (second.context, second.error.args[0][:21]) == ("parse", "a message is not JSON")
    assert second.timestamp == "at dawn"
    assert (fourth.type, fourth.payload, fourth.timestamp) == ("y", {}, "at dawn")
    assert own is known
    assert decoded is messages[-1]


EVIL = "\x1b[2J\r\n\x9b\u2028\u202e"


@pytest.mark.parametrize(
    "message",
    [
        EVIL,
        EVIL.encode(),
        json.dumps([EVIL], ensure_ascii=False),
        message_with(type="connected", payload={"a": EVIL}),
        json.dumps({"type": "x" * 2**20, "payload": EVIL}, ensure_ascii=False),
        json.dumps({"type": "\x1b" * 2**20, "payload": 1}),
        b"\xff\xfe" * 2**20,
    ],
    ids=lambda message: repr(message)[:20],
)
def test_the_text_of_a_parse_error_shows_the_beginning_of_the_message_and_commands_no_terminal(
    decode: Callable[[str | bytes], Event], message: str | bytes
) -> None:
    with pytest.raises(ParseError) as caught:
        decode(message)
    text = str(caught.value)
    assert text.isprintable()
    assert text.endswith(excerpt(message, 120))
    assert len(text) < 300
    assert caught.value.data is message


# Sending.


@pytest.fixture(scope="module", params=["with the accelerator", "without the accelerator"])
def encoder(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The codec as CPython has it, and as it is where the private writer in C is missing."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "without the accelerator":
            patch.setattr(json.encoder, "c_make_encoder", None)
        yield load_codec()


def test_an_event_is_written_without_white_space_and_in_ascii(encoder: ModuleType) -> None:
    assert encoder.encode(Event("x", {"a": "ü", "b": [1, None]}, NOON)) == (
        r'{"type":"x","payload":{"a":"\u00fc","b":[1,null]},"timestamp":"' + NOON + '"}'
    )


def test_a_known_event_is_written_with_its_type(encoder: ModuleType) -> None:
    assert json.loads(encoder.encode(HeartbeatEvent({}, NOON))) == {
        "type": "heartbeat",
        "payload": {},
        "timestamp": NOON,
    }
    completed = ImageGenerationCompletedEvent({"job_id": "1", "image_url": "u"})
    assert json.loads(encoder.encode(completed))["payload"] == {"job_id": "1", "image_url": "u"}


@pytest.mark.parametrize("make", [dict, UserDict, MappingProxyType])
def test_a_mapping_of_any_kind_is_written(encoder: ModuleType, make: Callable[[dict[str, Any]], Any]) -> None:
    text = encoder.encode(make({"type": "x", "payload": make({"a": 1}), "timestamp": NOON}))
    assert json.loads(text) == {"type": "x", "payload": {"a": 1}, "timestamp": NOON}


@pytest.mark.parametrize("mapping", [{"type": "x"}, {"type": "x", "payload": None, "timestamp": None}])
def test_a_mapping_needs_nothing_but_a_type(encoder: ModuleType, mapping: dict[str, Any]) -> None:
    before = timestamp_now()
    message = json.loads(encoder.encode(mapping))
    assert (message["type"], message["payload"]) == ("x", {})
    assert before <= message["timestamp"] <= timestamp_now()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", message["timestamp"])


def circular() -> dict[str, Any]:
    payload: dict[str, Any] = {}
    payload["a"] = payload
    return payload


def nested() -> list[Any]:
    value: list[Any] = []
    for _ in range(DEPTH):
        value = [value]
    return value


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_not_written(encoder: ModuleType, number: float) -> None:
    for payload in ({"a": number}, {"a": [{"b": number}]}, {number: 1}):
        with pytest.raises(ValueError, match=r"^payload cannot be written as JSON: Out of range float"):
            encoder.encode({"type": "x", "payload": payload})


@pytest.mark.parametrize(
    ("payload", "problem"), [(circular(), "Circular reference detected"), ({"a": nested()}, "it is nested too deep")]
)
def test_a_payload_without_an_end_is_not_written(encoder: ModuleType, payload: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=f"^payload cannot be written as JSON: {problem}$"):
        encoder.encode({"type": "x", "payload": payload})


def test_a_payload_that_could_not_be_written_can_once_that_is_put_right(encoder: ModuleType) -> None:
    payload: dict[str, Any] = {"a": [object()]}
    with pytest.raises(TypeError):
        encoder.encode({"type": "x", "payload": payload})
    payload["a"][0] = 1
    assert json.loads(encoder.encode({"type": "x", "payload": payload}))["payload"] == {"a": [1]}


def test_a_payload_may_be_written_while_it_is_being_written(encoder: ModuleType) -> None:
    texts: list[str] = []

    class Interrupted(dict[str, int]):
        def items(self) -> Any:
            if not texts:
                texts.append("")
                texts.append(encoder.encode(event))
            return super().items()

    event = {"type": "x", "payload": {"a": Interrupted(b=1)}, "timestamp": "now"}
    assert encoder.encode(event) == texts[1] == '{"type":"x","payload":{"a":{"b":1}},"timestamp":"now"}'


def test_further_members_are_written_after_the_three(encoder: ModuleType) -> None:
    text = encoder.encode({"id": 1, "type": "x", "trace": ["ü"], "payload": {}, "timestamp": NOON})
    assert text == r'{"type":"x","payload":{},"timestamp":"' + NOON + r'","id":1,"trace":["\u00fc"]}'
    assert encoder.encode(Event("x", {}, NOON, {"id": 1, "trace": ["ü"]})) == text
    with pytest.raises(TypeError, match=r"^extra cannot be written as JSON: Object of type object"):
        encoder.encode({"type": "x", "id": object()})


def test_an_event_is_written_alike_with_and_without_the_c_accelerator(encoder: ModuleType) -> None:
    event = {"type": "x", "payload": {"ü": [None, True, 1, -0.5, '"\n\ud800', {}], "1": {}}, "timestamp": "now"}
    assert encoder.encode(event) == (
        r'{"type":"x","payload":{"\u00fc":[null,true,1,-0.5,"\"\n\ud800",{}],"1":{}},"timestamp":"now"}'
    )


def test_the_accelerator_is_used_where_it_works_and_only_there() -> None:
    assert codec._encode is codec._write

    def change(*arguments: object) -> Any:
        raise TypeError("the arguments have changed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json.encoder, "c_make_encoder", change)
        assert load_codec()._encode != codec._write
        patch.setattr(json.encoder, "c_make_encoder", lambda *_: lambda value, level: ("{}",))
        odd = load_codec()
        assert odd._encode == odd._encoder.encode


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", 1j, Event("x")], ids=lambda value: type(value).__name__)
def test_what_json_cannot_hold_is_a_type_error(encoder: ModuleType, value: object) -> None:
    with pytest.raises(TypeError, match=r"^payload cannot be written as JSON: Object of type "):
        encoder.encode({"type": "x", "payload": {"a": value}})


def test_a_key_that_json_cannot_hold_is_a_type_error(encoder: ModuleType) -> None:
    with pytest.raises(TypeError, match=r"^payload cannot be written as JSON: keys must be "):
        encoder.encode({"type": "x", "payload": {(1, 2): 3}})


@pytest.mark.parametrize("event", [None, "x", 1, b"{}", [("type", "x")], {"type"}], ids=repr)
def test_what_is_neither_event_nor_mapping_is_a_type_error(encoder: ModuleType, event: Any) -> None:
    with pytest.raises(TypeError, match=rf"^event must be an Event or a mapping, not {type(event).__name__}$"):
        encoder.encode(event)


@pytest.mark.parametrize(
    ("mapping", "error", "message"),
    [
        ({}, ValueError, "event has no type"),
        ({"payload": {}}, ValueError, "event has no type"),
        ({"type": ""}, ValueError, "type must not be empty"),
        ({"type": "x", 1: 2}, TypeError, "extra must have keys of type str, not int"),
        ({"type": None}, TypeError, "type must be a str, not NoneType"),
        ({"type": "x", "payload": []}, TypeError, "payload must be a mapping, not list"),
        ({"type": "x", "payload": "{}"}, TypeError, "payload must be a mapping, not str"),
        ({"type": "x", "timestamp": 1}, TypeError, "timestamp must be a str, not int"),
    ],
)
def test_a_mapping_that_is_not_an_event_is_refused_by_what_is_wrong(
    encoder: ModuleType, mapping: dict[Any, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=rf"^{re.escape(message)}$"):
        encoder.encode(mapping)
