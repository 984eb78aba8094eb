"""Calls that may fail for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Transient(Exception):
    """Worth another try."""


class GaveUp(Exception):
    def __init__(self, attempts: int) -> None:
        super().__init__(f"still failing after {attempts} attempts")
        self.attempts = attempts


def delays(first_s: float, factor: float, cap_s: float, attempts_max: int) -> list[float]:
    """The pauses between so many attempts: one fewer than attempts."""
    return [min(cap_s, first_s * factor**index) for index in range(attempts_max - 1)]


def with_backoff(
    call: Callable[[], T],
    *,
    attempts_max: int = 4,
    first_s: float = 0.05,
    factor: float = 2.0,
    cap_s: float = 1.0,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Call until it works. Only `Transient` is tried again; anything else is the caller's to see."""
    pauses = delays(first_s, factor, cap_s, attempts_max)
    for pause in [*pauses, None]:
        try:
            return call()
        except Transient as error:
            if pause is None:
                raise GaveUp(attempts_max) from error
            sleep(pause)
    raise AssertionError("attempts_max must be at least one")
