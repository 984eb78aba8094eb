"""Sequences by rank. The core compares them, for order or equality, and does nothing else with them."""


class Ranks:
    """Collects what it is asked for, and returns it as it is; once `settled`, returns ranks from 1. Zero stays zero."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[int, None]] = {}
        self._incidents: dict[str, int] = {}
        self._ranks: dict[str, dict[int, int]] | None = None

    def settled(self) -> bool:
        """Whether everything was its own rank already. Afterwards, ranks are returned."""
        ranks = {
            space: {value: rank for rank, value in enumerate(sorted(seen), 1)} for space, seen in self._seen.items()
        }
        self._ranks = ranks
        if any(name != f"i{rank}" for name, rank in self._incidents.items()):
            return False
        return all(value == rank for space in ranks.values() for value, rank in space.items())

    def incarnation(self, worker_id: str, value: int) -> int:
        return self._rank(worker_id, value)

    def beat(self, worker_id: str, sequence: int) -> int:
        return self._rank(f"beats {worker_id}", sequence)

    def parked(self, sequence: int) -> int:
        return self._rank("parked", sequence)

    def incident(self, incident_id: str) -> int:
        """By first mention: one incident is the same as another, or is not, and that is all."""
        return self._incidents.setdefault(incident_id, len(self._incidents) + 1)

    def _rank(self, space: str, value: int) -> int:
        if not value:
            return 0
        if self._ranks is not None:
            return self._ranks[space][value]
        seen = self._seen.get(space)
        if seen is None:
            seen = self._seen[space] = {}
        seen[value] = None
        return value
