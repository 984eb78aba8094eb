"""The search over the pure core: it finds nothing where nothing is wrong, and it finds what is planted."""

import random
from collections.abc import Callable
from typing import Any, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from events.envelope import Recorded
from events.task import TaskCompleted, TaskRequeued
from events.worker import WorkerRecoveryProbed, WorkerStopped
from recovery import evolve_system, evolve_task, evolve_worker, lifecycle
from recovery.entities import Attempt, Beat, Run, Stall, Task, Worker
from recovery.evolve import HANDLERS
from recovery.state import State
from tests.simulation.exhaustive.__main__ import search as command
from tests.simulation.exhaustive.actions import ACTIONS, BY_NAME
from tests.simulation.exhaustive.decisions import SHAPES
from tests.simulation.exhaustive.encoding import encode, essence, in_order, thaw, unpack
from tests.simulation.exhaustive.roots import ROOTS, THEMES, played, theme
from tests.simulation.exhaustive.search import NO_ACTION, Finding, Plan, Sampling, Search
from tests.simulation.exhaustive.telling import told
from tests.simulation.exhaustive.world import World, whole_delays

ALL = tuple(ROOTS)
FAST = Sampling(indexes=4)
CLOSELY = Sampling(indexes=1, endings=20, twice=4, stale=4)


@pytest.mark.parametrize(
    ("plan", "at_least"),
    [
        (Plan(("empty",), depth_max=4, sampling=CLOSELY), 3_500),
        (Plan(ALL, depth_max=2, sampling=CLOSELY), 1_900),
        (Plan(ALL, depth_max=4, theme="repair", sampling=CLOSELY), 1_200),
        (Plan(ALL, depth_max=3, theme="retries", sampling=CLOSELY), 1_000),
        (Plan(ALL, depth_max=3, theme="leaders", sampling=CLOSELY), 1_200),
        (Plan(ALL, depth_max=3, theme="doubts", sampling=CLOSELY), 2_500),
        (Plan(ALL, depth_max=3, theme="useless", sampling=CLOSELY), 2_500),
    ],
    ids=["from an empty log", "from all roots", *THEMES],
)
def test_no_order_of_events_breaks_an_invariant(plan: Plan, at_least: int) -> None:
    result = Search(plan).run()
    assert result.finding is None, told(result.finding)
    assert result.depth == plan.depth_max
    assert result.states > at_least
    assert result.endings > at_least / (2 * CLOSELY.endings)


def test_two_processes_find_the_same_states() -> None:
    one, two = (Search(Plan(("farm",), depth_max=2, processes=processes)).run() for processes in (1, 2))
    assert (one.states, one.levels, one.depth, one.finding) == (two.states, two.levels, two.depth, two.finding)


def test_a_search_stops_where_it_is_told_to() -> None:
    result = Search(Plan(("farm",), states_max=100)).run()
    assert 100 <= result.states < 200
    assert result.depth == 1


# The encoding


@pytest.mark.parametrize("seed", range(60))
def test_an_encoded_world_has_the_same_future(seed: int) -> None:
    """One world goes on and on; the other is encoded, and built anew from that, before every single action."""
    chance = random.Random(seed)
    with whole_delays():
        lasting = played(ROOTS[chance.choice(ALL)], lasting=True)
        data = encode(lasting)
        changes = 0
        while changes < 40:
            number = chance.randrange(len(ACTIONS))
            lasting.coordinators = in_order(lasting)
            other = unpack(thaw(data))
            assert encode(other) == data
            done = [ACTIONS[number].play(world) for world in (lasting, other)]
            # What the other has forgotten of an incarnation that is over may seem news to it, and is none.
            assert bool(done[0]) == bool(done[1]) or ACTIONS[number].verb.__name__ in ("beat_late", "read_beats")
            assert essence(other) == essence(lasting), ACTIONS[number].name
            if other.unsaid is None:
                assert other.state.timers.due(other.now) == lasting.state.timers.due(lasting.now)
            data = encode(other)
            changes += any(done)


def test_the_encoding_knows_everything_there_is() -> None:
    """Whoever adds a field says here whether a future depends on it: then it is encoded, or else it is left out."""
    assert set(vars(unpack(thaw(encode(World.empty()))).state)) == set(vars(State()))
    encoded = {
        Worker: {
            *("status", "incarnation", "slots", "labels", "registered_at", "held", "suspected_beat", "attempt"),
            *("failed_incarnation", "attempts_failed", "attempts_ended", "recovered_at", "worker_id", "cut_off"),
            *("detector", "running", "revoked", "moved_at", "begun_sequence", "idled", "stall", "leaving"),
            *("cordons", "failure_reason", "rungs_failed", "exit_reason"),
            # No attempt fails at once: these are always as they were at first.
            *("row", "on_trial", "fast_stalls"),
            # Gauges show nothing, and attempts are few: so is this.
            "foresight",
        },
        Attempt: {"number", "strategy", "status", "incarnation", "not_before", "deadline", "answered", "error"},
        Task: {
            *("task_id", "run_id", "work", "priority", "infrastructure_retries", "verdict_retries", "requires"),
            *("queued_sequence", "status", "attempt", "worker_id", "incarnation", "infrastructure_used"),
            *("spared", "assigned_sequence"),
            *(
                "verdict_used",
                "result",
                "cancel_requested",
                "revoked",
                "verdict",
                "began",
                "forgotten",
                "replaced",
                "late",
            ),
            # No attempt lasts for so long: it is always False.
            "hung",
        },
        Beat: {"incarnation", "time", "sequence", "rules", "quiet_since", "free_since"},
        Run: set(),
        Stall: {"cause", "restart", "sequence"},
    }
    # So many deaths are needed that nobody is ever accused.
    poison = ("assigned_at", "deaths", "apart_at", "isolated", "condemned", "fingerprint", "stranded")
    left_out = {
        Worker: {
            *("ordinal", "host", "event_id", "exit_sequence", "exit_message", "failed_at"),
            # No policy calls any number of failures flapping.
            *("flaps", "flap_cordons", "flap_cordoned_until"),
            *("failure_id", "synthetic", "made_up", "machine", "lifeline", "hung_from"),
            "set_apart_for",
            *("unavailable", "exit_error"),
            "unsupervised",
        },
        # Both are of one priority, whose order is that of the queue's lanes.
        Task: {"timeout_s", "event_id", "synthetic", "submitted_at", *poison},
        Attempt: {"event_id", "reason", "acted"},
        Beat: set(),
        Run: {"since", "sequence"},
        Stall: {"since", "passed"},
    }
    for kind, names in encoded.items():
        assert set(get_type_hints(kind)) == names | left_out[kind]
        assert not names & left_out[kind]


def test_every_field_of_a_decision_is_kept_or_replaced() -> None:
    for shape in SHAPES:
        names, optional = shape.kind.__struct_fields__, shape.kind.__struct_defaults__
        required = set(names[: len(names) - len(optional)])
        assert required <= {*shape.fields, *shape.rest}, shape.kind


# What is planted


def around(kind: type[Any], after: Callable[[State, Any], None]) -> Callable[[pytest.MonkeyPatch], None]:
    """The core applies events of this kind, and then does something that it should not."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        original = HANDLERS[kind]

        def spoiled(state: State, recorded: Recorded, event: Any) -> bool:
            counts = original(state, recorded, event)
            if counts:
                after(state, event)
            return counts

        monkeypatch.setitem(HANDLERS, kind, spoiled)

    return plant


def requeued_and_forgotten(state: State, event: TaskRequeued) -> None:
    state.waiting.remove(state.tasks[event.task_id])


def budget_refunded(state: State, event: TaskRequeued) -> None:
    state.tasks[event.task_id].infrastructure_used = 0


def still_unsettled(state: State, event: TaskCompleted) -> None:
    task = state.tasks[event.task_id]
    if task.result is not None:
        task.status = "finished"
        state.unsettled[event.task_id] = None
        state.runs.setdefault(task.run_id, {})[event.task_id] = None


def answered_by_itself(state: State, event: WorkerRecoveryProbed) -> None:
    attempt = state.workers[event.worker_id].attempt
    assert attempt is not None
    attempt.answered = True
    state.timers.set(event.worker_id, 0.0)


def orphans_overlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recovery.core.owed_to_orphans", lambda *_: ())


def any_incarnation_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    original = evolve_worker.transition

    def lax(state: State, recorded: Recorded, worker_id: str, _: int | None, kind: type[Any]) -> Worker | None:
        return original(state, recorded, worker_id, None, kind)

    monkeypatch.setattr(evolve_worker, "transition", lax)


def late_results_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def lax(state: State, event: Any, kind: type[Any]) -> Any:
        task = state.tasks[event.task_id]
        status = lifecycle.TASK.get((task.status, kind))
        return None if status is None else (task, status)

    monkeypatch.setattr(evolve_task, "_current", lax)


def assigned_and_still_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recovery.queue.WaitingTasks.remove", lambda _waiting, _task: None)


def heartbeats_not_indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recovery.evolve.index_worker", lambda _state, _worker: None)


def stops_of_the_exited_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    without = {row: status for row, status in lifecycle.WORKER.items() if row != ("exited", WorkerStopped)}
    monkeypatch.setattr(evolve_worker, "WORKER", without)


def losses_leave_suspicions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    original = evolve_system._forget_beats

    def lax(state: State, recorded: Recorded, through: int) -> None:
        suspicions = {worker_id: worker.suspected_beat for worker_id, worker in state.workers.items()}
        original(state, recorded, through)
        for worker_id, beat in suspicions.items():
            state.workers[worker_id].suspected_beat = beat

    monkeypatch.setattr(evolve_system, "_forget_beats", lax)


def losses_prove_life(monkeypatch: pytest.MonkeyPatch) -> None:
    original = State.last_beat
    monkeypatch.setattr(
        State, "last_beat", lambda state, worker: original(state, worker) or state.presumed_beat(worker)
    )


def times_are_not_dated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evolve_system, "_date", lambda _worker, _now, _policy: None)


def heartbeats_bear_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(State, "silent_since", lambda state, beat: max(beat.time, state.watched_since))


def decisions_with_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recovery.core.owed_to_settle", lambda state: state.tasks_by_status.update(queued=1) or ())


PLANTED: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str, str]] = {
    "a requeued task is forgotten": (around(TaskRequeued, requeued_and_forgotten), "busy", ""),
    "a budget is refunded": (around(TaskRequeued, budget_refunded), "busy", "infrastructure"),
    "a verdict is given twice": (around(TaskCompleted, still_unsettled), "busy", ""),
    "nobody has to answer": (around(WorkerRecoveryProbed, answered_by_itself), "lost", "without an answer"),
    "orphans are overlooked": (orphans_overlooked, "busy", "it is not over"),
    "any incarnation will do": (any_incarnation_will_do, "probed", "the core takes"),
    "late results count": (late_results_count, "lost", "the core takes"),
    "a task is assigned and still waits": (assigned_and_still_waiting, "farm", ""),
    "heartbeats change no timer": (heartbeats_not_indexed, "farm", "AssertionError"),
    "an exited worker cannot stop": (stops_of_the_exited_ignored, "farm", "the core ignores WorkerStopped"),
    "to decide leaves a trace": (decisions_with_a_trace, "farm", "tasks are lost or made up"),
    "a loss leaves suspicions as they are": (losses_leave_suspicions_alone, "suspect", "it is not over"),
    "a loss proves life": (losses_prove_life, "lost", "no heartbeat proves"),
    "a clock set back leaves deadlines where they were": (times_are_not_dated, "again", "it is not over"),
    "a heartbeat bears its time whatever the clock does": (heartbeats_bear_any_time, "busy", "it is not over"),
}


@pytest.mark.parametrize(("plant", "root", "words"), PLANTED.values(), ids=PLANTED)
def test_what_is_planted_is_found(
    monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], root: str, words: str
) -> None:
    plant(monkeypatch)
    result = Search(Plan((root,), depth_max=3, sampling=Sampling(indexes=4, endings=20))).run()
    assert result.finding is not None
    assert words in result.finding.message
    story = told(result.finding)
    assert story.splitlines()[-1] == f"violated: {result.finding.message}"


def test_without_the_fence_a_deposed_leader_does_harm() -> None:
    """The search would see it: with the fence, it finds nothing on the same paths."""
    plan = Plan(("lost",), states_max=8_000, sampling=FAST, theme="leaders", fenced=False)
    unfenced = Search(plan).run()
    assert unfenced.finding is not None
    fenced = Search(plan._replace(fenced=True, states_max=unfenced.states)).run()
    assert fenced.finding is None
    assert fenced.states >= unfenced.states
    verbs = [ACTIONS[number].verb.__name__ for number in unfenced.finding.actions if number != NO_ACTION]
    assert verbs[-1] == "append"
    assert verbs.index("decide_on_new_view") < len(verbs) - 2, "between deciding and appending, another was elected"


# The telling, and the command


def test_a_story_names_actions_events_and_what_is_violated() -> None:
    names = (*ROOTS["farm"], "elect 0", "start t1")
    story = told(Finding("nothing", "farm", tuple(BY_NAME[name] for name in names)))
    lines = story.splitlines()
    assert lines[0] == "  1. elect c1"
    assert "  8. elect c2" in lines
    assert any("task.assigned task_id=t1" in line for line in lines)
    assert lines[-1] == "violated: nothing"


@pytest.mark.parametrize("name", ROOTS)
def test_roots_are_possible(name: str) -> None:
    with whole_delays():
        world = played(ROOTS[name])
    assert world.state.ignored.total() == 0


@pytest.mark.parametrize(
    ("root", "names", "kind"),
    [
        ("followed", ("tick", "beat w2"), "system.watch_continued"),
        ("deaf", ("beat w1",), "cause=not_obeyed"),
        ("idle", ("beat w1",), "task.revoked"),
        ("idle", ("beat w1", "give back t1"), "cause=not_started"),
        ("idle", ("beat w1", "start t1", "forget t1"), "reason=lost budget=infrastructure"),
    ],
)
def test_what_is_rare_is_near_a_root(root: str, names: tuple[str, ...], kind: str) -> None:
    actions = tuple(BY_NAME[name] for name in (*ROOTS[root], *names))
    assert kind in told(Finding("nothing", root, actions))


def test_themes_leave_most_out() -> None:
    assert len(theme(None)) == len(ACTIONS) == len(BY_NAME)
    for name in THEMES:
        assert len(theme(name)) < len(ACTIONS) / 2


@pytest.fixture
def run() -> Callable[..., Any]:
    app = typer.Typer()
    app.command()(command)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_the_command_reports(run: Callable[..., Any]) -> None:
    answer = run("--states", "1000000", "--depth", "2", "--root", "empty", "--processes", "2")
    assert answer.exit_code == 0, answer.output
    assert f"{Search(Plan(('empty',), depth_max=2)).run().states} distinct states" in answer.output
    assert "all orders of 2 actions" in answer.output
    assert "no violation" in answer.output


def test_the_command_fails_with_the_story_of_a_violation(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, root, _ = PLANTED["any incarnation will do"]
    plant(monkeypatch)
    answer = run("--root", root)
    assert answer.exit_code == 1
    assert "VIOLATION: the core takes WorkerExited(worker_id='w1', incarnation=1" in answer.output
    assert f"from the root {root!r}" in answer.output
    assert "16. exit late w1" in answer.output


@pytest.mark.parametrize("arguments", [("--root", "nowhere"), ("--theme", "none")])
def test_the_command_knows_its_names(run: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    answer = run(*arguments)
    assert answer.exit_code == 2
    assert arguments[1] in answer.output
