"""The gateway that the workers of the examples talk to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from masquerade_ws.cli.demo import picture, studio
from masquerade_ws.cli.demo.gateway import Gateway


@pytest.fixture
def reports() -> list[str]:
    """What the gateway reports."""
    return []


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reports: list[str]) -> Iterator[Gateway]:
    """A gateway of small pictures, with as many painters as there are threads that wait for them."""
    for module in (picture, studio):
        monkeypatch.setattr(module, "SIZE", 24)
    monkeypatch.setattr(studio, "_PAINTERS", 32)
    with Gateway(tmp_path / "images", step=0.02, report=reports.append) as gateway:
        yield gateway
