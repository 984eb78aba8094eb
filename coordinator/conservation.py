"""Conservation in production: no task may vanish from the books, or stand in them twice.

    submitted = queued + assigned + running + finished + returned + final

The fold keeps these counts beside the tasks themselves. They are compared after every batch with the tasks that there
are, with the queue, and with an own count of the events that went in. It costs a few additions a batch, and a change in
the core that forgets a case shows at once, where it happens, rather than as a run that never ends.
"""

from collections.abc import Iterator, Sequence

import structlog

from events.envelope import Recorded
from events.kinds import tag_of
from events.system import InvariantViolated
from events.task import TaskCompleted, TaskSubmitted
from recovery.consumer import RecoveryConsumer

log = structlog.get_logger(__name__)

NAME = "conservation"


class ConservationWatch:
    """Listens to a recovery consumer from its first event on, or from a snapshot, whose counts are taken as they are.
    What is wrong is logged once, by every coordinator, and recorded once, by the one that leads."""

    def __init__(self, consumer: RecoveryConsumer) -> None:
        self._consumer = consumer
        state = consumer.state
        self._submitted = len(state.tasks) + state.ignored[tag_of(TaskSubmitted)]
        self._completed = state.tasks_by_status["final"] + state.ignored[tag_of(TaskCompleted)]
        self._logged = False
        self._recorded = False
        consumer.listen(self._take)

    def _take(self, batch: Sequence[Recorded]) -> None:
        for recorded in batch:
            event = recorded.event
            if isinstance(event, TaskSubmitted):
                self._submitted += 1
            elif isinstance(event, TaskCompleted):
                self._completed += 1
            elif isinstance(event, InvariantViolated) and event.invariant == NAME:
                self._recorded = True
        if self._recorded and self._logged:
            return
        detail = "; ".join(self._imbalances())
        if detail:
            self._report(detail)

    def _imbalances(self) -> Iterator[str]:
        state = self._consumer.state
        counts = state.tasks_by_status
        tasks = len(state.tasks)
        if sum(counts.values()) != tasks or min(counts.values(), default=0) < 0:
            yield f"of {tasks} tasks the counts say {_told(counts)}"
        submitted = self._submitted - state.ignored[tag_of(TaskSubmitted)]
        if submitted != tasks:
            yield f"{submitted} tasks were submitted, {tasks} are known"
        completed = self._completed - state.ignored[tag_of(TaskCompleted)]
        if completed != counts["final"]:
            yield f"{completed} verdicts were taken, {counts['final']} tasks are final"
        apart = sum(state.tasks[task_id].status == "isolated" for task_id in state.set_apart.values())
        waiting = len(state.waiting) + len(state.suspects) + apart
        if waiting != counts["queued"] + counts["isolated"]:
            yield f"{waiting} tasks wait, {counts['queued'] + counts['isolated']} are queued or isolated"

    def _report(self, detail: str) -> None:
        sequence = self._consumer.state.events_sequence
        if not self._logged:
            self._logged = True
            log.error("invariant_violated", invariant=NAME, sequence=sequence, detail=detail)
        if not self._recorded and self._consumer.leading:
            self._recorded = True
            self._consumer.record(InvariantViolated(invariant=NAME, sequence=sequence, detail=detail))


def _told(counts: "dict[str, int]") -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items()) or "nothing"
