"""The library's logger, ``masquerade_ws``."""

from __future__ import annotations

import logging
import threading

from masquerade_ws.user_code import ends_program

__all__ = ["logger", "show_debug"]

logger = logging.getLogger("masquerade_ws")
_pass_on = logger.handle


def _handle(record: logging.LogRecord) -> None:
    """Pass a record on; report what a handler or a filter raises as `logging` does, so that it ends no thread of ours.

    A client without its heartbeat thread, say, would never find its peer dead. On the program's own threads an exit is
    for the program.
    """
    try:
        _pass_on(record)
    except BaseException as error:
        if ends_program(error) and not threading.current_thread().name.startswith("masquerade-ws-"):
            raise
        logging.Handler().handleError(record)


logger.handle = _handle  # type: ignore[method-assign]


def show_debug() -> None:
    """Show the logger's records on stderr, unless logging is configured already; leave the root logger alone."""
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s [%(threadName)s] %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
