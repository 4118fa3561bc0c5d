from __future__ import annotations

import json

import pytest

from masquerade_ws.sanitize import _LOG_LIMIT, clean, excerpt, to_html, to_json

EVIL = "\x1b[2J\x9b31m\x07\x7f\u202e\u2028\r\n\ud800"


def test_text_is_shown_without_what_commands_a_terminal() -> None:
    assert clean("grüße 狐 🦊 👨\u200d👩\u200d👧 \\n") == "grüße 狐 🦊 👨\u200d👩\u200d👧 \\n"
    assert clean(EVIL) == r"\x1b[2J\x9b31m\x07\x7f\u202e\u2028\r\n\ud800"
    assert clean("\U000e0041") == r"\U000e0041"


def test_json_stays_json() -> None:
    value = {"a\x7f": EVIL + "\U000e0041ü"}
    text = to_json(value)

    assert json.loads(text) == value
    assert text.isprintable()
    assert text.endswith('ü"}')
    assert to_json(value, ascii_only=True).isascii()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("狐", "狐"),
        ("a" * 10, "a" * 10),
        ("a" * 11, "aaaaaaa..."),
        ("\r\n", r"\r\n"),
        ("\x1b\x1b\x1b", r"\x1b\x1b..."[:7] + "..."),
        (b"\xff\n", r"\xff\n"),
        ("狐".encode() * 10, "狐" * 10),
        ("狐".encode() * 11, "狐" * 7 + "..."),
    ],
)
def test_an_excerpt_is_clean_and_no_longer_than_allowed(text: str | bytes, shown: str) -> None:
    assert excerpt(text, 10) == shown


def test_what_goes_into_a_log_line_has_a_limit_however_much_came() -> None:
    assert len(excerpt("\ud800" * 2**20)) == len(excerpt(b"\xff" * 2**20)) == _LOG_LIMIT


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("<b a='1' c=\"2\">&amp;", "&lt;b a=&#x27;1&#x27; c=&quot;2&quot;&gt;&amp;amp;"),
        ("a\x1b[31m\u202eb", "a\\x1b[31m\\u202eb"),
        ("grüß Gott", "grüß Gott"),
    ],
)
def test_html_shows_a_text_and_does_nothing(text: str, html: str) -> None:
    assert to_html(text) == html
