"""What recovering costs: measured before, meanwhile and after, and told when it can be compared."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, cast

import psutil
import pytest

from coordinator.fleet.notes import Notes, Overheard
from coordinator.fleet.tally import Tally
from coordinator.impact import measuring
from coordinator.impact.meter import (
    AFTER_S,
    BEFORE_S,
    HEARTBEATS_PER_S_MAX,
    KEPT_MAX,
    KEPT_S,
    LENGTH_S_MAX,
    OWN,
    Meter,
    Sample,
)
from coordinator.impact.own import OwnUse
from events.clock import ClusterClock, utc
from events.envelope import Recorded
from events.system import RecoveryMeasured, RecoveryPaused, RecoveryResumed
from events.worker import Heartbeat, RecordedHeartbeat
from recovery.consumer import RecoveryConsumer
from recovery.core import State, evolve
from tests.projections.histories import EPOCH
from tests.projections.telling import Telling
from tests.waiting import until

GIB = 2**30


class Watched:
    """A telling that is folded as it goes on, with a sample of the coordinator and one of the machine `h` a second."""

    def __init__(self) -> None:
        self.telling = Telling()
        self.told: list[RecoveryMeasured] = []
        self.meter = Meter("c1", self.told.append)
        self.cpu = 10.0
        self.leading = True
        self.hosts: tuple[str, ...] = (OWN, "h")
        self._notes = Notes()
        self._folded = 0
        self.second = 0

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.second += 1
            for host in self.hosts:
                self.meter.sample(Sample(EPOCH + self.second, host, self.cpu, GIB, 8 * GIB))
            self.meter.look(EPOCH + self.second, leading=self.leading)

    def fold(self) -> None:
        batch = self.telling.log[self._folded :]
        self._folded += len(batch)
        self._notes.take(batch)
        self.meter.take(batch, self._notes.tally)

    def say(self, what: Callable[..., None], *arguments: Any, **fields: Any) -> None:
        what(self.second, *arguments, **fields)
        self.fold()

    def outage(self, seconds: int, cpu: float, worker_id: str = "w1") -> None:
        self.say(self.telling.die, worker_id)
        usual, self.cpu = self.cpu, cpu
        self.wait(seconds)
        self.say(self.telling.recover, worker_id)
        self.cpu = usual


@pytest.fixture
def farm() -> Watched:
    farm = Watched()
    for worker_id in ("w1", "w2"):
        farm.say(farm.telling.register, worker_id)
    return farm


def test_a_recovery_beside_what_was_before_and_after(farm: Watched) -> None:
    farm.wait(100)
    farm.outage(20, cpu=50.0)
    farm.cpu = 20.0
    farm.wait(int(AFTER_S) - 1)
    assert farm.told == []
    farm.wait(1)
    [told] = farm.told
    assert (told.began_at, told.ended_at) == (utc(EPOCH + 100), utc(EPOCH + 120))
    assert (told.outages, told.hosts, told.coordinator_id) == (1, 1, "c1")
    assert (told.before_s, told.after_s) == (BEFORE_S, AFTER_S)
    for course in (told.coordinator, told.workers):
        assert course is not None
        assert course.before.cpu_percent == 10.0
        # The sample of the very moment at which it began belongs to it.
        assert course.during.cpu_percent == pytest.approx((20 * 50 + 10) / 21, abs=0.001)
        assert course.after.cpu_percent == 20.0
        assert (course.during.memory_bytes, course.during.memory_available_bytes) == (GIB, 8 * GIB)
    farm.wait(100)
    assert len(farm.told) == 1, "once"


def test_what_happened_before_it_was_noticed_belongs_to_it(farm: Watched) -> None:
    farm.wait(100)
    farm.cpu = 50.0
    farm.wait(15)
    farm.telling.fail(farm.second, "w1", "silence", seen=100.5)
    farm.fold()
    farm.wait(5)
    farm.say(farm.telling.recover, "w1")
    farm.cpu = 10.0
    farm.wait(int(AFTER_S))
    [told] = farm.told
    assert told.began_at == utc(EPOCH + 100.5)
    assert (told.coordinator.before.cpu_percent, told.coordinator.during.cpu_percent) == (10.0, 50.0)


def test_overlapping_outages_are_one_stretch(farm: Watched) -> None:
    farm.wait(60)
    farm.say(farm.telling.die, "w1")
    farm.wait(5)
    farm.say(farm.telling.die, "w2")
    farm.wait(5)
    farm.say(farm.telling.recover, "w1")
    farm.wait(5)
    farm.say(farm.telling.recover, "w2")
    farm.wait(int(AFTER_S))
    [told] = farm.told
    assert (told.outages, told.began_at, told.ended_at) == (2, utc(EPOCH + 60), utc(EPOCH + 75))


def test_an_outage_in_the_time_after_makes_it_longer(farm: Watched) -> None:
    farm.wait(60)
    farm.outage(5, cpu=50.0)
    farm.cpu = 90.0
    farm.wait(10)
    farm.outage(5, cpu=50.0, worker_id="w2")
    farm.cpu = 10.0
    farm.wait(int(AFTER_S))
    [told] = farm.told
    assert (told.outages, told.ended_at) == (2, utc(EPOCH + 80))
    assert (told.coordinator.after.cpu_percent, told.coordinator.before.cpu_percent) == (10.0, 10.0)
    assert told.coordinator.during.cpu_percent < 60.0, "what was between the two is in neither part"


def test_the_cost_of_one_recovery_is_not_what_another_is_compared_with(farm: Watched) -> None:
    farm.wait(60)
    farm.outage(5, cpu=90.0)
    farm.wait(int(AFTER_S) + 1)
    farm.outage(5, cpu=50.0)
    farm.wait(int(AFTER_S))
    _, told = farm.told
    assert told.coordinator.before.cpu_percent == 10.0
    assert told.before_s == pytest.approx(AFTER_S, abs=1.1)


def drill(farm: Watched) -> None:
    farm.telling.fail(farm.second, "w1", synthetic="drill")
    farm.fold()


def real_and_drill(farm: Watched) -> None:
    farm.say(farm.telling.die, "w2")
    drill(farm)
    farm.say(farm.telling.recover, "w2")


def paused_before(farm: Watched) -> None:
    farm.telling.say(farm.second, RecoveryPaused(actor="a"))
    farm.say(farm.telling.die, "w1")
    farm.telling.say(farm.second, RecoveryResumed(actor="a"))
    farm.fold()


def paused_meanwhile(farm: Watched) -> None:
    farm.say(farm.telling.die, "w1")
    farm.telling.say(farm.second, RecoveryPaused(actor="a"))
    farm.fold()
    farm.telling.say(farm.second, RecoveryResumed(actor="a"))
    farm.fold()


@pytest.mark.parametrize("begin", [drill, real_and_drill, paused_before, paused_meanwhile])
def test_what_is_made_up_or_an_operators_is_not_measured(farm: Watched, begin: Callable[[Watched], None]) -> None:
    farm.wait(60)
    begin(farm)
    farm.wait(5)
    farm.say(farm.telling.recover, "w1")
    farm.wait(int(AFTER_S) + 1)
    assert farm.told == []
    farm.outage(5, cpu=50.0)
    farm.wait(int(AFTER_S))
    assert len(farm.told) == 1, "the next one is"


def test_a_follower_tells_nothing_and_is_ready_to(farm: Watched) -> None:
    farm.leading = False
    farm.wait(60)
    farm.outage(5, cpu=50.0)
    farm.wait(int(AFTER_S))
    assert farm.told == []
    farm.outage(5, cpu=50.0)
    farm.leading = True
    farm.wait(int(AFTER_S))
    assert len(farm.told) == 1


def test_with_nothing_before_it_there_is_nothing_to_compare(farm: Watched) -> None:
    farm.wait(3)
    farm.outage(5, cpu=50.0)
    farm.wait(int(AFTER_S) + 1)
    assert farm.told == []


def test_what_takes_too_long_is_given_up(farm: Watched) -> None:
    farm.wait(60)
    farm.outage(int(LENGTH_S_MAX) + 5, cpu=50.0)
    farm.wait(int(AFTER_S) + 1)
    assert farm.told == []
    farm.outage(5, cpu=50.0)
    farm.wait(int(AFTER_S))
    assert len(farm.told) == 1


def test_machines_that_are_not_heard_all_along_are_left_out(farm: Watched) -> None:
    farm.hosts = (OWN, "h", "g")
    farm.wait(60)
    farm.hosts = (OWN, "h")
    farm.outage(5, cpu=50.0)
    farm.wait(int(AFTER_S))
    farm.hosts = (OWN,)
    farm.wait(60)
    farm.outage(5, cpu=50.0)
    farm.wait(int(AFTER_S))
    first, second = farm.told
    assert first.hosts == 1
    assert (second.hosts, second.workers) == (0, None)


def test_available_memory_is_unknown_where_any_machine_does_not_tell(farm: Watched) -> None:
    farm.hosts = (OWN,)
    farm.wait(60)

    def hear(available: int | None) -> None:
        for host, told in (("h", 8 * GIB), ("g", available)):
            farm.meter.sample(Sample(EPOCH + farm.second, host, 10.0, GIB, told))

    hear(GIB)
    farm.wait(1)
    farm.say(farm.telling.die, "w1")
    hear(None)
    farm.wait(2)
    farm.say(farm.telling.recover, "w1")
    farm.wait(1)
    hear(GIB)
    farm.wait(int(AFTER_S))
    [told] = farm.told
    assert told.workers is not None
    assert told.hosts == 2
    assert (told.workers.before.memory_available_bytes, told.workers.during.memory_available_bytes) == (4.5 * GIB, None)


def test_what_is_kept_is_bounded(farm: Watched) -> None:
    farm.wait(1000)
    assert len(farm.meter._kept) <= 2 * (KEPT_S + 1)


def beats_at(times: Iterable[float]) -> list[RecordedHeartbeat]:
    return [
        RecordedHeartbeat(number, time, Heartbeat(worker_id="w1", incarnation=1, beat=number, sent_at=utc(EPOCH)))
        for number, time in enumerate(times)
    ]


@pytest.mark.parametrize("together", [1, 7, 100_000])
def test_those_of_a_large_farm_are_thinned_out_however_they_come(farm: Watched, together: int) -> None:
    """They come as they are delivered: in many small batches, or all at once behind a pause."""
    state = State()
    for recorded in farm.telling.log:
        evolve(state, recorded)
    farm.meter._kept.clear()
    seconds, rate = 20, 10 * HEARTBEATS_PER_S_MAX
    beats = beats_at(EPOCH + 2000 + number / rate for number in range(seconds * rate))
    for first in range(0, len(beats), together):
        farm.meter.heartbeats(beats[first : first + together], state)
    kept = Counter(int(sample.time - EPOCH - 2000 + 1e-6) for sample in farm.meter._kept)
    assert len(kept) == seconds
    assert max(kept.values()) <= 2 * HEARTBEATS_PER_S_MAX, "what may come at once, and its second's own"
    assert {kept[second] for second in range(3, seconds)} <= set(
        range(HEARTBEATS_PER_S_MAX - 1, HEARTBEATS_PER_S_MAX + 2)
    )


def test_a_clock_that_is_set_back_ends_no_sampling(farm: Watched) -> None:
    state = State()
    for recorded in farm.telling.log:
        evolve(state, recorded)
    farm.meter._kept.clear()
    farm.meter.heartbeats(beats_at([EPOCH + 5000] * 500), state)
    assert HEARTBEATS_PER_S_MAX <= len(farm.meter._kept) <= HEARTBEATS_PER_S_MAX + 1
    farm.meter._kept.clear()
    farm.meter.heartbeats(beats_at([EPOCH + 2000] * 500), state)
    assert HEARTBEATS_PER_S_MAX <= len(farm.meter._kept) <= HEARTBEATS_PER_S_MAX + 1
    farm.meter.heartbeats([RecordedHeartbeat(9, EPOCH + 2001, None)], state)
    farm.meter.heartbeats([], state)
    assert len(farm.meter._kept) <= HEARTBEATS_PER_S_MAX + 1
    farm.meter.heartbeats(beats_at([EPOCH + 5000] * 500), state)
    farm.meter.heartbeats(beats_at(EPOCH + 2010 + number / 10 for number in range(3 * KEPT_MAX)), state)
    assert len(farm.meter._kept) <= KEPT_MAX


def test_own_use_is_that_of_all_processes_that_belong_here() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        own = OwnUse(lambda: [os.getpid(), busy.pid, 2**22 + 1])
        assert own.sample(EPOCH) is None
        found = None
        for _ in range(10_000):
            found = own.sample(EPOCH + 1)
            if found is not None and found.cpu_percent > 0:
                break
        busy.kill()
    assert found is not None
    assert (found.time, found.host) == (EPOCH + 1, OWN)
    assert found.memory_bytes > 0
    assert found.available_bytes is not None
    assert found.cpu_percent > 0


def test_a_machine_that_does_not_tell_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def untold() -> None:
        raise FileNotFoundError("/proc/meminfo")

    own = OwnUse(lambda: [os.getpid()])
    assert own.sample(EPOCH) is None
    monkeypatch.setattr(psutil, "virtual_memory", untold)
    assert own.sample(EPOCH + 1) is None


class _Consumer:
    """As much of one as is measured by."""

    def __init__(self) -> None:
        self.clock = ClusterClock()
        self.state = State()
        self.leading = True
        self.listeners: list[Callable[[list[Recorded]], None]] = []

    def listen(self, listener: Callable[[list[Recorded]], None]) -> None:
        self.listeners.append(listener)

    def record(self, fact: object) -> None:
        raise AssertionError(fact)


class _Heartbeats:
    def __init__(self) -> None:
        self.listeners: list[Callable[[list[RecordedHeartbeat]], None]] = []

    def listen(self, listener: Callable[[list[RecordedHeartbeat]], None]) -> None:
        self.listeners.append(listener)


async def test_the_meter_is_kept_supplied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "EVERY_S", 0.005)
    asked: list[int] = []

    def pids() -> list[int]:
        asked.append(os.getpid())
        return asked[-1:]

    consumer, heartbeats, tallies = _Consumer(), _Heartbeats(), [None, Tally()]
    watching = measuring.Measuring(pids).run(
        "c1", cast("RecoveryConsumer", consumer), cast("Overheard", heartbeats), tallies.pop
    )
    running = asyncio.create_task(watching)
    await until(lambda: len(asked) >= 3, 10, "samples")
    for listener in consumer.listeners:
        listener([])  # with a tally, and then before there is one
        listener([])
    heartbeats.listeners[0]([])
    assert tallies == []
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
