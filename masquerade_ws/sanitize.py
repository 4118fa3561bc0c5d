"""Text from a stranger, made safe to show.

What a server sends must not command the terminal, forge a log line or fill a disk with one.
"""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["LOG_LIMIT", "clean", "excerpt", "to_json"]

LOG_LIMIT = 500  # characters of a stranger's text in one log line

# Control characters (C0, DEL and C1, whose U+009B begins an escape sequence), line and paragraph separators, what turns
# the direction of writing or cannot be seen, tags, and lone surrogates, which no terminal's encoding has.
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)
_CUT = "..."


def clean(text: str) -> str:
    r"""Return the text with every unsafe character written as its escape sequence in Python, such as ``\x1b``."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def excerpt(text: str | bytes, limit: int = LOG_LIMIT) -> str:
    """Return the beginning of a text, cleaned; what is cut off leaves three dots.

    Args:
        text: A text, or bytes that are shown as the UTF-8 that they should be.
        limit: How many characters to return at most.
    """
    if isinstance(text, bytes):
        text = text[: 4 * limit].decode("utf-8", "backslashreplace")  # a character has four bytes at most
    shown = clean(text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - len(_CUT)] + _CUT


def to_json(value: Any, *, ascii_only: bool = False) -> str:
    """Return the value as JSON in one line, every unsafe character in its strings escaped."""
    return _UNSAFE.sub(_escaped, json.dumps(value, ensure_ascii=ascii_only))


def _escaped(match: re.Match[str]) -> str:
    """Escape a character as JSON has it (RFC 8259, section 7); ``json`` itself leaves DEL as it is."""
    return "\\u007f" if match[0] == "\x7f" else json.dumps(match[0])[1:-1]
