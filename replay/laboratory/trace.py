"""A recording as the laboratory needs it: when each incarnation was heard, and what became of it.

What counts as a failure is told by the log and by what came after, never by a detector: an exit that a supervisor
reported, a lifeline that a witness found abandoned, a silence that nothing ended. A silence that ended with a heartbeat
of the same incarnation was none.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple, Protocol

from events.base import Event
from events.clock import seconds
from events.envelope import Recorded
from events.log import EventLog
from events.policy import Policy
from events.system import DetectorDegraded, LeaderElected, PaceChanged, PolicyChanged, WatchContinued
from events.worker import (
    RecordedHeartbeat,
    WorkerExited,
    WorkerFailed,
    WorkerRegistered,
    WorkerStopped,
    WorkerVanished,
)
from replay.reading import Progress, stretch

BEATS_READ = 20_000
"""Heartbeats that are in memory as such at a time; of the others only their times are kept."""
COMMON_SILENCE_INTERVALS = 3.0
"""A farm of which nothing at all is heard for so many intervals is not looked at: the trouble is elsewhere."""
DUE_INTERVALS = 1.5
"""A worker from which no heartbeat has come for so many intervals was in trouble before it died."""

SILENT = frozenset({"silence", "no_first_heartbeat", "disconnected"})

EndKind = Literal["proven", "presumed", "stopped", "open"]
"""`proven`: reported by somebody who saw it; `presumed`: it was silent, given up or replaced, and never heard again;
`stopped`: in order; `open`: it may be alive."""


class End(NamedTuple):
    kind: EndKind
    at: float
    """When it stopped being of use, seconds since the epoch."""


OPEN = End("open", 0.0)


class Pace(NamedTuple):
    since: float
    stretch: float


class Blind(NamedTuple):
    """A time that is held against nobody: silence counts anew from its end. It may be a single moment."""

    since: float
    until: float


@dataclass(slots=True)
class Life:
    """One incarnation of a worker."""

    worker_id: str
    incarnation: int
    labels: dict[str, str]
    times: "array[float]" = field(default_factory=lambda: array("d"))
    """When its heartbeats were stored, by the broker's clock."""
    end: End = OPEN


@dataclass(slots=True)
class Trace:
    policy: Policy = field(default_factory=Policy)
    """The last that was in force."""
    lives: list[Life] = field(default_factory=list)
    """Those that were heard at all."""
    blind: list[Blind] = field(default_factory=list)
    """When whoever listened had reason to doubt what it did not hear; in order."""
    interruptions: list[float] = field(default_factory=list)
    """The same moments, and elections at which nothing was missed: what lies between two heartbeats around one of them
    teaches a detector nothing. In order."""
    paces: list[Pace] = field(default_factory=list)
    beats: int = 0
    began: float = 0.0
    ended: float = 0.0

    @property
    def worker_hours(self) -> float:
        return sum(life.times[-1] - life.times[0] for life in self.lives) / 3600.0

    @property
    def failures(self) -> list[Life]:
        return [life for life in self.lives if life.end.kind in ("proven", "presumed")]

    def stretch_at(self, time: float) -> float:
        place = bisect_right(self.paces, time, key=lambda pace: pace.since)
        return self.paces[place - 1].stretch if place else 1.0

    def interrupted_at(self, time: float) -> float:
        """The last interruption by then; 0.0: there was none."""
        place = bisect_right(self.interruptions, time)
        return self.interruptions[place - 1] if place else 0.0

    def silence(self, since: float, until: float) -> float:
        """The longest time in between during which silence could be counted without a doubt."""
        longest, counted_from = 0.0, since
        for blind in self._blind_behind(since):
            if blind.since >= until:
                break
            longest = max(longest, blind.since - counted_from)
            counted_from = max(counted_from, blind.until)
        return max(longest, until - counted_from)

    def silent_for(self, since: float, threshold: float) -> float:
        """When a silence that begins at `since`, and never ends, has lasted that long without a doubt."""
        counted_from = since
        for blind in self._blind_behind(since):
            if blind.since >= counted_from + threshold:
                break
            counted_from = max(counted_from, blind.until)
        return counted_from + threshold

    def _blind_behind(self, time: float) -> Iterator[Blind]:
        # A common silence begins with somebody's heartbeat: from then on, it counts.
        first = bisect_left(self.blind, time, key=lambda blind: blind.since)
        return islice(self.blind, first, None)


class Recording(Protocol):
    """Keeps `replay.beats.Beats`, and knows where it ends."""

    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...
    async def through(self, sequence: int) -> list[RecordedHeartbeat]: ...


class Tracer:
    """Takes the events, then the heartbeats, each in the order of its stream: reads them, or is handed them."""

    def __init__(self) -> None:
        self._trace = Trace()
        self._lives: dict[tuple[str, int], Life] = {}
        self._labels: dict[tuple[str, int], dict[str, str]] = {}
        self._ends: dict[tuple[str, int], End] = {}
        self._given_up: dict[tuple[str, int], float] = {}
        self._incarnations: dict[str, int] = {}
        """The newest of each worker, as far as the log has been read."""
        self._heard_at = 0.0
        self._silence_max = 0.0

    @property
    def policy(self) -> Policy:
        return self._trace.policy

    async def read_log(self, log: EventLog) -> None:
        """Raises:
        LogError: the log has more, and it does not come.
        """
        async for batch in stretch(log, tails=("worker.>", "system.>")):
            for recorded in batch:
                self.take(recorded)

    async def read_heartbeats(self, beats: Recording, *, progress: Progress | None = None) -> None:
        """Raises:
        LogError: there are more, and they do not come, or the broker has lost some that were read here.
        """
        through = beats.first - 1
        while through < beats.last:
            through = min(through + BEATS_READ, beats.last)
            for beat in await beats.through(through):
                self.hear(beat)
            if progress is not None:
                progress(through)

    def take(self, recorded: Recorded) -> None:
        event = recorded.event
        if isinstance(event, WorkerRegistered):
            self._register(recorded.sequence, recorded.time, event)
        elif isinstance(event, PolicyChanged):
            self._trace.policy = event.policy
            self._doubt(recorded.time, recorded.time)
        elif isinstance(event, PaceChanged):
            self._trace.paces.append(Pace(recorded.time, event.stretch))
        elif isinstance(event, LeaderElected | DetectorDegraded):
            self._doubt(recorded.time, recorded.time)
        elif isinstance(event, WatchContinued):
            # Nothing was missed at the election before it.
            del self._trace.blind[-1:]
        elif event is not None:
            self._end(recorded.time, event)

    def _doubt(self, since: float, until: float) -> None:
        self._trace.blind.append(Blind(since, until))
        self._trace.interruptions.append(since)

    def _register(self, incarnation: int, time: float, event: WorkerRegistered) -> None:
        before = self._incarnations.get(event.worker_id)
        if before is not None:
            self._given_up.setdefault((event.worker_id, before), time)
        self._incarnations[event.worker_id] = incarnation
        self._labels[event.worker_id, incarnation] = event.labels

    def _end(self, time: float, event: Event) -> None:
        if isinstance(event, WorkerExited):
            at = time - (event.unanswered_s or 0.0)
            self._ends.setdefault((event.worker_id, event.incarnation), End("proven", at))
        elif isinstance(event, WorkerVanished):
            at = time if event.closed_at is None else seconds(event.closed_at)
            self._ends.setdefault((event.worker_id, event.incarnation), End("proven", at))
        elif isinstance(event, WorkerStopped):
            self._ends.setdefault((event.worker_id, event.incarnation), End("stopped", time))
        elif isinstance(event, WorkerFailed):
            incarnation = event.incarnation or self._incarnations.get(event.worker_id, 0)
            if event.reason in SILENT:
                self._given_up.setdefault((event.worker_id, incarnation), time)
            else:
                # It was well enough to beat, and beats no more because somebody said so.
                self._ends.setdefault((event.worker_id, incarnation), End("stopped", time))

    def hear(self, beat: RecordedHeartbeat) -> None:
        heartbeat = beat.heartbeat
        if heartbeat is None:
            return
        trace = self._trace
        life = self._lives.get((heartbeat.worker_id, heartbeat.incarnation))
        if life is None:
            life = self._born(heartbeat.worker_id, heartbeat.incarnation)
        if trace.beats == 0:
            trace.began = self._heard_at = beat.time
            self._silence_max = COMMON_SILENCE_INTERVALS * trace.policy.heartbeat_interval
        silence = beat.time - self._heard_at
        if (silence > self._silence_max * trace.stretch_at(beat.time) or silence < 0.0) and len(self._lives) > 1:
            self._doubt(min(self._heard_at, beat.time), beat.time)
        self._heard_at = beat.time
        life.times.append(beat.time)
        trace.beats += 1

    def _born(self, worker_id: str, incarnation: int) -> Life:
        labels = self._labels.get((worker_id, incarnation), {})
        life = self._lives[worker_id, incarnation] = Life(worker_id, incarnation, labels)
        return life

    def trace(self) -> Trace:
        trace = self._trace
        trace.lives = list(self._lives.values())
        trace.blind.sort()
        trace.interruptions.sort()
        trace.ended = max((life.times[-1] for life in trace.lives), default=0.0)
        for key, life in self._lives.items():
            life.end = self._fate(key, life)
        return trace

    def _fate(self, key: tuple[str, int], life: Life) -> End:
        last = life.times[-1]
        end = self._ends.get(key)
        given_up = self._given_up.get(key)
        if end is None and given_up is not None and given_up >= last:
            end = End("presumed", last)
        if end is None or end.kind == "stopped":
            return end or End("open", last)
        overdue = DUE_INTERVALS * self._trace.policy.heartbeat_interval * self._trace.stretch_at(last)
        return end._replace(at=last if end.at - last > overdue else max(end.at, last))
