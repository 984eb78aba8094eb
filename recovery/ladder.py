"""Which rung of the ladder an attempt climbs: the policy's rungs against that failure, one after the other.

A rung that has failed is not climbed again before the others have been; then the last one is, until the attempts are
used up. If fewer attempts are left than rungs, the first ones are left out: the later ones can do what the earlier do,
and more, since whatever is tried succeeds if the worker comes back by itself.

Under `strategy_order = "history"` they are gone through by their record, best first, and as they stand where that makes
no difference.
"""

from collections import Counter
from typing import NamedTuple

from events.failures import AWAIT, REPLACE, Rung, StrategyName
from recovery.entities import Worker
from recovery.record import Record
from recovery.state import State

NO_RECORD = Record()


class Choice(NamedTuple):
    strategy: StrategyName
    rule: str
    considered: tuple[Rung, ...]


def choose(state: State, worker: Worker, *, attempts_left: int, horizon: float) -> Choice:
    """`attempts_left`: this one included. What failed before `horizon` is forgotten."""
    by_record = state.policy.strategy_order == "history"
    rungs = _in_order(state, worker, by_record=by_record)
    possible = [number for number, rung in enumerate(rungs) if not rung.rejected]
    if not possible:
        considered = (*rungs, Rung(strategy=AWAIT))
        return Choice(AWAIT, "nothing can be done: it may come back by itself", considered)
    untried = _without_tried(worker, rungs, possible, horizon)
    if untried:
        number = _within_budget(rungs, untried, attempts_left, by_record=by_record)
        return Choice(rungs[number].strategy, "failed worker: next rung", tuple(rungs))
    # By its record the first one is the best; as the ladder stands, the last one is the strongest.
    number = possible[0] if by_record else possible[-1]
    rungs[number] = _rejected(rungs[number], "")
    return Choice(rungs[number].strategy, "failed worker: all rungs have failed, once more", tuple(rungs))


def _in_order(state: State, worker: Worker, *, by_record: bool) -> list[Rung]:
    """The rungs with their records; rejected is what cannot be done."""
    reason = worker.failure_reason
    ladder = state.policy.ladder(reason)
    records = {strategy: state.records.get((reason, strategy), NO_RECORD) for strategy in ladder}
    if by_record:
        ladder = tuple(sorted(dict.fromkeys(ladder), key=lambda strategy: -records[strategy].estimate))
    return [
        Rung(
            strategy=strategy,
            succeeded=records[strategy].succeeded,
            failed=records[strategy].failed,
            estimate=round(records[strategy].estimate, 6) if by_record else None,
            rejected=_impossible(state, worker, strategy),
        )
        for strategy in ladder
    ]


def _impossible(state: State, worker: Worker, strategy: StrategyName) -> str:
    if strategy == REPLACE and not state.policy.launcher:
        return "no launcher is configured"
    return worker.unavailable.get(strategy, "")


def _without_tried(worker: Worker, rungs: list[Rung], possible: list[int], horizon: float) -> list[int]:
    """Those that have not failed lately. A rung that stands in the ladder twice may fail twice."""
    failed = Counter(strategy for at, strategy in worker.rungs_failed if at > horizon)
    untried = []
    for number in possible:
        rung = rungs[number]
        if failed[rung.strategy] > 0:
            failed[rung.strategy] -= 1
            rungs[number] = _rejected(rung, "it has failed lately")
        else:
            untried.append(number)
    return untried


def _within_budget(rungs: list[Rung], untried: list[int], attempts_left: int, *, by_record: bool) -> int:
    """The first of those for which there are attempts. What has a record to show is not left out for its place."""
    surplus = len(untried) - attempts_left
    for number in untried[:-1]:
        rung = rungs[number]
        if surplus <= 0 or (by_record and rung.succeeded + rung.failed > 0):
            return number
        surplus -= 1
        rungs[number] = _rejected(rung, f"attempts left: {attempts_left}")
    return untried[-1]


def _rejected(rung: Rung, why: str) -> Rung:
    return Rung(
        strategy=rung.strategy,
        succeeded=rung.succeeded,
        failed=rung.failed,
        estimate=rung.estimate,
        rejected=why,
    )
