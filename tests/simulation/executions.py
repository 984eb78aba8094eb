"""What simulated tasks do, and a ledger of where and when each of them was executing: the truth that the log is
checked against."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from events.host import Host
from worker.jobs import CommandJob, Job

HISTORY_MAX = 10_000
"""Executions that are remembered after their end."""
DURATION_S = (0.05, 5.0)
"""Of work that does not say how long it takes."""


class Conduct(StrEnum):
    """What becomes of a task that is left alone for its duration."""

    passes = "pass"
    fails = "fail"
    crashes = "crash"
    hangs = "hang"
    """It never ends by itself, and ignores SIGTERM."""
    kills_agent = "kill-agent"
    stops_agent = "stop-agent"
    """SIGSTOP: a worker that looks alive to its kernel and to nobody else."""
    kills_worker = "kill-worker"
    kills_keeper = "kill-keeper"


class Ailment(StrEnum):
    """What is wrong with a machine, whatever runs on it."""

    none = "none"
    fails = "everything fails at once"
    cannot_begin = "no interpreter starts"


AT_ONCE_S = 0.02


class Plan(NamedTuple):
    duration_s: float
    conduct: Conduct


def plan_of(job: Job, host: Host) -> Plan:
    """Of a command `sim SECONDS CONDUCT`, or a test `sim::SECONDS::CONDUCT`; other work passes after a random time."""
    words = list(job.argv) if isinstance(job, CommandJob) else job.node_id.split("::")
    if len(words) >= 3 and words[0] == "sim":
        return Plan(float(words[1]), Conduct(words[2]))
    return Plan(host.uniform(*DURATION_S), Conduct.passes)


@dataclass(slots=True)
class Execution:
    """One attempt, from the moment at which its process began to the one at which nothing was left of it."""

    task_id: str
    worker_id: str
    incarnation: int
    attempt: int
    host: str
    began: float
    ended: float | None = None
    how: str = ""
    """The task's own end (`exited`, `signalled`) or that of its keeper's doing (`killed`, `fenced`, `lost`)."""


class Overlap(NamedTuple):
    """Two executions of one task at one time: `second` began while `first` had not ended."""

    first: Execution
    second: Execution


class Executions:
    """World-wide. `clock` gives virtual seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._live: dict[str, list[Execution]] = {}
        self.history: deque[Execution] = deque(maxlen=HISTORY_MAX)
        """Those that have ended last, in order of their ends."""
        self.ends: Counter[str] = Counter()
        """Of all that have ended: how many in which way."""
        self.overlaps: list[Overlap] = []
        self.spoiled: set[str] = set()
        """Tasks of which an attempt fell to an ailing machine: they may have failed, whatever they were to do."""

    def begin(self, key: str, worker_id: str, host: str) -> Execution:
        """`key` is the job's: `INCARNATION.TASK_ID.ATTEMPT`."""
        incarnation, task_id, attempt = key.split(".")
        execution = Execution(task_id, worker_id, int(incarnation), int(attempt), host, self._clock())
        live = self._live.setdefault(task_id, [])
        self.overlaps.extend(Overlap(other, execution) for other in live)
        live.append(execution)
        return execution

    def end(self, execution: Execution, how: str) -> None:
        execution.ended = self._clock()
        execution.how = how
        live = self._live[execution.task_id]
        live.remove(execution)
        if not live:
            del self._live[execution.task_id]
        self.ends[how] += 1
        self.history.append(execution)

    def live(self) -> list[Execution]:
        return [execution for live in self._live.values() for execution in live]

    def of(self, task_id: str) -> list[Execution]:
        """All that are remembered of one task, in order of their beginnings."""
        ended = [execution for execution in self.history if execution.task_id == task_id]
        return sorted([*ended, *self._live.get(task_id, [])], key=lambda execution: execution.began)
