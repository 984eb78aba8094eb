"""The leader's loop over a log in memory: when it decides, what it appends, and what it does when that goes wrong."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from events.clock import utc
from events.envelope import Draft
from events.errors import BrokerRefused, Fenced, LogFull, Unacknowledged
from events.log import Appended
from events.memory import MemoryReader
from events.system import LeaderElected, LogDamaged, SystemStatusChanged
from events.task import TaskAssigned, TaskAttemptFinished, TaskCompleted, TaskRequeued, TaskStarted
from events.worker import RecordedHeartbeat, WorkerExited, WorkerFailed, WorkerSuspected
from recovery.consumer import LEADER_TAIL, Term
from recovery.core import RULES_VERSION
from recovery.decisions import DECISIONS_MAX
from tests.recovery.leader import Farm, Pulse
from tests.recovery.story import registered, submitted
from tests.waiting import event_in, is_kind, until


@pytest.fixture
async def farm() -> AsyncIterator[Farm]:
    made = Farm()
    running = asyncio.create_task(made.consumer.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled(), running.exception()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recovery.consumer.RETRY_PAUSE_S", 0.001)
    monkeypatch.setattr("recovery.consumer.IDLE_WAIT_S_MAX", 0.02)


async def test_a_run_from_submission_to_verdicts(farm: Farm) -> None:
    await farm.elect()
    for worker_id in ("w1", "w2"):
        appended = await farm.writer.write(registered(worker_id, slots=2))
        farm.pulse.beat(worker_id, appended.last)
    await farm.writer.write(submitted(f"t{number}") for number in range(10))
    async with await farm.log.reader() as reader:
        while len(farm.events(TaskCompleted)) < 10:
            for recorded in await reader.next(5.0):
                if isinstance(event := recorded.event, TaskAssigned):
                    said = {name: getattr(event, name) for name in ("task_id", "worker_id", "incarnation", "attempt")}
                    await farm.writer.write(TaskStarted(**said))
                    await farm.writer.write(TaskAttemptFinished(**said, outcome="passed", duration_s=0.5))
    await farm.quiet()
    assert {task.verdict for task in farm.consumer.state.tasks.values()} == {"passed"}
    assert farm.consumer.caught_up
    await farm.verified()


async def test_a_batch_says_what_it_was_decided_from(farm: Farm) -> None:
    term = await farm.elect()
    await farm.writer.write([registered("w1"), submitted("t1")])
    await event_in(farm.log, is_kind(TaskAssigned))
    envelopes = [farm.log.stored(sequence).envelope for sequence in range(1, farm.log.last + 1)]
    decided = [envelope for envelope in envelopes if envelope is not None and envelope.decision is not None]
    assert decided
    for envelope in decided:
        provenance = envelope.decision
        assert provenance is not None
        assert envelope.id == f"d-{term.nonce}-{provenance.as_of_events}-{provenance.index}"
        assert envelope.source == "coordinator/c1"
        assert provenance.rules_version == RULES_VERSION
        assert provenance.decided_at == utc(farm.now)
    assert [envelope.id for envelope in decided] == [draft.envelope.id for batch in farm.log.tried for draft in batch]
    await farm.verified()


async def test_nothing_is_decided_before_the_last_batch_has_been_read_back(farm: Farm) -> None:
    await farm.elect()
    release = asyncio.Event()

    async def slow(drafts: Sequence[Draft], store: Callable[[], Awaitable[Appended]]) -> Appended:
        appended = await store()
        await release.wait()
        return appended

    farm.log.answer = slow
    await farm.writer.write([registered("w1"), submitted("t1")])
    await event_in(farm.log, is_kind(TaskAssigned))
    await farm.writer.write(submitted(f"more-{number}") for number in range(3))
    farm.pulse.beat("w1", 2)
    await until(lambda: farm.consumer.state.heartbeats_sequence == 1, 5.0, "the heartbeat")
    assert len(farm.log.tried) == 1
    release.set()
    await farm.quiet()
    assert len(farm.events(TaskAssigned)) == 1
    await farm.verified()


@pytest.mark.parametrize("stored", [True, False])
async def test_an_unacknowledged_batch_is_sent_again_under_the_same_ids(farm: Farm, stored: bool) -> None:
    await farm.elect()
    lost = 3

    async def losing(drafts: Sequence[Draft], store: Callable[[], Awaitable[Appended]]) -> Appended:
        nonlocal lost
        if lost == 0:
            return await store()
        lost -= 1
        if stored:
            await store()
        raise Unacknowledged("the answer was lost")

    farm.log.answer = losing
    await farm.writer.write([registered("w1"), submitted("t1")])
    await event_in(farm.log, is_kind(TaskAssigned))
    await farm.quiet()
    first, *others = farm.log.tried[:4]
    assert all(batch == first for batch in others)
    assert len(farm.events(TaskAssigned)) == 1
    assert len(farm.events(SystemStatusChanged)) == 1
    await farm.verified()


@pytest.mark.parametrize(
    "refusal", [LogFull("append", "maximum bytes exceeded", 10077), BrokerRefused("append", "no room", 10023)]
)
async def test_a_refusal_is_no_end(farm: Farm, refusal: BrokerRefused) -> None:
    await farm.elect()
    times = 3

    async def refusing(drafts: Sequence[Draft], store: Callable[[], Awaitable[Appended]]) -> Appended:
        nonlocal times
        times -= 1
        if times >= 0:
            raise refusal
        return await store()

    farm.log.answer = refusing
    await farm.writer.write([registered("w1"), submitted("t1")])
    await event_in(farm.log, is_kind(TaskAssigned))
    await farm.quiet()
    await farm.verified()


async def test_a_deposed_leader_stores_nothing_and_folds_on(farm: Farm) -> None:
    await farm.elect()
    await farm.writer.write(registered("w1"))
    await event_in(farm.log, is_kind(SystemStatusChanged))

    async def overtaken(drafts: Sequence[Draft], store: Callable[[], Awaitable[Appended]]) -> Appended:
        farm.log.answer = None
        await farm.writer.write(LeaderElected(coordinator_id="c2", term=2))
        return await store()

    farm.log.answer = overtaken
    await farm.writer.write(submitted("t1"))
    async with asyncio.timeout(5.0):
        await farm.consumer.deposed.wait()
    assert not farm.consumer.leading
    await farm.quiet()
    assert not farm.events(TaskAssigned)
    assert farm.consumer.state.leader_id == "c2"
    assert farm.consumer.state.tasks["t1"].status == "queued"
    # Elected again, it does what is still owed.
    await farm.elect(nonce="nonce-02")
    await event_in(farm.log, is_kind(TaskAssigned))
    await farm.quiet()
    await farm.verified()


async def test_a_newer_leader_that_was_read_silences_the_older(farm: Farm) -> None:
    await farm.elect()
    await farm.writer.write(LeaderElected(coordinator_id="c2", term=2))
    await farm.writer.write([registered("w1"), submitted("t1")])
    await until(lambda: farm.consumer.state.events_sequence == farm.log.last, 5.0, "the fold")
    assert not farm.log.tried
    # Or it would renew its lease for ever, and nobody would lead.
    assert farm.consumer.deposed.is_set()


async def test_nothing_is_decided_before_the_own_election_has_been_read(farm: Farm) -> None:
    await farm.writer.write([registered("w1"), submitted("t1")])
    farm.consumer.lead(Term(99, "early", 0.0, 0, holds=lambda: True))
    await until(lambda: farm.consumer.state.events_sequence == farm.log.last, 5.0, "the fold")
    assert not farm.log.tried


async def test_without_the_lease_nothing_is_appended(farm: Farm) -> None:
    farm.held = False
    await farm.elect()
    await farm.writer.write([registered("w1"), submitted("t1")])
    await until(lambda: farm.consumer.state.events_sequence == farm.log.last, 5.0, "the fold")
    assert not farm.log.tried
    assert not farm.consumer.leading
    farm.held = True
    await event_in(farm.log, is_kind(TaskAssigned))


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("meanwhile", [0, 1, 3])
async def test_the_lease_lapses_under_an_append_and_comes_back(farm: Farm, stored: bool, meanwhile: int) -> None:
    """Whether the batch is in the log is unknown. It settles that before it decides anything else."""
    await farm.elect()

    async def lapsing(drafts: Sequence[Draft], store: Callable[[], Awaitable[Appended]]) -> Appended:
        farm.log.answer = None
        if stored:
            await store()
        farm.held = False
        farm.now += 1.0
        raise Unacknowledged("the answer was lost")

    farm.log.answer = lapsing
    await farm.writer.write([registered("w1", slots=4), submitted("t1")])
    await until(lambda: not farm.held, 5.0, "the lapse")
    if meanwhile:
        await farm.writer.write(submitted(f"more-{number}") for number in range(meanwhile))
    farm.held = True
    await until(lambda: len(farm.events(TaskAssigned)) == 1 + meanwhile, 5.0, "every task to be assigned")
    await farm.quiet()
    assert len(farm.events(SystemStatusChanged)) == 1
    await farm.verified()


async def test_facts_are_recorded_behind_the_fence_and_by_themselves(farm: Farm) -> None:
    farm.consumer.record(LogDamaged(first=1, last=2, noticed_by="test"))
    await farm.writer.write([registered("w1"), submitted("t1")])
    await until(lambda: farm.consumer.state.events_sequence == farm.log.last, 5.0, "the fold")
    assert not farm.log.tried, "a fact waits for a leader"
    await farm.elect()
    await event_in(farm.log, is_kind(TaskAssigned))
    farm.consumer.record(LogDamaged(first=3, last=4, noticed_by="test"))
    await event_in(farm.log, is_kind(LogDamaged, first=3))
    for batch in farm.log.tried:
        assert len({draft.envelope.decision is None for draft in batch}) == 1
    await farm.verified()


async def test_any_number_of_facts_is_recorded(farm: Farm) -> None:
    await farm.elect()
    for number in range(1, 2 * DECISIONS_MAX + 2):
        farm.consumer.record(LogDamaged(first=number, last=number, noticed_by="test"))
    await until(lambda: len(farm.events(LogDamaged)) == 2 * DECISIONS_MAX + 1, 5.0, "all of them")
    assert [event.first for event in farm.events(LogDamaged)] == list(range(1, 2 * DECISIONS_MAX + 2))


async def test_a_fact_outlives_a_term_that_ends_under_it(farm: Farm) -> None:
    await farm.elect()

    async def fenced(drafts: Sequence[Draft], store: Callable[[], Awaitable[Appended]]) -> Appended:
        farm.log.answer = None
        raise Fenced("append", "wrong last sequence: 7", 10071)

    farm.log.answer = fenced
    farm.consumer.record(LogDamaged(first=1, last=2, noticed_by="test"))
    async with asyncio.timeout(5.0):
        await farm.consumer.deposed.wait()
    assert not farm.events(LogDamaged)
    await farm.elect(nonce="nonce-02")
    await event_in(farm.log, is_kind(LogDamaged))
    assert len(farm.events(LogDamaged)) == 1


async def test_silence_falls_due_without_any_event(farm: Farm) -> None:
    await farm.elect()
    appended = await farm.writer.write(registered("w1"))
    farm.pulse.beat("w1", appended.last)
    await until(lambda: farm.consumer.state.heartbeats_sequence == 1, 5.0, "the heartbeat")
    await farm.quiet()
    farm.now += 6.0
    await event_in(farm.log, is_kind(WorkerSuspected))
    await farm.quiet()
    farm.now += 9.0
    await event_in(farm.log, is_kind(WorkerFailed))
    await farm.quiet()
    await farm.verified()


async def test_a_beat_of_a_suspect_wakes_the_leader(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    await farm.elect()
    appended = await farm.writer.write(registered("w1"))
    farm.pulse.beat("w1", appended.last)
    await until(lambda: farm.consumer.state.heartbeats_sequence == 1, 5.0, "the heartbeat")
    farm.now += 6.0
    await event_in(farm.log, is_kind(WorkerSuspected))
    await farm.quiet()
    monkeypatch.setattr("recovery.consumer.IDLE_WAIT_S_MAX", 60.0)
    farm.pulse.beat("w1", appended.last)
    await until(lambda: farm.consumer.state.workers["w1"].status == "alive", 5.0, "the refutation")
    await farm.verified()


async def test_16_a_standby_takes_over_and_repeats_nothing(farm: Farm) -> None:
    standby = farm.another()
    standby._heartbeats = Pulse(farm.wall)  # of its own: two readers do not share one queue
    running = asyncio.create_task(standby.run())
    try:
        await farm.elect()
        appended = await farm.writer.write(registered("w1"))
        await farm.writer.write([registered("w2"), submitted("t1"), submitted("t2")])
        await until(lambda: len(farm.events(TaskAssigned)) == 2, 5.0, "both to be assigned")
        for event in farm.events(TaskAssigned):
            said = {name: getattr(event, name) for name in ("task_id", "worker_id", "incarnation", "attempt")}
            await farm.writer.write(TaskStarted(**said))
        farm.consumer.stop_leading()
        await farm.writer.write(WorkerExited(worker_id="w1", incarnation=appended.last, signal=9))
        await farm.elect(standby, nonce="nonce-02")
        await event_in(farm.log, is_kind(TaskRequeued))
        await until(lambda: standby.state.events_sequence == farm.log.last, 5.0, "the fold")
        # The old one wakes up and believes that it still leads.
        farm.consumer.lead(Term(1, "nonce-01", 0.0, 0, holds=lambda: True))
        await until(lambda: standby.state.events_sequence == farm.log.last, 5.0, "the fold")
        assert len(farm.events(TaskRequeued)) == 1
        assert len(farm.events(WorkerFailed)) == 1
        assert farm.log.tried[-1][0].envelope.id.startswith("d-nonce-02-")
        await farm.verified()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_damage_that_its_reader_notices_is_recorded() -> None:
    farm = Farm()

    class Damaged(MemoryReader):
        found = [(3, 4)]

        def damage(self) -> list[tuple[int, int]]:
            now, self.found = self.found, []
            return now

    farm.consumer = farm.reading(Damaged(farm.log, 0, ()))
    running = asyncio.create_task(farm.consumer.run())
    await farm.elect()
    recorded = await event_in(farm.log, is_kind(LogDamaged))
    assert recorded.event == LogDamaged(first=3, last=4, noticed_by="coordinator/c1")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_heartbeat_source_that_ends_ends_the_consumer() -> None:
    farm = Farm()

    class Broken:
        async def next(self, wait_s: float | None = None) -> list[RecordedHeartbeat]:
            raise Unacknowledged("the connection has ended")

        def lost(self) -> int | None:
            return None

    farm.consumer._heartbeats = Broken()
    with pytest.raises(Unacknowledged, match="the connection has ended"):
        async with asyncio.timeout(5.0):
            await farm.consumer.run()


def test_the_tail_is_that_of_the_election() -> None:
    assert LeaderElected(coordinator_id="c1", term=1).tail() == LEADER_TAIL
