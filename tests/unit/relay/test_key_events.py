"""Key events among other texts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masquerade_ws.relay.key_events import Found, KeyEvents

DONE, FAILED = "image.generation.completed", "image.generation.failed"


def found(*texts: str) -> list[Found]:
    return list(KeyEvents((DONE, FAILED)).find("\n".join(texts).encode()))


def text(kind: str, **payload: object) -> str:
    return json.dumps({"type": kind, "payload": payload})


def test_key_events_are_found_with_their_number_and_job() -> None:
    texts = [text("a"), text(DONE, job_id="j1"), text("b"), text(FAILED, job_id="j2"), text(DONE)]
    assert found(*texts) == [
        Found(1, DONE, "j1", texts[1].encode()),
        Found(3, FAILED, "j2", texts[3].encode()),
        Found(4, DONE, "", texts[4].encode()),
    ]


def test_a_type_with_escapes_is_found() -> None:
    assert [one.type for one in found(r'{"\u0074ype":"image.generation.complete\u0064"}')] == [DONE]


@pytest.mark.parametrize(
    "other",
    [
        text("note", message=f"about {DONE}"),
        f'"{DONE}"',
        f"{DONE} garbage",
        f'{{"type":"x","kind":"{DONE}"}}',
        r'{"type":"a\\b"}',
        f'{{"type":["{DONE}"]}}',
        "[" * 100_000 + DONE,
    ],
)
def test_what_only_names_the_type_is_no_key_event(other: str) -> None:
    assert found(other, text("a")) == []


def test_a_job_that_is_not_a_text_counts_as_none() -> None:
    texts = [text(DONE, job_id=1), f'{{"type":"{DONE}","payload":[]}}', f'{{"type":"{DONE}"}}']
    assert [one.job for one in found(*texts)] == ["", "", ""]


@given(st.lists(st.sampled_from(["a", DONE, FAILED, f"{DONE}\\", "\\", f"x{FAILED}{DONE}"])))
def test_what_is_found_is_what_a_look_into_each_text_finds(kinds: list[str]) -> None:
    texts = [text(kind, job_id=str(n)) for n, kind in enumerate(kinds)]
    assert [(one.number, one.type, one.job) for one in found(*texts)] == [
        (n, kind, str(n)) for n, kind in enumerate(kinds) if kind in (DONE, FAILED)
    ]
