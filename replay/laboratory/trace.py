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
from math import inf
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


class Change(NamedTuple):
    """What came into force: by a change of policy, or of pace."""

    time: float
    sequence: int
    policy: Policy
    stretch: float
    unheard: bool = False
    """There was no worker yet that could have lived by anything before it."""

    @property
    def heartbeat_interval(self) -> float:
        return self.policy.heartbeat_interval * self.stretch


DEFAULTS = Change(0.0, 0, Policy(), 1.0, unheard=True)
"""What is in force before any."""


class Stretch(NamedTuple):
    """A part of a silence that counts: held against the worker from `counted_from` on, without a doubt until then."""

    counted_from: float
    until: float


class Word(NamedTuple):
    """What a worker says of the rules by which it lives, from one of its heartbeats on."""

    place: int
    rules: int
    """Sequence of the last change that it has applied."""


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
    words: list[Word] = field(default_factory=list)
    """In order; one for each time that it says something else."""
    end: End = OPEN

    def known(self, place: int) -> int:
        """The sequence up to which it had applied the log at that heartbeat, at the least."""
        found = bisect_right(self.words, place, key=lambda word: word.place)
        return max(self.incarnation, self.words[found - 1].rules if found else 0)


@dataclass(slots=True)
class Trace:
    lives: list[Life] = field(default_factory=list)
    """Those that were heard at all."""
    blind: list[Blind] = field(default_factory=list)
    """When whoever listened had reason to doubt what it did not hear; in order."""
    interruptions: list[float] = field(default_factory=list)
    """The same moments, and elections at which nothing was missed: what lies between two heartbeats around one of them
    teaches a detector nothing. In order."""
    changes: list[Change] = field(default_factory=list)
    """Of policy and pace; in order."""
    beats: int = 0
    began: float = 0.0
    ended: float = 0.0

    @property
    def policy(self) -> Policy:
        """The last that was in force."""
        return (self.changes[-1] if self.changes else DEFAULTS).policy

    @property
    def worker_hours(self) -> float:
        return sum(life.times[-1] - life.times[0] for life in self.lives) / 3600.0

    @property
    def failures(self) -> list[Life]:
        return [life for life in self.lives if life.end.kind in ("proven", "presumed")]

    def heartbeat_interval_at(self, time: float) -> float:
        place = bisect_right(self.changes, time, key=lambda change: change.time)
        return (self.changes[place - 1] if place else DEFAULTS).heartbeat_interval

    def interrupted_at(self, time: float) -> float:
        """The last interruption by then; 0.0: there was none."""
        place = bisect_right(self.interruptions, time)
        return self.interruptions[place - 1] if place else 0.0

    def counted(self, since: float, until: float = inf) -> Iterator[Stretch]:
        """The parts of a silence that count: each begins with the silence, or behind a doubt."""
        counted_from = since
        for blind in self._blind_behind(since):
            if blind.since >= until:
                break
            if blind.since > counted_from:
                yield Stretch(counted_from, blind.since)
            counted_from = max(counted_from, blind.until)
        if counted_from < until:
            yield Stretch(counted_from, until)

    def silence(self, since: float, until: float) -> float:
        """The longest time in between during which silence could be counted without a doubt."""
        return max((end - counted_from for counted_from, end in self.counted(since, until)), default=0.0)

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
        self._interval_min = 0.0

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
            self._change(recorded, event.policy, self._in_force.stretch)
        elif isinstance(event, PaceChanged):
            self._change(recorded, self.policy, event.stretch)
        elif isinstance(event, LeaderElected | DetectorDegraded):
            self._doubt(recorded.time, recorded.time)
        elif isinstance(event, WatchContinued):
            # Nothing was missed at the election before it.
            del self._trace.blind[-1:]
        elif event is not None:
            self._end(recorded.time, event)

    @property
    def _in_force(self) -> Change:
        return self._trace.changes[-1] if self._trace.changes else DEFAULTS

    def _change(self, recorded: Recorded, policy: Policy, stretch: float) -> None:
        # By a clock that was set back it came into force before the last one did: what counts is their order.
        time = max(recorded.time, self._in_force.time)
        unheard = not self._incarnations
        self._trace.changes.append(Change(time, recorded.sequence, policy, stretch, unheard))

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
            self._interval_min = min(change.heartbeat_interval for change in (DEFAULTS, *trace.changes))
        if len(self._lives) > 1 and self._nobody_was_heard(self._heard_at, beat.time):
            self._doubt(min(self._heard_at, beat.time), beat.time)
        self._heard_at = beat.time
        if heartbeat.rules != (life.words[-1].rules if life.words else 0):
            life.words.append(Word(len(life.times), heartbeat.rules))
        life.times.append(beat.time)
        trace.beats += 1

    def _nobody_was_heard(self, since: float, until: float) -> bool:
        """For so long that it says nothing of anybody; or that cannot be told, as the clock was set back."""
        silence = until - since
        if 0.0 <= silence <= COMMON_SILENCE_INTERVALS * self._interval_min:
            return False
        # Behind a change to a faster pace, the slower one before it is what was to be expected.
        interval = max(map(self._trace.heartbeat_interval_at, (since, until)))
        return silence < 0.0 or silence > COMMON_SILENCE_INTERVALS * interval

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
        overdue = DUE_INTERVALS * self._trace.heartbeat_interval_at(last)
        return end._replace(at=last if end.at - last > overdue else max(end.at, last))
