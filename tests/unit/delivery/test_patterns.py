from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masquerade_ws.delivery.patterns import check_type, is_pattern, matches
from masquerade_ws.events import CLIENT_EVENT_TYPES


@pytest.mark.parametrize("name", ["a", "image.generation.started", "a.*", "a.b.*", "*", ".*", "state:change", "ü", " "])
def test_types_prefixes_and_the_star_are_names(name: str) -> None:
    assert check_type(name) == name


@pytest.mark.parametrize("name", ["**", "*.a", "a*", "a.*.b", "a.**", "*.*", "a.*.*", "* "])
def test_a_star_anywhere_else_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^type .* a \* may stand alone, or at the end after a dot$"):
        check_type(name)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^type must not be empty$"):
        check_type("")


@pytest.mark.parametrize("name", [None, 1, b"a", ["a"]])
def test_what_is_not_text_is_refused(name: object) -> None:
    with pytest.raises(TypeError, match=f"^type must be a str, not {type(name).__name__}$"):
        check_type(name)


@pytest.mark.parametrize(
    ("name", "event_type", "covered"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a", "a.b", False),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", True),
        ("a.*", "a.", True),
        ("a.*", "a", False),
        ("a.*", "ab", False),
        ("*", "a", True),
        ("*", "anything at all", True),
        ("error", "error", True),
    ],
)
def test_a_name_covers_its_type_and_a_pattern_its_prefix(name: str, event_type: str, covered: bool) -> None:
    assert matches(name, event_type) is covered


@pytest.mark.parametrize("own", sorted(CLIENT_EVENT_TYPES))
def test_the_client_s_own_events_are_covered_by_their_name_alone(own: str) -> None:
    assert matches(own, own)
    assert not matches("*", own)


def test_a_pattern_is_told_from_a_type() -> None:
    assert is_pattern("*")
    assert is_pattern("a.*")
    assert not is_pattern("a")


@settings(deadline=None)
@given(st.text(alphabet="ab.*", max_size=6))
def test_a_checked_name_with_a_star_is_a_pattern_and_none_else(name: str) -> None:
    try:
        check_type(name)
    except ValueError:
        assert not name or "*" in name
    else:
        assert is_pattern(name) is ("*" in name)
