"""The files in tests/typing hold under both type checkers: no error but the marked ones, and each marked one."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = Path("tests", "typing")


def check(tool: str, *args: str) -> None:
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed")
    command = [sys.executable, "-m", tool, *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_mypy_knows_the_events_and_refuses_the_mistakes(tmp_path: Path) -> None:
    check("mypy", "--strict", "--cache-dir", str(tmp_path), str(SAMPLES))


@pytest.mark.slow
def test_pyright_knows_the_events_and_refuses_the_mistakes() -> None:
    check("pyright", "--pythonpath", sys.executable, "--project", str(SAMPLES))
