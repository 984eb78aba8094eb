"""The broker has lost heartbeats that a leader had read: leader and replay come to know the same again."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from events.clock import utc
from events.envelope import Recorded
from events.system import DetectorDegraded
from events.task import TaskAssigned
from events.worker import (
    WorkerDisconnected,
    WorkerFailed,
    WorkerRecoveryProbed,
    WorkerRecoverySucceeded,
    WorkerSuspected,
    WorkerSuspicionRefuted,
)
from recovery.core import decide, evolve, forget_beats, observe
from recovery.state import State
from replay.beats import ListedBeats
from replay.verify import verify
from tests.recovery.leader import Farm, Pulse
from tests.recovery.story import BEGIN, Story, folded, registered, submitted
from tests.waiting import event_in, is_kind, until


def lost(through: int) -> DetectorDegraded:
    return DetectorDegraded(reason="heartbeats_lost", extent_s=0.0, heartbeats_sequence=through)


def lose(story: Story, count: int) -> int:
    """The broker loses the last heartbeats, and the leader says so; the sequence up to which all are forgotten."""
    del story.beats[-count:]
    through = len(story.beats)
    forget_beats(story.state, through)
    story.tell(lost(through))
    return through


def farm_of(*worker_ids: str) -> Story:
    """They have worked for a while."""
    story = Story()
    story.join(*worker_ids)
    story.wait(10.0, *worker_ids)
    return story


def test_everybody_counts_as_heard_when_the_loss_is_told() -> None:
    story = farm_of("w1", "w2")
    story.wait(4.0, "w2")
    through = lose(story, 3)
    told_at = story.now
    assert story.state.last_beat(story.worker("w1")) is None
    story.wait(20.0, "w2")
    [(suspected_at, suspected)] = story.timed(WorkerSuspected)
    [(failed_at, failed)] = story.timed(WorkerFailed)
    assert (suspected.worker_id, failed.worker_id) == ("w1", "w1")
    assert suspected_at == pytest.approx(told_at - BEGIN + 6.0)
    assert failed_at == pytest.approx(told_at - BEGIN + 15.0)
    assert suspected.evidence.heartbeat_sequence == through
    assert suspected.evidence.last_seen == utc(told_at)
    assert failed.reason == "silence"


def test_a_worker_that_beats_on_comes_to_no_harm() -> None:
    story = farm_of("w1", "w2")
    lose(story, 6)
    story.tell(submitted("t1"))
    assert story.told(TaskAssigned) == [], "nobody is known to be there"
    story.wait(3.0, "w1", "w2")
    assert len(story.told(TaskAssigned)) == 1
    story.start("t1")
    story.wait(30.0, "w1", "w2")
    assert story.told(WorkerSuspected) == []
    assert story.told(WorkerFailed) == []


def test_a_disconnection_that_was_refuted_does_not_come_back_with_the_loss() -> None:
    story = farm_of("w1", "w2")
    beat = story.state.last_beat(story.worker("w1"))
    assert beat is not None
    cut_off = WorkerDisconnected(
        worker_id="w1", incarnation=story.worker("w1").incarnation, reason="reset", heartbeat_sequence=beat.sequence
    )
    story.leading = False
    story.tell(cut_off)
    story.beat("w1", "w2")
    story.leading = True
    lose(story, 1)
    assert story.told(WorkerSuspected) == []
    story.wait(20.0, "w1", "w2")
    assert story.told(WorkerSuspected) == []


def test_a_suspect_is_refuted_by_what_comes_after_the_loss_and_by_nothing_else() -> None:
    story = farm_of("w1", "w2")
    story.wait(7.0, "w2")
    assert story.worker("w1").status == "suspect"
    before = story.worker("w1").suspected_beat
    assert lose(story, 8) < before
    story.wait(2.0, "w2")
    assert story.worker("w1").status == "suspect"
    story.beat("w1")
    assert story.beats[-1].sequence <= before, "by its number it is older than the suspicion"
    assert len(story.told(WorkerSuspicionRefuted)) == 1
    assert story.worker("w1").status == "alive"


def test_only_a_heartbeat_that_was_read_proves_a_worker_to_be_back() -> None:
    story = farm_of("w1", "w2")
    story.wait(16.0, "w2")
    assert story.worker("w1").status == "failed"
    story.wait(1.0, "w2")
    story.tell(registered("w1"))
    assert story.told(WorkerRecoveryProbed) == []
    lose(story, 2)
    assert story.told(WorkerRecoveryProbed) == [], "that it counts as heard is no proof"
    story.beat("w1")
    assert len(story.told(WorkerRecoveryProbed)) == 1


def test_a_probe_that_was_not_answered_in_spite_of_a_loss() -> None:
    """The heartbeat that the probe followed is forgotten when it runs out."""
    story = farm_of("w1", "w2")
    story.wait(17.0, "w2")
    story.tell(registered("w1"))
    story.beat("w1")
    assert len(story.told(WorkerRecoveryProbed)) == 1
    through = lose(story, 1)
    story.wait(60.0, "w2")
    assert story.told(WorkerRecoverySucceeded) == []
    failed = [event for event in story.told(WorkerFailed) if event.reason in ("unanswered", "silence")][-1]
    assert failed.evidence is not None
    assert failed.evidence.heartbeat_sequence == through


def test_a_worker_that_registers_after_the_loss_has_its_time_for_a_first_heartbeat() -> None:
    story = farm_of("w1")
    lose(story, 1)
    story.tell(registered("w3"))
    story.wait(29.0, "w1")
    assert story.worker("w3").status == "alive"
    story.wait(2.0, "w1")
    assert [event.reason for event in story.told(WorkerFailed)] == ["no_first_heartbeat"]


def test_a_second_loss_reaches_further_back_than_the_first() -> None:
    story = farm_of("w1", "w2")
    first = lose(story, 1)
    story.wait(1.0, "w1", "w2")
    assert lose(story, 6) < first
    story.wait(1.0, "w1", "w2")
    assert story.beats[-1].sequence <= first
    assert story.state.last_beat(story.worker("w2")) is not None
    story.wait(30.0, "w1", "w2")
    assert story.told(WorkerFailed) == []


def test_whoever_folds_what_is_left_owes_the_same() -> None:
    """The leader's fold has a past that nobody can read again; from the event on that makes no difference."""
    story = farm_of("w1", "w2", "w3")
    story.wait(7.0, "w2", "w3")
    lose(story, 5)
    for _ in range(12):
        story.wait(1.0, "w3")
        reader = folded(story.records, story.beats)
        for ahead in (0.0, 1.0, 3.0, 10.0, 40.0):
            assert decide(reader, story.now + ahead) == decide(story.state, story.now + ahead)


@pytest.mark.parametrize("order", ["heartbeats first", "events first"])
def test_it_does_not_matter_how_the_two_streams_interleave(order: str) -> None:
    story = farm_of("w1", "w2")
    lose(story, 4)
    story.wait(5.0, "w1")

    def events(state: State) -> None:
        for recorded in story.records:
            evolve(state, recorded)

    def beats(state: State) -> None:
        for beat in story.beats:
            observe(state, beat)

    state = State()
    steps: tuple[Callable[[State], None], ...] = (events, beats) if order == "events first" else (beats, events)
    for step in steps:
        step(state)
    for ahead in (0.0, 2.0, 20.0):
        assert decide(state, story.now + ahead) == decide(story.state, story.now + ahead)


# The consumer


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recovery.consumer.RETRY_PAUSE_S", 0.001)
    monkeypatch.setattr("recovery.consumer.IDLE_WAIT_S_MAX", 0.02)


@pytest.fixture
async def farm() -> AsyncIterator[Farm]:
    made = Farm()
    running = asyncio.create_task(made.consumer.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled(), running.exception()


async def beaten(farm: Farm, worker_id: str, incarnation: int) -> None:
    farm.now += 0.5
    farm.pulse.beat(worker_id, incarnation)
    sequence = farm.pulse.sent[-1].sequence
    await until(lambda: farm.consumer.state.heartbeats_sequence == sequence, 5.0, "the heartbeat")


def decisions(farm: Farm) -> list[Recorded]:
    stored = [farm.log.stored(sequence) for sequence in range(1, farm.log.last + 1)]
    return [one for one in stored if one.envelope is not None and one.envelope.decision is not None]


async def test_a_leader_says_so_before_it_decides_anything_more(farm: Farm) -> None:
    await farm.elect()
    first = (await farm.writer.write(registered("w1"))).last
    await farm.quiet()
    for _ in range(5):
        await beaten(farm, "w1", first)
    before = len(decisions(farm))
    farm.pulse.lose(3)
    told = await event_in(farm.log, is_kind(DetectorDegraded))
    assert told.event == DetectorDegraded(
        reason="heartbeats_lost", extent_s=0.0, heartbeats_sequence=2, coordinator_id="nonce-01"
    )
    assert len(decisions(farm)) == before
    await beaten(farm, "w1", first)
    await farm.writer.write(submitted("t1"))
    assigned = await event_in(farm.log, is_kind(TaskAssigned))
    assert assigned.envelope is not None
    provenance = assigned.envelope.decision
    assert provenance is not None
    assert provenance.as_of_heartbeats == 3
    assert provenance.as_of_heartbeats_at == utc(farm.pulse.sent[-1].time)
    await farm.quiet()
    assert len(farm.events(DetectorDegraded)) == 1
    await farm.verified()


async def test_decisions_that_rest_on_lost_heartbeats_cannot_be_verified_and_are_no_difference(farm: Farm) -> None:
    await farm.elect()
    first = (await farm.writer.write(registered("w1"))).last
    await farm.quiet()
    await beaten(farm, "w1", first)
    farm.now += 6.0
    await event_in(farm.log, is_kind(WorkerSuspected))
    await beaten(farm, "w1", first)
    await event_in(farm.log, is_kind(WorkerSuspicionRefuted))
    await farm.quiet()
    farm.pulse.lose(1)
    await event_in(farm.log, is_kind(DetectorDegraded))
    await beaten(farm, "w1", first)
    await farm.writer.write(submitted("t1"))
    await event_in(farm.log, is_kind(TaskAssigned))
    await farm.quiet()
    outcome = await verify(farm.log, ListedBeats(farm.pulse.sent))
    assert outcome.difference is None
    assert outcome.skipped == 1
    assert outcome.obstacle is not None
    assert outcome.obstacle.startswith("1 batches rest on heartbeats that the broker has lost; --from ")
    after = int(outcome.obstacle.partition("--from ")[2].split()[0])
    rest = await verify(farm.log, ListedBeats(farm.pulse.sent), first=after)
    assert rest.obstacle is None
    assert rest.decisions > 0


async def test_a_standby_speaks_of_its_own_loss_when_it_leads(farm: Farm) -> None:
    await farm.writer.write(registered("w1"))
    farm.pulse.beat("w1", 1)
    await until(lambda: farm.consumer.state.heartbeats_sequence == 1, 5.0, "the heartbeat")
    farm.pulse.lose(1)
    await until(lambda: farm.consumer.state.beats == {}, 5.0, "the loss to be noticed")
    assert farm.events(DetectorDegraded) == []
    await farm.elect()
    told = await event_in(farm.log, is_kind(DetectorDegraded))
    assert told.sequence < min((one.sequence for one in decisions(farm)), default=told.sequence + 1)
    await farm.quiet()
    assert len(farm.events(DetectorDegraded)) == 1


async def test_a_leader_that_never_read_them_knows_from_the_log_that_they_were(farm: Farm) -> None:
    """Nobody is left who could have seen that the sequences began again."""
    await farm.elect()
    first = (await farm.writer.write(registered("w1"))).last
    await farm.quiet()
    for _ in range(5):
        await beaten(farm, "w1", first)
    farm.now += 6.0
    await event_in(farm.log, is_kind(WorkerSuspected))
    await farm.quiet()
    farm.consumer.stop_leading()
    farm.pulse = Pulse(farm.wall)  # the stream begins anew
    successor = farm.another()
    running = asyncio.create_task(successor.run())
    try:
        farm.pulse.beat("w1", first)
        await farm.elect(successor, nonce="nonce-02")
        told = await event_in(farm.log, is_kind(DetectorDegraded))
        assert told.event.reason == "heartbeats_lost"  # type: ignore[union-attr]
        farm.now += 0.5
        farm.pulse.beat("w1", first)
        await event_in(farm.log, is_kind(WorkerSuspicionRefuted))
        await until(lambda: successor.state.events_sequence == farm.log.last, 5.0, "the fold")
        assert len(farm.events(DetectorDegraded)) == 1
        assert successor.state.beats_known == successor.state.heartbeats_sequence
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_was_lost_is_not_taken_in_when_it_is_read_later(farm: Farm) -> None:
    await farm.elect()
    first = (await farm.writer.write(registered("w1"))).last
    await farm.quiet()
    for _ in range(3):
        await beaten(farm, "w1", first)
    await farm.writer.write(submitted("t1"))
    await event_in(farm.log, is_kind(TaskAssigned))
    await farm.quiet()
    farm.consumer.stop_leading()
    farm.pulse = Pulse(farm.wall)
    slow, farm.pulse._waiting = farm.pulse._waiting, asyncio.Queue()
    successor = farm.another()
    successor._heartbeats = farm.pulse
    farm.pulse.beat("w1", first)
    farm.pulse._waiting, waiting = slow, farm.pulse._waiting
    running = asyncio.create_task(successor.run())
    try:
        await farm.elect(successor, nonce="nonce-02")
        await event_in(farm.log, is_kind(DetectorDegraded))
        assert successor.state.heartbeats_sequence == 1
        farm.pulse._waiting.put_nowait(waiting.get_nowait())
        farm.now += 0.5
        farm.pulse.beat("w1", first)
        await until(lambda: successor.state.heartbeats_sequence == 2, 5.0, "the heartbeat behind it")
        assert successor.state.arrivals["w1"].times() == [farm.pulse.sent[1].time]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_the_leader_has_said_is_not_said_again(farm: Farm) -> None:
    """The standby had lost less than the leader, and says nothing when its turn comes."""
    standby = farm.another()
    standby._heartbeats = own = Pulse(farm.wall)
    running = asyncio.create_task(standby.run())
    try:
        await farm.elect()
        first = (await farm.writer.write(registered("w1"))).last
        for pulse in (farm.pulse, own):
            for _ in range(4):
                pulse.beat("w1", first)
        await until(lambda: standby.state.heartbeats_sequence == 4, 5.0, "the heartbeats")
        await until(lambda: farm.consumer.state.heartbeats_sequence == 4, 5.0, "the heartbeats")
        own.lose(3)
        await until(lambda: standby.state.beats == {}, 5.0, "the standby to notice")
        farm.pulse.lose(2)
        await event_in(farm.log, is_kind(DetectorDegraded))
        for _ in range(2):
            own.beat("w1", first)
        await until(lambda: standby.state.heartbeats_sequence == 3, 5.0, "the heartbeats")
        await until(lambda: standby.state.loss.through == 2, 5.0, "the standby to hear of it")
        farm.consumer.stop_leading()
        await farm.elect(standby, nonce="nonce-02")
        await farm.writer.write(submitted("t1"))
        await event_in(farm.log, is_kind(TaskAssigned))
        assert len(farm.events(DetectorDegraded)) == 1
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
