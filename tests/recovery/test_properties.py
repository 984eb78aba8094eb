"""What holds after any stream of events and heartbeats, sensible or not."""

import random
from collections import Counter
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.policy import Policy
from events.system import RecoveryResumed
from events.task import TaskCompleted
from events.worker import WorkerStopped
from recovery.core import State, decide, evolve, observe
from recovery.indexes import owes_at
from tests.recovery.nonsense import STEPS, Nonsense, Step
from tests.recovery.story import Story, policy_changed, registered, submitted

Coin = Callable[[], bool]

SLOW = settings(
    deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
SECONDS_MAX = 300
"""After the faults have stopped, every task has its verdict within this time."""


def played(steps: list[Step], *, checks: bool = True) -> Story:
    """The story checks the whole state after each event and each beat, and its leader as it decides."""
    story = Story(lead=False, checks=checks)
    nonsense = Nonsense(story)
    nonsense.settle(0, 0, 0)
    for step in steps:
        nonsense.play(step)
    return story


@SLOW
@given(STEPS, st.integers(0, 2**32))
def test_any_interleaving_of_the_two_streams_decides_the_same(steps: list[Step], seed: int) -> None:
    story = played(steps)
    chance = random.Random(seed)
    for beats_first in (lambda: False, lambda: True, lambda: chance.random() < 0.5):
        _decide_again(story, beats_first)


def _decide_again(story: Story, beats_first: Coin) -> None:
    """Folds from scratch to what each batch had seen, in an order of its own, and compares the decisions."""
    state = State()
    for batch in story.batches:
        _fold_to(story, state, batch.as_of_events, batch.as_of_heartbeats, beats_first)
        assert tuple(decide(state, batch.decided_at)) == batch.decisions
    _fold_to(story, state, story.last, len(story.beats), beats_first)
    assert decide(state, story.now) == decide(story.state, story.now)
    for name, value in vars(story.state).items():
        if name in ("timers", "useless", "repairs", "alarms", "omens", "foretold", "outlooks", "waiting", "ignored"):
            continue
        assert repr(getattr(state, name)) == repr(value), name
    assert state.outlooks == story.state.outlooks, "in whatever order"
    for worker_id in state.workers:
        assert state.useless.get(worker_id) == story.state.useless.get(worker_id)
        assert state.repairs.get(worker_id) == story.state.repairs.get(worker_id)
        assert owes_at(state, state.workers[worker_id]) == owes_at(story.state, story.state.workers[worker_id])


def _fold_to(story: Story, state: State, events: int, heartbeats: int, beats_first: Coin) -> None:
    while state.events_sequence < events or state.heartbeats_sequence < heartbeats:
        beat_is_left = state.heartbeats_sequence < heartbeats
        if beat_is_left and (state.events_sequence == events or beats_first()):
            observe(state, story.beats[state.heartbeats_sequence])
        else:
            evolve(state, story.records[state.events_sequence])


@SLOW
@given(STEPS)
def test_every_task_ends_once_the_faults_have_stopped(steps: list[Step]) -> None:
    story = played(steps)
    before = Counter(event.task_id for event in story.told(TaskCompleted))
    open_before = [task_id for task_id, task in story.state.tasks.items() if task.status != "final"]
    story.leading, story.checks = True, False
    story.tell(
        policy_changed(Policy()),
        RecoveryResumed(actor="alice"),
        submitted("last"),
        registered("healthy", slots=2, labels={"gpu": "yes", "os": "linux"}),
        registered("other", labels={"os": "plan9"}),
    )
    seconds = 0
    while any(task.status != "final" for task in story.state.tasks.values()):
        assert seconds < SECONDS_MAX, [task for task in story.state.tasks.values() if task.status != "final"]
        story.wait(1.0, "healthy", "other")
        seconds += 1
        _work_off(story)
    ended = Counter(event.task_id for event in story.told(TaskCompleted)) - before
    assert ended == Counter([*open_before, "last"]), "one verdict each, and none for those that had theirs"
    for worker_id in ("healthy", "other"):
        story.tell(WorkerStopped(worker_id=worker_id, incarnation=story.worker(worker_id).incarnation))
    story.wait(5_000.0)
    settled = story.last
    story.wait(5_000.0)
    assert story.last == settled, "in the end nothing is owed any more"


def _work_off(story: Story) -> None:
    for worker_id in ("healthy", "other"):
        for task_id in list(story.worker(worker_id).held):
            if story.task(task_id).status == "assigned":
                story.start(task_id)
            story.finish(task_id)


@SLOW
@given(STEPS, st.integers(1, 5))
def test_a_bounded_cycle_leaves_the_rest_owed(steps: list[Step], limit: int) -> None:
    """Whatever the bound, what is decided in small portions is what is owed: a prefix, and nothing is forgotten."""
    story = played(steps)
    whole = decide(story.state, story.now)
    assert decide(story.state, story.now, limit=limit) == whole[:limit]
