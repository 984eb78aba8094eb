"""All searches at once, and what is left of what they find when it is held against how much was tried."""

import msgspec

from projections.asking import History
from projections.patterns import hours, killers, motifs, policies, together
from projections.patterns.chance import adjusted
from projections.patterns.finding import Finding
from projections.patterns.material import Material, read
from projections.window import Window

ERROR_RATE = 0.05
LIFT_MIN = 1.5
"""What is sure and makes no difference is of no use."""


class Patterns(msgspec.Struct, frozen=True, kw_only=True):
    findings: list[Finding]
    """The surest first."""
    tried: int
    failures: int
    """Onsets of failures that were looked at."""
    error_rate: float = ERROR_RATE


def find(history: History, window: Window) -> Patterns:
    """Raises:
    QueryError: the history cannot be asked, or there is too much in that window.
    """
    return among(read(history, window, killers.SUPPORT), window)


def among(material: Material, window: Window) -> Patterns:
    trials = [one.search(material, window) for one in (together, killers, hours, motifs, policies)]
    candidates = [candidate for trial in trials for candidate in trial.candidates]
    tried = sum(trial.tried for trial in trials)
    # What had no support, or went the other way, was tried as well.
    corrected = adjusted([one.p for one in candidates], tried)
    judged = [msgspec.structs.replace(one, p_adjusted=p) for one, p in zip(candidates, corrected, strict=True)]
    kept = [one for one in judged if one.p_adjusted <= ERROR_RATE and one.lift >= LIFT_MIN]
    kept.sort(key=lambda one: (one.p, -one.lift, one.kind, one.subject))
    return Patterns(findings=kept, tried=tried, failures=len(material.onsets))
