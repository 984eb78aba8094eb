"""Weeks of a farm that never was, with what is planted in them and nothing else that belongs together.

Runs of tests come at random; workers die at random moments of the time in which they run something, are brought back,
and what they ran goes to whoever is free next. `Plant` adds what a search is to find.
"""

import random
from collections import deque
from datetime import UTC, datetime
from functools import partial
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from events.base import Event
from events.clock import utc
from events.envelope import Envelope, Recorded
from events.failures import FailureReason
from events.policy import Policy
from events.system import LeaderElected, PolicyChanged, RunSubmitted
from events.task import TaskAssigned, TaskAttemptFinished, TaskCompleted, TaskRequeued, TaskStarted, TaskSubmitted
from events.work import CommandWork
from events.worker import (
    Evidence,
    WorkerFailed,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRegistered,
    WorkerSuspected,
    WorkerSuspicionRefuted,
)
from projections.asking import History
from projections.child import Result
from projections.database import Database
from projections.patterns.search import Patterns, find
from projections.query import plain, through_sequence
from projections.window import Window

BEGAN = datetime(2026, 3, 2, tzinfo=UTC).timestamp()
"""A midnight."""
HOUR, DAY = 3600.0, 86_400.0
REASONS: tuple[FailureReason, ...] = ("worker_exit", "worker_exit", "silence", "disconnected", "worker_hung")


class Plant(NamedTuple):
    days: float = 7.0
    workers: int = 6
    deaths_a_day: float = 10.0
    """Of all workers together."""
    together: tuple[str, ...] = ()
    """When the first of them dies, so do the others, within two seconds."""
    killer: bool = False
    """There is a test that kills its worker, thrice in each tenth run."""
    hour: int | None = None
    """Of the day; then nine of ten deaths come in it."""
    sign: bool = False
    """A worker is suspected, and refutes that, before most of its failures."""
    slots: int = 1
    run_every_h: float = 1.5
    slower_after: float | None = None
    """So many days after the beginning the policy changes, and repairs take five times as long."""


class Season:
    """`records` is the log. Times are those of the broker."""

    def __init__(self, seed: int, plant: Plant) -> None:
        self._random = random.Random(seed)
        self._plant = plant
        self._workers = [f"w{number}" for number in range(1, plant.workers + 1)]
        self._incarnations: dict[str, int] = {}
        self._running: dict[str, dict[str, int]] = {worker_id: {} for worker_id in self._workers}
        """The attempt of each task that a worker has."""
        self._dead: set[str] = set()
        self._queue: deque[tuple[str, int]] = deque()
        self._commands: dict[str, str] = {}
        self._waiting: list[tuple[float, int, Any]] = []
        self._now = BEGAN
        self._killed: dict[str, int] = {}
        self.records: list[Recorded] = []
        self._told()

    def _say(self, event: Event) -> None:
        sequence = len(self.records) + 1
        envelope = Envelope(
            id=f"event-id-{sequence}",
            time=utc(self._now),
            source="test/1",
            event=event,  # type: ignore[arg-type]
            causation_id=f"event-id-{sequence - 1}" if sequence > 1 else None,
        )
        self.records.append(Recorded(sequence, self._now, f"resurgam.event.{event.tail()}", envelope, None))

    def _at(self, time: float, act: Any) -> None:
        heappush(self._waiting, (time, len(self._waiting) + self._random.getrandbits(40), act))

    def _told(self) -> None:
        plant, dice = self._plant, self._random
        end = BEGAN + plant.days * DAY
        self._say(LeaderElected(coordinator_id="c1", term=1))
        self._say(PolicyChanged(policy=Policy(), policy_hash="first", actor="c1"))
        for worker_id in self._workers:
            self._register(worker_id)
        time, number = BEGAN, 0
        while (time := time + dice.expovariate(1 / (plant.run_every_h * HOUR))) < end:
            number += 1
            self._at(time, partial(self._run, number))
        for _ in range(self._poisson(plant.days * plant.deaths_a_day)):
            moment = BEGAN + dice.random() * plant.days * DAY
            if plant.hour is not None and dice.random() < 0.9:
                moment = moment // DAY * DAY + (plant.hour + dice.random()) * HOUR
            self._at(moment, partial(self._strike, dice.choice(self._workers)))
        for _ in range(self._poisson(plant.days * 20)):
            self._at(BEGAN + dice.random() * plant.days * DAY, partial(self._doubt, dice.choice(self._workers)))
        if plant.slower_after is not None:
            self._at(BEGAN + plant.slower_after * DAY, self._change)
        while self._waiting:
            self._now, _, act = heappop(self._waiting)
            act()

    def _poisson(self, mean: float) -> int:
        time, number = self._random.expovariate(1.0), 0
        while time < mean:
            time, number = time + self._random.expovariate(1.0), number + 1
        return number

    def _change(self) -> None:
        self._say(PolicyChanged(policy=Policy(recovery_interval=30.0), policy_hash="second", actor="alice"))

    def _register(self, worker_id: str) -> None:
        self._dead.discard(worker_id)
        self._say(WorkerRegistered(worker_id=worker_id, host=f"host-{worker_id}", pid=len(self.records), slots=1))
        self._incarnations[worker_id] = len(self.records)
        self._next(worker_id)

    def _run(self, number: int) -> None:
        run_id = f"r{number}"
        self._say(RunSubmitted(run_id=run_id, title="suite", tasks=12))
        names = [f"test_{place}" for place in range(12)]
        if self._plant.killer and number % 10 == 0:
            names.append("test_killer")
        for name in names:
            task_id = f"{run_id}-{name}"
            self._commands[task_id] = name
            self._say(TaskSubmitted(task_id=task_id, run_id=run_id, work=CommandWork(argv=(name,), cwd="/srv")))
            self._queue.append((task_id, 1))
        for worker_id in self._workers:
            self._next(worker_id)

    def _next(self, worker_id: str) -> None:
        while worker_id not in self._dead and len(self._running[worker_id]) < self._plant.slots and self._queue:
            self._begin(worker_id, *self._queue.popleft())

    def _begin(self, worker_id: str, task_id: str, attempt: int) -> None:
        ids: dict[str, Any] = {"task_id": task_id, "worker_id": worker_id, "incarnation": self._incarnations[worker_id]}
        self._say(TaskAssigned(**ids, attempt=attempt, work=CommandWork(argv=("x",), cwd="/srv")))
        self._say(TaskStarted(**ids, attempt=attempt))
        self._running[worker_id][task_id] = attempt
        name = self._commands[task_id]
        if name == "test_killer":
            self._at(self._now + 0.5, partial(self._killing, worker_id, task_id))
        else:
            usual = 20.0 * (1 + int(name.removeprefix("test_")))
            lasts = usual * self._random.uniform(0.5, 1.5)
            self._at(self._now + lasts, partial(self._finish, worker_id, task_id, attempt, lasts))

    def _finish(self, worker_id: str, task_id: str, attempt: int, lasted: float) -> None:
        if self._running[worker_id].get(task_id) != attempt:
            return
        ids: dict[str, Any] = {"task_id": task_id, "worker_id": worker_id}
        incarnation = self._incarnations[worker_id]
        self._say(
            TaskAttemptFinished(
                **ids, incarnation=incarnation, attempt=attempt, outcome="passed", duration_s=round(lasted, 3)
            )
        )
        run_id = task_id.partition("-")[0]
        self._say(TaskCompleted(**ids, run_id=run_id, verdict="passed", attempt=attempt))
        del self._running[worker_id][task_id]
        self._next(worker_id)

    def _killing(self, worker_id: str, task_id: str) -> None:
        if task_id in self._running[worker_id]:
            self._killed[task_id] = self._killed.get(task_id, 0) + 1
            self._die(worker_id)

    def _strike(self, worker_id: str) -> None:
        if worker_id in self._dead:
            return
        after = 0.0
        if self._plant.sign and self._random.random() < 0.8:
            self._doubt(worker_id)
            after = self._random.uniform(10, 40)
        self._at(self._now + after, partial(self._die, worker_id))
        if self._plant.together[:1] == (worker_id,):
            for other in self._plant.together[1:]:
                self._at(self._now + after + self._random.uniform(0, 2), partial(self._die, other))

    def _doubt(self, worker_id: str) -> None:
        if worker_id in self._dead:
            return
        incarnation = self._incarnations[worker_id]
        self._say(WorkerSuspected(worker_id=worker_id, incarnation=incarnation, evidence=Evidence(silence_s=6.0)))
        self._say(WorkerSuspicionRefuted(worker_id=worker_id, incarnation=incarnation, evidence=Evidence()))

    def _die(self, worker_id: str) -> None:
        if worker_id in self._dead:
            return
        reason = self._random.choice(REASONS)
        incarnation = self._incarnations[worker_id]
        seen = utc(self._now - 5.0) if reason == "silence" else None
        evidence = Evidence(last_seen=seen, silence_s=5.0 if seen else None)
        self._say(WorkerFailed(worker_id=worker_id, reason=reason, incarnation=incarnation, evidence=evidence))
        self._dead.add(worker_id)
        for task_id, attempt in self._running[worker_id].items():
            self._cut_off(worker_id, task_id, attempt)
        self._running[worker_id] = {}
        for other in self._workers:
            self._next(other)
        ids: dict[str, Any] = {"worker_id": worker_id, "incarnation": incarnation, "attempt": 1}
        self._say(WorkerRecoveryStarted(**ids, strategy="restart", deadline=utc(self._now + 60)))
        takes = self._random.lognormvariate(1.5, 0.7)
        changed = self._plant.slower_after
        if changed is not None and self._now > BEGAN + changed * DAY:
            takes *= 5
        self._at(self._now + takes, partial(self._back, worker_id, ids, takes))

    def _cut_off(self, worker_id: str, task_id: str, attempt: int) -> None:
        if self._killed.get(task_id, 0) >= 3:
            run_id = task_id.partition("-")[0]
            self._say(
                TaskCompleted(
                    task_id=task_id, run_id=run_id, verdict="quarantined", attempt=attempt, worker_id=worker_id
                )
            )
            return
        self._say(
            TaskRequeued(task_id=task_id, attempt=attempt, worker_id=worker_id, reason="worker_failed", budget="none")
        )
        self._queue.appendleft((task_id, attempt + 1))

    def _back(self, worker_id: str, ids: dict[str, Any], taken: float) -> None:
        self._register(worker_id)
        self._say(WorkerRecoverySucceeded(**ids, strategy="restart", duration_s=round(taken, 3)))


WHOLE = Window(utc(BEGAN), utc(BEGAN + 366 * DAY))


def found_in(path: Path) -> Patterns:
    with duckdb.connect(str(path), read_only=True) as connection:
        return find(history_of(connection), WHOLE)


def stored(records: list[Recorded], path: Path) -> Path:
    """A history file of it, with a heartbeat for every minute."""
    database = Database.open(path)
    for first in range(0, len(records), 5000):
        database.apply(records[first : first + 5000])
    database.close()
    minutes = "unnest(generate_series(?::TIMESTAMP, ?::TIMESTAMP, INTERVAL 1 MINUTE))"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "INSERT INTO heartbeat_samples BY NAME SELECT row_number() OVER () AS sequence, recorded_at, "
            f"'w1' AS worker_id FROM (SELECT {minutes} AS recorded_at)",
            [utc(records[0].time).replace(tzinfo=None), utc(records[-1].time).replace(tzinfo=None)],
        )
    return path


def history_of(connection: duckdb.DuckDBPyConnection) -> History:
    """Asked as from outside, without a process for each statement."""

    def ask(sql: str, rows_max: int) -> Result:
        cursor = connection.execute(sql)
        assert cursor.description is not None
        columns, types = [one[0] for one in cursor.description], [str(one[1]) for one in cursor.description]
        found = [[plain(value) for value in row] for row in cursor.fetchmany(rows_max)]
        return Result(columns, types, found, truncated=False, through_sequence=through_sequence(connection))

    return History(ask)
