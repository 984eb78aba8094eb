"""What a worker may do, by its heartbeats' acknowledgements alone."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from events.bus import Bus
from events.ending import ended
from events.errors import Unacknowledged
from events.host import CURRENT, Host
from events.policy import Policy
from events.streams import Streams
from events.worker import Heartbeat
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import SimHost, SimProcess
from tests.waiting import until
from worker import beats
from worker.beats import Heart
from worker.lease import BEGIN_WITHIN_BEATS
from worker.ports import Gauges, Vitals
from worker.ruling import Ruling

POLICY = Policy(heartbeat_interval=0.01, suspect_after=5.0, self_fence_after=10.0, failed_after=15.0)
SHORTER = Policy(heartbeat_interval=0.01, suspect_after=1.0, self_fence_after=2.0, failed_after=3.0)
LONGER = Policy(heartbeat_interval=0.01, suspect_after=50.0, self_fence_after=100.0, failed_after=150.0)


class Bedside(Host):
    """A machine on which time stands still unless the test moves it."""

    def __init__(self) -> None:
        self.moment = 1000.0

    def boottime(self) -> float:
        return self.moment


class Patient:
    """A heart on a broker and a clock that the test rules."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, policy: Policy = POLICY) -> None:
        self.host = Bedside()
        self.answers = True
        self.condemned = False
        self.asked = 0
        self.fences = 0
        self.acknowledged = 0
        self.sent: list[Heartbeat] = []
        self.is_connected = True
        self.looked = 0
        self.hold = asyncio.Event()
        """While it is not set, whoever asks waits for the answer."""
        self.hold.set()
        self.in_flight = 0
        self.story: list[str] = []
        self.patience: list[float] = []
        self.reconnected: list[Callable[[], None]] = []
        monkeypatch.setattr(beats, "send_heartbeat", self.send)
        token = CURRENT.set(self.host)
        rules = Ruling(3, policy).rules_for("w1", {})
        self.heart = Heart(self, Streams(), "w1", 7, rules, gauges=lambda: Gauges(0.0, 0, 0.0))  # type: ignore[arg-type]
        CURRENT.reset(token)

    @property
    def connected(self) -> bool:
        self.looked += 1
        return self.is_connected

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        self.reconnected.append(callback)

    def forget_reconnect(self, callback: Callable[[], None]) -> None:
        self.reconnected.remove(callback)

    def obey(self, sequence: int, policy: Policy) -> None:
        self.heart.obey(Ruling(sequence, policy).rules_for("w1", {}))

    async def send(self, bus: Bus, streams: Streams, heartbeat: Heartbeat, *, timeout_s: float) -> int:
        self.sent.append(heartbeat)
        self.story.append(f"sent {heartbeat.rules}")
        self.patience.append(timeout_s)
        self.in_flight += 1
        assert self.in_flight == 1
        try:
            await self.hold.wait()
        finally:
            self.in_flight -= 1
        if not self.answers:
            self.host.moment += timeout_s
            raise Unacknowledged("no answer")
        return heartbeat.beat

    async def is_condemned(self) -> bool:
        self.asked += 1
        return self.condemned

    def note_acknowledged(self) -> None:
        self.acknowledged += 1

    def note_shortened(self) -> None:
        self.story.append("shortened")

    def note_fence(self) -> None:
        self.fences += 1

    @asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        run = self.heart.run(
            vitals=Vitals,
            condemned=self.is_condemned,
            on_shortened=self.note_shortened,
            on_acknowledged=self.note_acknowledged,
            on_fence=self.note_fence,
        )
        task = asyncio.create_task(run)
        try:
            yield
        finally:
            await ended(task)

    async def beat(self) -> None:
        """Waits for two beats to be acknowledged, so that one was wholly after what the test did before."""
        goal = self.acknowledged + 2
        await until(lambda: self.acknowledged >= goal, what="two acknowledged heartbeats")


@pytest.fixture
async def patient(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Patient]:
    made = Patient(monkeypatch)
    async with made.living():
        await made.beat()
        yield made


async def test_nothing_begins_once_the_last_acknowledged_beat_is_old(patient: Patient) -> None:
    states = [patient.heart.may_start]
    patient.answers = False
    for beats_ago in (BEGIN_WITHIN_BEATS * 0.9, BEGIN_WITHIN_BEATS * 1.1):
        patient.host.moment = 1000.0 + beats_ago * POLICY.heartbeat_interval
        states.append(patient.heart.may_start)
    patient.answers = True
    await patient.beat()
    assert [*states, patient.heart.may_start] == [True, True, False, True]
    assert patient.asked == 0


async def test_after_a_long_silence_the_log_is_asked_before_anything_begins(patient: Patient) -> None:
    patient.condemned = True
    patient.host.moment += POLICY.suspect_after + 1
    await patient.beat()
    states = [patient.heart.may_start]
    patient.condemned = False
    await patient.beat()
    assert [*states, patient.heart.may_start] == [False, True]
    assert patient.asked >= 2


async def test_the_fence_falls_once_and_rises_with_an_acknowledged_beat(patient: Patient) -> None:
    patient.answers = False
    patient.host.moment += POLICY.self_fence_after
    await until(lambda: patient.fences, what="the fence")
    assert patient.heart.fenced
    assert not patient.heart.may_start
    patient.answers = True
    await patient.beat()
    assert (patient.heart.fenced, patient.heart.may_start, patient.fences) == (False, True, 1)


async def test_nothing_is_sent_into_a_dead_connection(patient: Patient) -> None:
    patient.is_connected = False
    patient.host.moment += POLICY.self_fence_after
    await until(lambda: patient.fences, what="the fence")
    before, looked = len(patient.sent), patient.looked
    await until(lambda: patient.looked >= looked + 3, what="three heartbeats that are due")
    assert len(patient.sent) == before


async def test_the_first_thing_begins_behind_an_acknowledged_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Patient(monkeypatch)
    made.hold.clear()
    async with made.living():
        await until(lambda: made.sent, what="the first heartbeat")
        states = [made.heart.may_start, made.heart.keep_s > 0]
        made.hold.set()
        await made.beat()
        assert [*states, made.heart.may_start, made.heart.keep_s > 0] == [False, False, True, True]


async def test_keepers_hear_of_shorter_rules_before_anybody_hears_that_they_are_known(patient: Patient) -> None:
    patient.story.clear()
    patient.obey(9, SHORTER)
    await until(lambda: "sent 9" in patient.story, what="a heartbeat that names the new rules")
    patient.obey(10, POLICY)
    await until(lambda: "sent 10" in patient.story, what="a heartbeat that names the next ones")
    told = [what for what in patient.story if what != "sent 3"]
    assert told[: told.index("sent 9") + 1] == ["shortened", "sent 9"]
    assert told.count("shortened") == 1


async def test_a_change_that_nobody_acknowledges_leaves_the_shorter_fence(patient: Patient) -> None:
    """Cut off in the midst of a change: what others may have heard counts, what they may not have heard does not."""
    patient.answers = False
    for sequence, policy in ((9, SHORTER), (10, LONGER)):
        patient.obey(sequence, policy)
        await until(lambda sequence=sequence: f"sent {sequence}" in patient.story)  # type: ignore[misc]
    assert patient.host.moment + patient.heart.keep_s <= 1000.0 + SHORTER.self_fence_after
    patient.host.moment = 1000.0 + SHORTER.self_fence_after * 1.1
    await until(lambda: patient.fences, what="the fence")


async def test_a_broker_that_lags_is_given_more_time_and_no_more_heartbeats(patient: Patient) -> None:
    """One is in flight at any time (`send` asserts it), and the wait for it grows up to what others will wait."""
    patient.answers = False
    patient.patience.clear()
    goal = POLICY.suspect_after - POLICY.heartbeat_interval
    await until(lambda: patient.patience[-1:] == [goal], what="the longest wait")
    waits = patient.patience[: patient.patience.index(goal)]
    assert len(waits) >= 8
    for earlier, later in itertools.pairwise(waits[1:]):
        assert later == pytest.approx(earlier * 2)
    patient.answers = True
    await patient.beat()
    patient.patience.clear()
    await patient.beat()
    assert set(patient.patience) == {POLICY.heartbeat_interval}


async def test_a_new_connection_is_not_kept_waiting_for_the_answer_of_the_old_one(patient: Patient) -> None:
    patient.hold.clear()
    sent = len(patient.sent)
    await until(lambda: len(patient.sent) > sent, what="a heartbeat whose answer is lost")
    for callback in patient.reconnected:
        callback()
    await until(lambda: len(patient.sent) > sent + 1, what="the next one")


def test_the_intervals_scatter_by_a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    """In virtual time, in which nothing else moves them."""
    times: list[float] = []
    loop = VirtualLoop()
    process = SimProcess(loop, SimHost(loop, "farm-1", seed=1), "agent")

    async def live() -> int:
        made = Patient(monkeypatch, Policy())
        async with made.living():
            while len(times) < 200:
                await made.beat()
        return 0

    class Noted(Patient):
        async def send(self, bus: Bus, streams: Streams, heartbeat: Heartbeat, *, timeout_s: float) -> int:
            times.append(loop.time())
            return heartbeat.beat

    monkeypatch.setattr(Patient, "send", Noted.send)
    loop.run_until_complete(process.start(live()))
    loop.close()
    intervals = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(intervals) >= 1.8
    assert max(intervals) <= 2.2
    assert max(intervals) - min(intervals) > 0.3
    assert sum(intervals) / len(intervals) == pytest.approx(2.0, abs=0.05)
