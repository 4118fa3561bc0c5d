"""permessage-deflate (RFC 7692): the offer, its negotiation, and the two halves of the compression."""

from __future__ import annotations

import re
import zlib

__all__ = ["OFFER", "Deflater", "Inflater", "negotiate"]

# "client_max_window_bits" without a value lets the server choose a window for what the client sends (7.1.2.2).
OFFER = "permessage-deflate; client_max_window_bits"

_TAIL = b"\x00\x00\xff\xff"  # ends each message's last block; removed by the sender, put back by the receiver (7.2.1)
_FINAL_BLOCKS = 64  # in one message; each costs a new decompressor for two bytes, and honest peers send at most one
_FLAGS = ("server_no_context_takeover", "client_no_context_takeover")
_WINDOWS = ("server_max_window_bits", "client_max_window_bits")
_WINDOW_BITS = re.compile(r'(8|9|1[0-5])|"(8|9|1[0-5])"')


class Inflater:
    """Decompress the messages of one connection, in order (RFC 7692, 7.2.2).

    Args:
        window_bits: Base-2 logarithm of the server's LZ77 window, 8 to 15.
        context_takeover: Whether the server's window lives on from one message to the next.
    """

    def __init__(self, window_bits: int = 15, context_takeover: bool = True) -> None:
        # Releases of zlib before 1.2.9 compress with 9 bits when asked for 8, so a peer of that age needs 9 here.
        self._wbits = -max(window_bits, 9)
        self._context_takeover = context_takeover
        self._zlib = zlib.decompressobj(self._wbits)
        self._final_blocks = 0

    def inflate(self, data: bytes | memoryview, final: bool, limit: int) -> bytes:
        """Decompress the next piece of a message.

        Args:
            data: The piece as received.
            final: Whether the message ends with it.
            limit: Bytes that the message may still grow by.

        Returns:
            What the piece holds; ``limit + 1`` bytes, the rest undone, if it holds more than ``limit``.

        Raises:
            zlib.error: If the data is not DEFLATE, or made to be slow.
        """
        plain = self._decompress(data, limit)
        if final and len(plain) <= limit:
            plain += self._decompress(_TAIL, limit - len(plain))
            self._final_blocks = 0
            if not self._context_takeover:
                self._zlib = zlib.decompressobj(self._wbits)
        return plain

    def _decompress(self, data: bytes | memoryview, limit: int) -> bytes:
        """Decompress on past blocks that call themselves final, which a peer may send (7.2.3.4)."""
        plain = self._zlib.decompress(data, limit + 1)
        while self._zlib.eof and len(plain) <= limit:
            self._final_blocks += 1
            if self._final_blocks > _FINAL_BLOCKS:
                raise zlib.error("too many final blocks")
            data = self._zlib.unused_data
            self._zlib = zlib.decompressobj(self._wbits)
            plain += self._zlib.decompress(data, limit + 1 - len(plain))
        return plain


class Deflater:
    """Compress the messages of one connection, in order (RFC 7692, 7.2.1).

    Args:
        window_bits: Base-2 logarithm of the largest LZ77 window allowed, 8 to 15.
        context_takeover: Whether the window may live on from one message to the next.
    """

    def __init__(self, window_bits: int = 15, context_takeover: bool = True) -> None:
        self._window_bits = window_bits
        self._context_takeover = context_takeover
        self._reset()

    def deflate(self, data: bytes) -> bytes:
        """Return the payload of a frame, its RSV1 bit to be set, that holds ``data`` as one whole message."""
        packed = self._zlib.compress(data) + self._zlib.flush(zlib.Z_SYNC_FLUSH)
        if not self._context_takeover:
            self._reset()
        # A second flush in a row writes nothing at all; an empty message is an empty block's first byte (7.2.3.6).
        return packed[: -len(_TAIL)] or b"\x00"

    def _reset(self) -> None:
        """Begin with an empty window."""
        if self._window_bits == 8:
            # zlib has no raw window of 8 bits; runs reach back by one byte only, which every window holds.
            self._zlib = zlib.compressobj(wbits=-9, strategy=zlib.Z_RLE)
        else:
            self._zlib = zlib.compressobj(wbits=-self._window_bits)


def negotiate(header_value: str) -> tuple[Inflater, Deflater]:
    """Read the extension that the server accepted from its Sec-WebSocket-Extensions header (RFC 7692, 7.1).

    Args:
        header_value: The header's value; several such headers joined by a comma.

    Returns:
        Both halves of the compression, as agreed.

    Raises:
        ValueError: If it is anything but one permessage-deflate that answers `OFFER`.
    """
    name, *parameters = (part.strip(" \t") for part in header_value.split(";"))
    if name != "permessage-deflate":
        raise ValueError("the server accepted an extension that was not offered")
    agreed: dict[str, int] = {}
    for parameter in parameters:
        key, value = _read_parameter(parameter)
        if key in agreed:
            raise ValueError(f"permessage-deflate: {key} given twice")
        agreed[key] = value
    return (
        Inflater(agreed.get("server_max_window_bits", 15), "server_no_context_takeover" not in agreed),
        Deflater(agreed.get("client_max_window_bits", 15), "client_no_context_takeover" not in agreed),
    )


def _read_parameter(parameter: str) -> tuple[str, int]:
    """Return a parameter's name and value, 1 for a flag."""
    key, equals, value = (part.strip(" \t") for part in parameter.partition("="))
    if key in _FLAGS and not equals:
        return key, 1
    match = _WINDOW_BITS.fullmatch(value)
    if key in _WINDOWS and match is not None:
        return key, int(match[1] or match[2])
    raise ValueError("permessage-deflate: unknown or invalid parameter")
