"""Frames of RFC 6455 without I/O: bytes to messages for a strict client, and payloads to masked frames."""

from __future__ import annotations

import zlib
from codecs import getincrementaldecoder
from io import BytesIO, StringIO
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from masquerade_ws.protocol.deflate import Inflater

__all__ = [
    "BINARY",
    "CLOSE",
    "CONT",
    "PING",
    "PONG",
    "TEXT",
    "FrameReceiver",
    "Violation",
    "build_close",
    "build_frame",
]

# The opcodes, which say what a frame is (RFC 6455, 5.2). Plain integers, since to look up an enumeration's member costs
# more than to compare it.
CONT, TEXT, BINARY, CLOSE, PING, PONG = _OPCODES = 0, 1, 2, 8, 9, 10


class Violation(Exception):  # noqa: N818 - kept as a value far more often than raised
    """What the peer did wrong, with the close code that answers it (RFC 6455, 7.4.1).

    Args:
        code: 1002 (protocol error), 1007 (invalid data) or 1009 (message too big).
        reason: Short, in English, and free of anything the peer sent.
        detail: What our user needs to know beside that: the number or the argument concerned. It is not sent.
    """

    def __init__(self, code: int, reason: str, detail: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason} ({self.code})"


_FIN = 0x80
_RSV1 = 0x40
_SHORT_TEXT = 0x8100  # a whole text message's header, its length in the lower byte
_LONG_TEXT = 0x817E  # the same with a length of 16 bits after it
_TWO_WORDS = Struct(">HH")
_HEADER_16 = Struct(">BBH").pack
_PONGS_KEPT = 8
_UTF_8 = getincrementaldecoder("utf-8")
_MASK_BLOCK = 65536


class FrameReceiver:
    """Turn the bytes that a server sends into messages, and stop at the first fault (RFC 6455, 5 to 8).

    Args:
        max_message_size: Bytes that one message may have, after decompression.
        inflater: The agreed permessage-deflate; None: compression was not agreed.

    Attributes:
        pings: Payloads of the pings, until the caller removes them.
        pongs: Payloads of the latest few pongs, until the caller removes them.
        close: Code (1005: none given) and reason of the peer's close frame; nothing after it is read.
        violation: The first fault; nothing after it is read.
    """

    def __init__(self, *, max_message_size: int, inflater: Inflater | None = None) -> None:
        self.pings: list[bytes] = []
        self.pongs: list[bytes] = []
        self.close: tuple[int, str] | None = None
        self.violation: Violation | None = None
        self._max_size = max_message_size
        self._fast = max_message_size >= 65535  # a 16-bit length then needs no check
        self._inflater = inflater
        self._recv_closed = False
        self._header = b""  # the beginning of a header that the last chunk ended in
        # The frame whose payload is being read.
        self._in_frame = False
        self._opcode = 0
        self._fin = False
        self._missing = 0
        self._control = b""
        # The message whose fragments are being read; its kind is CONT when there is none.
        self._kind = 0
        self._compressed = False
        self._wire_size = 0
        self._size = 0  # bytes gathered of it, after decompression
        self._text = StringIO()
        self._data = BytesIO()
        self._decoder = _UTF_8()

    def feed(self, data: bytes) -> list[str | bytes]:
        """Take the next bytes from the peer, cut anywhere, and never raise.

        Args:
            data: Bytes as they came from the socket.

        Returns:
            The messages they complete, in order: ``str`` for text, ``bytes`` for binary.
        """
        messages: list[str | bytes] = []
        if self._recv_closed:
            return messages
        try:
            self._read(self._header + data if self._header else data, messages)
        except Violation as fault:
            self._fail(fault.with_traceback(None))
        except UnicodeDecodeError:
            self._fail(Violation(1007, "invalid UTF-8"))
        except zlib.error:
            self._fail(Violation(1007, "invalid compressed data"))
        return messages

    def _read(self, data: bytes, messages: list[str | bytes]) -> None:
        """Read frames until the data or the connection ends."""
        self._header = b""
        pos, end = 0, len(data)
        view = memoryview(data)
        while pos < end and not self._recv_closed:
            if not self._in_frame:
                if self._fast and not self._kind:
                    pos = self._read_text_frames(data, pos, messages)
                payload = self._read_header(data, pos)
                if payload is None:
                    self._header = data[pos:]
                    return
                pos = payload
            pos = self._read_payload(view, pos, messages)

    def _read_text_frames(self, data: bytes, pos: int, messages: list[str | bytes]) -> int:
        """Read plain, short, whole text messages, which nearly all are, as fast as can be; stop at anything else."""
        append, unpack = messages.append, _TWO_WORDS.unpack_from
        end = len(data)
        last_header = end - 4
        while pos <= last_header:
            head, length = unpack(data, pos)
            if head == _LONG_TEXT:
                start = pos + 4
                stop = start + length
                if length < 126 or stop > end:
                    break
            elif _SHORT_TEXT <= head < _LONG_TEXT:
                start = pos + 2
                stop = start + head - _SHORT_TEXT
                if stop > end:
                    break
            else:
                break
            append(data[start:stop].decode())
            pos = stop
        return pos

    def _read_header(self, data: bytes, pos: int) -> int | None:
        """Begin the frame at ``pos`` and return where its payload starts; None: the header is not complete."""
        header = data[pos : pos + 10]
        if header:
            self._check_first_byte(header[0])
        if len(header) < 2:
            return None
        self._check_second_byte(header[0] & 0x0F, header[1])
        length = header[1]
        size = 2
        if length >= 126:
            size = 4 if length == 126 else 10
            if length == 127 and len(header) > 2 and header[2] & 0x80:
                raise Violation(1002, "frame length with its top bit set")
            if len(header) < size:
                return None
            length = int.from_bytes(header[2:size], "big")
            if length < (126 if size == 4 else 65536):
                raise Violation(1002, "frame length not in its shortest form")
        self._begin_frame(header[0], length)
        return pos + size

    def _check_first_byte(self, first: int) -> None:
        """Check what a header's first byte shows (5.2, 5.4, 5.5; RFC 7692, 6)."""
        opcode = first & 0x0F
        if first & 0x30 or (first & _RSV1 and (self._inflater is None or opcode not in (TEXT, BINARY))):
            raise Violation(1002, "reserved bit set")
        if opcode not in _OPCODES:
            raise Violation(1002, "reserved opcode", f"opcode {opcode:#x}")
        if opcode >= CLOSE:
            if not first & _FIN:
                raise Violation(1002, "fragmented control frame")
        elif (opcode == CONT) != (self._kind != CONT):
            raise Violation(1002, "message inside a message" if self._kind else "continuation of no message")

    def _check_second_byte(self, opcode: int, second: int) -> None:
        """Check what a header's second byte shows (5.1, 5.5, 5.5.1)."""
        if second & 0x80:
            raise Violation(1002, "masked frame")
        if opcode >= CLOSE and second > 125:
            raise Violation(1002, "control frame too long")
        if opcode == CLOSE and second == 1:
            raise Violation(1002, "close frame with half a code")

    def _begin_frame(self, first: int, length: int) -> None:
        """Take note of a header, and refuse a message too big before anything is kept of it."""
        self._in_frame = True
        self._opcode = first & 0x0F
        self._fin = first >= _FIN
        self._missing = length
        if self._opcode >= CLOSE:
            return
        if self._opcode != CONT:
            self._kind = self._opcode
            self._compressed = bool(first & _RSV1)
            self._wire_size = 0
        self._wire_size += length
        # What no compressor adds to incompressible data: a compressed message of that length is an attack.
        if self._wire_size > (2 * self._max_size + 1024 if self._compressed else self._max_size):
            raise self._too_big()

    def _read_payload(self, view: memoryview, pos: int, messages: list[str | bytes]) -> int:
        """Read as much of the frame's payload as there is, and return where that ends."""
        piece = view[pos : pos + self._missing]
        self._missing -= len(piece)
        self._in_frame = self._missing > 0
        if self._opcode >= CLOSE:
            self._control += piece
            if not self._in_frame:
                self._end_control_frame()
        else:
            final = self._fin and not self._in_frame
            self._add(self._inflate(piece, final) if self._compressed else piece, final, messages)
        return pos + len(piece)

    def _inflate(self, piece: memoryview, final: bool) -> bytes:
        """Decompress a piece of the message as far as the message may grow."""
        assert self._inflater is not None  # the header's check saw to that
        limit = self._max_size - self._size
        plain = self._inflater.inflate(piece, final, limit)
        if len(plain) > limit:
            raise self._too_big()
        return plain

    def _too_big(self) -> Violation:
        return Violation(1009, "message too big", f"max_message_size is {self._max_size} bytes")

    def _add(self, piece: bytes | memoryview, final: bool, messages: list[str | bytes]) -> None:
        """Add a piece to the message and hand that out if it is complete."""
        text = self._kind == TEXT
        if final and not self._size:
            messages.append(str(piece, "utf-8") if text else bytes(piece))
            self._kind = 0
            return
        self._size += len(piece)
        if text:
            # Finds invalid UTF-8 as soon as it is there; a sequence cut short is none until the message ends (8.1).
            self._text.write(self._decoder.decode(piece, final))
        else:
            self._data.write(piece)
        if final:
            messages.append(self._text.getvalue() if text else self._data.getvalue())
            self._end_message()

    def _end_message(self) -> None:
        """Begin with nothing gathered."""
        self._kind = self._size = 0
        self._text, self._data, self._decoder = StringIO(), BytesIO(), _UTF_8()

    def _end_control_frame(self) -> None:
        """Act on a complete control frame."""
        payload, self._control = self._control, b""
        if self._opcode == PING:
            self.pings.append(payload)
        elif self._opcode == PONG:
            self.pongs.append(payload)
            del self.pongs[:-_PONGS_KEPT]
        else:
            self.close = _parse_close(payload)
            self._end()

    def _fail(self, violation: Violation) -> None:
        self.violation = violation
        self._end()

    def _end(self) -> None:
        """Read nothing more and let go of what was read in part."""
        self._recv_closed = True
        self._control = b""
        self._end_message()


def _parse_close(payload: bytes) -> tuple[int, str]:
    """Return a close frame's code and reason (5.5.1, 7.4)."""
    if not payload:
        return 1005, ""
    code = int.from_bytes(payload[:2], "big")
    if not _may_be_sent(code):
        raise Violation(1002, "invalid close code", f"the peer's is {code}")
    return code, str(payload[2:], "utf-8")


def _may_be_sent(code: int) -> bool:
    """Return whether a close frame may carry this code (7.4.1, 7.4.2, and the IANA registry for 1012 to 1014)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def build_close(code: int | None, reason: str) -> bytes:
    """Return a close frame's payload (RFC 6455, 5.5.1).

    Args:
        code: 1000 to 1003, 1007 to 1014 or 3000 to 4999; None: neither code nor reason.
        reason: At most 123 bytes of UTF-8.

    Raises:
        ValueError: an argument that may not be sent.
    """
    if code is None:
        if reason:
            raise ValueError("reason needs a code")
        return b""
    if not _may_be_sent(code):
        raise ValueError(f"code may not be sent in a close frame: {code}")
    try:
        encoded = reason.encode()
    except UnicodeEncodeError:
        raise ValueError("reason cannot be encoded as UTF-8") from None
    if len(encoded) > 123:
        raise ValueError(f"reason has {len(encoded)} bytes, more than 123")
    return code.to_bytes(2, "big") + encoded


def build_frame(opcode: int, payload: bytes, key: bytes, *, rsv1: bool = False) -> bytes:
    """Return a whole, masked frame (RFC 6455, 5.2 and 5.3).

    Args:
        opcode: What the frame is.
        payload: Its payload, not yet masked.
        key: Four bytes that nobody can foresee, for this frame alone.
        rsv1: Whether the payload is compressed (RFC 7692, 6).
    """
    length = len(payload)
    first = _FIN | _RSV1 | opcode if rsv1 else _FIN | opcode
    if length < 126:
        header = bytes((first, 0x80 | length))
    elif length < 65536:
        header = _HEADER_16(first, 0xFE, length)
    else:
        header = bytes((first, 0xFF)) + length.to_bytes(8, "big")
    if length <= _MASK_BLOCK:
        return header + key + _mask(key, payload)
    # In blocks, so that a large payload does not become three integers of its size.
    blocks = (payload[start : start + _MASK_BLOCK] for start in range(0, length, _MASK_BLOCK))
    return b"".join((header, key, *(_mask(key, block) for block in blocks)))


def _mask(key: bytes, data: bytes) -> bytes:
    """XOR the data with the key over and over; websocket-client's mask() copies more and is slower."""
    length = len(data)
    mask = (key * (length // 4 + 1))[:length]
    return (int.from_bytes(data, "little") ^ int.from_bytes(mask, "little")).to_bytes(length, "little")
