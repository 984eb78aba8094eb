"""What a process takes from the machine that it runs on: clocks and randomness.

Whoever needs one of them asks `host()`. It is the machine itself, unless the caller runs in a context that was given
another one: a simulated process has its own clocks, and chance that is decided by a seed.
"""

import contextvars
import os
import time


class Host:
    """The machine. A simulated one overrides every method."""

    def monotonic(self) -> float:
        """Seconds from some moment on, never back; stands still while the machine sleeps."""
        return time.monotonic()

    def boottime(self) -> float:
        """As `monotonic`, and goes on while the machine sleeps."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        """Seconds since the epoch, as far as this machine knows; may step either way."""
        return time.time()

    def uniform(self, low: float, high: float) -> float:
        """A number between the two, for jitter."""
        return low + (high - low) * (int.from_bytes(self.token(8), "big") / 2**64)

    def token(self, size: int) -> bytes:
        """Bytes that nobody can guess."""
        return os.urandom(size)


CURRENT: contextvars.ContextVar[Host] = contextvars.ContextVar("host", default=Host())  # noqa: B039
"""Set by the simulator only."""


def host() -> Host:
    return CURRENT.get()
