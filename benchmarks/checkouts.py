"""This checkout against another one: ``python -m benchmarks.checkouts PATH [--rounds 11] [--only WORD]``.

The contenders are this checkout's, and the package that they measure is that of either. The two take turns, each
measurement in its own process; a figure is the median over the rounds of the ratio of this checkout's time to the
other's. Below 1, this one is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.server import running

_HERE = Path(__file__).parents[1]
_FLOOD = ["time", "CPU time"]
_MEASUREMENTS = {
    "130 bytes": ("throughput", "masquerade-orjson", [130, 200_000], _FLOOD),
    "130 bytes, orjson": ("throughput", "masquerade", [130, 200_000], _FLOOD),
    "130 bytes, by name": ("throughput", "masqueradenamed-orjson", [130, 200_000], _FLOOD),
    "2 KiB": ("throughput", "masquerade-orjson", [2048, 40_000], _FLOOD),
    "64 KiB": ("throughput", "masquerade-orjson", [65536, 1000], _FLOOD),
    "waiting": ("waiting", "masquerade-orjson", [130, 200_000], _FLOOD),
    "waiting, orjson": ("waiting", "masquerade", [130, 200_000], _FLOOD),
    "iterating": ("iterating", "masquerade-orjson", [130, 200_000], _FLOOD),
    "iterating, orjson": ("iterating", "masquerade", [130, 200_000], _FLOOD),
    "latency at 500 a second": ("latency", "masquerade-orjson", [1000, 500, 0], ["median", "99 %"]),
    "sending": ("send", "masquerade-orjson", [150, 20_000], ["time"]),
    "connecting, a connection": ("connect", "connection", [400], ["time", "calls of recv"]),
    "connecting, a client": ("connect", "masquerade-orjson", [400], ["time", "calls of recv"]),
}


def measure(checkout: Path, function: str, contender: str, url: str, numbers: list[int]) -> list[float]:
    """Run one measurement of a checkout in a process of its own."""
    script = str(_HERE / "benchmarks" / "contenders.py")
    command = [sys.executable, script, function, contender, url, *map(str, numbers)]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    figures: list[float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measure both and print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checkouts", description=__doc__)
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--only", default="", help="only the measurements with this word in their titles")
    arguments = parser.parse_args()
    with running() as url:
        for title, (function, contender, numbers, figures) in _MEASUREMENTS.items():
            if arguments.only not in title:
                continue
            ratios = []
            for turn in range(arguments.rounds):
                pair = [_HERE, arguments.other.resolve()]
                taken = {
                    checkout: measure(checkout, function, contender, url, numbers)
                    for checkout in (pair if turn % 2 else pair[::-1])
                }
                ratios.append([ours / theirs for ours, theirs in zip(taken[pair[0]], taken[pair[1]], strict=True)])
            for name, column in zip(figures, zip(*ratios, strict=True), strict=True):
                print(
                    f"{title}, {name}: {statistics.median(column):.3f} ({min(column):.2f} to {max(column):.2f})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
