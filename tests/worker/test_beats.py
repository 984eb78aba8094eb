"""What a worker may do, by its heartbeats' acknowledgements alone."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from events.bus import Bus
from events.errors import Unacknowledged
from events.host import CURRENT, Host
from events.policy import Policy
from events.streams import Streams
from events.worker import Heartbeat
from tests.waiting import until
from worker import beats
from worker.beats import START_WITHIN_BEATS, Heart, keeper_fence_s
from worker.ports import Gauges

POLICY = Policy(heartbeat_interval=0.01, suspect_after=5.0, self_fence_after=10.0, failed_after=15.0)


class Bedside(Host):
    """A machine on which time stands still unless the test moves it."""

    def __init__(self) -> None:
        self.moment = 1000.0

    def boottime(self) -> float:
        return self.moment


class Patient:
    """A heart on a broker and a clock that the test rules."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.host = Bedside()
        self.answers = True
        self.condemned = False
        self.asked = 0
        self.fences = 0
        self.acknowledged = 0
        self.sent = 0
        self.connected = True
        monkeypatch.setattr(beats, "send_heartbeat", self.send)
        token = CURRENT.set(self.host)
        self.heart = Heart(self, Streams(), "w1", 7, POLICY, gauges=lambda: Gauges(0.0, 0, 0.0))  # type: ignore[arg-type]
        CURRENT.reset(token)

    def on_reconnect(self, callback: object) -> None: ...
    def forget_reconnect(self, callback: object) -> None: ...

    async def send(self, bus: Bus, streams: Streams, heartbeat: Heartbeat, *, timeout_s: float) -> int:
        self.sent += 1
        if not self.answers:
            raise Unacknowledged("no answer")
        return heartbeat.beat

    async def is_condemned(self) -> bool:
        self.asked += 1
        return self.condemned

    def note_acknowledged(self) -> None:
        self.acknowledged += 1

    def note_fence(self) -> None:
        self.fences += 1

    async def beat(self) -> None:
        """Waits for two beats to be acknowledged, so that one was wholly after what the test did before."""
        goal = self.acknowledged + 2
        await until(lambda: self.acknowledged >= goal, what="two acknowledged heartbeats")


@pytest.fixture
async def patient(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Patient]:
    made = Patient(monkeypatch)
    task = asyncio.create_task(
        made.heart.run(
            vitals=lambda: ((), 0),
            condemned=made.is_condemned,
            on_acknowledged=made.note_acknowledged,
            on_fence=made.note_fence,
        )
    )
    await made.beat()
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_nothing_begins_once_the_last_acknowledged_beat_is_old(patient: Patient) -> None:
    states = [patient.heart.may_start]
    patient.answers = False
    for beats_ago in (START_WITHIN_BEATS * 0.9, START_WITHIN_BEATS * 1.1):
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
    patient.connected = False
    before = patient.sent
    patient.host.moment += POLICY.self_fence_after
    await until(lambda: patient.fences, what="the fence")
    assert patient.sent == before


@pytest.mark.parametrize(
    ("interval", "self_fence_after", "failed_after", "expected"),
    [
        (2.0, 12.0, 15.0, 12.0),  # the defaults
        (2.0, 14.5, 15.0, 12.0),  # so near to each other that a task begun late would outlive its worker's failure
        (0.2, 1.2, 1.8, 1.2),
    ],
)
def test_a_keeper_gives_up_before_its_task_may_start_elsewhere(
    interval: float, self_fence_after: float, failed_after: float, expected: float
) -> None:
    policy = Policy(
        heartbeat_interval=interval,
        suspect_after=interval * 4,
        self_fence_after=self_fence_after,
        failed_after=failed_after,
    )
    assert keeper_fence_s(policy) == pytest.approx(expected)
    assert keeper_fence_s(policy) + START_WITHIN_BEATS * interval <= failed_after + 1e-9
