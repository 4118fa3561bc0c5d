"""All measurements in one run: ``python -m benchmarks [--quick]``.

The contenders take turns, each in its own process; a figure is the median over the rounds of the ratio of the times of
a round. The table and the plot go to ``benchmarks/results/``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from benchmarks.plot import bars
from benchmarks.server import running

RESULTS = Path(__file__).parent / "results"
NAMES = {
    "masquerade-orjson": "masquerade-ws",
    "masquerade": "masquerade-ws[speed]",
    "masqueradenamed-orjson": "masquerade-ws, a listener to one type",
    "connection": "masquerade-ws, a connection alone",
    "websocketapp-wsaccel": "websocket-client",
    "websocketapp": "websocket-client with wsaccel",
    "websocketclient-wsaccel": "websocket-client",
    "websocketclient": "websocket-client with wsaccel",
    "websocketclienttimeout-wsaccel": "websocket-client, timeout=10.0",
    "websockets": "websockets, threaded",
    "picows-orjson": "picows, json.loads(text)",
    "picowsbytes-orjson": "picows, json.loads(bytes)",
    "picowsbytes": "picows, orjson.loads(bytes)",
    "websocketrs-orjson": "websocket-rs, json.loads",
    "websocketrs": "websocket-rs, orjson.loads",
}
OWN = ["masquerade-orjson", "masquerade"]
RUST = ["websocketrs-orjson", "websocketrs"] if find_spec("websocket_rs") else []  # needs Python 3.12
FLOOD = [
    *OWN,
    "websocketapp-wsaccel",
    "websocketapp",
    "websockets",
    "picows-orjson",
    "picowsbytes-orjson",
    "picowsbytes",
    *RUST,
]
FIGURES = ["time", "CPU time an event"]


class Measurement(NamedTuple):
    """What is measured: the function, its numbers, and the contenders, which are compared with the first of them."""

    title: str
    function: str
    numbers: list[int]
    contenders: list[str]
    figures: list[str]
    ratio: bool = True


def measurements(scale: int) -> list[Measurement]:
    """Return all measurements, with 1/``scale`` of the work."""
    pace = [2000 // scale, 500]
    connecting = [
        "masquerade-orjson",
        "connection",
        "websocketclient-wsaccel",
        "websocketclienttimeout-wsaccel",
        "websockets",
    ]
    idlers = ["masquerade-orjson", "websocketapp-wsaccel", "websockets"]
    readers = ["masquerade-orjson", "websockets"]
    size = 16 * 2**20
    return [
        Measurement("Events of 130 bytes into a listener", "throughput", [130, 200_000 // scale], FLOOD, FIGURES),
        Measurement("Events of 2 KiB into a listener", "throughput", [2048, 40_000 // scale], FLOOD, FIGURES),
        Measurement("Events of 64 KiB into a listener", "throughput", [65536, 1_000 // scale], FLOOD, FIGURES),
        Measurement("Waiting in a flood of another type", "waiting", [130, 200_000 // scale], [*OWN, *RUST], FIGURES),
        Measurement(
            "Iterating over events of 130 bytes",
            "iterating",
            [130, 200_000 // scale],
            [*OWN, "websockets", *RUST],
            FIGURES,
        ),
        Measurement("Latency at 500 events a second", "latency", [*pace, 0], readers, ["median", "99 %"]),
        Measurement("Latency beside a computing thread", "latency", [*pace, 1], readers, ["median", "99 %"]),
        Measurement(
            "Sending events of 150 bytes",
            "send",
            [150, 20_000 // scale],
            ["masquerade-orjson", "connection", "websocketclient-wsaccel", "websocketclient"],
            ["time"],
        ),
        Measurement("Connecting", "connect", [400 // scale], connecting, ["time", "calls of recv"]),
        Measurement(
            "Idle for a minute", "idle", [60 // scale], idlers, ["wake-ups", "ms of CPU", "bytes of heap"], ratio=False
        ),
        Measurement(
            "Peak memory of a message of 16 MiB, in its sizes",
            "peak",
            [size],
            ["masquerade-orjson", "websocketclient", "websockets"],
            ["sizes"],
            ratio=False,
        ),
    ]


def measure(function: str, contender: str, url: str, numbers: list[int]) -> list[float]:
    """Run one contender once."""
    command = [sys.executable, "-m", "benchmarks.contenders", function, contender, url, *map(str, numbers)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    figures: list[float] = json.loads(done.stdout)
    return figures


def compare(one: Measurement, rounds: int, url: str) -> list[tuple[str, list[float], list[float]]]:
    """Return for each contender its median figures and their ratios to those of the first contender."""
    taken: dict[str, list[list[float]]] = {contender: [] for contender in one.contenders}
    for _ in range(rounds):
        for contender in one.contenders:
            taken[contender].append(measure(one.function, contender, url, one.numbers))
    own = taken[one.contenders[0]]
    rows = []
    for contender, figures in taken.items():
        medians = [statistics.median(column) for column in zip(*figures, strict=True)]
        ratios = [
            statistics.median(
                theirs[place] / ours[place] if ours[place] else 1.0 for theirs, ours in zip(figures, own, strict=True)
            )
            for place in range(len(one.figures))
        ]
        rows.append((contender, medians, ratios))
    return rows


def table(one: Measurement, rows: list[tuple[str, list[float], list[float]]]) -> list[list[str]]:
    """Return the rows of the report."""
    lines = []
    for contender, medians, ratios in rows:
        for name, median, ratio in zip(one.figures, medians, ratios, strict=True):
            amount = f"{median:,.4g}" if not one.ratio or name == "calls of recv" else _time(one, name, median)
            lines.append([one.title, NAMES[contender], name, amount, f"{ratio:.2f}"])
    return lines


def _time(one: Measurement, figure: str, seconds: float) -> str:
    if figure == "CPU time an event":
        return f"{seconds * 1e6:,.2f} µs"
    if one.function in ("throughput", "waiting", "iterating", "send"):
        return f"{one.numbers[1] / seconds:,.0f} a second"
    return f"{seconds * 1e6:,.0f} µs"


def rst(lines: list[list[str]]) -> str:
    """Return a simple table."""
    head = ["measurement", "client", "figure", "median", "times ours"]
    widths = [max(len(line[place]) for line in [head, *lines]) for place in range(len(head))]
    rule = "  ".join("=" * width for width in widths)
    body = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, *lines]
    ]
    return "\n".join([rule, body[0], rule, *body[1:], rule, ""])


def machine() -> str:
    """Describe the machine and the versions that the figures depend on."""
    packages = ("websocket-client", "wsaccel", "websockets", "picows", "websocket-rs", "orjson")
    versions = ", ".join(filter(None, map(_installed, packages)))
    system = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    return f"{system}, Python {platform.python_version()}; {versions}"


def _installed(package: str) -> str | None:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return None


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds with a tenth of the work")
    quick = parser.parse_args().quick
    RESULTS.mkdir(exist_ok=True)
    lines: list[list[str]] = []
    groups: dict[str, dict[str, float]] = {}
    with running() as url:
        for one in measurements(10 if quick else 1):
            repeats = 1 if one.function in ("idle", "peak") else 2 if quick else 5
            rows = compare(one, repeats, url)
            lines += table(one, rows)
            if one.function == "throughput":
                groups[one.title] = {NAMES[who]: one.numbers[1] / medians[0] for who, medians, _ in rows}
            print(rst(lines[-len(rows) * len(one.figures) :]), flush=True)
    (RESULTS / "table.rst").write_text(f"{rst(lines)}\n{machine()}\n", encoding="utf-8")
    (RESULTS / "throughput.svg").write_text(bars(groups, "events a second"), encoding="utf-8")
    print(machine())


if __name__ == "__main__":
    main()
