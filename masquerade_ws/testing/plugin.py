"""The pytest fixture of the extra ``testing``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from masquerade_ws import testing

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["masquerade_server"]


@pytest.fixture
def masquerade_server() -> Iterator[testing.EventServer]:
    """Run an :class:`~masquerade_ws.testing.EventServer` for one test."""
    with testing.EventServer() as server:
        yield server
