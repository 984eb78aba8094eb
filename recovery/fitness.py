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
"""How many kinds of work are kept in mind: those that came last."""

PASSED: frozenset[Outcome] = frozenset({"passed", "xfailed", "xpassed", "skipped"})
FAILED: frozenset[Outcome] = frozenset({"failed", "error", "crashed"})

Kind = tuple[str, ...]


def kind_of(work: AnyWork) -> Kind:
    """What two tasks have in common that can be expected to end alike on a broken worker."""
    if isinstance(work, CommandWork):
        return ("command", work.cwd, work.argv[0]) if work.kind is None else ("runner", work.kind, work.cwd)
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
    return any(mark.ends.bad(begins=mark.begins) - mark.bad_before > mark.own for mark in row.marks.values())


def passed_elsewhere(row: Row) -> int:
    """Attempts at such work since the row began. (Its own would have ended it.)"""
    return sum(mark.ends.good(begins=mark.begins) - mark.good_before for mark in row.marks.values())


def note_end(state: State, worker: Worker, task: Task, event: TaskAttemptFinished) -> bool:
    """Takes the end of an attempt into account. True: it says more about the worker than about the task."""
    outcome = event.outcome
    if outcome not in PASSED and outcome not in FAILED:
        return False
    assert task.work is not None
    kind = kind_of(task.work)
    ends = ends_of(state, kind)
    if event.unstartable:
        _fails_at_once(state, worker, task, kind, begins=True)
        return elsewhere(state, worker)
    ends.begun += 1
    if outcome in PASSED:
        ends.passed += 1
        worker.on_trial = False
        clear(state, worker)
        return False
    if event.duration_s > state.policy.fail_fast_within:
        _count_bad(state, worker, kind, begins=False)
        clear(state, worker)
        return False
    doubted = worker.on_trial or accused(state, worker)
    _fails_at_once(state, worker, task, kind, begins=False)
    return doubted and elsewhere(state, worker)


def _fails_at_once(state: State, worker: Worker, task: Task, kind: Kind, *, begins: bool) -> None:
    row = worker.row
    if row is None or failed_elsewhere(row):
        clear(state, worker)
        row = worker.row = Row()
    mark = row.marks.get((kind, begins))
    if mark is None:
        ends = ends_of(state, kind)
        mark = row.marks[kind, begins] = Mark(ends, begins, ends.good(begins=begins), ends.bad(begins=begins))
    _count_bad(state, worker, kind, begins=begins)
    mark.own += 1
    if begins or task.task_id not in row.tasks:
        # A test that is tried again and fails again is one. What cannot be begun is so whichever it is.
        row.tasks.append(task.task_id)
    if len(row.tasks) >= threshold(state, worker):
        state.accused[worker.worker_id] = None


def _count_bad(state: State, worker: Worker, kind: Kind, *, begins: bool) -> None:
    ends = ends_of(state, kind)
    if begins:
        ends.barred += 1
    else:
        ends.failed += 1
    for worker_id in list(state.accused):
        other = state.workers[worker_id]
        if other is worker or other.status == "stalled":
            continue  # one that is stalled for it is acquitted by the leader, in so many words
        if other.row is not None and (kind, begins) in other.row.marks:
            clear(state, other)


def clear(state: State, worker: Worker) -> None:
    """Nothing speaks against the worker any more."""
    if worker.row is not None:
        worker.row = None
        state.accused.pop(worker.worker_id, None)


def ends_of(state: State, kind: Kind) -> Ends:
    ends = state.ends.get(kind)
    if ends is None:
        ends = state.ends[kind] = Ends()
        if len(state.ends) > KINDS_MAX:
            state.ends.popitem(last=False)
    return ends


def note_restart(worker: Worker, now: float) -> None:
    """It is restarted because it failed everything at once. If that was the reason before, that restart did not help:
    its attempt has failed after all."""
    if worker.fast_stalls:
        worker.attempts_failed += (now,)
    worker.fast_stalls += 1
    worker.on_trial = True
