"""The parts that keep a cycle's cost in proportion to change, each against a naive model of itself."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.policy import Policy
from events.task import TaskAssigned
from recovery.entities import Task
from recovery.placement import Placement, rounds_ahead
from recovery.queue import WaitingTasks
from recovery.schedule import backoff_s, unit_hash
from recovery.timers import AT_ONCE, NEVER, Timers
from tests.recovery.story import WORK, Story, submitted

KEYS = ("a", "b", "c", "d")
TIMES = st.one_of(st.integers(0, 20).map(float), st.just(NEVER), st.just(AT_ONCE))
SETS = st.tuples(st.just("set"), st.sampled_from(KEYS), TIMES)
LOOKS = st.tuples(st.just("due"), st.just(""), st.integers(0, 22).map(float))


@given(st.lists(st.one_of(SETS, SETS, LOOKS), max_size=60))
def test_timers_are_a_map_from_key_to_time(steps: list[tuple[str, str, float]]) -> None:
    timers, model = Timers(), dict[str, float]()
    looked = -1.0
    for verb, key, value in steps:
        if verb == "set":
            timers.set(key, value)
            model[key] = value
        else:
            expected = sorted(((at, name) for name, at in model.items() if at <= value))
            assert timers.due(value) == [name for _, name in expected]
            looked = value
        for name in KEYS:
            assert timers.get(name) == model.get(name, NEVER)
        later = [at for at in model.values() if at not in (NEVER, AT_ONCE) and at > looked]
        assert timers.next() <= min(later, default=NEVER)
    assert timers.due(NEVER) == [name for _, name in sorted((at, name) for name, at in model.items() if at != NEVER)]


def test_putting_a_time_off_does_not_grow_the_heap() -> None:
    timers = Timers()
    for beat in range(10_000):
        timers.set("w1", 15.0 + beat)
    assert len(timers._heap) == 1
    assert timers.due(10_000.0) == []
    assert timers.next() == 15.0 + 9_999


def waiting_task(number: int, priority: int, attempt: int, label: int) -> Task:
    return Task(
        task_id=f"t{number}",
        run_id="r1",
        work=WORK,
        priority=priority,
        timeout_s=None,
        infrastructure_retries=None,
        verdict_retries=None,
        requires=(("label", str(label)),) if label else (),
        submitted_at=float(number),
        queued_sequence=number,
        event_id="",
        attempt=attempt,
    )


@given(
    st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 1), st.integers(0, 2), st.booleans()), max_size=40),
    st.sets(st.integers(0, 2)),
)
def test_waiting_tasks_are_a_sorted_list(entries: list[tuple[int, int, int, bool]], blocked: set[int]) -> None:
    waiting, model, gone = WaitingTasks(), list[Task](), list[Task]()
    for number, (priority, attempt, label, stays) in enumerate(entries):
        task = waiting_task(number, priority, attempt, label)
        waiting.add(task)
        waiting.add(task)
        if stays:
            model.append(task)
        else:
            waiting.remove(task)
            waiting.remove(task)
            gone.append(task)
    for task in reversed(gone[1:]):  # acquitted, but for the first one
        waiting.add(task)
        model.append(task)
    if gone[1:]:
        waiting.remove(gone[-1])
        model.remove(gone[-1])
    model.sort(key=lambda task: (-task.priority, task.attempt == 0, task.queued_sequence))
    assert list(waiting.in_order()) == model
    assert len(waiting) == len(model)
    groups: dict[object, Task] = {}
    for task in sorted(model, key=lambda task: task.queued_sequence):
        groups.setdefault((task.priority, task.attempt == 0, task.requires), task)
    assert {task.task_id for task in waiting.first_come()} == {task.task_id for task in groups.values()}
    barred = {waiting_task(0, 0, 0, label).requires for label in blocked}
    assert list(waiting.in_order(barred)) == [task for task in model if task.requires not in barred]


@pytest.mark.parametrize(
    ("ageing", "order"),
    [
        (inf, ["t3", "t5", "t1", "t4", "t0", "t2"]),
        (2.5, ["t3", "t1", "t5", "t0", "t4", "t2"]),
        (0.3, ["t0", "t1", "t2", "t3", "t4", "t5"]),
    ],
)
def test_25_whoever_waits_rises(ageing: float, order: list[str]) -> None:
    """Of six that are submitted a second apart, `ageing` seconds later for each step of priority are as good."""
    waiting = WaitingTasks()
    for number, priority in enumerate((0, 1, -1, 2, 1, 2)):
        waiting.add(waiting_task(number, priority, 0, 0))
    assert [task.task_id for task in waiting.in_order(ageing=ageing)] == order


def test_who_comes_back_and_goes_before_anybody_looks_leaves_nothing() -> None:
    waiting = WaitingTasks()
    tasks = [waiting_task(number, 0, 1, 0) for number in (2, 1)]
    for task in tasks:
        waiting.add(task)
    for task in tasks:
        waiting.remove(task)
    assert waiting.ids() == []


def test_what_was_requeued_goes_first_of_its_priority_however_late_it_came() -> None:
    waiting = WaitingTasks()
    for number, attempt in enumerate((0, 0, 1, 2)):
        waiting.add(waiting_task(number, 0, attempt, number % 2))
    waiting.add(waiting_task(9, 1, 0, 0))
    assert [task.task_id for task in waiting.in_order(ageing=4.0)] == ["t2", "t3", "t0", "t1", "t9"]


@given(st.lists(st.tuples(st.integers(-1, 1), st.integers(0, 3)), max_size=30), st.integers(0, 3))
def test_a_requirement_may_be_blocked_while_looking(entries: list[tuple[int, int]], label: int) -> None:
    waiting = WaitingTasks()
    for number, (priority, own) in enumerate(entries):
        waiting.add(waiting_task(number, priority, 0, own))
    requirement = waiting_task(0, 0, 0, label).requires
    blocked: set[tuple[tuple[str, str], ...]] = set()
    seen = []
    for task in waiting.in_order(blocked):
        seen.append(task)
        if task.requires == requirement:
            blocked.add(requirement)
    everything = list(waiting.in_order())
    first = next((task for task in everything if task.requires == requirement), None)
    assert seen == [task for task in everything if task.requires != requirement or task is first]


Farm = list[tuple[int, int, int]]
FARMS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=5)
"""Of each worker: slots, label, tasks that it holds already."""


def farm_of(workers: Farm) -> Story:
    story = Story(lead=False)
    for number, (slots, label, _) in enumerate(workers):
        story.join(f"w{number}", slots=slots, labels={"label": str(label)} if label else {})
    for number, (slots, _, held) in enumerate(workers):
        worker = story.worker(f"w{number}")
        for index in range(min(held, slots)):
            task = submitted(f"held-{number}-{index}")
            story.tell(task)
            story.tell(_assigned(story, f"held-{number}-{index}", worker.worker_id))
    return story


def _assigned(story: Story, task_id: str, worker_id: str) -> TaskAssigned:
    incarnation = story.worker(worker_id).incarnation
    return TaskAssigned(task_id=task_id, worker_id=worker_id, incarnation=incarnation, attempt=1, work=WORK)


@given(FARMS, st.lists(st.integers(0, 2), max_size=12), st.integers(0, 2))
def test_placement_fills_the_room_and_no_more(workers: Farm, labels: list[int], ahead: int) -> None:
    story = farm_of(workers)
    state = story.state
    # As if each task took so long that `ahead` of them fill the time, and many more were waiting.
    state.seconds_per_task = state.policy.ahead / ahead if ahead else 0.0
    for number in range(2 * ahead * state.slots + len(labels)):
        state.waiting.add(waiting_task(1000 + number, -9, 0, 0))
    placement = Placement(state, story.now)
    load = {worker_id: len(worker.held) for worker_id, worker in state.workers.items()}
    room = {worker_id: worker.slots * (rounds_ahead(state) + 1) for worker_id, worker in state.workers.items()}
    blocked: set[int] = set()
    for number, label in enumerate(labels):
        task = waiting_task(number, 0, 0, label)
        if label in blocked:
            continue
        worker = placement.take(task)
        fitting = [
            one.worker_id
            for one in state.workers.values()
            if (not label or one.labels.get("label") == str(label)) and load[one.worker_id] < room[one.worker_id]
        ]
        if worker is None:
            # Either nobody fits, or whoever does has a full round and others have not: those come first.
            lowest = min((load[one] // state.workers[one].slots for one in load if load[one] < room[one]), default=0)
            assert all(load[one] // state.workers[one].slots > lowest for one in fitting)
            blocked.add(label)
            continue
        assert worker.worker_id in fitting
        level = load[worker.worker_id] // worker.slots
        assert all(load[one] // state.workers[one].slots >= level for one in fitting), "the least loaded first"
        load[worker.worker_id] += 1
    if placement.exhausted:
        assert all(load[one] >= room[one] for one in load)


def test_the_last_round_is_shared_out() -> None:
    story = farm_of([(2, 0, 0), (2, 0, 0)])
    state = story.state
    state.seconds_per_task = 0.001
    for waiting, rounds in ((0, 0), (7, 0), (8, 1), (17, 2), (100_000, 32)):
        while len(state.waiting) < waiting:
            state.waiting.add(waiting_task(len(state.waiting), 0, 0, 0))
        assert rounds_ahead(state) == rounds


@given(st.integers(1, 100), st.text(max_size=20))
def test_backoff_is_a_function_of_its_key(recent: int, key: str) -> None:
    policy = Policy()
    first = backoff_s(policy, recent, key)
    assert first == backoff_s(policy, recent, key)
    assert 0.0 <= first < min(policy.recovery_interval, policy.recovery_backoff * 2.0 ** (recent - 1))
    assert backoff_s(policy, 0, key) == 0.0


def test_jitter_is_spread_over_the_whole_time() -> None:
    drawn = sorted(unit_hash(f"w{number} 1 2 1") for number in range(1_000))
    assert drawn[0] >= 0.0
    assert drawn[-1] < 1.0
    for decile in range(1, 10):
        assert abs(drawn[decile * 100] - decile / 10) < 0.06


def test_jitter_is_the_same_everywhere() -> None:
    assert [round(unit_hash(key), 12) for key in ("", "w1", "w1 5 1 0")] == pytest.approx(GOLDEN_JITTER, abs=1e-12)


GOLDEN_JITTER = [0.89316751609, 0.946235927373, 0.593286437345]
