"""A bar chart as SVG, so that a plot needs no package."""

from __future__ import annotations

from html import escape

__all__ = ["bars"]

WIDTH, LABEL, BAR, GAP = 860, 230, 20, 6
COLOURS = {"masquerade": "#5b4bc4"}
OTHERS = "#a9adb8"


def bars(groups: dict[str, dict[str, float]], unit: str) -> str:
    """Return a chart: one group of horizontal bars per title, each with its own scale."""
    parts: list[str] = []
    y = 10
    for title, values in groups.items():
        parts.append(f'<text x="0" y="{y + 14}" font-weight="bold">{escape(title)} ({escape(unit)})</text>')
        y += 26
        largest = max(values.values())
        for name, value in values.items():
            length = (WIDTH - LABEL - 100) * value / largest
            colour = COLOURS.get(name[:10], OTHERS)
            parts.append(f'<text x="{LABEL - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
            parts.append(f'<rect x="{LABEL}" y="{y}" width="{length:.0f}" height="{BAR}" rx="3" fill="{colour}"/>')
            parts.append(f'<text x="{LABEL + length + 8:.0f}" y="{y + 15}">{value:,.0f}</text>')
            y += BAR + GAP
        y += 16
    style = 'font-family="system-ui, sans-serif" font-size="13" fill="#222"'
    back = f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" {style}>{back}{"".join(parts)}</svg>\n'
    )
