"""The programs that load an application, as far as they decide when its client may start.

gunicorn and uWSGI may load it in a master process, which serves nothing and forks the workers that do. What starts
there would be useless, and a start in the middle of a fork would be too early: gunicorn's workers change their user and
let gevent patch the threads after that. Both servers call a hook in each worker that is ready, so the start is left to
that.
"""

from __future__ import annotations

import inspect
import os
import sys
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from masquerade_ws.log import logger

__all__ = ["is_loaded_by_a_server", "leave_to_workers"]

_SERVERS = frozenset({"granian", "gunicorn", "hypercorn", "uvicorn", "waitress"})  # the packages of servers in Python
_SPAWNING = "spawn_worker"  # the function of gunicorn's master that forks a worker, and runs it in the child
_THREADS = ("enable-threads", "threads", "gevent")  # options of uWSGI with which threads of the application run

_starts: list[weakref.WeakMethod[Callable[[], None]]] = []  # what gunicorn's master leaves to its workers


def leave_to_workers(start: Callable[[], None]) -> bool:
    """Have ``start`` called in each worker of a preforking server that is ready to serve, if one loads this.

    Args:
        start: A bound method, referred to weakly.

    Returns:
        Whether such a server is loading the application. If not, the process serves by itself.
    """
    return _leave_to_gunicorn(start) or _leave_to_uwsgi(start)


def is_loaded_by_a_server() -> bool:
    """Return whether this is called while a server written in Python, or uWSGI, imports the application."""
    packages = {_module(frame).partition(".")[0] for frame in _frames()}
    return not packages.isdisjoint(_SERVERS) or "uwsgi" in sys.modules


def _frames() -> Iterator[FrameType]:
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _leave_to_gunicorn(start: Callable[[], None]) -> bool:
    arbiter = _arbiter()
    if arbiter is None:
        return False
    if arbiter.f_code.co_name != _SPAWNING:  # the master, which is to fork its workers
        if not _starts:
            os.register_at_fork(after_in_child=_after_fork)  # gunicorn runs nowhere but where this exists
        _starts.append(weakref.WeakMethod(start))
        return True
    worker = arbiter.f_locals["worker"]
    if not worker.booted:
        _after_loading(worker, start)
    return not worker.booted


def _arbiter() -> FrameType | None:
    """Return the innermost frame of gunicorn's master below which this runs; its workers run below it, too."""
    return next((frame for frame in _frames() if _module(frame) == "gunicorn.arbiter"), None)


def _after_loading(worker: Any, start: Callable[[], None]) -> None:
    """Add to what gunicorn calls once this worker has loaded the application."""
    before = worker.cfg.post_worker_init

    def post_worker_init(worker: Any) -> None:
        before(worker)
        start()

    worker.cfg.set("post_worker_init", post_worker_init)


def _after_fork() -> None:
    arbiter = _arbiter() if _starts else None
    if arbiter is None or arbiter.f_code.co_name != _SPAWNING:  # not a fork that makes a worker
        return
    worker = arbiter.f_locals["worker"]
    for start in [start for reference in _starts if (start := reference()) is not None]:
        if not worker.booted:  # otherwise a worker forks
            _after_loading(worker, start)


def _leave_to_uwsgi(start: Callable[[], None]) -> bool:
    uwsgi: Any = sys.modules.get("uwsgi")  # only the server itself has this module
    if uwsgi is None:
        return False
    if not any(option in uwsgi.opt for option in _THREADS):
        logger.warning("uWSGI runs no threads of the application, and so no client: set enable-threads")
    if uwsgi.worker_id():  # with lazy-apps, a worker loads the application
        return False
    before: Callable[[], object] | None = getattr(uwsgi, "post_fork_hook", None)

    def post_fork_hook() -> None:
        if before is not None:
            before()
        if uwsgi.worker_id():  # neither a mule nor a spooler
            start()

    uwsgi.post_fork_hook = post_fork_hook
    return True
