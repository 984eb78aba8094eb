"""Garbage collection at defined moments: what it finalises would else run between any two lines of the program."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


class Collector:
    """Collects when another `every` callbacks have run."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._due_at = every
        self.collecting = False

    def count(self, callbacks: int) -> None:
        """So many have run in all."""
        if callbacks < self._due_at:
            return
        self._due_at = callbacks + self._every
        self.collecting = True
        try:
            gc.collect()
        finally:
            self.collecting = False


@contextmanager
def by_hand() -> Iterator[None]:
    """Nothing is collected without being asked for, and what is there already is not looked at."""
    enabled = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()
