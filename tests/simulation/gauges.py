"""What the gauges of a simulated machine show: memory and disk that run out now and then."""

from collections.abc import Callable

from worker.ports import Gauges

MEMORY = 4_000_000_000
DISK = 50_000_000_000
AGENT = 50_000_000


class Store:
    """Of memory or disk: how much is taken, while somebody takes more of it every second."""

    def __init__(self, clock: Callable[[], float], size: int) -> None:
        self.size = size
        self._clock = clock
        self._taken = 0.0
        self._rate = 0.0
        self._since = clock()

    @property
    def taken(self) -> int:
        grown = self._rate * (self._clock() - self._since)
        return int(min(max(self._taken + grown, 0.0), self.size))

    @property
    def left(self) -> int:
        return self.size - self.taken

    def take(self, rate: float) -> None:
        """So many bytes a second from here on."""
        self._taken, self._since, self._rate = float(self.taken), self._clock(), rate

    def give_back(self) -> None:
        self._taken, self._since, self._rate = 0.0, self._clock(), 0.0


def shown(own: Store, machine: Store, disk: Store) -> Gauges:
    """`own`: what the agent and its tasks take; `machine`: what somebody else there does."""
    return Gauges(
        cpu_percent=10.0,
        memory_bytes=AGENT,
        load_1m=0.5,
        memory_available_bytes=max(0, machine.left - own.taken),
        tasks_memory_bytes=own.taken,
        disk_free_bytes=disk.left,
    )
