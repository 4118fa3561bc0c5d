"""Text from a stranger, made safe: what a gateway sends must not command the terminal that shows it."""

from __future__ import annotations

__all__ = ["clean", "to_json"]

import json
import re
from typing import Any

# Control characters (C0, DEL and C1, whose U+009B begins an escape sequence), line and paragraph separators, what turns
# the direction of writing or cannot be seen, tags, and lone surrogates, which no terminal's encoding has.
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)


def clean(text: str) -> str:
    """Return the text with every unsafe character written as its escape sequence in Python, such as ``\\x1b``."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def to_json(value: Any, *, ascii_only: bool = False) -> str:
    """Return the value as JSON in one line, every unsafe character in its strings escaped."""
    return _UNSAFE.sub(_escaped, json.dumps(value, ensure_ascii=ascii_only))


def _escaped(match: re.Match[str]) -> str:
    """Escape a character as JSON has it (RFC 8259, section 7); ``json`` itself leaves DEL as it is."""
    return "\\u007f" if match[0] == "\x7f" else json.dumps(match[0])[1:-1]
