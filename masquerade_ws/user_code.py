"""User code: which of its exceptions end the client, how the others are reported, and where it called the package."""

from __future__ import annotations

import inspect

from masquerade_ws.errors import MasqueradeError

__all__ = ["as_exception", "ends_program", "level_of_program"]


def ends_program(error: BaseException) -> bool:
    """Return whether an exception asks its thread or program to end, rather than saying that something failed.

    These are `SystemExit`, `KeyboardInterrupt` and greenlet's ``GreenletExit``. Every other base, such as
    `asyncio.CancelledError` or ``gevent.Timeout``, is a failure like any `Exception`.
    """
    return isinstance(error, SystemExit | KeyboardInterrupt) or any(
        # By name: importing greenlet would make it a dependency.
        (kind.__module__, kind.__name__) == ("greenlet", "GreenletExit")
        for kind in type(error).__mro__
    )


def as_exception(error: BaseException, raised_by: str) -> Exception:
    """Return ``error`` where a type demands an `Exception`, wrapped in a `MasqueradeError` if it is not one.

    Args:
        error: What user code raised; becomes the cause of the wrapper.
        raised_by: Which user code, as a message names it: ``"a listener"``.
    """
    if isinstance(error, Exception):
        return error
    wrapper = MasqueradeError(f"{raised_by} raised {type(error).__name__}")
    wrapper.__cause__ = error
    return wrapper


def level_of_program() -> int:
    """Return the ``stacklevel``, for a warning of the caller, of the line that called into the package."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "masquerade_ws":
        frame, level = frame.f_back, level + 1
    return level
