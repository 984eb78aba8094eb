"""Looks at a whole state and recomputes from scratch, slowly, what its indexes claim to know.

Nothing of `recovery.indexes` is used here: the two must agree, and neither may lean on the other.
"""

from collections import Counter

from events.forecast import WorkerFailurePredicted, WorkerPredictionJudged
from events.system import DetectorDegraded
from events.task import TaskHung, TaskRevoked
from events.worker import WorkerCordoned, WorkerDrainRequested, WorkerRecoveryStarted, WorkerStalled, WorkerStallRefuted
from recovery.decide_forecast import owed_to_forecasts
from recovery.decide_repairs import owed_to_repairs
from recovery.decide_useless import owed_to_useless
from recovery.decide_workers import owed_to_worker, owed_to_workers
from recovery.decisions import infrastructure_retries, verdict_retries
from recovery.entities import Task, Worker
from recovery.forecasts import BLOCK
from recovery.foresight import foreseen_at, foreseen_by_gauges, forestalled_at
from recovery.overdue import useless_at
from recovery.state import State
from recovery.timers import NEVER

WORD_COUNTS = ("alive", "suspect", "stalled", "draining")
EXPECTED = ("alive", "suspect", "stalled", "exited", "failed")
LOOK_AHEAD = (0.0, 1.0, 5.9, 7.0, 14.0, 16.0, 31.0, 61.0, 100_000.0)
"""Seconds from now at which the index must not have missed anything."""

STATUSES = ("queued", "isolated", "assigned", "running", "finished", "returned", "final")


def check(state: State, now: float, *, budgets: bool = True) -> None:
    """Raises AssertionError where the state contradicts itself. `now`: not before any time that it has decided at."""
    _check_tasks(state)
    _check_queue(state)
    _check_workers(state)
    _check_apart(state)
    _check_needs(state)
    _check_availability(state)
    _check_timers(state, now)
    _check_useless(state, now)
    _check_effects(state)
    _check_repairs(state, now)
    _check_outage(state)
    _check_foresight(state, now)
    if budgets:
        _check_budgets(state)


def lost(state: State, task: Task) -> bool:
    """Whether whoever has the task cannot speak for it any more."""
    if task.status not in ("assigned", "running"):
        return False
    worker = state.workers.get(task.worker_id or "")
    return worker is None or worker.incarnation != task.incarnation or worker.status not in WORD_COUNTS


def _check_tasks(state: State) -> None:
    counted = Counter(task.status for task in state.tasks.values())
    assert +state.tasks_by_status == counted, f"{state.tasks_by_status} is not {counted}"
    assert not -state.tasks_by_status, f"negative counts: {state.tasks_by_status}"
    assert sum(counted.values()) == len(state.tasks)
    assert set(counted) <= set(STATUSES)
    open_runs: dict[str, set[str]] = {}
    for task_id, task in state.tasks.items():
        assert task.task_id == task_id
        final = task.status == "final"
        assert final == (task.verdict is not None) == (task.work is None), task
        assert task.status != "finished" or task.result is not None, task
        if task.status in ("assigned", "running", "finished", "returned"):
            assert task.attempt > 0, task
            assert task.worker_id is not None, task
        if not final:
            open_runs.setdefault(task.run_id, set()).add(task_id)
    assert {run_id: set(tasks) for run_id, tasks in state.runs.items()} == open_runs
    assert set(state.orphaned) == {
        task.task_id for task in state.tasks.values() if lost(state, task) and not _unwanted(task)
    }
    assert set(state.unsettled) == {task.task_id for task in state.tasks.values() if _unsettled(state, task)}


def _unwanted(task: Task) -> bool:
    return task.cancel_requested or task.late is not None


def _unsettled(state: State, task: Task) -> bool:
    if task.status in ("finished", "returned"):
        return True
    if not _unwanted(task) or task.status == "final":
        return False
    return task.status in ("queued", "isolated") or lost(state, task) or not task.revoked


def _check_queue(state: State) -> None:
    ageing = state.policy.priority_ageing
    bands: dict[int, list[Task]] = {}
    suspects = {
        task.task_id
        for task in state.tasks.values()
        if (task.status == "queued" and len(task.deaths) >= state.policy.poison_deaths)
        or (task.status == "isolated" and not task.apart_at)
    }
    assert set(state.suspects) == suspects
    waiting = [task for task in state.tasks.values() if task.status == "queued" and task.task_id not in suspects]
    for task in sorted(waiting, key=lambda task: (task.attempt == 0, task.queued_sequence)):
        bands.setdefault(task.priority, []).append(task)
    expected = []
    while any(bands.values()):
        heads = [band[0] for band in bands.values() if band]
        head = min(heads, key=lambda task: (task.submitted_at / ageing - task.priority, -task.priority))
        expected.append(bands[head.priority].pop(0))
    assert list(state.waiting.in_order(ageing=ageing)) == expected
    assert len(state.waiting) == len(waiting)
    lost_ids = list(state.orphaned)
    priorities = [state.tasks[task_id].priority for task_id in lost_ids]
    assert priorities == sorted(priorities, reverse=True)
    assert len(state.orphaned) == len(set(lost_ids))
    assert all(task_id in state.orphaned for task_id in lost_ids)


def _check_workers(state: State) -> None:
    workers = state.workers.values()
    assert state.workers_live == sum(worker.status in ("alive", "suspect") for worker in workers)
    assert state.workers_expected == sum(worker.status in EXPECTED for worker in workers)
    held: dict[str, set[str]] = {worker_id: set() for worker_id in state.workers}
    for task in state.tasks.values():
        if task.status in ("assigned", "running") and not lost(state, task):
            assert task.worker_id is not None
            held[task.worker_id].add(task.task_id)
    assert {worker_id: set(worker.held) for worker_id, worker in state.workers.items()} == held
    for worker in workers:
        assert set(worker.running) == {one for one in worker.held if state.tasks[one].status == "running"}
        assert set(worker.revoked) == {one for one in worker.held if state.tasks[one].revoked}
        assert worker.status != "stalled" or worker.stall is not None
    assert set(state.flapping) == {worker.worker_id for worker in workers if _flaps(state, worker)}
    assert set(state.accused) <= {worker.worker_id for worker in workers if worker.row is not None}
    assert all(not worker.row for worker in workers if worker.status not in WORD_COUNTS)
    missing = {worker.worker_id: worker.made_up for worker in state.workers.values() if worker.status == "exited"}
    missing |= {worker.worker_id: worker.synthetic for worker in state.workers.values() if worker.status == "failed"}
    assert state.made_up == {worker_id: label for worker_id, label in missing.items() if label is not None}


def _flaps(state: State, worker: Worker) -> bool:
    pausing = "flapping" in worker.cordons or worker.status in ("permanent", "stopped")
    return len(worker.flaps) >= state.policy.flap_failures and not pausing


def _check_apart(state: State) -> None:
    """Who is set apart has nothing but the task that it is set apart for, once that has begun to be its own."""
    apart = {worker.worker_id: worker.set_apart_for for worker in state.workers.values() if worker.set_apart_for}
    assert state.set_apart == apart
    assert len(set(apart.values())) == len(apart)
    for worker_id, task_id in apart.items():
        task, worker = state.tasks[task_id], state.workers[worker_id]
        if task.status == "isolated":
            assert (task.apart_at, task_id in worker.held) == (worker_id, False)
        else:
            assert task.isolated
            assert task_id in worker.held
    for task in state.tasks.values():
        if task.apart_at:
            assert task.status == "isolated"
            assert state.workers[task.apart_at].set_apart_for == task.task_id
        assert not task.deaths or task.status == "final" or task.task_id in state.accused_tasks
    assert all(state.tasks[task_id].status == "queued" for task_id in state.barred)


def _check_needs(state: State) -> None:
    """Of the labels that something waits for, it is known whether any expected worker has them."""
    waiting: dict[tuple[tuple[str, str], ...], set[str]] = {}
    for task in state.tasks.values():
        if task.requires and task.status in ("queued", "isolated"):
            waiting.setdefault(task.requires, set()).add(task.task_id)
    assert {requires: set(need.tasks) for requires, need in state.needs.items()} == waiting
    sets = Counter(
        tuple(sorted(worker.labels.items()))
        for worker in state.workers.values()
        if worker.status in EXPECTED and worker.labels
    )
    assert +state.expected_labels == sets
    for requires, need in state.needs.items():
        assert set(need.unsaid) == {task_id for task_id in need.tasks if not state.tasks[task_id].stranded}
        assert (need.unmet_since is None) == any(set(requires) <= set(labels) for labels in sets)
    unmet = {requires for requires, need in state.needs.items() if need.unsaid and need.unmet_since is not None}
    assert set(state.unmet) == unmet


def _check_availability(state: State) -> None:
    levels: dict[int, set[str]] = {}
    labels: dict[int, Counter[tuple[str, str]]] = {}
    slots = 0
    for worker_id, worker in state.workers.items():
        able = worker.status == "alive" and worker.attempt is None and not worker.cordons
        if able and not worker.set_apart_for:
            level = len(worker.held) // worker.slots
            levels.setdefault(level, set()).add(worker_id)
            if worker.labels:
                labels.setdefault(level, Counter()).update(worker.labels.items())
            slots += worker.slots
    assert {level: set(workers) for level, workers in state.available.items()} == levels
    assert all(state.workers[key] is one for workers in state.available.values() for key, one in workers.items())
    assert state.available_labels == labels
    assert state.slots == slots


def _check_timers(state: State, now: float) -> None:
    """Whoever owes something is found by the index in time, and whoever is found has something to say."""
    found = sorted((decision.event for decision in owed_to_workers(state, now)), key=repr)
    owed = [decision for worker in state.workers.values() if (decision := owed_to_worker(state, worker, now))]
    assert len(state.timers.due(now)) == len(owed)
    if any(decision.overdue for decision in owed) and _all_silent(state, now):
        owed = [decision for decision in owed if not decision.overdue]
        doubts = [event for event in found if isinstance(event, DetectorDegraded)]
        assert [event.reason for event in doubts] == ["mass_silence"]
        found.remove(doubts[0])
    assert found == sorted((decision.event for decision in owed), key=repr)
    surfacing = state.timers.next()
    for worker_id, worker in state.workers.items():
        at = state.timers.get(worker_id)
        assert at <= now or surfacing <= at
        for moment in LOOK_AHEAD:
            if owed_to_worker(state, worker, now + moment) is not None:
                assert at <= now + moment, f"{worker} owes something before {at}"


def _check_outage(state: State) -> None:
    gone = {
        key for key, one in state.workers.items() if one.status in EXPECTED and one.status not in ("alive", "suspect")
    }
    assert set(state.missing) == gone
    assert set(state.lost_lately) <= set(state.workers)
    sequences = [lost.sequence for lost in state.lost_lately.values()]
    assert sequences == sorted(sequences)
    outage = state.outage
    if outage is None:
        return
    assert set(outage.together) <= set(outage.missing) <= set(state.workers)
    assert outage.uncharged <= outage.requeued
    for stage in outage.stages:
        assert len(stage.open) + stage.succeeded + stage.failed + stage.superseded == len(stage.workers), stage
        assert set(stage.open) <= set(state.attempts)
        assert (stage.ended_at is None) == bool(stage.open)
    assert not any(stage.open for stage in outage.stages[:-1])
    assert outage.failures.total() == outage.failed


def _check_repairs(state: State, now: float) -> None:
    """Attempts that only wait begin at their time; of the others only so many are under way."""
    attempts = {name: worker.attempt for name, worker in state.workers.items() if worker.attempt is not None}
    assert set(state.attempts) == set(attempts)
    acting = {name: attempt for name, attempt in attempts.items() if attempt.strategy not in ("await", "escalate")}
    under_way = {name for name, attempt in acting.items() if attempt.status != "scheduled"}
    assert set(state.repairing) == under_way
    waiting = {name: one.not_before for name, one in acting.items() if one.status == "scheduled"}
    wanted = {name for name, one in state.workers.items() if one.status == "failed" and not one.leaving}
    waiting = {name: at for name, at in waiting.items() if name in wanted and not acting[name].error}
    assert len(state.repairs) == len(waiting)
    surfacing = state.repairs.next()
    for name, at in waiting.items():
        assert state.repairs.get(name) == at
        assert at <= now or surfacing <= at
    breaker = state.breaker
    assert breaker.failed == sum(end.failed for end in breaker.ends.values())
    assert state.alarms.get("breaker") == (breaker.until if breaker.status == "open" else NEVER)
    assert not breaker.probe or breaker.status == "half_open"
    assert breaker.probe_failed is not None or not breaker.probe or breaker.probe in attempts
    begun = [one.event for one in owed_to_repairs(state, now) if isinstance(one.event, WorkerRecoveryStarted)]
    room = max(1, int(state.policy.repairs_share * state.workers_expected + 1e-6)) - len(under_way)
    assert len(begun) <= (max(0, room) if breaker.status == "closed" else 1)


def _check_useless(state: State, now: float) -> None:
    """Nobody is due who is not known to be, and whoever is due has something to explain."""
    surfacing = state.useless.next()
    for worker_id, worker in state.workers.items():
        at = state.useless.get(worker_id)
        assert at == useless_at(state, worker), f"{worker} owes an explanation from {useless_at(state, worker)}"
        assert at <= now or surfacing <= at
    decisions = list(owed_to_useless(state, now))
    about = Counter(
        decision.event.worker_id
        for decision in decisions
        if isinstance(decision.event, WorkerStalled | WorkerStallRefuted)
    )
    assert all(count == 1 for count in about.values()), decisions
    for decision in decisions:
        event = decision.event
        assert isinstance(event, WorkerStalled | WorkerStallRefuted | TaskRevoked | TaskHung)
        assert state.workers[event.worker_id].incarnation == event.incarnation
        if isinstance(event, TaskRevoked):
            task = state.tasks[event.task_id]
            assert (task.worker_id, task.attempt, task.revoked) == (event.worker_id, event.attempt, False)
            assert not _unwanted(task)


def _check_effects(state: State) -> None:
    """Whoever is owed an act is known, and what has failed lately is what attempts have failed of."""
    for worker_id, worker in state.workers.items():
        attempt = worker.attempt
        started = worker.status == "failed" and attempt is not None and attempt.status == "started"
        owed = started and attempt is not None and attempt.strategy not in ("await", "restart")
        assert (worker_id in state.effects) == (
            owed and attempt is not None and not attempt.acted and not attempt.error
        ), worker
        assert all(rung.at in worker.attempts_ended for rung in worker.rungs_failed), worker
    assert set(state.effects) <= set(state.workers)
    assert all(record.succeeded + record.failed < 100 for record in state.records.values())


def _check_foresight(state: State, now: float) -> None:
    """What is foreseen is what the samples foresee; whoever is due has something to be said of it, and said once."""
    blocks = [one.foresight.attempts.last for one in state.workers.values()]
    counted = [block.bad for block in blocks if block is not None]
    assert (state.farm_attempts.bad, state.farm_attempts.count) == (sum(counted), BLOCK * len(counted))
    for worker_id in state.trends:
        assert state.outlooks.get(worker_id, ()) == tuple(foreseen_by_gauges(state, worker_id))
    assert set(state.outlooks) <= set(state.trends)
    surfacing = state.omens.next()
    for worker_id, worker in state.workers.items():
        at = state.omens.get(worker_id)
        assert at == foreseen_at(state, worker), (
            f"something is to be said of {worker} from {foreseen_at(state, worker)}"
        )
        assert at <= now or surfacing <= at
    decisions = [decision.event for decision in owed_to_forecasts(state, now)]
    said = Counter(
        (event.worker_id, event.resource)
        for event in decisions
        if isinstance(event, WorkerFailurePredicted | WorkerPredictionJudged)
    )
    assert all(count == 1 for count in said.values()), decisions
    assert {worker_id for worker_id, _ in said} == set(state.omens.due(now))
    surfacing = state.foretold.next()
    for worker_id, worker in state.workers.items():
        at = state.foretold.get(worker_id)
        assert at == forestalled_at(state, worker)
        assert at <= now or surfacing <= at
    assert all(state.workers[worker_id].status in ("draining", "exited") for worker_id in state.renewing)
    orders = [event for event in decisions if isinstance(event, WorkerDrainRequested | WorkerCordoned)]
    assert len(orders) <= 1
    for order in orders:
        assert state.may_repair
        assert not state.incidents
        assert state.workers[order.worker_id].status == "alive"
        assert any(other.status == "alive" for name, other in state.workers.items() if name != order.worker_id)


def _all_silent(state: State, now: float) -> bool:
    """Whether two live workers or more were heard since the observer last began anew, and none of them lately."""
    heard: list[float] = []
    beats: list[float] = []
    for worker in state.workers.values():
        if worker.status in WORD_COUNTS:
            heard.append(worker.registered_at)
            beat = state.newest_beat(worker)
            if beat is not None:
                heard.append(beat.time)
                if beat.sequence > state.watched_beat:
                    beats.append(beat.time)
    live = sum(worker.status in WORD_COUNTS for worker in state.workers.values())
    silent = all(moment <= now - state.rules.suspect_after_min for moment in heard)
    return live >= 2 and silent and max(beats, default=0.0) > state.watched_since


def _check_budgets(state: State) -> None:
    for task in state.tasks.values():
        assert task.infrastructure_used <= infrastructure_retries(state.policy, task.infrastructure_retries), task
        assert task.verdict_used <= verdict_retries(state.policy, task.verdict_retries), task
    for worker in state.workers.values():
        assert recent_failures(state, worker) <= state.policy.max_recovery_attempts, worker


def recent_failures(state: State, worker: Worker) -> int:
    if not worker.attempts_failed:
        return 0
    horizon = worker.attempts_failed[-1] - state.policy.recovery_attempts_window
    return sum(at > horizon for at in worker.attempts_failed)
