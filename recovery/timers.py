"""When each entity next owes something: an index over the state, kept so that a cycle costs what has changed."""

from heapq import heappop, heappush

NEVER = float("inf")
AT_ONCE = 0.0


class Timers:
    """One time for each key, in seconds of cluster time.

    Putting a time off is O(1): the heap keeps the old entry and finds out when it surfaces. What it means is only the
    map from key to time; the heap and the ripe set are ways to look it up.
    """

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._queued: dict[str, float] = {}
        """The earliest heap entry of each key; one of each at most is kept in mind, so the heap stays small."""
        self._ripe: set[str] = set()

    def set(self, key: str, at: float) -> None:
        """`NEVER` clears the key."""
        if at == NEVER:
            self._at.pop(key, None)
            self._ripe.discard(key)
            return
        self._at[key] = at
        if at <= AT_ONCE:
            self._ripe.add(key)
            return
        self._ripe.discard(key)
        queued = self._queued.get(key)
        if queued is None or at < queued:
            self._queued[key] = at
            heappush(self._heap, (at, key))

    def get(self, key: str) -> float:
        return self._at.get(key, NEVER)

    def due(self, now: float) -> list[str]:
        """The keys whose time has come, by time, then by key."""
        while self._heap and self._heap[0][0] <= now:
            entry, key = heappop(self._heap)
            if self._queued.get(key) != entry:
                continue
            del self._queued[key]
            at = self._at.get(key)
            if at is None:
                continue
            if at <= now:
                self._ripe.add(key)
            else:
                self._queued[key] = at
                heappush(self._heap, (at, key))
        return sorted((key for key in self._ripe if self._at[key] <= now), key=lambda key: (self._at[key], key))

    @property
    def ripe(self) -> bool:
        return bool(self._ripe)

    def next(self) -> float:
        """The earliest time at which `due` might name a key that it does not name yet; never too late."""
        return self._heap[0][0] if self._heap else NEVER
