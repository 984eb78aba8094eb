"""By which rules workers are judged at each moment of a recording: as `recovery.rules` has it, moment by moment."""

from bisect import bisect_right
from collections.abc import Sequence
from copy import deepcopy

from events.thresholds import all_thresholds
from recovery.detectors import Detector
from recovery.rules import RuleBook
from replay.laboratory.settings import Setting
from replay.laboratory.trace import DEFAULTS, Change, Life


class Rules:
    """Those of the recording with all their changes, or one setting in force all along. The pace is the recorded one
    either way, and a worker that has not heard of a change is judged with the longest patience that it may expect."""

    def __init__(self, changes: Sequence[Change], setting: Setting) -> None:
        self._books: list[RuleBook] = []
        book = RuleBook()
        applied = _lived_by([DEFAULTS, *changes]) if setting.in_force else _constant(changes, setting)
        for change in applied:
            book = deepcopy(book)
            book.change(change.sequence, change.policy, change.stretch, unheard=change.unheard)
            self._books.append(book)
        self._since = [change.time for change in applied[1:]]
        self.suspect_after_min = min(one.suspect_after for change in applied for one in all_thresholds(change.policy))
        """Nobody is ever suspected for less."""

    def detector(self, time: float, life: Life, place: int) -> Detector:
        """Who judges at that time the silence behind that heartbeat."""
        book = self._books[bisect_right(self._since, time)]
        return book.patient_detector(life.worker_id, life.labels, life.known(place))


def _lived_by(changes: Sequence[Change]) -> Sequence[Change]:
    """Without those that were changed again before there was a worker."""
    return changes[max(place for place, change in enumerate(changes) if change.unheard) :]


def _constant(changes: Sequence[Change], setting: Setting) -> Sequence[Change]:
    made = [DEFAULTS._replace(policy=setting.policy)]
    for change in changes:
        if change.stretch != made[-1].stretch:
            made.append(change._replace(policy=setting.policy))
    return made
