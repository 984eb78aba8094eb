"""What this coordinator uses itself, with the processes that belong to it."""

import time
from collections.abc import Callable, Iterable

import psutil

from coordinator.impact.meter import OWN, Sample


class OwnUse:
    """`pids`: which processes there are now, this one among them."""

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids
        self._processes: dict[int, tuple[psutil.Process, float]] = {}
        """With the seconds of processor time that each had used when it was last looked at."""
        self._looked_at: float | None = None
        self._processors = psutil.cpu_count() or 1

    def sample(self, now: float) -> Sample | None:
        """Since the last call; None: this is the first, or the machine does not tell. `now` is cluster time."""
        looked_at, self._looked_at = self._looked_at, time.monotonic()
        used_s, memory = 0.0, 0
        found: dict[int, tuple[psutil.Process, float]] = {}
        for pid in self._pids():
            try:
                process, before_s = self._processes.get(pid) or (psutil.Process(pid), -1.0)
                with process.oneshot():
                    times, resident = process.cpu_times(), process.memory_info().rss
            except (psutil.Error, OSError):
                continue  # it has just ended
            spent_s = times.user + times.system
            used_s += max(0.0, spent_s - before_s) if before_s >= 0 else 0.0
            memory += resident
            found[pid] = process, spent_s
        self._processes = found
        if looked_at is None or self._looked_at <= looked_at:
            return None
        percent = 100.0 * used_s / (self._looked_at - looked_at) / self._processors
        try:
            available = psutil.virtual_memory().available
        except (psutil.Error, OSError):
            return None
        return Sample(now, OWN, percent, memory, available)
