"""The consumer whose broker's clock steps, or whose streams come late: it holds judgement, says so, and goes on."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from events.clock import utc
from events.system import DetectorDegraded
from events.task import TaskAssigned
from events.worker import Heartbeat, RecordedHeartbeat, WorkerFailed, WorkerSuspected
from tests.recovery.leader import Farm
from tests.recovery.story import registered, submitted
from tests.waiting import event_in, is_kind, until


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recovery.consumer.RETRY_PAUSE_S", 0.001)
    monkeypatch.setattr("recovery.consumer.IDLE_WAIT_S_MAX", 0.02)


class Pair(Farm):
    """Two workers that beat when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.incarnations: dict[str, int] = {}

    async def join(self) -> None:
        for worker_id in ("w1", "w2"):
            self.incarnations[worker_id] = (await self.writer.write(registered(worker_id))).last
        await self.beat()

    async def beat(self, *worker_ids: str) -> None:
        for worker_id in worker_ids or self.incarnations:
            self.pulse.beat(worker_id, self.incarnations[worker_id])
        await until(lambda: self.consumer.state.heartbeats_sequence == len(self.pulse.sent), 5.0, "the heartbeats")

    async def live_on(self, seconds: int, *worker_ids: str) -> None:
        """Those named beat all along; both, if nobody is."""
        for _ in range(seconds // 2):
            self.now += 2.0
            await self.beat(*worker_ids)
            await self.quiet()

    def doubts(self) -> list[tuple[str, float]]:
        return [(event.reason, round(event.extent_s, 3)) for event in self.events(DetectorDegraded)]


@pytest.fixture
async def farm() -> AsyncIterator[Pair]:
    made = Pair()
    running = asyncio.create_task(made.consumer.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled(), running.exception()


async def found_dead(farm: Pair, worker_id: str) -> None:
    """Silent since before the last doubt, it is given the time that anybody has, and no more."""
    others = sorted(farm.incarnations.keys() - {worker_id})
    await farm.live_on(8, *others)
    await event_in(farm.log, is_kind(WorkerSuspected, worker_id=worker_id))
    await farm.quiet()
    await farm.live_on(10, *others)
    await event_in(farm.log, is_kind(WorkerFailed, worker_id=worker_id))


def condemned(farm: Pair) -> bool:
    return bool(farm.events(WorkerSuspected) or farm.events(WorkerFailed))


async def test_a_step_forward(farm: Pair) -> None:
    await farm.elect()
    await farm.join()
    await farm.live_on(6)
    farm.stepped += 30.0
    await farm.beat("w1")
    await event_in(farm.log, is_kind(DetectorDegraded))
    await farm.live_on(20)
    assert farm.doubts() == [("clock_step", 30.0)]
    assert not condemned(farm)
    await farm.verified()


async def test_a_step_back_of_an_idle_farm(farm: Pair) -> None:
    """At first it looks like a stream that lags. The fact that says so comes back and proves what it really is."""
    await farm.elect()
    await farm.join()
    await farm.live_on(6)
    farm.stepped -= 15.75
    await farm.beat()
    await until(lambda: len(farm.doubts()) == 2, 5.0, "both doubts")
    await farm.live_on(60)
    assert farm.doubts() == [("stream_lag", 15.75), ("clock_step", -15.75)]
    assert not condemned(farm)
    assert farm.consumer.clock.now() == farm.wall()
    # And whoever is silent from now on is found out as ever.
    await farm.live_on(6, "w1")
    await event_in(farm.log, is_kind(WorkerSuspected, worker_id="w2"))
    await farm.quiet()
    await farm.live_on(10, "w1")
    await event_in(farm.log, is_kind(WorkerFailed, worker_id="w2"))
    assert len(farm.doubts()) == 2
    await farm.verified()


async def test_a_step_back_of_a_farm_at_work(farm: Pair) -> None:
    """Any batch that comes back proves it."""
    await farm.elect()
    await farm.join()
    await farm.live_on(6)
    farm.stepped -= 3_600.0
    await farm.writer.write(submitted("t1"))
    await event_in(farm.log, is_kind(TaskAssigned))
    await event_in(farm.log, is_kind(DetectorDegraded))
    await farm.live_on(60)
    assert farm.doubts() == [("clock_step", -3_600.0)]
    assert not condemned(farm)
    await farm.verified()


async def test_heartbeats_that_come_late(farm: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recovery.consumer.IDLE_WAIT_S_MAX", 60.0)  # it looks when something comes
    await farm.elect()
    await farm.join()
    await farm.quiet()
    late = [
        RecordedHeartbeat(
            3 + number,
            farm.wall() + 2.0,
            Heartbeat(worker_id=worker_id, incarnation=incarnation, beat=2, sent_at=utc(farm.wall())),
        )
        for number, (worker_id, incarnation) in enumerate(farm.incarnations.items())
    ]
    farm.now += 9.0
    for beat in late:
        farm.pulse.sent.append(beat)
        farm.pulse._waiting.put_nowait(beat)
    await until(lambda: farm.consumer.state.heartbeats_sequence == 4, 5.0, "the late heartbeats")
    await farm.writer.write(submitted("t1"))
    await event_in(farm.log, is_kind(DetectorDegraded))
    await farm.live_on(20)
    assert farm.doubts() == [("stream_lag", 7.0)]
    assert not condemned(farm)
    await farm.verified()


async def test_a_doubt_is_in_force_before_anything_else_is_decided(farm: Pair) -> None:
    await farm.elect()
    await farm.join()
    await farm.quiet()
    farm.stepped += 30.0
    await farm.beat("w1")
    await event_in(farm.log, is_kind(DetectorDegraded))
    await farm.writer.write(submitted("t1"))
    await event_in(farm.log, is_kind(TaskAssigned))
    kinds = [[type(draft.envelope.event) for draft in batch] for batch in farm.log.tried]
    assert [DetectorDegraded] in kinds
    assert sum(DetectorDegraded in batch for batch in kinds) == 1
    await farm.verified()


async def test_what_a_follower_saw_of_the_clock_is_nobodys_judgement(farm: Pair) -> None:
    await farm.join()
    farm.now += 2.0
    farm.stepped += 30.0
    await farm.beat()
    await farm.elect()
    await farm.quiet()
    await farm.live_on(20)
    assert farm.doubts() == []
    assert not condemned(farm)


async def test_a_follower_whose_clock_is_wrong_takes_over(farm: Pair) -> None:
    """A step back that it could not prove, as it said nothing: its own election comes from the past."""
    await farm.join()
    farm.now += 2.0
    farm.stepped -= 15.75
    await farm.beat()
    await farm.elect()
    await until(lambda: farm.consumer.clock.now() == farm.wall(), 5.0, "the clock to be right")
    await farm.live_on(30)
    assert farm.doubts()[-1] == ("clock_step", -15.75)
    assert not condemned(farm)


async def test_a_step_back_that_everybody_has_got_used_to(farm: Pair) -> None:
    """The follower's windows have forgotten the old clock, and its time stands still until the election proves why."""
    await farm.join()
    farm.stepped -= 500.0
    for _ in range(40):
        farm.now += 2.0
        await farm.beat("w1")
    await farm.elect()
    await event_in(farm.log, is_kind(DetectorDegraded))
    assert farm.consumer.clock.now() == farm.wall()
    await found_dead(farm, "w2")
    assert [reason for reason, _ in farm.doubts()] == ["clock_step"]
    await farm.verified()


async def test_whoever_died_before_a_step_back_is_found_by_the_next_leader_too(farm: Pair) -> None:
    """Its clock is right, as it proved the step itself, and the dead worker's last heartbeat still lies ahead."""
    await farm.elect()
    await farm.join()
    await farm.live_on(6)
    farm.stepped -= 500.0
    await farm.writer.write(submitted("t1"))
    await until(lambda: len(farm.doubts()) == 1, 5.0, "the doubt of the first term")
    farm.held = False  # else the first leader may still find it, in 30 s
    farm.now += 30.0
    await farm.beat("w1")
    await farm.elect(nonce="nonce-02")
    farm.held = True
    await until(lambda: len(farm.doubts()) == 2, 5.0, "the doubt of the second term")
    assert all(reason == "clock_step" and extent < -400.0 for reason, extent in farm.doubts())
    await found_dead(farm, "w2")
    await farm.verified()


async def test_a_step_under_a_lapse_of_the_lease_is_not_forgotten(farm: Pair) -> None:
    """The term goes on when the lease is renewed after all, and no election begins anew."""
    await farm.elect()
    await farm.join()
    await farm.live_on(6)
    farm.held = False
    farm.stepped += 30.0
    await farm.beat("w1")
    await farm.writer.write(submitted("t1"))
    await until(lambda: farm.consumer.state.events_sequence == farm.log.last, 5.0, "the fold")
    farm.held = True
    await event_in(farm.log, is_kind(DetectorDegraded))
    await farm.live_on(20)
    assert farm.doubts() == [("clock_step", 30.0)]
    assert not condemned(farm)
