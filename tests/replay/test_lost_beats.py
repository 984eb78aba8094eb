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
from replay import beat_fold, verify
from replay.beat_fold import BeatFold
from replay.invariants import Checker
from tests.recovery.facts_of import differences
from tests.recovery.story import Story, submitted
from tests.replay.wrong import decided, names

# The fold


def beat(sequence: int, at: float, worker_id: str = "w1", incarnation: int = 1) -> RecordedHeartbeat:
    heartbeat = Heartbeat(worker_id=worker_id, incarnation=incarnation, beat=1, sent_at=utc(0.0))
    return RecordedHeartbeat(sequence, at, heartbeat)


class Heard:
    """Keeps all that it has heard."""

    def __init__(self) -> None:
        self.beats: list[RecordedHeartbeat] = []

    def hear(self, recorded: RecordedHeartbeat) -> None:
        self.beats.append(recorded)

    def recall(self, other: "Heard") -> None:
        self.beats = list(other.beats)


def folding() -> tuple[Heard, BeatFold[Heard]]:
    heard = Heard()
    return heard, BeatFold(heard, Heard())


def places(heard: Heard) -> list[tuple[int, float]]:
    return [(one.sequence, one.time) for one in heard.beats]


def observed(beats: list[RecordedHeartbeat]) -> State:
    state = State()
    for one in beats:
        observe(state, one)
    return state


Steps = list[tuple[str, int, str, int]]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("push", "push", "push", "lose", "stand", "step")),
            st.integers(0, 30),
            st.sampled_from(("w1", "w2", "w3")),
            st.integers(1, 2),
        ),
        max_size=80,
    ),
    st.sampled_from((4, 1000)),
)
def test_it_stands_where_it_is_told_or_says_that_it_cannot(steps: Steps, kept: int) -> None:
    heard, fold = folding()
    state = State()
    core = BeatFold(verify.Heard(state), verify.Heard(State()))
    stream, lost, now = list[RecordedHeartbeat](), list[RecordedHeartbeat](), 100.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beat_fold, "KEPT_MAX", kept)
        for number_of_step, (what, number, worker_id, incarnation) in enumerate(steps):
            now += 1.0
            if what == "push":
                # No two are stored at the same time, however the clock is set.
                stream.append(beat(len(stream) + 1, now + number_of_step / 1000, worker_id, incarnation))
                fold.push(stream[-1])
                core.push(stream[-1])
            elif what == "step":
                now += number - 15.0
            elif what == "lose":
                kept_there = max(len(stream) - number, 0)
                lost += stream[kept_there:]
                del stream[kept_there:]
            else:
                # What was lost and did not come again is known to nobody: only what came since can be asked for.
                sequence = min(number, len(stream), fold.pushed)
                at = utc(stream[sequence - 1].time) if sequence else None
                stands = fold.stand_at(sequence, at)
                assert core.stand_at(sequence, at) == stands
                if stands:
                    assert heard.beats == stream[:sequence]
                    unlike = differences(state, observed(stream[:sequence]))
                    assert set(unlike) <= {"ignored"}, "but for a count that people ask for"
                elif kept == 1000:
                    raise AssertionError("there is room enough to go back")
                if fold.pushed == len(stream):
                    assert not any(fold.stand_at(one.sequence, utc(one.time)) for one in lost)


def test_a_heartbeat_that_has_taken_the_place_of_another_is_not_mistaken_for_it() -> None:
    heard, fold = folding()
    for sequence in (1, 2, 3):
        fold.push(beat(sequence, float(sequence)))
    assert fold.stand_at(3, utc(3.0))
    fold.push(beat(2, 5.0))
    fold.push(beat(3, 6.0))
    assert not fold.stand_at(3, utc(3.0)), "it is gone"
    assert places(heard) == [(1, 1.0)], "nothing is folded in its stead"
    assert fold.stand_at(3, utc(6.0))
    assert fold.stand_at(2, None)
    assert places(heard) == [(1, 1.0), (2, 5.0)]


def test_a_clock_that_was_set_back_hides_nothing() -> None:
    heard, fold = folding()
    for sequence, at in ((1, 100.0), (2, 101.0), (3, 40.0), (4, 41.0)):
        fold.push(beat(sequence, at))
    assert fold.stand_at(3, utc(40.0)), "the one before it bears a later time"
    assert places(heard) == [(1, 100.0), (2, 101.0), (3, 40.0)]
    assert fold.stand_at(2, utc(101.0))
    assert fold.stand_at(4, utc(41.0))


def test_behind_a_clock_that_was_set_back_another_heartbeat_is_told_by_its_time() -> None:
    """The one lost and the one in its place: the later one of the stream bears the earlier time."""
    heard, fold = folding()
    for sequence, at in ((1, 100.0), (2, 101.0)):
        fold.push(beat(sequence, at))
    assert fold.stand_at(2, utc(101.0))
    fold.push(beat(2, 40.0))
    assert not fold.stand_at(2, utc(101.0))
    assert fold.stand_at(2, utc(40.0))
    assert places(heard) == [(1, 100.0), (2, 40.0)]


def test_a_loss_that_is_longer_than_its_memory_is_not_papered_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beat_fold, "KEPT_MAX", 3)
    monkeypatch.setattr(beat_fold, "AHEAD_MAX", 4)
    _, fold = folding()
    for sequence in range(1, 11):
        fold.push(beat(sequence, float(sequence)))
    assert fold.stand_at(10, utc(10.0))
    assert not fold.stand_at(5, utc(5.0))
    fold.push(beat(4, 20.0))
    assert not fold.stand_at(4, utc(20.0))
    for sequence in range(5, 20):
        fold.push(beat(sequence, 16.0 + sequence))
        assert not fold.stand_at(sequence, None)


def test_what_is_long_ago_is_known_still_when_it_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beat_fold, "KEPT_MAX", 2)
    heard, fold = folding()
    for sequence in range(1, 6):
        fold.push(beat(sequence, float(sequence)))
    for stand in (5, 4, 5, 4):
        assert fold.stand_at(stand, utc(stand))
        assert places(heard) == [(sequence, float(sequence)) for sequence in range(1, stand + 1)]
    assert not fold.stand_at(3, utc(3.0))


def test_no_more_is_held_ahead_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beat_fold, "AHEAD_MAX", 2)
    heard, fold = folding()
    for sequence in (1, 2, 3, 4):
        fold.push(beat(sequence, float(sequence)))
    assert places(heard) == [(1, 1.0), (2, 2.0)]
    assert fold.stand_at(1, utc(1.0))
    assert places(heard) == [(1, 1.0)]


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


def test_behind_a_clock_that_was_set_back_everything_is_decided_again() -> None:
    """A leader that had not seen the step yet has read heartbeats of both sides of it."""
    story = Losing()
    story.join("w1", "w2")
    story.wait(3.0, "w1", "w2")
    before, story.now = story.now, story.now - 60.0
    story.beat("w1")
    story.tell(submitted("t1"))
    story.tell(DetectorDegraded(reason="clock_step", extent_s=-60.0, heartbeats_sequence=len(story.beats)))
    story.wait(before - story.now + 16.0, "w1")
    assert story.worker("w2").status == "failed"
    checker = afterwards(story)
    assert checker.violations == []
    assert checker.unreproduced == 0


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
