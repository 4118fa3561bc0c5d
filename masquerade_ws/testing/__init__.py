"""A real server with faults on demand, for the tests of programs that use the client.

It needs the extra ``testing``. Under pytest the fixture ``masquerade_server`` hands out a running one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .server import EventServer, ExpectationError, Peer

__all__ = ["EventServer", "ExpectationError", "Peer"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: pytest imports this package in every run, with the extra or without it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".server", __name__), name)
