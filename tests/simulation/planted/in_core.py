"""Mistakes in the pure core: what is folded, what is decided, and when."""

from tests.simulation.planted.bug import Bug, bug

FOLD: tuple[Bug, ...] = (
    bug(
        "stale-result-taken",
        "A worker's word about a task is looked up by the task alone, so the end of a lost attempt counts for the one "
        "that has replaced it.",
        (
            "recovery.evolve_task:_current",
            """
            if task is None or event.attempt != task.attempt or event.worker_id != task.worker_id:
                return None
            if event.incarnation != task.incarnation or task.status in WAITING or orphaned(state, task):
                return None
            """,
            """
            if task is None or task.status in WAITING or orphaned(state, task):
                return None
            """,
        ),
    ),
    bug(
        "old-incarnation-judged",
        "What is said of a worker's former incarnation is applied to the present one.",
        (
            "recovery.evolve_worker:transition",
            "if worker is None or (incarnation is not None and incarnation != worker.incarnation):",
            "if worker is None:",
        ),
    ),
    bug(
        "renewal-keeps-tasks",
        "A worker that registers anew without having failed first keeps the tasks of the incarnation that is over.",
        ("recovery.evolve_worker:registered", "release_held(state, worker, recorded)", ""),
    ),
    bug(
        "suspicion-never-refuted",
        "A suspect that is heard again waits for a timer like any other worker, and each heartbeat puts that off.",
        (
            "recovery.indexes:silent_until",
            """
            if worker.status == "suspect" and beat.sequence > worker.suspected_beat:
                return AT_ONCE
            """,
            "",
        ),
    ),
    bug(
        "retries-not-counted",
        "A requeue is paid for in its event and never taken off the task's budget.",
        ("recovery.evolve_task:requeued", "task.infrastructure_used += 1", "pass"),
    ),
    bug(
        "label-forgotten",
        "The label of a made-up failure is not kept with the worker, so its recovery counts as a real one.",
        ("recovery.evolve_worker:failed", "worker.synthetic = recorded.synthetic", ""),
    ),
    bug(
        "no-failover-grace",
        "A new leader counts silence from the last heartbeat, although nobody had been watching.",
        (
            "recovery.evolve_system:leader_elected",
            "state.watched_since = state.taken_over = state.interrupted_at = recorded.time",
            "state.interrupted_at = recorded.time",
        ),
    ),
)

DECIDE: tuple[Bug, ...] = (
    bug(
        "requeue-dropped",
        "Tasks that their failed worker had not started are left for it to hand back.",
        (
            "recovery.decide_tasks:owed_to_orphans",
            'decision = _requeued(task, "worker_failed", "none", "worker failed before it started")',
            "continue",
        ),
    ),
    bug(
        "rate-not-kept",
        "The tasks of failed workers are put back as fast as they are lost, whatever the rate.",
        ("recovery.decide_tasks:owed_to_orphans", "if now < open_at(state.policy, until):", "if False:"),
    ),
    bug(
        "suspect-not-alone",
        "A task that has to run alone is given to the worker that is set apart for it while that has other tasks.",
        (
            "recovery.decide_apart:owed_isolations",
            "elif not worker.held and trusted(state, worker, now - state.rules.suspect_after_min):",
            "elif trusted(state, worker, now - state.rules.suspect_after_min):",
        ),
    ),
    bug(
        "apart-gets-work",
        "A worker that is set apart for a task counts as available for others.",
        (
            "recovery.indexes:load_level",
            "if not takes_work(worker) or worker.set_apart_for:",
            "if not takes_work(worker):",
        ),
    ),
    bug(
        "slot-given-twice",
        "The load of a worker is read from the state alone, without what the same cycle has given it already.",
        (
            "recovery.placement:Placement._charge",
            "load = self._load.get(worker.worker_id, len(worker.held)) + 1",
            "load = len(worker.held) + 1",
        ),
    ),
    bug(
        "draining-gets-work",
        "A draining worker counts as available, since it lives and beats.",
        (
            "recovery.indexes:takes_work",
            'return worker.status == "alive" and worker.attempt is None and not worker.cordons',
            'return worker.status in ("alive", "draining") and worker.attempt is None and not worker.cordons',
        ),
    ),
    bug(
        "silent-gets-work",
        "Work goes to every worker that is not suspect, also while judgement of the silent is withheld.",
        (
            "recovery.placement:trusted",
            "return (worker.registered_at if beat is None else beat.time) >= after",
            "return True",
        ),
    ),
    bug(
        "wrong-budget-charged",
        "The end of a worker is paid for with a verdict retry.",
        (
            "recovery.decide_tasks:_charge_infrastructure",
            'return _requeued(task, reason, "infrastructure", f"{what}: infrastructure retry left")',
            'return _requeued(task, reason, "verdict", f"{what}: infrastructure retry left")',
        ),
    ),
    bug(
        "backoff-ignored",
        "A scheduled attempt to bring a worker back is started as soon as it is seen.",
        ("recovery.indexes:index_attempt", "begins_at = attempt.not_before", "begins_at = AT_ONCE"),
        (
            "recovery.indexes:_recovery_owes_at",
            "return NEVER if acts(attempt) else attempt.not_before",
            "return NEVER if acts(attempt) else AT_ONCE",
        ),
        (
            "recovery.decide_workers:next_step",
            "waits = acts(attempt) or now < attempt.not_before",
            "waits = acts(attempt)",
        ),
    ),
    bug(
        "one-attempt-too-many",
        "The number of failed attempts is compared with the limit by > instead of >=.",
        (
            "recovery.decide_workers:_new_attempt",
            "if failures >= policy.max_recovery_attempts:",
            "if failures > policy.max_recovery_attempts:",
        ),
    ),
    bug(
        "failed-rung-climbed-again",
        "Every attempt begins at the bottom of the ladder, whatever has been tried before.",
        (
            "recovery.ladder:_without_tried",
            """
            if failed[rung.strategy] > 0:
                failed[rung.strategy] -= 1
                rungs[number] = _rejected(rung, "it has failed lately")
            else:
                untried.append(number)
            """,
            "untried.append(number)",
        ),
    ),
    bug(
        "drills-in-the-record",
        "Attempts that answer a made-up failure count in the record of their strategy.",
        (
            "recovery.evolve_attempt:_note_in_record",
            "if recorded.synthetic is None and attempt.strategy not in worker.unavailable:",
            "if attempt.strategy not in worker.unavailable:",
        ),
    ),
    bug(
        "permanent-failure-does-not-bind",
        "A worker that was given up is taken back when it registers again.",
        (
            "recovery.evolve_worker:registered",
            "status = WORKER[worker.status, WorkerRegistered]",
            'status: WorkerStatus = "alive"',
        ),
    ),
    bug(
        "queued-cancel-ignored",
        "A cancellation is only filed for tasks that a worker has, and one that waits is passed over for ever.",
        (
            "recovery.indexes:index_task",
            'and (task.status in WAITING or orphan or (task.status in ("assigned", "running") and not task.revoked))',
            'and (orphan or (task.status in ("assigned", "running") and not task.revoked))',
        ),
    ),
    bug(
        "order-of-a-set",
        "Tasks that lost their worker are gone through as a set of strings, whose order is another in each process.",
        (
            "recovery.decide_tasks:owed_to_orphans",
            "for task_id in state.orphaned:",
            "for task_id in set(state.orphaned):",
        ),
        shows_between_processes=True,
    ),
)

TIMERS: tuple[Bug, ...] = (
    bug(
        "timers-lost-at-failover",
        "A new leader begins with an empty set of timers and fills it as events come.",
        (
            "recovery.evolve_system:leader_elected",
            "_index_all_workers(state)",
            "state.timers = type(state.timers)()",
        ),
    ),
    bug(
        "put-off-timer-lost",
        "A timer that was put off is not queued again when its old time comes.",
        (
            "recovery.timers:Timers.in_turn",
            """
            if at <= now:
                self._ripe.put(key, at)
            else:
                self._queued[key] = at
                heappush(self._heap, (at, key))
            """,
            """
            if at <= now:
                self._ripe.put(key, at)
            """,
        ),
    ),
    bug(
        "free-slot-not-noticed",
        "The index of available workers is not brought up to date when a worker lets go of a task.",
        ("recovery.evolve_task:_let_go", "index_availability(state, worker, was=level)", ""),
    ),
)
