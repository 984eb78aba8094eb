"""The laboratory against the core: both judge the same streams, and the settings of the recording must come to what the
core has decided, at the time when it has."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.base import Event
from events.clock import quantised
from events.policy import DetectorName, Override, Policy
from events.system import DetectorDegraded, PaceChanged
from events.worker import WorkerFailed, WorkerSuspected
from recovery.core import next_due
from recovery.detectors import ARRIVALS_MAX
from replay.laboratory.settings import in_force
from replay.laboratory.trace import Trace, Tracer
from replay.laboratory.trial import Trial, tried
from tests.recovery.story import BEGIN, Story, policy_changed
from tests.replay.traces import Nature, arrivals

DETECTORS: tuple[DetectorName, ...] = ("phi", "deadline")
JITTERY = Nature(delay_sigma_s=1.0, pause_share=0.02, pause_s_max=4.0)
WATCHED = Policy(auto_recovery=False)
POLICIES = (
    WATCHED,
    Policy(auto_recovery=False, detector="deadline"),
    Policy(auto_recovery=False, suspect_after=6.5, self_fence_after=20.0, failed_after=26.0),
    Policy(auto_recovery=False, suspect_after=6.0, self_fence_after=7.0, failed_after=8.0, phi_pause=0.0),
    Policy(auto_recovery=False, heartbeat_rate_max=0.5),
    Policy(auto_recovery=False, overrides=(Override(worker="w1", failed_after=33.0, first_heartbeat_timeout=40.0),)),
)


class Moment(NamedTuple):
    """Something that happens: a heartbeat of a worker, or an event."""

    time: float
    worker_id: str = ""
    hears: bool = True
    """The worker has applied what is in force; else it says what it said before."""
    event: Event | None = None


def played(moments: Sequence[Moment], until: float, policy: Policy | None = WATCHED) -> Story:
    """The core, leading, up to that time: it is asked whenever something may be due, to the microsecond."""
    story = Story(policy, checks=False)
    workers = sorted({one.worker_id for one in moments if one.worker_id})
    story.join(*workers)
    applied = dict.fromkeys(workers, 0)
    for moment in sorted((one for one in moments if one.time < until), key=lambda one: one.time):
        pass_time(story, moment.time)
        if isinstance(moment.event, DetectorDegraded):
            story.tell(DetectorDegraded(reason="own_pause", extent_s=2.0, heartbeats_sequence=len(story.beats)))
        elif moment.event is not None:
            story.tell(moment.event)
        else:
            if moment.hears:
                applied[moment.worker_id] = story.state.rules.sequence
            story.beat(moment.worker_id, rules=applied[moment.worker_id])
    pass_time(story, until)
    return story


def pass_time(story: Story, until: float) -> None:
    while (due := next_due(story.state)) < until:
        story.now = quantised(max(due, story.now) + 1e-6)
        story.settle()
    story.now = quantised(until)


def trace_of(story: Story) -> Trace:
    tracer = Tracer()
    for recorded in story.records:
        tracer.take(recorded)
    for beat in story.beats:
        tracer.hear(beat)
    return tracer.trace()


def decided(story: Story, worker_id: str) -> list[tuple[str, float]]:
    """What the core has said of a worker's silences, up to its first failure."""
    suspected = [("suspected", time) for time, _ in story.timed(WorkerSuspected, worker_id=worker_id)]
    failed = [("failed", time) for time, _ in story.timed(WorkerFailed, worker_id=worker_id)]
    return sorted([*suspected, *failed], key=lambda said: said[1])


def found(trace: Trace, worker_id: str, until: float) -> list[tuple[str, float]]:
    """The same, by the laboratory."""
    trial = Trial(trace, in_force(trace.policy))
    said = []
    [life] = [life for life in trace.lives if life.worker_id == worker_id]
    for place, end in enumerate([*life.times[1:], until]):
        judged = trial.judged(life, place, end)
        if judged.suspected_at < end:
            said.append(("suspected", judged.suspected_at - BEGIN))
        if judged.failed_at < end:
            return [*said, ("failed", judged.failed_at - BEGIN)]
    return said


def beats(worker_id: str, gaps: Sequence[float], *, deaf: Sequence[bool] = ()) -> list[Moment]:
    hears = [*(not one for one in deaf), *[True] * len(gaps)]
    return [Moment(BEGIN + time, worker_id, heard) for time, heard in zip(accumulate(gaps), hears, strict=False)]


def agreed(story: Story, *worker_ids: str) -> dict[str, list[tuple[str, float]]]:
    """What both say of these workers."""
    trace = trace_of(story)
    both = {}
    for worker_id in worker_ids:
        core = decided(story, worker_id)
        laboratory = found(trace, worker_id, story.now)
        assert [what for what, _ in laboratory] == [what for what, _ in core], worker_id
        assert [at for _, at in laboratory] == pytest.approx([at for _, at in core], abs=1e-4)
        both[worker_id] = core
    return both


STEADY = beats("w0", [2.0] * 100)
"""One that is always heard: a silence of all is a matter of its own."""


@pytest.mark.parametrize(
    ("after_s", "hears", "failed_after_s"),
    [(19.0, True, 38.0), (19.0, False, 45.0), (33.0, False, 45.0)],
)
def test_a_policy_that_changed(after_s: float, failed_after_s: float, *, hears: bool) -> None:
    """Before a silence that begins at 30 s, or in it: nothing counts anew, and the patience that a worker may expect is
    that of the rules which it has confirmed."""
    hasty = Policy(auto_recovery=False, suspect_after=6.0, self_fence_after=7.0, failed_after=8.0)
    moments = beats("w1", [2.0] * 15, deaf=[not hears] * 15)
    changed = Moment(BEGIN + after_s, event=policy_changed(hasty))
    said = agreed(played([*STEADY, *moments, changed], BEGIN + 80.0), "w1")["w1"]
    assert [round(at, 3) for _, at in said] == [36.0, failed_after_s]


def test_a_change_to_more_patience_spares_who_is_silent_already() -> None:
    patient = Policy(auto_recovery=False, self_fence_after=20.0, failed_after=30.0)
    silent = beats("w1", [2.0] * 10 + [25.0] + [2.0] * 5)
    changed = Moment(BEGIN + 30.0, event=policy_changed(patient))
    assert [what for what, _ in agreed(played([*STEADY, *silent], BEGIN + 60.0), "w1")["w1"]] == ["suspected", "failed"]
    assert [what for what, _ in agreed(played([*STEADY, *silent, changed], BEGIN + 60.0), "w1")["w1"]] == ["suspected"]


def test_a_setting_that_is_tried_is_in_force_all_along() -> None:
    """Whatever the policy was at the time."""
    hasty = Policy(auto_recovery=False, suspect_after=6.0, self_fence_after=7.0, failed_after=8.0)
    moments = [*STEADY, *beats("w1", [2.0] * 10 + [10.0] + [2.0] * 20 + [10.0] + [2.0] * 5)]
    story = played([*moments, Moment(BEGIN + 50.0, event=policy_changed(hasty))], BEGIN + 100.0)
    trace = trace_of(story)
    as_recorded, other = tried(trace, [in_force(trace.policy), in_force(trace.policy)._replace(in_force=False)])
    assert (as_recorded.false_failures, other.false_failures) == (1, 2)


GAPS = st.lists(
    st.one_of(st.just(2.0), st.integers(1, 400).map(lambda tenths: tenths / 10 + 0.03)), min_size=1, max_size=60
)
EVENTS = st.one_of(
    st.sampled_from(POLICIES).map(policy_changed),
    st.just(DetectorDegraded(reason="own_pause", extent_s=2.0, heartbeats_sequence=0)),
    st.sampled_from([1.0, 2.5]).map(
        lambda stretch: PaceChanged(stretch=stretch, heartbeat_interval_s=2.0 * stretch, workers_live=3)
    ),
)
CHANGES = st.lists(
    # Never at the very moment of a heartbeat or of a deadline: who comes first then is nobody's promise.
    st.builds(lambda tenths, event: Moment(BEGIN + tenths / 10 + 0.0571, event=event), st.integers(0, 1800), EVENTS),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(GAPS, GAPS, CHANGES, st.lists(st.booleans(), max_size=60), st.sampled_from([None, *POLICIES]))
def test_both_judge_alike_whatever_changes(
    gaps: Sequence[float],
    others: Sequence[float],
    changes: Sequence[Moment],
    deaf: Sequence[bool],
    policy: Policy | None,
) -> None:
    moments = [*STEADY, *beats("w1", gaps, deaf=deaf), *beats("w2", others), *changes]
    agreed(played(moments, BEGIN + 200.0, policy), "w1", "w2")


# The promises of the defaults


@pytest.mark.parametrize("detector", DETECTORS)
def test_ten_thousand_heartbeats_with_jitter_fail_nobody(detector: DetectorName) -> None:
    """Delays with a deviation of a second, pauses of up to four: not in the core, and not in the laboratory."""
    random = Random(11)
    heard = {f"w{number}": arrivals(JITTERY, 2_100.0, random) for number in range(10)}
    moments = [Moment(time, worker_id) for worker_id, times in heard.items() for time in times]
    assert len(moments) >= 10_000
    usual = Policy(auto_recovery=False, detector=detector)
    story = played(moments, BEGIN + 2_100.0, usual)
    longest = max(later - earlier for times in heard.values() for earlier, later in pairwise(times))
    assert longest > usual.suspect_after, "there is something to withstand"
    assert story.told(WorkerFailed) == []
    trace = trace_of(story)
    assert trace.beats >= 10_000
    [score] = tried(trace, [in_force(trace.policy)])
    assert (score.false_failures, score.false_suspicions) == (0, len(story.told(WorkerSuspected)))
    hasty = Policy(auto_recovery=False, detector="deadline", self_fence_after=6.5, failed_after=7.0)
    assert played(moments, BEGIN + 2_100.0, hasty).told(WorkerFailed), "another policy does not"


KEPT = st.lists(
    st.one_of(st.just(2.0), st.floats(0.001, WATCHED.failed_after - 0.001)), min_size=1, max_size=3 * ARRIVALS_MAX
)


@pytest.mark.parametrize("detector", DETECTORS)
@settings(max_examples=60, deadline=None)
@given(gaps=KEPT)
def test_who_beats_in_time_is_never_failed_and_who_stops_always_is(
    detector: DetectorName, gaps: Sequence[float]
) -> None:
    policy = Policy(auto_recovery=False, detector=detector)
    last = BEGIN + sum(gaps)
    story = played(beats("w1", gaps), last + policy.failed_after * policy.phi_patience_max + 0.001, policy)
    [failed_at] = [at for at, _ in story.timed(WorkerFailed)]
    silence = BEGIN + failed_at - last
    assert policy.failed_after - 1e-4 <= silence <= policy.failed_after * policy.phi_patience_max + 1e-4
    suspected_at = [at for at, _ in story.timed(WorkerSuspected)][-1]
    silence = BEGIN + suspected_at - last
    assert policy.suspect_after - 1e-4 <= silence <= policy.failed_after + 1e-4
