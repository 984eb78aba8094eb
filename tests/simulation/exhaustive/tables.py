"""What is known by name and written as a number."""

from typing import get_args

from events.system import IncidentKind, SystemStatus
from recovery.lifecycle import AttemptStatus, TaskStatus, WorkerStatus
from tests.simulation.exhaustive.world import TASKS, WORKERS

WORKER_STATUS: tuple[WorkerStatus, ...] = get_args(WorkerStatus)
TASK_STATUS: tuple[TaskStatus, ...] = get_args(TaskStatus)
ATTEMPT_STATUS: tuple[AttemptStatus, ...] = get_args(AttemptStatus)
SYSTEM_STATUS: tuple[SystemStatus, ...] = get_args(SystemStatus)
INCIDENT_KIND: tuple[IncidentKind, ...] = get_args(IncidentKind)
NUMBER = {
    name: number
    for names in (WORKER_STATUS, TASK_STATUS, ATTEMPT_STATUS, SYSTEM_STATUS, INCIDENT_KIND, WORKERS, TASKS)
    for number, name in enumerate(names)
}
assert len(NUMBER) == sum(
    map(len, (WORKER_STATUS, TASK_STATUS, ATTEMPT_STATUS, SYSTEM_STATUS, INCIDENT_KIND, WORKERS, TASKS))
), "two tables share a name"
