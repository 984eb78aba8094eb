"""When each entity next owes something: an index over the state, kept so that a cycle costs what has changed."""

from collections.abc import Callable, Iterator, Mapping
from heapq import heapify, heappop, heappush

NEVER = float("inf")
AT_ONCE = 0.0

STALE_MIN = 64


class Timers:
    """One time for each key, in seconds of cluster time, which goes back now and then: the broker's clock is set.

    A time may be set too early, if it is found out only when it has come (`in_turn`): the true one may cost more.
    Putting a time off is O(1): the heap keeps the old entry and finds out when it surfaces. What it means is only the
    map from key to time; the heap and the ripe are ways to look it up.
    """

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._queued: dict[str, float] = {}
        """The earliest heap entry of each key; one of each at most is kept in mind, so the heap stays small."""
        self._ripe = Ripe()
        self._looked_at = AT_ONCE

    @classmethod
    def of(cls, times: Mapping[str, float]) -> "Timers":
        timers = cls()
        for key, at in times.items():
            timers.set(key, at)
        return timers

    def times(self) -> Mapping[str, float]:
        """All that is set, to be looked at."""
        return self._at

    def set(self, key: str, at: float) -> None:
        """`NEVER` clears the key."""
        if at == NEVER:
            self._at.pop(key, None)
            self._ripe.drop(key)
            return
        self._at[key] = at
        if at <= AT_ONCE:
            self._ripe.put(key, at)
            return
        self._ripe.drop(key)
        queued = self._queued.get(key)
        if queued is None or at < queued:
            self._queued[key] = at
            heappush(self._heap, (at, key))

    def get(self, key: str) -> float:
        return self._at.get(key, NEVER)

    def due(self, now: float) -> list[str]:
        """The keys whose time has come, by time, then by key."""
        return list(self.in_turn(now))

    def in_turn(self, now: float, exactly: Callable[[str], float] | None = None) -> Iterator[str]:
        """What `due` lists, one by one: look at as few as needed, and set nothing while looking.

        `exactly` gives the true time of a key whose time has come; without it, that is the one that was set.
        """
        if now < self._looked_at:
            for key, later in self._ripe.after(now):
                self.set(key, later)
        self._looked_at = now
        while self._heap and self._heap[0][0] <= now:
            entry, key = heappop(self._heap)
            if self._queued.get(key) != entry:
                continue
            del self._queued[key]
            at = self._at.get(key)
            if at is None:
                continue
            if at <= now and exactly is not None:
                at = self._at[key] = exactly(key)
            if at <= now:
                self._ripe.put(key, at)
            else:
                self._queued[key] = at
                heappush(self._heap, (at, key))
        return self._ripe.in_order(now)

    def __len__(self) -> int:
        """How many keys have a time."""
        return len(self._at)

    @property
    def ripe(self) -> bool:
        return bool(self._ripe)

    def next(self) -> float:
        """The earliest time at which `due` might name a key that it does not name yet; never too late."""
        return self._heap[0][0] if self._heap else NEVER


class Ripe:
    """Keys by time, then by key. When half a farm has died at once, there are many, and a cycle takes a few: looking
    at the first of them costs nothing for the others."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        """May hold entries that are not true any more."""

    def __bool__(self) -> bool:
        return bool(self._at)

    def put(self, key: str, at: float) -> None:
        if self._at.get(key) == at:
            return
        self._at[key] = at
        heappush(self._heap, (at, key))
        if len(self._heap) > 2 * len(self._at) + STALE_MIN:
            self._heap = [(time, name) for name, time in self._at.items()]
            heapify(self._heap)

    def drop(self, key: str) -> None:
        self._at.pop(key, None)

    def after(self, now: float) -> list[tuple[str, float]]:
        """Those that are not due any more, with their times."""
        return [(key, at) for key, at in self._at.items() if at > now]

    def in_order(self, until: float) -> Iterator[str]:
        """Goes down the heap by a second one that holds the children of what has been seen: the first k of any number
        of keys cost O(k log k)."""
        heap = self._heap
        while heap and self._at.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        front = [(heap[0], 0)] if heap else []
        last = None
        while front and front[0][0][0] <= until:
            entry, index = heappop(front)
            for child in (2 * index + 1, 2 * index + 2):
                if child < len(heap):
                    heappush(front, (heap[child], child))
            # One that was dropped and put back has two entries, which follow each other.
            if entry != last and self._at.get(entry[1]) == entry[0]:
                last = entry
                yield entry[1]
