"""A state that was frozen and thawed is the state that it was, and goes on as that would have."""

import subprocess
import sys
import typing
from collections import Counter, OrderedDict, deque
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.policy import Override, Policy
from events.task import TaskAssigned, TaskStarted
from events.work import CommandWork
from recovery import frozen
from recovery.core import State, decide, evolve, next_due, observe
from recovery.decide_tasks import requeues_due
from recovery.detectors import ARRIVALS_MAX, Arrivals, Detector, Heard
from recovery.entities import Ends, Mark, Row, Task, Worker
from recovery.fitness import KINDS_MAX, ends_of
from recovery.forecasts.trend import ROW, Known, Trend
from recovery.frozen import AVAILABLE, Unreadable, freeze, thaw
from recovery.needs import stranding_due
from recovery.queue import ByPriority, WaitingTasks
from recovery.record import note
from recovery.standstill import stalls_at
from recovery.timers import Timers
from tests.recovery.checker import check
from tests.recovery.facts_of import differences, facts_of
from tests.recovery.nonsense import STEPS, Step
from tests.recovery.story import Story, policy_changed, registered, submitted
from tests.recovery.test_properties import SLOW, played

ROOT = Path(__file__).parents[2]
SLOW_WORKERS = Override(worker="w*", failed_after=60.0)
AHEAD_S = (0.0, 1.0, 7.0, 16.0, 61.0, 1_000.0)


@SLOW
@given(STEPS)
def test_what_is_thawed_is_what_was_frozen(steps: list[Step]) -> None:
    story = played(steps, checks=False)
    data = freeze(story.state)
    thawed = thaw(data)
    assert differences(story.state, thawed) == []
    check(thawed, story.now, budgets=not story.budgets_forged)
    for moment in AHEAD_S:
        assert decide(thawed, story.now + moment) == decide(story.state, story.now + moment)
    assert freeze(thaw(data)) == data, "and the same bytes again"
    # A state that has been asked may name an earlier time than is true; no time that is true may be missed.
    due, asked = next_due(thawed), story.now + AHEAD_S[-1]
    assert all(at <= asked or due <= at for timers in timers_of(story.state) for at in timers.times().values())
    assert due <= min(requeues_due(story.state), stranding_due(story.state), stalls_at(story.state))


def timers_of(state: State) -> list[Timers]:
    held = (getattr(state, field.name) for field in fields(state))
    return [one for one in held if isinstance(one, Timers)]


def test_what_was_tried_last_is_forgotten_last_behind_a_snapshot_too() -> None:
    state = State()
    for strategy in ("await", "reconnect", "await"):
        note(state.records, "silence", strategy, success=False)
    order = [("silence", "reconnect"), ("silence", "await")]
    assert list(state.records) == list(thaw(freeze(state)).records) == order


@SLOW
@given(STEPS, st.data())
def test_a_snapshot_and_the_tail_are_the_whole_log(steps: list[Step], data: st.DataObject) -> None:
    """Wherever the snapshot was taken, in whatever order both streams had been read by then."""
    story = played(steps, checks=False)
    taken = data.draw(st.integers(0, story.last), "events in the snapshot")
    heard = data.draw(st.integers(0, len(story.beats)), "heartbeats in it")
    whole, state = State(), State()
    _fold(story, state, taken, heard)
    state = thaw(freeze(state))
    for batch in story.batches:
        if batch.as_of_events >= taken and batch.as_of_heartbeats >= heard:
            _fold(story, state, batch.as_of_events, batch.as_of_heartbeats)
            assert tuple(decide(state, batch.decided_at)) == batch.decisions
    _fold(story, state, story.last, len(story.beats))
    _fold(story, whole, story.last, len(story.beats))
    # When something is due may be known more exactly, or less, by who has asked before.
    assert [name for name in differences(whole, state) if name != "timers"] == []
    assert decide(state, story.now) == decide(whole, story.now)


def _fold(story: Story, state: State, events: int, heartbeats: int) -> None:
    for recorded in story.records[state.events_sequence : events]:
        evolve(state, recorded)
    for beat in story.beats[state.heartbeats_sequence : heartbeats]:
        observe(state, beat)


def test_every_field_is_taken() -> None:
    """Of the state and of all records that hang on it: none is left as it is in a new one."""
    sample = Sample()
    worker, task = sample.of(Worker), sample.of(Task)
    state = State()
    for name, kind in get_type_hints(State).items():
        if kind in (ByPriority, WaitingTasks):
            getattr(state, name).add(task)
        elif name not in {AVAILABLE, "workers", "tasks", "rules"}:
            setattr(state, name, sample.of(kind))
    state.workers, state.tasks = {worker.worker_id: worker}, {task.task_id: task}
    state.rules.change(7, Policy(heartbeat_interval=1.5), 1.25)
    state.available = {3: OrderedDict({worker.worker_id: worker})}
    worker.detector = state.rules.detector(worker.worker_id, worker.labels)
    new = State()
    for field in fields(State):
        assert facts_of(getattr(state, field.name)) != facts_of(getattr(new, field.name)), field.name
    assert differences(state, thaw(freeze(state))) == []


class Sample:
    """Makes a value of any type of which a state consists, each another one, and none that is a default."""

    def __init__(self) -> None:
        self._count = 0

    def of(self, kind: Any) -> Any:
        self._count += 1
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is typing.Annotated:
            return self.of(arguments[0])
        if origin is Literal:
            return arguments[len(arguments) // 2]
        if origin is Counter:
            return Counter({self.of(arguments[0]): self._count})
        if origin in (dict, OrderedDict):
            return origin({self.of(arguments[0]): self.of(arguments[1])})
        if origin in (list, frozenset, set, deque):
            return origin([self.of(arguments[0])])
        if origin is tuple:
            return (self.of(arguments[0]),) if Ellipsis in arguments else tuple(self.of(one) for one in arguments)
        if origin is not None:  # one of several
            return self.of(next(one for one in arguments if one is not type(None)))
        return self._plain(kind)

    def _plain(self, kind: Any) -> Any:
        simple: dict[Any, Any] = {
            int: self._count,
            float: self._count + 0.5,
            str: f"s{self._count}",
            bool: True,
            bytes: b"%d" % self._count,
            None: None,
            type(None): None,
            Policy: Policy(infrastructure_retries=self._count % 90, overrides=(SLOW_WORKERS,)),
            Arrivals: Arrivals.of(Heard(self._count, [1.5, 2.5], [self._count, self._count + 1])),
            Trend: Trend.of(Known(self._count, 1, 2, self._count, bytes([self._count % 256] * ROW.size))),
            Timers: Timers.of({f"s{self._count}": self._count + 0.5}),
            Detector: None,
            Ends: Ends(*([self._count] * 4)),
        }
        if kind in simple:
            return simple[kind]
        hints = get_type_hints(kind)
        if is_dataclass(kind) or hasattr(kind, "_fields"):
            return kind(**{name: self.of(hint) for name, hint in hints.items()})
        assert issubclass(kind, msgspec.Struct), f"of what shall a {kind} be made?"
        required = (one for one in msgspec.structs.fields(kind) if one.required)
        return kind(**{one.name: self.of(one.type) for one in required})


def test_the_sample_leaves_no_default() -> None:
    """Without that the test above could not fail."""
    sample = Sample()
    for kind in (Worker, Task):
        made = sample.of(kind)
        for field in fields(kind):
            if field.default is not MISSING and field.name != "detector":
                assert getattr(made, field.name) != field.default, field.name


def test_counts_of_a_kind_of_work_go_on_being_shared() -> None:
    story = Story(Policy(fail_fast_tasks=2))
    story.tell(registered("w1"), registered("w2"), submitted("t1"), submitted("t2"))
    story.beat("w1", "w2")
    for assigned in story.told(TaskAssigned):
        story.start(assigned.task_id)
    failing = story.told(TaskAssigned)[0].task_id
    story.tell(story.finished(failing, "failed", 0.1))
    worker = next(worker for worker in story.state.workers.values() if worker.row is not None)
    thawed = thaw(freeze(story.state))
    row = thawed.workers[worker.worker_id].row
    assert row is not None
    ((kind, _), mark) = next(iter(row.marks.items()))
    assert mark.ends is thawed.ends[kind]
    assert story.told(TaskStarted), "or nothing has been tested"


def test_counts_that_were_dropped_meanwhile_are_not_taken_for_new_ones() -> None:
    state = State()
    worker = Sample().of(Worker)
    worker.detector = state.rules.detector(worker.worker_id, worker.labels)
    kind = ("command", "/", "true")
    old = ends_of(state, kind)
    old.failed = 7
    worker.row = Row({(kind, False): Mark(old, False, 0, 7)}, ["t1"])
    state.workers[worker.worker_id] = worker
    for number in range(KINDS_MAX):
        ends_of(state, ("command", "/", str(number)))
    ends_of(state, kind).failed = 1
    thawed = thaw(freeze(state))
    row = thawed.workers[worker.worker_id].row
    assert row is not None
    assert row.marks[kind, False].ends == old
    assert thawed.ends[kind].failed == 1


@pytest.mark.parametrize("count", [0, 1, ARRIVALS_MAX - 1, ARRIVALS_MAX, ARRIVALS_MAX + 1, 3 * ARRIVALS_MAX + 5])
def test_arrivals_go_on_where_they_were(count: int) -> None:
    arrivals = Arrivals(7)
    for number in range(1, count + 1):
        arrivals.add(number * 2.0, number)
    again = Arrivals.of(arrivals.heard())
    for one in (arrivals, again):
        assert one.times() == [number * 2.0 for number in range(max(1, count - ARRIVALS_MAX + 1), count + 1)]
        assert one.full == (count >= ARRIVALS_MAX)
        one.add(1_000.0, 1_000)
    assert again.times() == arrivals.times()
    assert again.unbroken_since(2.0) == arrivals.unbroken_since(2.0)


def test_more_arrivals_than_are_remembered_are_refused() -> None:
    with pytest.raises(ValueError, match="33 arrivals"):
        Arrivals.of(Heard(7, [1.0] * (ARRIVALS_MAX + 1), [1] * (ARRIVALS_MAX + 1)))
    with pytest.raises(ValueError, match="1 arrivals with 2 sequences"):
        Arrivals.of(Heard(7, [1.0], [1, 2]))
    with pytest.raises(ValueError, match="8 bytes of 1 samples"):
        Trend.of(Known(7, 1, 2, 3, bytes(8)))


def test_former_rules_are_still_held_to() -> None:
    story = Story()
    for number in range(12):
        story.tell(
            policy_changed(Policy(failed_after=15.0 + number, overrides=(Override(worker="w2", failed_after=60.0),)))
        )
    story.tell(registered("w1"))
    thawed = thaw(freeze(story.state))
    assert facts_of(thawed.rules) == facts_of(story.state.rules)
    for known in range(story.last + 1):
        one = story.state.rules.patient_detector("w1", {}, known)
        assert thawed.rules.patient_detector("w1", {}, known).thresholds == one.thresholds


def _broken() -> list[bytes]:
    story = Story()
    story.join("w1")
    whole = msgspec.msgpack.decode(freeze(story.state))
    nobody = msgspec.msgpack.encode({**whole, "available": {0: ["w7"]}})
    number = msgspec.msgpack.encode({**whole, "term": "one"})
    (heard,) = whole["arrivals"].values()
    arrivals = msgspec.msgpack.encode({**whole, "arrivals": {"w1": [heard[0], [1.0] * 40, [1] * 40]}})
    return [b"", b"{}", freeze(story.state)[:-1], msgspec.msgpack.encode({}), nobody, number, arrivals]


@pytest.mark.parametrize("data", _broken())
def test_bytes_that_are_no_state_are_refused(data: bytes) -> None:
    with pytest.raises(Unreadable, match="not a state of this version"):
        thaw(data)


def test_what_nobody_knows_how_to_write_or_read_is_refused() -> None:
    with pytest.raises(TypeError, match="how to write a object"):
        frozen._written(object())
    with pytest.raises(TypeError, match="how to read a"):
        frozen._read(object, None)


def test_another_process_writes_the_same_bytes() -> None:
    """The order of a set of strings, say, is another in each process."""
    script = "from tests.recovery.test_frozen import mixed; import hashlib; print(hashlib.sha256(mixed()).hexdigest())"
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def mixed() -> bytes:
    """Of a state in which there is some of everything."""
    story = Story(Policy(fail_fast_tasks=2))
    for number in range(6):
        story.join(f"w{number}", slots=2, labels={"zone": str(number), "gpu": "yes"})
    story.tell(*(submitted(f"t{number}", requires={"gpu": "yes"}, priority=number % 3) for number in range(30)))
    held = [task_id for task_id, task in story.state.tasks.items() if task.status == "assigned"]
    for task_id in held[:8]:
        story.start(task_id)
    story.finish(held[0], "failed", 0.1)
    story.wait(20.0, "w1", "w3")
    return freeze(story.state)


def test_work_is_kept_for_tasks_that_wait() -> None:
    story = Story()
    work = CommandWork(argv=("true", "--all"), cwd="/srv")
    story.tell(submitted("t1").__class__(task_id="t9", run_id="r1", work=work))
    assert thaw(freeze(story.state)).tasks["t9"].work == work
