"""Running a detector over a recording, and what that says of it.

False alarms against detection time are the two ends of every failure detector (W. Chen, S. Toueg, M. Aguilera, "On the
quality of service of failure detectors", IEEE Transactions on Computers 51, 2002): the rate of mistakes and their
duration on one side, the time to detect on the other.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import msgspec

from events.clock import utc
from events.policy import Policy
from events.thresholds import all_thresholds, thresholds_for
from recovery.detectors import ARRIVALS_MAX, Detector, detector_for, intervals_between
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


def long_gaps(trace: Trace, settings: Sequence[Setting]) -> list[Gap]:
    """Those that may be too long for one of the settings: the only ones at which a detector need be asked."""
    least = min((one.suspect_after for used in settings for one in all_thresholds(used.policy)), default=0.0)
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
    gaps = long_gaps(trace, settings)
    samples = list(_samples(trace))
    return [_Trial(trace, one).score(gaps, samples) for one in settings]


def _samples(trace: Trace) -> Iterator[tuple[Life, int]]:
    """Heartbeats at equal distances, over all lives one after the other."""
    step = max(1, trace.beats // SAMPLES_MAX)
    position = 0
    for life in trace.lives:
        for place in range(-position % step, len(life.times), step):
            yield life, place
        position += len(life.times)


class _Trial:
    def __init__(self, trace: Trace, setting: Setting) -> None:
        self._trace = trace
        self._setting = setting
        self._made = cache(self._detector)

    def score(self, gaps: Iterable[Gap], samples: Iterable[tuple[Life, int]]) -> Score:
        suspicions = failures = 0
        mistaken = 0.0
        mistakes: list[Mistake] = []
        for life, place, silence in gaps:
            detector = self._detector_of(life, place)
            intervals = intervals_before(self._trace, life, place)
            suspicions += silence > detector.suspect_after(intervals)
            threshold = detector.failed_after(intervals)
            if silence > threshold:
                failures += 1
                mistaken += silence - threshold
                if len(mistakes) < EXAMPLES_MAX:
                    mistakes.append(_mistake(life, place, silence, threshold))
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
            would_find=spread(
                self._detector_of(life, place).failed_after(intervals_before(self._trace, life, place))
                for life, place in samples
            ),
            mistakes=mistakes,
        )

    def _found(self) -> tuple[list[float], list[float]]:
        found, suspected = [], []
        for life in self._trace.failures:
            last = len(life.times) - 1
            detector, intervals = self._detector_of(life, last), intervals_before(self._trace, life, last)
            found.append(self._delay(life, detector.failed_after(intervals)))
            suspected.append(self._delay(life, detector.suspect_after(intervals)))
        return found, suspected

    def _delay(self, life: Life, threshold: float) -> float:
        """From the end of a life to the time when the silence behind it had lasted that long."""
        return max(0.0, self._trace.silent_for(life.times[-1], threshold) - life.end.at)

    def _detector_of(self, life: Life, place: int) -> Detector:
        stretch = self._trace.stretch_at(life.times[place])
        alike = not self._setting.policy.overrides
        return self._made("" if alike else life.worker_id, () if alike else tuple(life.labels.items()), stretch)

    def _detector(self, worker_id: str, labels: tuple[tuple[str, str], ...], stretch: float) -> Detector:
        policy = self._setting.policy
        return detector_for(thresholds_for(policy, worker_id, dict(labels), stretch), policy)


def intervals_before(trace: Trace, life: Life, place: int) -> list[float]:
    """What a detector knows of the worker at one of its heartbeats: as `recovery.detectors.Arrivals` has it then."""
    known = life.times[max(0, place - ARRIVALS_MAX + 1) : place + 1]
    return intervals_between(known, trace.interrupted_at(life.times[place]))


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


def _mistake(life: Life, place: int, silence: float, threshold: float) -> Mistake:
    return Mistake(
        worker_id=life.worker_id,
        incarnation=life.incarnation,
        last_heard=utc(life.times[place]).isoformat(),
        silence_s=round(silence, 3),
        threshold_s=round(threshold, 3),
    )


def _numbers(policy: Policy) -> dict[str, float]:
    return {name: getattr(policy, name) for name in NAMES}
