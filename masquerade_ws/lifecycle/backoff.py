"""How long to wait before the next attempt to connect."""

from __future__ import annotations

import random

__all__ = ["delay_before"]

_DOUBLINGS = 4


def delay_before(retry: int, initial: float, maximum: float, jitter: float) -> float:
    """Return the seconds to wait before a retry.

    Args:
        retry: The number of the retry since the last success, from 1.
        initial: Seconds before the first; the next three double it.
        maximum: Seconds that no delay exceeds, and the delay from the fifth retry on.
        jitter: The share (0 to 1) of a delay that chance may take off.
    """
    delay = min(initial * 2 ** (retry - 1), maximum) if retry <= _DOUBLINGS else maximum
    return delay * (1 - jitter * random.random())
