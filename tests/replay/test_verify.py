"""Verification: what a leader recorded is decided again, and anything else is found."""

from collections.abc import Callable, Iterator

import msgspec
import pytest

from events.base import Event
from events.clock import utc
from events.envelope import Draft, Envelope, Provenance
from events.memory import MemoryLog
from events.system import LeaderElected, RunSubmitted
from events.task import TaskAttemptFinished, TaskStarted, TaskSubmitted
from events.worker import Heartbeat, RecordedHeartbeat, WorkerExited, WorkerRegistered
from recovery.core import RULES_VERSION, State, decide, evolve, observe
from replay.beats import ListedBeats
from replay.fold import as_of, fold
from replay.reading import stretch
from replay.verify import Outcome, verify
from tests.replay.told import WORK, drafted

BEGIN = 1_000_000.0
FACTS: tuple[Event, ...] = (
    LeaderElected(coordinator_id="c1", term=1),
    WorkerRegistered(worker_id="w1", host="h", pid=1, slots=1),
    RunSubmitted(run_id="r1", title="a run", tasks=2),
    TaskSubmitted(task_id="t1", run_id="r1", work=WORK),
    TaskSubmitted(task_id="t2", run_id="r1", work=WORK),
    TaskStarted(task_id="t1", worker_id="w1", incarnation=2, attempt=1),
    TaskAttemptFinished(task_id="t1", worker_id="w1", incarnation=2, attempt=1, outcome="passed"),
    WorkerExited(worker_id="w1", incarnation=2, signal=9),
)


class Farm:
    """A leader in a few lines: facts come in, one heartbeat with each, and what is owed is appended."""

    def __init__(self) -> None:
        self.now = BEGIN
        self.log = MemoryLog(wall=lambda: self.now)
        self.state = State()
        self.beats: list[RecordedHeartbeat] = []

    async def fact(self, event: Event, beat: bool = True) -> None:
        self.now += 0.25
        if beat and self.state.workers:
            heartbeat = Heartbeat(worker_id="w1", incarnation=2, beat=len(self.beats) + 1, sent_at=utc(self.now))
            self.beats.append(RecordedHeartbeat(len(self.beats) + 1, self.now, heartbeat))
            observe(self.state, self.beats[-1])
        await self.log.append([drafted(event)])
        await self.read_back()
        await self.lead()

    async def lead(self) -> None:
        while decisions := decide(self.state, self.now):
            await self.log.append(
                [
                    drafted(
                        decision.event,
                        causation_id=decision.causation_id,
                        correlation_id=decision.correlation_id,
                        synthetic=decision.synthetic,
                        decision=Provenance(
                            as_of_events=self.state.events_sequence,
                            as_of_heartbeats=self.state.heartbeats_sequence,
                            decided_at=utc(self.now),
                            rules_version=RULES_VERSION,
                            rule=decision.rule,
                            index=index,
                            count=len(decisions),
                        ),
                    )
                    for index, decision in enumerate(decisions)
                ]
            )
            await self.read_back()

    async def read_back(self) -> None:
        async for batch in stretch(self.log, first=self.state.events_sequence + 1):
            for recorded in batch:
                evolve(self.state, recorded)


@pytest.fixture
async def farm() -> Farm:
    made = Farm()
    for fact in FACTS:
        await made.fact(fact)
    for _ in range(120):  # two quiet minutes: deadlines pass, attempts fail
        made.now += 1.0
        await made.lead()
    return made


async def verified(farm: Farm, *, first: int = 1, beats_from: int = 1) -> Outcome:
    kept = [beat for beat in farm.beats if beat.sequence >= beats_from]
    return await verify(farm.log, ListedBeats(kept), first=first)


def decided(farm: Farm) -> Iterator[Envelope]:
    for sequence in range(1, farm.log.last + 1):
        envelope = farm.log.stored(sequence).envelope
        if envelope is not None and envelope.decision is not None:
            yield envelope


async def tampered(farm: Farm, change: Callable[[Envelope], Envelope | None]) -> Farm:
    """The same log with each envelope as `change` gives it; None leaves it out."""
    copy = Farm()
    copy.beats = farm.beats
    for sequence in range(1, farm.log.last + 1):
        recorded = farm.log.stored(sequence)
        copy.now = recorded.time
        assert recorded.envelope is not None
        envelope = change(recorded.envelope)
        if envelope is not None:
            await copy.log.append([Draft(envelope, recorded.synthetic)])
    return copy


async def test_what_was_recorded_is_decided_again(farm: Farm) -> None:
    outcome = await verified(farm)
    assert outcome.difference is None
    assert outcome.obstacle is None
    assert outcome.decisions == sum(1 for _ in decided(farm))
    assert outcome.decisions > 10
    assert outcome.sentence().startswith(f"all equal: {outcome.decisions} decisions in {outcome.batches} batches")


async def test_a_stretch_counts_its_own_batches_only(farm: Farm) -> None:
    whole, part = await verified(farm), await verified(farm, first=farm.log.last // 2)
    assert 0 < part.batches < whole.batches
    assert part.difference is None


async def test_a_changed_decision_is_found(farm: Farm) -> None:
    victim = next(envelope for envelope in decided(farm) if hasattr(envelope.event, "attempt"))

    def change(envelope: Envelope) -> Envelope:
        if envelope.id != victim.id:
            return envelope
        event = msgspec.structs.replace(envelope.event, attempt=7)
        return msgspec.structs.replace(envelope, event=event)

    outcome = await verified(await tampered(farm, change))
    assert outcome.difference is not None
    assert outcome.difference.what == "the event differs"
    assert farm.log.stored(outcome.difference.sequence).id == victim.id
    assert outcome.difference.recorded["event"].attempt == 7
    assert "different at sequence" in outcome.sentence()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"causation_id": "somebody-else"}, "the cause differs"),
        ({"correlation_id": "something-else"}, "the correlation differs"),
        ({"causation_id": "a-stranger", "correlation_id": "b-stranger"}, "the cause and the correlation differ"),
    ],
)
async def test_a_changed_cause_is_found(farm: Farm, changes: dict[str, str], what: str) -> None:
    victim = next(decided(farm))

    def change(envelope: Envelope) -> Envelope:
        return msgspec.structs.replace(envelope, **changes) if envelope.id == victim.id else envelope

    outcome = await verified(await tampered(farm, change))
    assert outcome.difference is not None
    assert outcome.difference.what == what


async def test_a_missing_fact_is_found(farm: Farm) -> None:
    outcome = await verified(
        await tampered(farm, lambda envelope: None if isinstance(envelope.event, WorkerExited) else envelope)
    )
    assert outcome.difference is not None


async def test_half_a_batch_is_found(farm: Farm) -> None:
    victim = next(one for one in decided(farm) if one.decision is not None and one.decision.count > 1)
    outcome = await verified(await tampered(farm, lambda one: None if one.id == victim.id else one))
    assert outcome.difference is not None
    assert "a batch begins with decision 1" in outcome.difference.what


async def test_decisions_of_other_rules_cannot_be_verified(farm: Farm) -> None:
    def older(envelope: Envelope) -> Envelope:
        if envelope.decision is None:
            return envelope
        return msgspec.structs.replace(
            envelope, decision=msgspec.structs.replace(envelope.decision, rules_version=RULES_VERSION + 1)
        )

    outcome = await verified(await tampered(farm, older))
    assert outcome.difference is None
    assert outcome.obstacle is not None
    assert f"rules of version {RULES_VERSION + 1}, this program has version {RULES_VERSION}" in outcome.obstacle
    assert outcome.sentence().startswith("cannot verify: ")


async def test_expired_heartbeats_are_an_obstacle_and_no_difference(farm: Farm) -> None:
    outcome = await verified(farm, beats_from=5)
    assert outcome.difference is None
    assert outcome.skipped > 0
    assert outcome.obstacle is not None
    assert "rest on heartbeats before 5, which have expired; --from " in outcome.obstacle
    later = int(outcome.obstacle.partition("--from ")[2].split()[0])
    assert (await verified(farm, first=later, beats_from=5)).obstacle is None


async def test_the_fold_is_the_leaders_own_state(farm: Farm) -> None:
    folded = await fold(farm.log, beats=ListedBeats(farm.beats))
    assert as_of(folded) == as_of(farm.state)
    assert as_of(await fold(farm.log, at=2, beats=ListedBeats(farm.beats)))["workers"][0]["status"] == "alive"


async def test_time_travel_takes_heartbeats_no_later_than_the_event(farm: Farm) -> None:
    sequence = next(n for n in range(1, 99) if isinstance(farm.log.stored(n).event, TaskStarted))
    folded = await fold(farm.log, at=sequence, beats=ListedBeats(farm.beats))
    time = farm.log.stored(sequence).time
    assert folded.heartbeats_sequence == sum(1 for beat in farm.beats if beat.time <= time)
