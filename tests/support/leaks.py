"""What a process uses, and that nothing of it is left."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.raw_server import until
from tests.support.scenes import TIMEOUT, names_of_threads

__all__ = ["descriptors", "memory", "nothing_leaks"]


def descriptors() -> int:
    """Return how many sockets and pipes are open, where that can be found out; a server may keep a selector."""
    gc.collect()
    count = 0
    for link in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):
            count += link.readlink().name.startswith(("socket:", "pipe:"))
    return count


def memory() -> int:
    """Return the bytes of memory in use, where that can be found out."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") if statm.exists() else 0


@contextmanager
def nothing_leaks() -> Iterator[None]:
    """Check that no descriptor and no thread of the library is left."""
    before = descriptors()
    yield
    until(lambda: descriptors() <= before and names_of_threads() == [], TIMEOUT)
