"""For tests of whatever takes a clock."""

from __future__ import annotations


class Clock:
    """Seconds that pass only when a test says so. Sleeping lets them pass as well."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
