"""A token bucket, so that we stay below the limits of the carriers' services."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class TokenBucket:
    def __init__(
        self,
        rate_per_s: float,
        burst: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if rate_per_s <= 0 or burst < 1:
            raise ValueError(f"need a positive rate and a burst of one or more: {rate_per_s}/s, {burst}")
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._clock = clock
        self._sleep = sleep
        self._tokens = float(burst)
        self._seen_at = clock()
        self._lock = threading.Lock()

    def wait_s(self) -> float:
        """Take a token and say how long to wait before using it."""
        with self._lock:
            now = self._clock()
            gained = (now - self._seen_at) * self._rate_per_s
            self._tokens = min(self._burst, self._tokens + gained) - 1
            self._seen_at = now
            return max(0.0, -self._tokens / self._rate_per_s)

    def acquire(self) -> None:
        pause = self.wait_s()
        if pause:
            self._sleep(pause)
