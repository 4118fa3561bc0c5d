"""Text of files and of other programs, as editors and shells of every system write it."""

from __future__ import annotations

__all__ = ["text_in"]

import codecs


def text_in(data: bytes) -> str:
    """Return the text in UTF-8, or in UTF-16 after a byte order mark, as PowerShell writes it; without the mark.

    Raises:
        UnicodeError: If it is neither; the message contains no part of the data.
    """
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        pass  # it holds the data, and would stay the context of an exception raised here
    raise UnicodeError("not UTF-8")
