"""Draw docs/figures/packages.svg, the packages and their order: ``python -m docs.figures.packages``."""

from __future__ import annotations

from pathlib import Path

from tests.test_layout import LEVELS, PACKAGE

__all__ = ["PICTURE", "draw"]

PICTURE = Path(__file__).with_suffix(".svg")
WIDTH, MARGIN, GAP, LINE = 560, 16, 8, 19  # pixels
CHARACTER = 7.2  # pixels that one takes, on average

HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"
     font-family="system-ui, sans-serif" font-size="15" fill="#222" role="img" aria-labelledby="title">
  <title id="title">The packages of masquerade_ws; each imports only from those below it</title>
  <rect width="{width}" height="{height}" rx="8" fill="#f6f5fc"/>
"""


def modules_of(room: str) -> list[str]:
    """Return the modules and packages in a room, none for a room that is a module itself."""
    inside = (PACKAGE / room).glob("[a-z]*") if room else ()
    return sorted(path.stem for path in inside if path.suffix == ".py" or (path / "__init__.py").exists())


def in_lines(words: list[str], width: int) -> list[str]:
    """Break words into lines that fit into a box."""
    lines = [""]
    for word in words:
        if lines[-1] and len(f"{lines[-1]} {word}") * CHARACTER > width - 2 * GAP:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return [line for line in lines if line]


def boxes_of(level: set[str]) -> list[tuple[str, list[str]]]:
    """Return the boxes of a level, side by side: a title and the modules in it."""
    there = sorted(room for room in level if (PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").exists())
    packages = [room for room in there if room and (PACKAGE / room).is_dir()]
    if packages or len(there) == 1:
        return [(room, modules_of(room)) for room in packages or there]
    return [("base modules", there)]


def draw() -> str:
    """Return the picture."""
    parts: list[str] = []
    top = MARGIN
    for level in reversed(LEVELS):
        boxes = boxes_of(level)
        width = (WIDTH - 2 * MARGIN - GAP * (len(boxes) - 1)) // len(boxes)
        texts = [in_lines(modules, width) for _, modules in boxes]
        height = 36 + LINE * max(map(len, texts))
        for index, ((title, _), lines) in enumerate(zip(boxes, texts, strict=True)):
            left = MARGIN + index * (width + GAP)
            parts.append(
                f'  <rect x="{left}" y="{top}" width="{width}" height="{height}" rx="6" fill="#fff" stroke="#5b4bc4"/>'
            )
            parts.append(f'  <text x="{left + GAP}" y="{top + 23}" font-weight="bold">{title}</text>')
            for number, line in enumerate(lines, 1):
                y = top + 23 + LINE * number
                parts.append(f'  <text x="{left + GAP}" y="{y}" font-size="13" fill="#4a4f5e">{line}</text>')
        top += height + GAP
    return "\n".join([HEAD.format(width=WIDTH, height=top - GAP + MARGIN), *parts, "</svg>\n"])


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
