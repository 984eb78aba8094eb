"""Workers over time: from the events about a worker, which state it was in and when."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from projections.report.content import Lane, Mark, Span

STATES = {
    "worker.registered": "alive",
    "worker.suspected": "suspect",
    "worker.suspicion_refuted": "alive",
    "worker.stalled": "stalled",
    "worker.stall_refuted": "alive",
    "worker.cordoned": "cordoned",
    "worker.uncordoned": "alive",
    "worker.drain_requested": "draining",
    "worker.draining": "draining",
    "worker.stopped": "stopped",
    "worker.retired": "stopped",
    "worker.failed": "failed",
    "worker.recovery_started": "recovering",
    "worker.recovery_failed": "failed",
    "worker.recovery_superseded": "failed",
    "worker.recovery_succeeded": "alive",
    "worker.permanently_failed": "given up",
    "worker.readmitted": "failed",
}
"""What a worker is after each kind of event."""

ENDS = {"worker.recovery_succeeded": True, "worker.recovery_failed": False, "worker.permanently_failed": False}
OUT = frozenset({"failed", "recovering", "given up"})
WELL = frozenset({"alive", "stopped"})
ONLY_FROM: dict[str, frozenset[str]] = {
    # What was begun for a worker that has come back meanwhile says nothing of how it is now.
    "worker.recovery_started": OUT,
    "worker.recovery_failed": OUT,
    "worker.recovery_superseded": OUT,
    "worker.readmitted": OUT,
    "worker.suspicion_refuted": frozenset({"suspect"}),
    "worker.stall_refuted": frozenset({"stalled"}),
    "worker.uncordoned": frozenset({"cordoned"}),
    "worker.cordoned": frozenset({"alive", "suspect"}),
    "worker.suspected": frozenset({"alive", "cordoned"}),
}

LANES_MAX = 40
SPANS_MAX = 150
"""In one lane: where there are more, it is simplified."""
PIECES = 120


class Step(NamedTuple):
    """An event about a worker, in the order of the log."""

    worker_id: str
    at: datetime
    kind: str
    text: str


def lanes(steps: Iterable[Step], since: datetime, until: datetime) -> tuple[list[Lane], int]:
    """Those that had most to show, by name, and how many others there are. Steps from before `since` say in which state
    a worker was then."""
    by_worker: dict[str, list[Step]] = defaultdict(list)
    for step in steps:
        by_worker[step.worker_id].append(step)
    drawn = [lane for name, own in by_worker.items() if (lane := _lane(name, own, since, until)).spans]
    drawn.sort(key=lambda lane: (-_trouble(lane), lane.worker_id))
    kept = sorted(drawn[:LANES_MAX], key=lambda lane: natural(lane.worker_id))
    return [_coarse(lane, since, until) for lane in kept], len(drawn) - len(kept)


def natural(name: str) -> list[tuple[int, str]]:
    """w2 comes before w10."""
    parts: list[tuple[int, str]] = []
    number = ""
    for letter in [*name, ""]:
        if letter.isascii() and letter.isdigit():
            number += letter
            continue
        if number:
            parts.append((int(number), ""))
            number = ""
        parts.append((-1, letter))
    return parts


def _lane(worker_id: str, steps: list[Step], since: datetime, until: datetime) -> Lane:
    state, began = "", since
    spans: list[Span] = []
    marks = []

    def close(at: datetime) -> None:
        if state and at > began:
            spans.append(Span(state=state, since=began, until=at))

    for step in steps:
        if step.at >= since and step.kind in ENDS:
            marks.append(Mark(at=step.at, success=ENDS[step.kind], text=step.text))
        after = STATES[step.kind]
        if after == state or (step.kind in ONLY_FROM and state not in ONLY_FROM[step.kind]):
            continue
        if step.at > since:
            close(step.at)
            began = step.at
        state = after
    close(until)
    return Lane(worker_id=worker_id, spans=spans, marks=marks)


def _coarse(lane: Lane, since: datetime, until: datetime) -> Lane:
    """A lane with more to it than can be seen: for each piece of the time the state that prevails, and beside it the
    longest of the times in which the worker was out, if there is one."""
    if len(lane.spans) <= SPANS_MAX and len(lane.marks) <= SPANS_MAX:
        return lane
    width = (until - since) / PIECES
    prevailing: list[Span] = []
    out: list[Span] = []
    place = 0
    for number in range(PIECES):
        first, last = since + number * width, since + (number + 1) * width
        while place < len(lane.spans) and lane.spans[place].until <= first:
            place += 1
        within = [_cut(span, first, last) for span in _from(lane.spans, place, last)]
        if not within:
            continue
        lasted: dict[str, timedelta] = defaultdict(timedelta)
        for span in within:
            lasted[span.state] += span.until - span.since
        state = max(lasted, key=lasted.__getitem__)
        if prevailing and prevailing[-1].state == state and prevailing[-1].until == within[0].since:
            prevailing[-1] = Span(state=state, since=prevailing[-1].since, until=within[-1].until)
        else:
            prevailing.append(Span(state=state, since=within[0].since, until=within[-1].until))
        away = [span for span in within if span.state in OUT]
        if away and state not in OUT:
            out.append(max(away, key=lambda span: span.until - span.since))
    in_vain = [mark for mark in lane.marks if not mark.success]
    return Lane(worker_id=lane.worker_id, spans=prevailing + out, marks=in_vain[-SPANS_MAX:], coarse=True)


def _from(spans: list[Span], place: int, last: datetime) -> Iterator[Span]:
    while place < len(spans) and spans[place].since < last:
        yield spans[place]
        place += 1


def _cut(span: Span, first: datetime, last: datetime) -> Span:
    return Span(state=span.state, since=max(span.since, first), until=min(span.until, last))


def _trouble(lane: Lane) -> float:
    """Seconds in which it was not well, and its failures."""
    away = sum((span.until - span.since).total_seconds() for span in lane.spans if span.state not in WELL)
    return away + sum(span.state in OUT for span in lane.spans)
