"""Whether it is the worker that fails, or the work: a comparison of how one kind of work ends here and elsewhere.

A worker whose disk is full or whose interpreter is broken fails whatever it gets, and the faster the more it gets. What
speaks against it is a row: several tasks that have failed at once on it, with no other end between them. What speaks
for it is any attempt at such work that has failed elsewhere since the row began: then it is the work. So a suite of
tests that honestly fail acquits its workers, and where nobody else is there to compare with, nobody is accused. (Two
workers that break in the same way at the same time acquit each other as well.)

Whether work could be begun at all is compared apart from how it ended, since a test that fails has shown that its
interpreter works.
"""

from events.task import Outcome, TaskAttemptFinished
from events.work import AnyWork, CommandWork
from recovery.entities import Ends, Mark, Row, Task, Worker
from recovery.indexes import load_level
from recovery.state import State

KINDS_MAX = 1_000
"""How many kinds of work are kept in mind: those that ended last."""

PASSED: frozenset[Outcome] = frozenset({"passed", "xfailed", "xpassed", "skipped"})
FAILED: frozenset[Outcome] = frozenset({"failed", "error", "crashed"})

Kind = tuple[str, ...]
TO_BEGIN = "to begin"


def kind_of(work: AnyWork) -> Kind:
    """What two tasks have in common that can be expected to end alike on a broken worker."""
    if isinstance(work, CommandWork):
        return ("command", work.cwd, work.argv[0])
    return ("pytest", work.suite.python, work.suite.cwd, *work.suite.args)


def elsewhere(state: State, worker: Worker) -> bool:
    """Whether anybody else is there to take work."""
    own = worker.slots if load_level(worker) is not None else 0
    return state.slots > own


def threshold(state: State, worker: Worker) -> int:
    return 1 if worker.on_trial else state.policy.fail_fast_tasks


def accused(state: State, worker: Worker) -> bool:
    """Whether all that it is given fails, and nothing speaks for it."""
    row = worker.row
    return (
        row is not None
        and len(row.tasks) >= threshold(state, worker)
        and not failed_elsewhere(row)
        and elsewhere(state, worker)
    )


def failed_elsewhere(row: Row) -> bool:
    return any(mark.ends.failed - mark.failed_before > mark.own for mark in row.marks.values())


def passed_elsewhere(row: Row) -> int:
    """Attempts at such work since the row began. (Its own would have ended it.)"""
    return sum(mark.ends.passed - mark.passed_before for mark in row.marks.values())


def note_end(state: State, worker: Worker, task: Task, event: TaskAttemptFinished) -> bool:
    """Takes the end of an attempt into account. True: it says more about the worker than about the task."""
    assert task.work is not None
    kind = kind_of(task.work)
    if event.unstartable:
        known = accused(state, worker)
        return _fails_at_once(state, worker, task, (*kind, TO_BEGIN), every_attempt=True) or known
    if event.outcome in PASSED:
        ends_of(state, kind).passed += 1
        ends_of(state, (*kind, TO_BEGIN)).passed += 1
        worker.on_trial = False
        clear(state, worker)
        return False
    if event.outcome not in FAILED:
        return False
    ends_of(state, (*kind, TO_BEGIN)).passed += 1
    if event.duration_s > state.policy.fail_fast_within:
        _count_failure(state, worker, kind)
        clear(state, worker)
        return False
    doubted = worker.on_trial or accused(state, worker)
    _fails_at_once(state, worker, task, kind, every_attempt=False)
    return doubted and elsewhere(state, worker)


def _fails_at_once(state: State, worker: Worker, task: Task, kind: Kind, *, every_attempt: bool) -> bool:
    """True: somebody else may try."""
    row = worker.row
    if row is None or failed_elsewhere(row):
        clear(state, worker)
        row = worker.row = Row()
    mark = row.marks.get(kind)
    if mark is None:
        ends = ends_of(state, kind)
        mark = row.marks[kind] = Mark(ends, ends.passed, ends.failed)
    _count_failure(state, worker, kind)
    mark.own += 1
    if every_attempt or task.task_id not in row.tasks:
        row.tasks.append(task.task_id)
    if len(row.tasks) >= threshold(state, worker):
        state.accused[worker.worker_id] = None
    return elsewhere(state, worker)


def _count_failure(state: State, worker: Worker, kind: Kind) -> None:
    ends_of(state, kind).failed += 1
    for worker_id in list(state.accused):
        other = state.workers[worker_id]
        # One that is stalled for it is acquitted by the leader, in so many words.
        if other is not worker and other.status != "stalled" and other.row is not None and kind in other.row.marks:
            clear(state, other)


def clear(state: State, worker: Worker) -> None:
    """Nothing speaks against the worker any more."""
    worker.row = None
    state.accused.pop(worker.worker_id, None)


def ends_of(state: State, kind: Kind) -> Ends:
    ends = state.ends.get(kind)
    if ends is None:
        ends = state.ends[kind] = Ends()
        if len(state.ends) > KINDS_MAX:
            state.ends.popitem(last=False)
    state.ends.move_to_end(kind)
    return ends


def note_restart(worker: Worker, now: float) -> None:
    """It is restarted because it failed everything at once. If that was the reason before, that restart did not help:
    its attempt has failed after all."""
    if worker.fast_stalls:
        worker.attempts_failed.append(now)
    worker.fast_stalls += 1
    worker.on_trial = True
