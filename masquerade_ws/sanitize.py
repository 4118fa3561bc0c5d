"""Text from the network made safe to show.

What a server sends must not control the terminal, forge a log line or fill a disk with one.
"""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["clean", "excerpt", "to_html", "to_json"]

_LOG_LIMIT = 500  # characters of text from the network in one log line

# Control characters (C0, DEL and C1, whose U+009B begins an escape sequence), line and paragraph separators, characters
# that reverse the direction of writing or are invisible, tags, and lone surrogates, which cannot be encoded.
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)
_CUT = "..."
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


def clean(text: str) -> str:
    r"""Return the text with every unsafe character written as its Python escape sequence, such as ``\x1b``."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def excerpt(text: str | bytes, limit: int = _LOG_LIMIT) -> str:
    """Return the beginning of a text, cleaned; three dots replace what is cut off.

    Args:
        text: A text, or bytes, which are read as UTF-8.
        limit: The most characters to return.
    """
    if isinstance(text, bytes):
        text = text[: 4 * limit].decode("utf-8", "backslashreplace")  # a character takes at most four bytes
    shown = clean(text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - len(_CUT)] + _CUT


def to_html(text: str) -> str:
    """Return the text, cleaned, as HTML that shows it, also within the quotes of an attribute."""
    return clean(text).translate(_HTML)


def to_json(value: Any, *, ascii_only: bool = False) -> str:
    """Return the value as JSON on one line, with every unsafe character escaped."""
    return _UNSAFE.sub(_escaped, json.dumps(value, ensure_ascii=ascii_only))


def _escaped(match: re.Match[str]) -> str:
    """Return the JSON escape of a character (RFC 8259, section 7); ``json`` itself does not escape DEL."""
    return "\\u007f" if match[0] == "\x7f" else json.dumps(match[0])[1:-1]
