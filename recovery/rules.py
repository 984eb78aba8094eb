"""The rules in force, and those before them that a worker may still live by.

A change of policy or pace is a fact of the log, and a worker that is cut off does not hear of it: it goes on beating,
and fences itself, as it had been told before. So each worker is judged with the longest patience of all rules that it
may live by. Which these are follows from two lower bounds: each heartbeat names the last change that its worker had
applied, and no worker runs a task of an incarnation before it has applied what was in force at its registration (it
reads both in the order of the log).
"""

from bisect import bisect_right
from collections.abc import Mapping
from math import inf
from typing import NamedTuple

from events.policy import Policy
from events.thresholds import Thresholds, all_thresholds, most_patient, thresholds_for
from recovery.detectors import Detector, detector_for, missing

KEPT_MAX = 8
"""Former rules that are kept apart. What is older is kept as one set of thresholds, the most patient of them all."""

STRETCH_MAX = 1_000_000.0
PACE_BACK = 0.5
"""The share of the present pace which must be enough before it is made faster."""


class Rules(NamedTuple):
    sequence: int
    """Of the event that put them in force; 0: the defaults, before any."""
    policy: Policy
    stretch: float
    """By the pace of the farm."""


class Chapters(NamedTuple):
    """What a rule book has been told, and nothing that follows from it."""

    kept: tuple[Rules, ...]
    forgotten: Thresholds | None
    interval_forgotten: float
    margin_forgotten: float


class RuleBook:
    def __init__(self) -> None:
        self._kept = [Rules(0, Policy(), 1.0)]
        """Oldest first; the last ones are in force."""
        self._forgotten: Thresholds | None = None
        self._interval_forgotten = self._margin_forgotten = inf
        self._detectors: dict[Thresholds, Detector] = {}
        """By the rules in force: workers share them."""
        self._patient: dict[int, Detector] = {}
        """Where no rules make a difference between workers: by how many of those kept a worker is known to be past."""
        self._summarise()

    def __repr__(self) -> str:
        return f"RuleBook({self._kept}, {self._forgotten})"

    def chapters(self) -> Chapters:
        return Chapters(tuple(self._kept), self._forgotten, self._interval_forgotten, self._margin_forgotten)

    @classmethod
    def of(cls, chapters: Chapters) -> "RuleBook":
        book = cls()
        book._kept = list(chapters.kept)
        book._forgotten = chapters.forgotten
        book._interval_forgotten, book._margin_forgotten = chapters.interval_forgotten, chapters.margin_forgotten
        book._summarise()
        return book

    def change(self, sequence: int, policy: Policy, stretch: float, *, unheard: bool = False) -> None:
        """The event at `sequence` puts others in force. `unheard`: nobody can live by any before it."""
        if unheard:
            self._kept.clear()
        self._kept.append(Rules(sequence, policy, stretch))
        if len(self._kept) > KEPT_MAX + 1:
            oldest = self._kept.pop(0)
            known = [] if self._forgotten is None else [self._forgotten]
            self._forgotten = most_patient([*known, *all_thresholds(oldest.policy, oldest.stretch)])
            self._interval_forgotten = min(self._interval_forgotten, oldest.policy.heartbeat_interval * oldest.stretch)
            self._margin_forgotten = min(self._margin_forgotten, _margin(oldest))
        self._summarise()

    def _summarise(self) -> None:
        self._detectors.clear()
        self._patient.clear()
        current = self._kept[-1]
        self._uniform = not any(rules.policy.overrides for rules in self._kept)
        self.missing = list(dict.fromkeys(name for rules in self._kept for name in missing(rules.policy)))
        """Detectors that these rules ask for and that are not installed here."""
        self.sequence = current.sequence
        self.stretch = current.stretch
        allowed = current.policy.heartbeat_rate_max * current.policy.heartbeat_interval * current.stretch
        self.crowd_max = allowed if current.stretch < STRETCH_MAX else inf
        """So many live workers keep to the rate."""
        self.crowd_min = allowed * PACE_BACK if current.stretch > 1.0 else -1.0
        """With so few or fewer they are slower than they need be."""
        everybody = all_thresholds(current.policy, current.stretch)
        self.heartbeat_interval = everybody[0].heartbeat_interval
        self.suspect_after_min = min(one.suspect_after for one in everybody)
        """Nobody is suspected for less."""
        self.interval_min = min(
            self._interval_forgotten, *(rules.policy.heartbeat_interval * rules.stretch for rules in self._kept)
        )
        """By any rules that a worker may live by, or may have lived by a while ago."""
        self.fence_margin_min = min(self._margin_forgotten, *map(_margin, self._kept))
        """By any of these, the time from when a silent worker fences itself to when it is failed."""
        self.failed_after_max = max(one.failed_after for one in everybody) * current.policy.phi_patience_max
        """Whatever has begun is over by then: for as long as that nobody's silence goes without consequences."""

    def detector(self, worker_id: str, labels: Mapping[str, str]) -> Detector:
        """By the rules in force."""
        policy, stretch = self._kept[-1].policy, self.stretch
        return self._shared(thresholds_for(policy, worker_id, labels, stretch))

    def patient_detector(self, worker_id: str, labels: Mapping[str, str], known: int) -> Detector:
        """With the longest patience of all rules that a worker may live by which has applied the log up to `known`."""
        # Of what it is past, the last is what it lives by at the least.
        past = bisect_right(self._kept, known, key=lambda rules: rules.sequence)
        if self._uniform and past in self._patient:
            return self._patient[past]
        possible = [
            thresholds_for(rules.policy, worker_id, labels, rules.stretch) for rules in self._kept[max(0, past - 1) :]
        ]
        if past == 0 and self._forgotten is not None:
            possible.insert(0, self._forgotten)
        found = detector_for(most_patient(possible), self._kept[-1].policy)
        if self._uniform:
            self._patient[past] = found
        return found

    def _shared(self, thresholds: Thresholds) -> Detector:
        found = self._detectors.get(thresholds)
        if found is None:
            found = self._detectors[thresholds] = detector_for(thresholds, self._kept[-1].policy)
        return found


def _margin(rules: Rules) -> float:
    return min(one.failed_after - one.self_fence_after for one in all_thresholds(rules.policy, rules.stretch))
