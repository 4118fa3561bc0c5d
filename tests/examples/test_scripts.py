"""The examples, each run as it stands against the demo's gateway."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("websockets", reason="the gateway needs the extra demo")

from masquerade_ws.cli.demo import picture, studio
from masquerade_ws.cli.demo.gateway import Gateway
from masquerade_ws.testing import EventServer, Peer

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMEOUT = 60.0  # seconds; an example takes about one
IMAGE = r"file:///\S+-[0-9a-f]{8}\.png"

EXPECTED = {
    "quick_start": [
        r" 10 %  composing",
        *[r" *\d+ %  \w+"] * 8,
        r"100 %  finishing",
        IMAGE,
    ],
    "wait_for_job": [f"the image: {IMAGE}"],
    "iterate": None,
    "token_refresh": ["the server refuses the token", "fetching a new token", "connected at attempt 2"],
    "polling_fallback": [
        r"connection error: cannot connect to ws://localhost:1/ws: .*",
        "polling instead",
        IMAGE,
        "waiting for events",
        IMAGE,
    ],
    "image_monitor": [
        "disconnected -> connecting",
        "connecting -> connected",
        f"image 1: {IMAGE}",
        f"image 2: {IMAGE}",
        "connected -> disconnecting",
        "disconnecting -> disconnected",
        "disconnected, 2 images",
        "2 images",
    ],
    "await_jobs": [f"a heron in the reeds: {IMAGE}", f"a tram at night: {IMAGE}", f"a kitchen in the morning: {IMAGE}"],
    "script": [f"a lighthouse in the rain: {IMAGE}", f"a market by night: {IMAGE}"],
}
SORTED = [  # two jobs side by side: their lines come in any order
    f"bridge: {IMAGE}",
    "bridge: started",
    "desert: started",
    "desert: the painter ran out of blue",
]


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    for module in (picture, studio):
        monkeypatch.setattr(module, "SIZE", 48)
    with Gateway(tmp_path, step=0.01) as gateway:
        yield gateway


def run(name: str, gateway: Gateway) -> list[str]:
    environment = {**os.environ, "MASQUERADE_URL": gateway.url, "no_proxy": "localhost"}
    result = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, ""), result
    return result.stdout.splitlines()


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*EXPECTED}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_runs_as_it_stands(name: str, gateway: Gateway) -> None:
    lines = run(name, gateway)

    expected = EXPECTED[name]
    if expected is None:
        lines, expected = sorted(lines), SORTED
    assert len(lines) == len(expected), lines
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line)


def test_an_example_can_be_run_again(gateway: Gateway) -> None:
    assert sorted(run("iterate", gateway))[0] == sorted(run("iterate", gateway))[0]


@pytest.mark.parametrize(
    ("url", "status", "error"),
    [("ws://localhost:1/ws", 2, r"the service cannot be reached: .*\n"), ("", 1, r"(fail: .*\n){2}")],
)
def test_the_script_tells_by_its_exit_status_what_went_wrong(url: str, status: int, error: str) -> None:
    def fail(peer: Peer, event: dict[str, Any]) -> None:
        if event["type"] == "image.generate":
            failure = {"job_id": event["payload"]["job_id"], "error": "no blue", "retry_allowed": True}
            peer.emit("image.generation.failed", failure)

    with EventServer(fail) as server:
        result = subprocess.run(
            [sys.executable, "-W", "error", str(EXAMPLES / "script.py"), "fail"],
            env={**os.environ, "MASQUERADE_URL": url or server.url, "no_proxy": "localhost"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )

    assert result.returncode == status
    assert re.fullmatch(error, result.stderr), result.stderr
