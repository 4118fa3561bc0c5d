"""Draws a picture from a prompt, and encodes it as a PNG file.

A prompt always gives the same picture: waves that bend one another, in colours chosen by the prompt.
"""

from __future__ import annotations

__all__ = ["SIZE", "paint", "png", "thumbnail"]

import hashlib
import math
import random
import struct
import zlib
from collections.abc import Iterable, Iterator

SIZE = 512
"""Width and height of a picture in pixels."""

_PALETTE_AT = 8 + 12 + 13 + 8  # after signature, header chunk and the palette's length and kind
_PIXELS_AT = _PALETTE_AT + 768 + 4 + 8

_PERIOD = 1024  # entries of the sine table, a power of two so that "&" wraps an index
_WAVE = [math.sin(2 * math.pi * index / _PERIOD) for index in range(_PERIOD)]


def paint(prompt: str) -> tuple[bytes, Iterator[bytes]]:
    """Draw the picture of ``prompt``.

    Returns:
        The palette, 256 colours of three bytes, and the rows, one byte per pixel, drawn as they are asked for.
    """
    # A generator seeded by a digest: the same picture in every process, whatever PYTHONHASHSEED says.
    choice = random.Random(hashlib.sha256(prompt.encode(errors="surrogatepass")).digest())
    return _palette(choice), _rows(choice)


def _palette(choice: random.Random) -> bytes:
    """Return colours from dark over two hues to light and back, so that the last one meets the first."""
    hue, spread = choice.random(), choice.choice((-1, 1)) * choice.uniform(0.12, 0.30)
    colours = bytearray()
    for index in range(256):
        turn = 2 * math.pi * index / 256
        light = 0.5 - 0.5 * math.cos(turn)
        for channel in range(3):
            tint = 0.5 + 0.5 * math.cos(2 * math.pi * (hue + spread * channel) + 0.9 * math.sin(turn))
            colours.append(round(255 * (0.04 + 0.22 * light**6 + light**0.9 * (0.10 + 0.62 * tint))))
    return bytes(colours)


def _rows(choice: random.Random) -> Iterator[bytes]:
    """Yield rows of three waves, each bent by another; what depends on the column alone is computed once."""
    mask, wave = _PERIOD - 1, _WAVE
    scale = _PERIOD / SIZE
    tilt, turn, rise = choice.uniform(0.6, 1.4), choice.uniform(0.6, 1.6), choice.uniform(0.8, 2.0)
    centre_x, centre_y = choice.uniform(0.2, 0.8) * SIZE, choice.uniform(0.2, 0.8) * SIZE
    rings = choice.uniform(1.2, 3.0) * _PERIOD / SIZE**2
    depth = choice.uniform(75, 120)
    phase = [choice.randrange(_PERIOD) for _ in range(5)]

    def bend(position: int, frequency: float, shift: int) -> float:
        return 170 * wave[(int(frequency * scale * position) + shift) & mask]

    columns = [
        (
            int(tilt * scale * x + bend(x, 1.3, phase[0])),
            int(bend(x, rise, phase[1])),
            int(rings * (x - centre_x) ** 2 + bend(x, 2.0, phase[2])),
        )
        for x in range(SIZE)
    ]
    for y in range(SIZE):
        across = int(bend(y, turn, phase[3]))
        down = int(turn * scale * y)
        around = int(rings * (y - centre_y) ** 2 + bend(y, 1.5, phase[4]))
        yield bytes(
            int(512 + depth * (wave[(a + across) & mask] + wave[(b + down) & mask] + wave[(c + around) & mask])) & 255
            for a, b, c in columns
        )


def png(palette: bytes, rows: Iterable[bytes]) -> bytes:
    """Encode rows of palette indices as a PNG file (PNG specification, third edition, sections 5 and 11)."""
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 3, 0, 0, 0)  # eight bits per pixel, colour type 3: a palette
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    """Frame ``data`` with its length and its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def thumbnail(data: bytes, size: int) -> list[list[tuple[int, int, int]]]:
    """Return the colours of ``size`` rows of ``size`` pixels, picked evenly from a file made by `png`."""
    palette = data[_PALETTE_AT : _PALETTE_AT + 768]
    length = int.from_bytes(data[_PIXELS_AT - 8 : _PIXELS_AT - 4], "big")
    pixels = zlib.decompress(data[_PIXELS_AT : _PIXELS_AT + length])
    picked = [(2 * index + 1) * SIZE // (2 * size) for index in range(size)]
    indices = [[3 * pixels[y * (SIZE + 1) + 1 + x] for x in picked] for y in picked]
    return [[(palette[index], palette[index + 1], palette[index + 2]) for index in row] for row in indices]
