"""The library's logger, ``masquerade_ws``."""

from __future__ import annotations

import logging

__all__ = ["logger", "show_debug"]

logger = logging.getLogger("masquerade_ws")


def show_debug() -> None:
    """Show the logger's records on stderr, unless logging is configured already; leaves the root logger alone."""
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s [%(threadName)s] %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
