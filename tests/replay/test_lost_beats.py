"""Verification where the stream of heartbeats has lost its tail: what cannot be decided again is told apart from what
was decided wrongly."""

import heapq
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.clock import utc
from events.envelope import Envelope, Recorded
from events.system import DetectorDegraded
from events.task import TaskAssigned
from events.worker import Heartbeat, RecordedHeartbeat, WorkerFailed, WorkerSuspected
from recovery.core import decide, evolve, forget_beats, observe
from recovery.state import State
from replay import beat_fold
from replay.beat_fold import BeatFold
from replay.invariants import Checker
from tests.recovery.story import Story, submitted
from tests.replay.wrong import decided, names

# The fold


def beat(sequence: int, at: float, worker_id: str = "w1", incarnation: int = 1) -> RecordedHeartbeat:
    heartbeat = Heartbeat(worker_id=worker_id, incarnation=incarnation, beat=1, sent_at=utc(0.0))
    return RecordedHeartbeat(sequence, at, heartbeat)


class Last:
    """Keeps the last heartbeat of each worker's newest incarnation."""

    def __init__(self) -> None:
        self.beats: dict[str, tuple[int, float]] = {}
        self.fold = BeatFold(self.apply, self.beats.clear)
        self._incarnations: dict[str, int] = {}

    def apply(self, recorded: RecordedHeartbeat) -> None:
        assert recorded.heartbeat is not None
        worker_id, incarnation = recorded.heartbeat.worker_id, recorded.heartbeat.incarnation
        if worker_id not in self.beats or incarnation >= self._incarnations[worker_id]:
            self._incarnations[worker_id] = incarnation
            self.beats[worker_id] = (recorded.sequence, recorded.time)


def plainly(stream: list[RecordedHeartbeat], sequence: int) -> dict[str, tuple[int, float]]:
    last = Last()
    for one in stream[:sequence]:
        last.apply(one)
    return last.beats


Steps = list[tuple[str, int, str, int]]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("push", "push", "push", "lose", "stand")),
            st.integers(0, 30),
            st.sampled_from(("w1", "w2", "w3")),
            st.integers(1, 2),
        ),
        max_size=80,
    ),
    st.sampled_from((4, 1000)),
)
def test_it_stands_where_it_is_told_or_says_that_it_cannot(steps: Steps, kept: int) -> None:
    last, stream, now, reach = Last(), list[RecordedHeartbeat](), 0.0, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beat_fold, "KEPT_MAX", kept)
        for what, number, worker_id, incarnation in steps:
            now += 1.0
            if what == "push":
                stream.append(beat(len(stream) + 1, now, worker_id, incarnation))
                last.fold.push(stream[-1])
            elif what == "lose":
                del stream[max(len(stream) - number, 0) :]
            else:
                # What was lost and did not come again is known to nobody: only what came since can be asked for.
                sequence = min(number, len(stream), last.fold.pushed)
                at = utc(stream[sequence - 1].time) if sequence else None
                stands = last.fold.stand_at(sequence, at)
                if stands:
                    assert last.beats == plainly(stream, sequence)
                    reach = max(reach, sequence)
                elif kept == 1000:
                    raise AssertionError("there is room enough to go back")


def test_a_heartbeat_that_has_taken_the_place_of_another_is_not_mistaken_for_it() -> None:
    last = Last()
    for sequence in (1, 2, 3):
        last.fold.push(beat(sequence, float(sequence)))
    assert last.fold.stand_at(3, utc(3.0))
    last.fold.push(beat(2, 5.0))
    last.fold.push(beat(3, 6.0))
    assert not last.fold.stand_at(3, utc(3.0)), "it is gone"
    assert last.beats == {"w1": (1, 1.0)}, "nothing is folded that was stored later"
    assert last.fold.stand_at(3, utc(6.0))
    assert last.fold.stand_at(2, None)
    assert last.beats == {"w1": (2, 5.0)}


def test_a_loss_that_is_longer_than_its_memory_is_not_papered_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beat_fold, "KEPT_MAX", 3)
    last = Last()
    for sequence in range(1, 11):
        last.fold.push(beat(sequence, float(sequence)))
    assert last.fold.stand_at(10, utc(10.0))
    assert not last.fold.stand_at(5, utc(5.0))
    last.fold.push(beat(4, 20.0))
    assert not last.fold.stand_at(4, utc(20.0))
    last.fold.push(beat(5, 21.0))
    assert not last.fold.stand_at(5, None)


def test_no_more_is_held_ahead_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beat_fold, "AHEAD_MAX", 2)
    last = Last()
    for sequence in (1, 2, 3, 4):
        last.fold.push(beat(sequence, float(sequence)))
    assert last.beats == {"w1": (2, 2.0)}
    assert last.fold.stand_at(1, utc(1.0))
    assert last.beats == {"w1": (1, 1.0)}


# Whole logs


class Losing(Story):
    """A story whose broker loses heartbeats; `ever` holds them all, `beats` those that are left."""

    def __init__(self) -> None:
        super().__init__()
        self.ever: list[RecordedHeartbeat] = []

    def lose(self, count: int) -> None:
        self.ever += self.beats[len(self.beats) - count :]
        del self.beats[-count:]

    def say(self) -> None:
        through = len(self.beats)
        forget_beats(self.state, through)
        self.tell(DetectorDegraded(reason="heartbeats_lost", extent_s=0.0, heartbeats_sequence=through))

    def as_it_came(self) -> Iterator[Recorded | RecordedHeartbeat]:
        """Events and heartbeats, lost ones too, by time."""
        beats = sorted((*self.ever, *self.beats), key=lambda one: one.time)
        return heapq.merge(beats, self.records, key=lambda one: one.time)


def losing() -> Losing:
    """Two workers; one is suspected and heard again; then the heartbeats since then are lost, and others come."""
    story = Losing()
    story.join("w1", "w2")
    story.tell(submitted("t1"), submitted("t2"))
    story.start("t1", "t2")
    story.wait(7.0, "w2")
    assert len(story.told(WorkerSuspected)) == 1
    story.beat("w1")
    story.wait(0.5)
    story.lose(2)
    story.say()
    story.wait(1.0)
    story.finish("t1")
    story.wait(7.0, "w1", "w2")
    story.tell(submitted("t3"))
    story.wait(16.0, "w1")
    assert story.worker("w2").status == "failed"
    return story


def afterwards(story: Losing) -> Checker:
    checker = Checker(reproduce=True)
    for one in story.beats:
        checker.observe(one)
    for recorded in story.records:
        checker.feed(recorded)
    return checker


def along(story: Losing) -> Checker:
    checker = Checker(reproduce=True)
    for one in story.as_it_came():
        if isinstance(one, Recorded):
            checker.feed(one)
        else:
            checker.observe(one)
    return checker


@pytest.mark.parametrize("check", [afterwards, along])
def test_a_loss_is_no_violation(check: Any) -> None:
    story = losing()
    checker = check(story)
    assert checker.violations == []
    # Live, the checker has read what the leader had.
    assert checker.unreproduced == (2 if check is afterwards else 0)


@pytest.mark.parametrize("check", [afterwards, along])
@pytest.mark.parametrize("kind", [WorkerFailed, TaskAssigned])
def test_a_wrong_decision_behind_a_loss_is_found(check: Any, kind: type) -> None:
    """What rests on heartbeats that are there is compared as ever."""
    story = losing()
    number = max(recorded.sequence for recorded in story.records if isinstance(recorded.event, kind))
    envelope = story.records[number - 1].envelope
    assert envelope is not None
    changed = msgspec.structs.replace(envelope, causation_id="somebody-else")
    story.records[number - 1] = msgspec.structs.replace(story.records[number - 1], envelope=changed)
    assert names(check(story).violations) == [("reproduced", number)]


def test_a_silence_that_counts_from_a_lost_heartbeat_is_not_evidence() -> None:
    """The leader has said that all count as heard, and fails a worker for what came before."""
    story = losing()
    [failed] = [recorded for recorded in story.records if isinstance(recorded.event, WorkerFailed)]
    event = failed.event
    assert isinstance(event, WorkerFailed)
    assert event.evidence is not None
    lost = story.ever[-1]
    evidence = msgspec.structs.replace(event.evidence, heartbeat_sequence=lost.sequence + 100)
    assert failed.envelope is not None
    envelope: Envelope = msgspec.structs.replace(
        failed.envelope, event=msgspec.structs.replace(event, evidence=evidence)
    )
    story.records[failed.sequence - 1] = msgspec.structs.replace(failed, envelope=envelope)
    found = names(afterwards(story).violations)
    assert ("failed-on-evidence", failed.sequence) in found


def owed_by_one_who_had_read(story: Story, beats: int) -> list[Any]:
    """The events that a leader owes who has folded all of the log, and the first heartbeats only."""
    state = State()
    for recorded in story.records:
        evolve(state, recorded)
    for one in story.beats[:beats]:
        observe(state, one)
    return decide(state, story.now)


@pytest.mark.parametrize("right", [True, False])
def test_a_leader_that_has_read_fewer_heartbeats_than_the_one_before(right: bool) -> None:
    """A standby that lags takes over: its decisions rest on less than has been folded for the last leader's."""
    story = Losing()
    story.join("w1", "w2")
    story.wait(3.0, "w1", "w2")
    behind = len(story.beats) - 2
    story.leading = False
    story.wait(1.0)
    story.tell(submitted("t9"))
    owed = owed_by_one_who_had_read(story, behind)
    assert [type(one.event) for one in owed] == [TaskAssigned]
    at = utc(story.beats[behind - 1].time)
    rule = owed[0].rule if right else "another rule"
    first = story.last + 1
    envelope_of(story, owed[0], rule=rule, as_of_heartbeats=behind, as_of_heartbeats_at=at)
    checker = afterwards(story)
    assert names(checker.violations) == ([] if right else [("reproduced", first)])
    assert checker.unreproduced == 0


def envelope_of(story: Story, decision: Any, **provenance: Any) -> None:
    """Records it with its cause, as its leader would."""
    decided(story, decision.event, **provenance)
    recorded = story.records[-1]
    assert recorded.envelope is not None
    envelope = msgspec.structs.replace(
        recorded.envelope, causation_id=decision.causation_id, correlation_id=decision.correlation_id
    )
    story.records[-1] = msgspec.structs.replace(recorded, envelope=envelope)
