"""How long to wait before the next try."""

from __future__ import annotations

import random


class Backoff:
    """0.2 s doubling to 10 s, with full jitter above the first half, so that many do not come back at once."""

    def __init__(self, first_seconds: float = 0.2, most_seconds: float = 10.0) -> None:
        self._first, self._most = first_seconds, most_seconds
        self.failures = 0

    def next_seconds(self) -> float:
        self.failures += 1
        whole = min(self._most, self._first * 2.0 ** min(self.failures - 1, 16))
        return whole / 2 + random.random() * whole / 2

    def reset(self) -> None:
        self.failures = 0
