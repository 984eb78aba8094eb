"""Takes the world's place where the campaign itself is tested. What comes of a scenario is a function of its schedule:

- a crash of the broker during a pause of the leader violates "one_verdict";
- a forged event makes the simulation raise an error, and a malformed one ends its process;
- an event of an unknown kind keeps it busy for ever.
"""

import hashlib
import os
import threading
from collections import Counter

import msgspec

from events.clock import utc
from events.envelope import Envelope, Recorded
from events.kinds import AnyEvent
from events.system import LeaderElected
from events.task import TaskCancelRequested
from tests.simulation.faults import Fault, FaultKind
from tests.simulation.scenario import Outcome, Scenario, Violation
from tests.simulation.schedule import schedule_of

EPOCH = 1_700_000_000.0


def simulate(scenario: Scenario, *, keep_records: bool = False) -> Outcome:
    schedule = schedule_of(scenario)
    kinds = {fault.kind for fault in schedule}
    if FaultKind.FORGED_EVENT in kinds:
        raise LookupError("somebody forged an event")
    if FaultKind.MALFORMED_EVENT in kinds:
        os._exit(3)
    if FaultKind.UNKNOWN_EVENT in kinds:
        threading.Event().wait()
    records = tuple(_log(scenario))
    violation = _violation(schedule, records)
    return Outcome(
        scenario=scenario,
        violation=violation,
        digest=hashlib.sha256(msgspec.json.encode((scenario, schedule))).hexdigest(),
        virtual_s=scenario.faulty_s,
        wall_s=0.001,
        events=len(records),
        heartbeats=int(scenario.workers * scenario.faulty_s / 2),
        faults=dict(Counter(fault.kind.value for fault in schedule)),
        tasks=scenario.workload.at_start,
        verdicts={"passed": scenario.workload.at_start},
        records=records if keep_records or violation else (),
    )


def _violation(schedule: tuple[Fault, ...], records: tuple[Recorded, ...]) -> Violation | None:
    for pause in schedule:
        for crash in schedule:
            if (
                pause.kind is FaultKind.LEADER_PAUSE
                and crash.kind is FaultKind.BROKER_CRASH
                and pause.at <= crash.at <= pause.at + pause.duration_s
            ):
                return Violation("one_verdict", len(records), "task-1", "task-1 has two verdicts")
    return None


def _log(scenario: Scenario) -> list[Recorded]:
    events: list[AnyEvent] = [
        LeaderElected(coordinator_id="coordinator-1", term=1),
        *(
            TaskCancelRequested(task_id=f"task-{number}", actor="toy")
            for number in range(1, scenario.workload.at_start + 1)
        ),
        TaskCancelRequested(task_id="task-1", actor="toy"),
    ]
    return [
        Recorded(
            sequence=sequence,
            time=EPOCH + sequence,
            subject=event.tail(),
            envelope=Envelope(id=f"event-{sequence:08}", time=utc(EPOCH), source="toy", event=event),
        )
        for sequence, event in enumerate(events, start=1)
    ]
