"""Workers whose gauges move, for stories."""

from collections.abc import Callable
from typing import Any

from events.clock import quantised
from tests.recovery.story import Story

GIB = 1 << 30
MIB = 1 << 20
BEAT_S = 2.0
SAMPLE_S = 10.0
FORESEEN_S = 150.0
"""For the default policy to foresee what goes on for so long: thirteen samples, and the one before them."""

Gauges = Callable[[float], dict[str, Any]]
"""What a heartbeat shows, by the seconds since the course began."""


def leaking(rate: float, *, left: float = 4.0 * GIB, own_share: float = 1.0) -> Gauges:
    """Bytes a second."""
    return lambda at: {
        "memory_available_bytes": max(0, int(left - rate * at)),
        "memory_bytes": 50 * MIB,
        "tasks_memory_bytes": int(own_share * rate * at),
    }


def steady(*, left: float = 4.0 * GIB, own: float = 0.0) -> Gauges:
    return lambda _: {"memory_available_bytes": int(left), "memory_bytes": 50 * MIB, "tasks_memory_bytes": int(own)}


class Farm:
    """A story in which all workers beat all the time, by what their gauges show."""

    def __init__(self, story: Story, *worker_ids: str) -> None:
        self.story = story
        self.gauges: dict[str, Gauges] = {}
        self._began: dict[str, float] = {}
        self._beats: dict[tuple[str, int], int] = {}
        for worker_id in worker_ids:
            self.follow(worker_id, steady())

    def follow(self, worker_id: str, gauges: Gauges) -> None:
        """From now on its gauges show that."""
        self.gauges[worker_id] = gauges
        self._began[worker_id] = self.story.now

    def live(self, seconds: float) -> None:
        until = quantised(self.story.now + seconds)
        while self.story.now < until:
            self.story.now = quantised(min(until, self.story.now + BEAT_S))
            self.beat()
            self.story.settle()

    def beat(self) -> None:
        story = self.story
        for worker_id, gauges in self.gauges.items():
            worker = story.state.workers.get(worker_id)
            if worker is None or worker.status not in ("alive", "suspect", "stalled", "draining"):
                continue
            key = worker_id, worker.incarnation
            self._beats[key] = self._beats.get(key, 0) + 1
            story.beat(worker_id, beat=self._beats[key], **gauges(story.now - self._began[worker_id]))
