"""The checker: takes a log event by event, and names every promise that it breaks.

Each batch of decisions says how far both streams had been folded when it was made. The checker's own world is folded to
there, and no further, before the batch is judged: a decision is held against what its leader could know.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from events import forecast, system, task, worker
from events.base import Event
from events.clock import seconds
from events.envelope import Envelope, Provenance, Recorded
from events.worker import RecordedHeartbeat
from replay.beat_fold import BeatFold
from replay.invariants import (
    cordons,
    fleet,
    foresight,
    orders,
    outages,
    poison,
    repairs,
    silence,
    tasks,
    usefulness,
    workers,
)
from replay.invariants.case import Case
from replay.invariants.folding import apply
from replay.invariants.reproduction import Reproduction
from replay.invariants.violation import INVARIANTS, Violation
from replay.invariants.world import World

LEADER_SUBJECT = "system.leader"
UNFOLDED_EVENTS_MAX = 50_000
"""What is kept until a decision has told how far its leader had read. Decisions on something older are not judged."""

JUDGES: dict[type[Event], Callable[[Case, Any], None]] = {
    task.TaskAssigned: tasks.judge_assigned,
    task.TaskIsolated: poison.judge_isolated,
    task.TaskStranded: tasks.judge_stranded,
    task.TaskRevoked: tasks.judge_revoked,
    task.TaskHung: usefulness.judge_hung,
    task.TaskRequeued: tasks.judge_requeued,
    task.TaskCompleted: tasks.judge_completed,
    worker.WorkerSuspected: workers.judge_suspected,
    worker.WorkerSuspicionRefuted: workers.judge_refuted,
    worker.WorkerFailed: workers.judge_failed,
    worker.WorkerStalled: usefulness.judge_stalled,
    worker.WorkerStallRefuted: usefulness.judge_stall_refuted,
    worker.WorkerCordoned: foresight.judge_cordoned,
    worker.WorkerDrainRequested: foresight.judge_order,
    worker.WorkerUncordoned: cordons.judge_uncordoned,
    worker.WorkerRetired: orders.judge_retired,
    worker.WorkerPermanentlyFailed: workers.judge_permanent,
    worker.WorkerRecoveryScheduled: workers.judge_scheduled,
    worker.WorkerRecoveryStarted: workers.judge_started,
    worker.WorkerRecoveryProbed: workers.judge_probed,
    worker.WorkerRecoverySucceeded: workers.judge_succeeded,
    worker.WorkerRecoveryFailed: workers.judge_attempt_failed,
    worker.WorkerRecoverySuperseded: workers.judge_superseded,
    **repairs.JUDGES,
    forecast.WorkerFailurePredicted: foresight.judge_predicted,
    forecast.WorkerPredictionJudged: foresight.judge_judged,
    forecast.PredictorTrustChanged: foresight.judge_trust,
    system.EventParked: fleet.judge_parked,
    system.DetectorDegraded: fleet.judge_doubt,
    system.WatchContinued: silence.judge_continued,
    system.PaceChanged: silence.judge_pace,
    system.SystemStatusChanged: fleet.judge_status,
    system.SystemRecoveryStarted: fleet.judge_incident_opened,
    system.SystemRecoveryStaged: outages.judge_staged,
    system.SystemRecoveryCompleted: fleet.judge_incident_closed,
}
"""All that a leader decides. The same events without provenance are somebody's word, and are folded like any other."""


class Checker:
    """Takes the log from its first event: `feed` each event, `observe` each heartbeat of which a decision knew before
    that decision is fed (or none at all: then silence is judged by the recorded evidence alone). Cost: O(1) an event.

    With `strict` the first violation is raised; otherwise all of them are kept in `violations`. `reproduce` decides
    every batch again with the rules of this program, which costs as much as deciding did. `beats_from` is the first
    sequence that the stream of heartbeats still holds.

    Raises (feed, at_rest):
        Violation: with `strict`.
    """

    def __init__(self, *, strict: bool = False, reproduce: bool = False, beats_from: int = 1) -> None:
        self.violations: list[Violation] = []
        self.events = 0
        self.decisions = 0
        self.batches = 0
        self.heartbeats = 0
        self.unjudged = 0
        """Decisions made on something so old that it is not at hand any more."""
        self._strict = strict
        self._reproduction = Reproduction(beats_from) if reproduce else None
        self._world = World()
        self._case = Case(self._world, self._blame)
        self._beats_from = beats_from
        self._events_unfolded: deque[Recorded] = deque()
        self._beats = BeatFold(self._world, World())
        self._batch: list[Recorded] = []
        self._sequence = 0
        self._decided = 0
        """Sequence of the last decision."""
        self._elected = 0
        """Sequence of the last message on the leader's subject, understood or not."""
        self._leader: str | None = None
        """Source of the election that is in force; None: nobody understands who was elected."""
        self._term = 0
        self._nonce = ""
        self._counted: deque[tuple[int, dict[str, int]]] = deque()

    @property
    def unreproduced(self) -> int:
        """Batches that could not be decided again: they rest on heartbeats that are gone, or on other rules."""
        return 0 if self._reproduction is None else self._reproduction.skipped

    # In

    def observe(self, recorded: RecordedHeartbeat) -> None:
        if self.heartbeats == 0 and self._beats_from > 1:
            self._case.beats_since = recorded.time
        self.heartbeats += 1
        self._beats.push(recorded)
        if self._reproduction is not None:
            self._reproduction.observe(recorded)

    def feed(self, recorded: Recorded) -> None:
        self.events += 1
        sequence = recorded.sequence
        if sequence != self._sequence + 1:
            self._misplaced(sequence)
        self._sequence = sequence
        if self._reproduction is not None:
            self._reproduce(self._reproduction, recorded)
        self._events_unfolded.append(recorded)
        if len(self._events_unfolded) > UNFOLDED_EVENTS_MAX:
            self._fold_event()
        envelope = recorded.envelope
        provenance = None if envelope is None else envelope.decision
        if self._batch and (provenance is None or provenance.index != len(self._batch)):
            self._broken(sequence)
        if envelope is None:
            if _is_leaders(recorded.subject):
                self._elected, self._leader, self._nonce = sequence, None, ""
        elif provenance is not None:
            self._take_decision(recorded, envelope, provenance)
        elif isinstance(envelope.event, system.LeaderElected):
            self._take_election(sequence, envelope, envelope.event)
        elif isinstance(envelope.event, system.InvariantViolated):
            self._take_report(sequence, envelope.event)

    def count(self, sequence: int, by_status: Mapping[str, int]) -> None:
        """What another fold says of its tasks behind the event at `sequence`. To be told before anything that was
        decided behind it is fed."""
        self._counted.append((sequence, dict(by_status)))

    # Leaders and batches

    def _take_election(self, sequence: int, envelope: Envelope, event: system.LeaderElected) -> None:
        source = f"coordinator/{event.coordinator_id}"
        # A stranger may write any number; whoever writes it in a coordinator's name has to be told from one.
        if envelope.source == source and event.term <= self._term:
            self._blame(
                "one-leader", sequence, event.coordinator_id, f"it is elected for term {event.term} after {self._term}"
            )
        self._term, self._elected, self._leader, self._nonce = event.term, sequence, envelope.source, ""

    def _take_report(self, sequence: int, event: system.InvariantViolated) -> None:
        self._blame("reported", sequence, "", f"{event.invariant} behind {event.sequence}: {event.detail}")

    def _take_decision(self, recorded: Recorded, envelope: Envelope, provenance: Provenance) -> None:
        batch = self._batch
        if provenance.index != len(batch):
            self._blame("whole-batches", recorded.sequence, "", f"a batch begins with decision {provenance.index}")
            self._judge([recorded])
            return
        if not batch:
            self._judge_author(recorded.sequence, envelope, provenance)
        elif not _of_one_batch(batch[0], provenance):
            self._blame("whole-batches", recorded.sequence, "", "it was decided on something else than its batch")
        batch.append(recorded)
        if len(batch) == provenance.count:
            self._batch = []
            self._judge(batch)

    def _broken(self, sequence: int) -> None:
        batch, self._batch = self._batch, []
        self._blame("whole-batches", sequence, "", f"a batch breaks off after {len(batch)} decisions")

    def _judge_author(self, sequence: int, envelope: Envelope, provenance: Provenance) -> None:
        as_of = provenance.as_of_events
        author = envelope.source.rpartition("/")[2]
        if as_of < self._elected or envelope.source != self._leader:
            self._blame(
                "one-leader",
                sequence,
                author,
                f"{envelope.source} decides on the log up to {as_of}; the leader is {self._leader or 'nobody'}, "
                f"elected at {self._elected}",
            )
        nonce = _nonce_of(envelope.id)
        if self._nonce and nonce != self._nonce:
            self._blame("one-leader", sequence, author, "two processes decide in the term of one")
        self._nonce = nonce
        if as_of < self._decided:
            problem = f"it is decided on the log up to {as_of}, and the last decision stands at {self._decided}"
            self._blame("decided-once", sequence, author, problem)
        if as_of >= sequence:
            self._blame("decided-once", sequence, author, f"it is decided on {as_of}, which had not been written")

    # Judging

    def _judge(self, batch: list[Recorded]) -> None:
        provenance = _provenance(batch[0])
        self.batches += 1
        self.decisions += len(batch)
        self._decided = batch[-1].sequence
        case, world = self._case, self._world
        known = min(provenance.as_of_events, batch[0].sequence - 1)
        while self._events_unfolded and self._events_unfolded[0].sequence <= known:
            self._fold_event()
        as_of, at = provenance.as_of_heartbeats, provenance.as_of_heartbeats_at
        same_beats = self._beats.stand_at(as_of, at if as_of >= self._beats_from else None)
        if world.sequence > provenance.as_of_events and len(self._events_unfolded) >= UNFOLDED_EVENTS_MAX:
            self.unjudged += len(batch)
            return
        case.batch += 1
        case.now = seconds(provenance.decided_at)
        case.beats_known = self.heartbeats > 0 and same_beats and as_of <= self._beats.pushed
        for recorded in batch:
            assert recorded.envelope is not None
            event = recorded.envelope.event
            judge = JUDGES.get(type(event))
            case.open(recorded, entity_of(event))
            if judge is None:
                case.blame("decided-once", f"{event.name} is no decision")
            else:
                judge(case, event)

    def _reproduce(self, reproduction: Reproduction, recorded: Recorded) -> None:
        difference = reproduction.take(recorded)
        if difference is not None:
            entity = "" if recorded.event is None else entity_of(recorded.event)
            self._blame("reproduced", difference.sequence, entity, difference.what)

    def _fold_event(self) -> None:
        recorded = self._events_unfolded.popleft()
        apply(self._world, recorded)
        counted = self._counted
        while counted and counted[0][0] <= recorded.sequence:
            sequence, told = counted.popleft()
            if sequence == recorded.sequence:
                self._compare(sequence, told)

    def _compare(self, sequence: int, told: dict[str, int]) -> None:
        counts = self._world.counts
        wrong = [
            f"{told.get(status, 0)} {status}, not {count}"
            for status, count in counts.items()
            if told.get(status, 0) != count
        ]
        if wrong:
            self._blame("conservation", sequence, "", f"of {self._world.submitted} tasks: {', '.join(wrong)}")

    # At the end

    def at_rest(self) -> None:
        """What must hold when all faults have stopped, every worker that is to live lives, and nothing is owed."""
        if self._batch:
            self._broken(self._sequence + 1)
        while self._events_unfolded:
            self._fold_event()
        self._beats.stand_at(self._beats.pushed, None)
        world, last = self._world, self._sequence
        found = Counter(one.status for one in world.tasks.values())
        self._compare(last, found)
        for task_id, one in world.tasks.items():
            if one.status != "final":
                self._blame("one-verdict", last, task_id, f"it has no verdict: attempt {one.attempt} is {one.status}")
        for kind, incident_id in world.incidents.items():
            self._blame("one-incident", last, incident_id, f"this {kind} is open still")
        for sequence in sorted(world.parked):
            self._blame("at-rest", sequence, "", "a message that was not understood has not been reported")
        if world.measured_status() != world.status:
            self._blame("status-true", last, "", f"the system is {world.measured_status()}, recorded is {world.status}")
        for worker_id, fellow in world.workers.items():
            if fellow.attempt is not None:
                self._blame(
                    "attempts-end", last, worker_id, f"attempt {fellow.attempt.number} is {fellow.attempt.status} still"
                )
            elif fellow.status == "failed" and fellow.leaving:
                self._blame("at-rest", last, worker_id, "it was told to end and has failed, and is not retired")
            elif fellow.status in ("failed", "exited", "suspect", "stalled") and world.may_repair:
                self._blame("at-rest", last, worker_id, f"it is {fellow.status}, and nothing is done about it")

    # Out

    def _misplaced(self, sequence: int) -> None:
        expected = self._sequence + 1
        if sequence > expected:
            missing = f"{expected} is" if sequence == expected + 1 else f"{expected} to {sequence - 1} are"
            self._blame("no-gap", sequence, "", f"{missing} missing before it")
        else:
            self._blame("no-gap", sequence, "", f"it comes behind {self._sequence}")

    def _blame(self, invariant: str, sequence: int, entity: str, sentence: str) -> None:
        assert invariant in INVARIANTS
        violation = Violation(invariant, sequence, entity, sentence)
        self.violations.append(violation)
        if self._strict:
            raise violation


def entity_of(event: Event) -> str:
    """The id of what an event is about: its task before its worker."""
    for name in ("task_id", "worker_id", "incident_id", "run_id", "coordinator_id"):
        found = getattr(event, name, None)
        if found is not None:
            return str(found)
    return ""


def _is_leaders(subject: str) -> bool:
    return subject == LEADER_SUBJECT or subject.partition(".")[2] == f"event.{LEADER_SUBJECT}"


def _nonce_of(event_id: str) -> str:
    """Decision ids are `d-<nonce of the term>-<as of>-<index>`; others tell nothing."""
    return event_id.rsplit("-", 2)[0] if event_id.startswith("d-") else ""


def _provenance(recorded: Recorded) -> Provenance:
    assert recorded.envelope is not None
    assert recorded.envelope.decision is not None
    return recorded.envelope.decision


def _of_one_batch(first: Recorded, provenance: Provenance) -> bool:
    other = _provenance(first)
    return (other.as_of_events, other.as_of_heartbeats, other.as_of_heartbeats_at, other.count, other.decided_at) == (
        provenance.as_of_events,
        provenance.as_of_heartbeats,
        provenance.as_of_heartbeats_at,
        provenance.count,
        provenance.decided_at,
    )
