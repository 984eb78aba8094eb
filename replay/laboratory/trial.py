"""Running a detector over a recording, and what that says of it.

False alarms against detection time are the two ends of every failure detector (W. Chen, S. Toueg, M. Aguilera, "On the
quality of service of failure detectors", IEEE Transactions on Computers 51, 2002): the rate of mistakes and their
duration on one side, the time to detect on the other.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import inf
from typing import NamedTuple

import msgspec

from events.clock import utc
from events.policy import Policy
from recovery.detectors import ARRIVALS_MAX, intervals_between
from replay.laboratory.rules import Rules
from replay.laboratory.settings import NAMES, Setting
from replay.laboratory.trace import Life, Trace

SAMPLES_MAX = 2_000
"""Heartbeats behind which it is asked how long a death would have gone unnoticed: they are spread evenly."""
EXAMPLES_MAX = 10


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that was called failed, and was heard again."""

    worker_id: str
    incarnation: int
    last_heard: str
    silence_s: float
    threshold_s: float


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Of a number of times, in seconds."""

    count: int
    median: float
    p99: float
    worst: float


class Score(msgspec.Struct, frozen=True, kw_only=True):
    setting: str
    detector: str
    in_force: bool
    settings: dict[str, float]
    false_failures: int
    false_failures_per_1000_hours: float
    """Of one worker's life each."""
    mistaken_s: float
    """For how long, taken together, workers that lived were called failed."""
    false_suspicions: int
    found: Spread | None
    """From a failure that really happened to its detection; None: there was none."""
    suspected: Spread | None
    would_find: Spread | None
    """From a heartbeat to the detection of a death right behind it, over the whole recording."""
    mistakes: list[Mistake]
    """The first ones."""


class Gap(NamedTuple):
    """A silence in the life of a worker that ended with a heartbeat."""

    life: Life
    place: int
    """Of the heartbeat before it."""
    silence: float
    """As long as it can be held against the worker."""

    @property
    def ended(self) -> float:
        return self.life.times[self.place + 1]


class Judgement(NamedTuple):
    """What a detector makes of a silence, by the clock; infinite where it comes to nothing."""

    suspected_at: float
    failed_at: float
    patience: float
    """The silence that fails the worker, by the last that was asked."""


def long_gaps(trace: Trace, least: float) -> list[Gap]:
    """Silences of more seconds than that: the only ones at which a detector need be asked."""
    found = []
    for life in trace.lives:
        times = life.times
        for place, (earlier, later) in enumerate(pairwise(times)):
            if later - earlier > least:
                silence = trace.silence(earlier, later)
                if silence > least:
                    found.append(Gap(life, place, silence))
    return found


def tried(trace: Trace, settings: Sequence[Setting]) -> list[Score]:
    trials = [Trial(trace, one) for one in settings]
    gaps = long_gaps(trace, min((one.rules.suspect_after_min for one in trials), default=0.0))
    samples = list(_samples(trace))
    return [one.score(gaps, samples) for one in trials]


def _samples(trace: Trace) -> Iterator[tuple[Life, int]]:
    """Heartbeats at equal distances, over all lives one after the other."""
    step = max(1, trace.beats // SAMPLES_MAX)
    position = 0
    for life in trace.lives:
        for place in range(-position % step, len(life.times), step):
            yield life, place
        position += len(life.times)


class Trial:
    """One setting over one recording."""

    def __init__(self, trace: Trace, setting: Setting) -> None:
        self._trace = trace
        self._setting = setting
        self.rules = Rules(trace.changes, setting)
        self._moments = sorted({*trace.interruptions, *(change.time for change in trace.changes)})
        """When a detector may come to think otherwise of a silence that goes on."""

    def score(self, gaps: Iterable[Gap], samples: Iterable[tuple[Life, int]]) -> Score:
        suspicions = failures = 0
        mistaken = 0.0
        mistakes: list[Mistake] = []
        for gap in gaps:
            judged = self.judged(gap.life, gap.place, gap.ended)
            suspicions += judged.suspected_at < inf
            if judged.failed_at < inf:
                failures += 1
                mistaken += gap.ended - judged.failed_at
                if len(mistakes) < EXAMPLES_MAX:
                    mistakes.append(_mistake(gap, judged.patience))
        found, suspected = self._found()
        hours = self._trace.worker_hours
        return Score(
            setting=self._setting.name,
            detector=self._setting.detector,
            in_force=self._setting.in_force,
            settings=_numbers(self._setting.policy),
            false_failures=failures,
            false_failures_per_1000_hours=1000.0 * failures / hours if hours else 0.0,
            mistaken_s=round(mistaken, 3),
            false_suspicions=suspicions,
            found=spread(found),
            suspected=spread(suspected),
            would_find=spread(self._patience(life, place, life.times[place])[1] for life, place in samples),
            mistakes=mistakes,
        )

    def _found(self) -> tuple[list[float], list[float]]:
        """From the end of each life that failed: how long until it was failed, and until it was suspected."""
        found, suspected = [], []
        for life in self._trace.failures:
            judged = self.judged(life, len(life.times) - 1, inf)
            found.append(max(0.0, judged.failed_at - life.end.at))
            suspected.append(max(0.0, judged.suspected_at - life.end.at))
        return found, suspected

    def judged(self, life: Life, place: int, until: float) -> Judgement:
        """The silence behind that heartbeat, which lasts until then."""
        suspected_at = inf
        patience = 0.0
        for counted_from, end in self._trace.counted(life.times[place], until):
            for since, later in pairwise((counted_from, *self._moments_between(counted_from, end), end)):
                suspicious, patience = self._patience(life, place, since)
                if suspected_at == inf and max(since, counted_from + suspicious) < later:
                    suspected_at = max(since, counted_from + suspicious)
                failed_at = max(since, counted_from + patience)
                if failed_at < later:
                    return Judgement(suspected_at, failed_at, patience)
        return Judgement(suspected_at, inf, patience)

    def _moments_between(self, since: float, until: float) -> Sequence[float]:
        return self._moments[bisect_right(self._moments, since) : bisect_left(self._moments, until)]

    def _patience(self, life: Life, place: int, now: float) -> tuple[float, float]:
        """The silence behind that heartbeat that makes the worker a suspect at that time, and that which fails it."""
        detector = self.rules.detector(now, life, place)
        intervals = intervals_before(self._trace, life, place, now)
        return detector.suspect_after(intervals), detector.failed_after(intervals)


def intervals_before(trace: Trace, life: Life, place: int, now: float) -> list[float]:
    """What a detector knows of the worker in the silence behind one of its heartbeats: as `recovery.detectors.Arrivals`
    has it then."""
    known = life.times[max(0, place - ARRIVALS_MAX + 1) : place + 1]
    return intervals_between(known, trace.interrupted_at(now))


def spread(values: Iterable[float]) -> Spread | None:
    """None of no values. Percentiles by nearest rank."""
    ordered = sorted(values)
    if not ordered:
        return None
    count = len(ordered)
    return Spread(
        count=count,
        median=round(ordered[(count - 1) // 2], 3),
        p99=round(ordered[-(-count * 99 // 100) - 1], 3),
        worst=round(ordered[-1], 3),
    )


def _mistake(gap: Gap, threshold: float) -> Mistake:
    return Mistake(
        worker_id=gap.life.worker_id,
        incarnation=gap.life.incarnation,
        last_heard=utc(gap.life.times[gap.place]).isoformat(),
        silence_s=round(gap.silence, 3),
        threshold_s=round(threshold, 3),
    )


def _numbers(policy: Policy) -> dict[str, float]:
    return {name: getattr(policy, name) for name in NAMES}
