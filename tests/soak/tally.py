"""What all clients of the soak saw."""

from __future__ import annotations

import threading
from collections import Counter

__all__ = ["Tally"]


class Tally:
    """What all clients saw."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.longest_gap = 0.0
        self.violations: list[str] = []
        self._lock = threading.Lock()  # guards all three

    def add(self, what: str, by: int = 1) -> None:
        """Count something."""
        with self._lock:
            self.counts[what] += by

    def gap(self, seconds: float) -> None:
        """Note a time without a connection."""
        with self._lock:
            self.counts["gaps"] += 1
            self.longest_gap = max(self.longest_gap, seconds)

    def violation(self, text: str) -> None:
        """Note what must not happen."""
        with self._lock:
            self.violations.append(text)
