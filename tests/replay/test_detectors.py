"""The detector laboratory: what counts as a failure and what as a mistake, and what comes out of it."""

import json
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from random import Random

import msgspec
import pytest
from typer.testing import CliRunner, Result

from events import codec
from events.bus import Bus
from events.clock import utc
from events.envelope import Recorded
from events.heartbeats import send_heartbeat
from events.jetstream import JetStreamLog
from events.policy import Override, Policy
from events.streams import Streams
from events.synthetic import SyntheticEvents
from events.system import DetectorDegraded, LeaderElected, PaceChanged, WatchContinued
from events.worker import (
    Heartbeat,
    RecordedHeartbeat,
    WorkerExited,
    WorkerFailed,
    WorkerRegistered,
    WorkerStopped,
    WorkerVanished,
)
from recovery.detectors import ARRIVALS_MAX, Arrivals
from replay.__main__ import create_app
from replay.access import CannotReplay, open_by_address
from replay.archive import EVENTS, HEARTBEATS, Message
from replay.beats import StreamBeats
from replay.laboratory.chart import conclusion
from replay.laboratory.experiment import Answer, experiment
from replay.laboratory.settings import NAMES, Setting, in_force, parsed, setting, usual_settings
from replay.laboratory.trace import Life, Trace
from replay.laboratory.trial import Score, intervals_before, spread, tried
from tests.replay.test_archive import json_of, written
from tests.replay.traces import BEGIN, Death, Nature, arrivals, farm, heartbeats, recorded, trace_of

STEADY = Nature(spread=0.0)
JITTERY = Nature(delay_sigma_s=1.0, pause_share=0.02, pause_s_max=4.0)
DEADLINE_10 = setting(Policy(), "deadline", {"failed_after": 10.0})


def steady(seconds: float, *, since: float = 0.0) -> list[float]:
    return [BEGIN + since + 2.0 * number for number in range(int(seconds // 2))]


def one_score(trace: Trace, used: Setting = DEADLINE_10) -> Score:
    [score] = tried(trace, [used])
    return score


def test_jitter_of_a_second_and_pauses_of_four_fail_nobody() -> None:
    """10,000 heartbeats with the defaults: no false failure."""
    random = Random(4)
    trace = trace_of([arrivals(JITTERY, 2_100.0, random) for _ in range(10)])
    assert trace.beats >= 10_000
    longest = max(later - earlier for life in trace.lives for earlier, later in pairwise(life.times))
    assert longest > Policy().suspect_after, "there is something to withstand"
    scores = tried(trace, [in_force(Policy()), parsed("deadline", Policy()), parsed("phi", Policy())])
    assert [score.false_failures for score in scores] == [0, 0, 0]


def test_a_silence_that_ended_was_none() -> None:
    """A beat of the same incarnation proves it."""
    score = one_score(trace_of([[*steady(100), *steady(100, since=111)], steady(300)]))
    assert (score.false_failures, score.false_suspicions, score.found) == (1, 1, None)
    assert score.mistaken_s == pytest.approx(3.0)
    [mistake] = score.mistakes
    assert (mistake.worker_id, mistake.silence_s, mistake.threshold_s) == ("w0", 13.0, 10.0)
    assert mistake.last_heard == utc(BEGIN + 98).isoformat()


def test_a_shorter_one_is_a_suspicion_only() -> None:
    score = one_score(trace_of([[*steady(100), *steady(100, since=107)], steady(300)]))
    assert (score.false_failures, score.false_suspicions) == (0, 1)


@pytest.mark.parametrize(
    ("after_s", "kind", "delay"),
    [(98.5, "proven", 9.5), (99.9, "proven", 8.1), (101.5, "proven", 10.0), (500.0, "proven", 10.0)],
)
def test_a_reported_exit_is_a_failure(after_s: float, kind: str, delay: float) -> None:
    """From the exit; but if heartbeats had been missing before it, from the last one."""
    exited = WorkerExited(worker_id="w0", incarnation=1, signal=9)
    trace = trace_of([steady(100), steady(600)], (BEGIN + after_s, exited))
    assert trace.lives[0].end.kind == kind
    found = one_score(trace).found
    assert found is not None
    assert found.count == 1
    assert found.median == pytest.approx(delay)


def test_a_hung_agent_had_failed_before_it_was_killed() -> None:
    exited = WorkerExited(worker_id="w0", incarnation=1, hung=True, unanswered_s=2.0)
    trace = trace_of([steady(100), steady(600)], (BEGIN + 100.5, exited))
    assert trace.lives[0].end == ("proven", BEGIN + 98.5)


def test_a_witness_proves_an_end() -> None:
    vanished = WorkerVanished(
        worker_id="w0", incarnation=1, machine="m", lifeline="l", closed_at=utc(BEGIN + 99.0), reason="closed"
    )
    trace = trace_of([steady(100), steady(600)], (BEGIN + 105.0, vanished))
    assert trace.lives[0].end == ("proven", BEGIN + 99.0)


def test_a_silence_that_never_ended_is_presumed_to_be_one() -> None:
    failed = WorkerFailed(worker_id="w0", incarnation=1, reason="silence")
    trace = trace_of([steady(100), steady(600)], (BEGIN + 113.0, failed))
    assert trace.lives[0].end == ("presumed", BEGIN + 98.0)
    found = one_score(trace).found
    assert found is not None
    assert found.worst == 10.0


def test_a_new_incarnation_ends_the_one_before() -> None:
    again = WorkerRegistered(worker_id="w0", host="h", pid=2, slots=1)
    trace = trace_of([steady(100), steady(600)], (BEGIN + 200.0, again))
    assert [life.end.kind for life in trace.lives] == ["presumed", "open"]


@pytest.mark.parametrize(
    "event",
    [
        WorkerStopped(worker_id="w0", incarnation=1),
        WorkerFailed(worker_id="w0", reason="synthetic"),
        WorkerFailed(worker_id="w0", incarnation=1, reason="silence"),
    ],
)
def test_what_is_no_failure(event: WorkerStopped | WorkerFailed) -> None:
    """An orderly end; a made-up failure; one that a later heartbeat refutes."""
    silent = isinstance(event, WorkerFailed) and event.reason == "silence"
    trace = trace_of([steady(100 if not silent else 600), steady(600)], (BEGIN + 120.0, event))
    assert trace.failures == []
    assert one_score(trace).found is None


@pytest.mark.parametrize("event", [DetectorDegraded(reason="own_pause", extent_s=3.0, heartbeats_sequence=1)])
def test_silence_counts_anew_from_a_doubt(event: DetectorDegraded) -> None:
    gap = [*steady(100), *steady(100, since=111)]
    assert one_score(trace_of([gap, steady(300)], (BEGIN + 104.0, event))).false_failures == 0
    election = LeaderElected(coordinator_id="c2", term=2)
    assert one_score(trace_of([gap, steady(300)], (BEGIN + 104.0, election))).false_failures == 0
    continued = WatchContinued(since=utc(BEGIN), witness="w1", heartbeat_sequence=1)
    watched = one_score(trace_of([gap, steady(300)], (BEGIN + 104.0, election), (BEGIN + 106.0, continued)))
    assert watched.false_failures == 1, "nothing was missed at that election"
    exited = WorkerExited(worker_id="w0", incarnation=1, signal=9)
    found = one_score(trace_of([steady(100), steady(300)], (BEGIN + 98.0, exited), (BEGIN + 104.0, event))).found
    assert found is not None
    assert found.worst == 16.0


def test_a_silence_of_everybody_is_nobodys() -> None:
    gap = [*steady(100), *steady(100, since=120)]
    assert one_score(trace_of([gap, gap])).false_failures == 0
    assert one_score(trace_of([gap])).false_failures == 1, "one alone says as much of itself as of the listener"


def test_a_farm_that_beats_more_slowly_is_judged_more_slowly() -> None:
    slow = [BEGIN + 4.0 * number for number in range(50)]
    gap = [*slow, *(time + 211.0 for time in slow)]  # 15 s
    pace = PaceChanged(stretch=2.0, heartbeat_interval_s=4.0, workers_live=2)
    other = [BEGIN + 4.0 * number for number in range(110)]
    assert one_score(trace_of([gap, other])).false_failures == 1
    assert one_score(trace_of([gap, other], (BEGIN, pace))).false_failures == 0


def test_the_recorded_policy_is_in_force_with_its_overrides() -> None:
    policy = Policy(detector="deadline", overrides=(Override(worker="w1", failed_after=40.0),))
    gap = [*steady(100), *steady(100, since=118)]
    trace = trace_of([gap, gap, steady(300)], policy=policy)
    assert trace.policy == policy
    assert one_score(trace, in_force(trace.policy)).false_failures == 1
    assert one_score(trace, parsed("deadline", trace.policy)).false_failures == 2


def test_a_detector_knows_what_the_core_would_know() -> None:
    random = Random(1)
    life = Life("w0", 1, {})
    trace = Trace(interruptions=[BEGIN + 50.0, BEGIN + 51.0])
    arrived = Arrivals(1)
    for sequence, time in enumerate(arrivals(JITTERY, 200.0, random), 1):
        life.times.append(time)
        arrived.add(time, sequence)
        interrupted_at = max((one for one in trace.interruptions if one <= time), default=0.0)
        assert intervals_before(trace, life, len(life.times) - 1, time) == arrived.intervals(0, interrupted_at)
    assert len(life.times) > 2 * ARRIVALS_MAX


def test_patience_costs_time_and_saves_mistakes() -> None:
    deaths = [Death(number, 300.0 + number, number % 2 == 0) for number in range(10)]
    trace = farm(20, 600.0, Nature(delay_sigma_s=1.0, pause_share=0.05, pause_s_max=12.0), *deaths)
    assert len(trace.failures) == 10
    scores = tried(trace, usual_settings(trace.policy))
    for detector in ("deadline", "phi"):
        of_it = [score for score in scores if score.detector == detector]
        failures = [score.false_failures for score in of_it]
        found = [score.found.median for score in of_it if score.found is not None]
        assert failures == sorted(failures, reverse=True)
        assert found == sorted(found)
        assert failures[0] > failures[-1]


def test_nothing_long_and_nobody_dead() -> None:
    trace = farm(3, 100.0, STEADY)
    score = one_score(trace)
    assert (score.false_failures, score.false_suspicions, score.found) == (0, 0, None)
    assert score.would_find is not None
    assert (score.would_find.median, score.would_find.worst) == (10.0, 10.0)
    assert score.would_find.count == trace.beats


def test_spreads() -> None:
    assert spread([]) is None
    assert spread([3.0]) == spread([3.0, 3.0, 3.0][:1])
    hundred = spread(float(number) for number in range(1, 101))
    assert hundred is not None
    assert (hundred.median, hundred.p99, hundred.worst) == (50.0, 99.0, 100.0)


def test_the_conclusion_names_the_soonest_that_spares_all_that_lived() -> None:
    times = [[*steady(100), *steady(100, since=111)], steady(300)]
    policy = Policy(detector="deadline", self_fence_after=7.0, failed_after=10.0)
    hasty, patient, slow = (setting(Policy(), "deadline", {"failed_after": many}) for many in (10.0, 14.0, 20.0))
    trace = trace_of(times, policy=policy)
    assert conclusion(tried(trace, [in_force(policy), hasty, patient, slow])) == (
        "As recorded: 1 false failure, a death would be found after 10.0 s. The soonest that spares all that lived: "
        "c, deadline failed_after=14, no false failure, a death would be found after 14.0 s."
    )
    assert conclusion(tried(trace, [in_force(policy), hasty])).endswith("None that was tried spares all that lived.")
    assert conclusion(tried(trace_of(times), [in_force(Policy()), slow])).endswith(
        "None that was tried is sooner and spares all that lived."
    )


# Settings


def test_settings_are_parsed() -> None:
    found = parsed("phi:phi_failed=9,failed_after=20", Policy(heartbeat_interval=1.0))
    assert found.name == "phi phi_failed=9 failed_after=20"
    policy = found.policy
    assert (policy.detector, policy.phi_failed, policy.failed_after) == ("phi", 9.0, 20.0)
    assert policy.heartbeat_interval == 1.0, "the rest is as it was recorded"


def test_a_fence_that_nobody_asked_for_moves_out_of_the_way() -> None:
    policy = parsed("deadline:failed_after=7", Policy()).policy
    assert policy.suspect_after < policy.self_fence_after < policy.failed_after


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("fi", "there is no detector 'fi'; there are phi, deadline"),
        ("deadlin", "did you mean 'deadline'?"),
        ("phi:failed=3", "there is no setting 'failed'; did you mean '"),
        ("phi:failed_after", "failed_after has no value; it takes a number, as in failed_after=10"),
        ("phi:failed_after=soon", "failed_after is 'soon'; it takes a number above 0 to 31,536,000"),
        ("deadline:failed_after=3", "failed_after 3 s has to be longer than suspect_after 6 s"),
        ("deadline:self_fence_after=20", "suspect_after 6 s < self_fence_after 20 s < failed_after 15 s does not hold"),
        ("deadline:suspect_after=5", "set suspect_after to at least 6"),
        ("deadline:phi_failed=9", "phi_failed makes no difference to 'deadline'"),
        ("deadline:failed_after=20,failed_after=30", "failed_after is given twice"),
        ("phi:phi_failed=1000", "phi_failed is '1000'; it takes a number from 1 to 100"),
        ("phi:failed_after=nan", "failed_after is 'nan'; it takes a number above 0"),
        ("PHI", "did you mean 'phi'?"),
    ],
)
def test_settings_that_make_no_sense(text: str, complaint: str) -> None:
    with pytest.raises(CannotReplay) as caught:
        parsed(text, Policy())
    assert complaint in str(caught.value)


def test_the_usual_settings_fit_any_pace() -> None:
    for interval in (0.1, 2.0, 60.0):
        policy = Policy(
            heartbeat_interval=interval,
            suspect_after=3 * interval,
            self_fence_after=6 * interval,
            failed_after=8 * interval,
            first_heartbeat_timeout=10 * interval,
        )
        used = usual_settings(policy)
        assert len({one.name for one in used}) == len(used)
        assert {one.policy.heartbeat_interval for one in used} == {interval}


# The command


def archived(path: Path, *, with_heartbeats: bool = True) -> Path:
    """Three workers for ten minutes, one of which is killed and one of which pauses for 20 s."""
    times = [steady(600), [time for time in steady(600) if time < BEGIN + 400], [*steady(300), *steady(280, since=320)]]
    told: list[Recorded] = [
        recorded(number, BEGIN, WorkerRegistered(worker_id=f"w{number - 1}", host="h", pid=1, slots=1))
        for number in (1, 2, 3)
    ]
    told.append(recorded(4, BEGIN + 399.0, WorkerExited(worker_id="w1", incarnation=2, signal=9)))
    messages = [_event(one) for one in told] + ([_beat(one) for one in heartbeats(times)] if with_heartbeats else [])
    return written(path / "log.parquet", messages)


def _event(one: Recorded) -> Message:
    assert one.envelope is not None
    time_ns = round(one.time * 1e6) * 1000
    return Message(EVENTS, one.sequence, time_ns, f"farm.event.{one.subject}", None, codec.encode(one.envelope))


def _beat(one: RecordedHeartbeat) -> Message:
    assert one.heartbeat is not None
    subject = f"farm.heartbeat.{one.heartbeat.worker_id}"
    return Message(HEARTBEATS, one.sequence, round(one.time * 1e6) * 1000, subject, None, json_of(one.heartbeat))


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(create_app(open_by_address), ["detectors", *arguments])


def test_the_command_prints_a_table_and_a_plot(tmp_path: Path) -> None:
    done = invoke("--log", str(archived(tmp_path)), "--setting", "deadline:failed_after=30")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith(
        "790 heartbeats of 3 workers in 3 incarnations, 0.4 worker-hours; 1 failure (1 proven, 0 "
    )
    assert any(line.split()[:5] == ["a", "phi", "as", "recorded", "1"] for line in lines)
    assert any(line.split()[:4] == ["b", "deadline", "failed_after=30", "0"] for line in lines)
    assert "false failures (logarithmic)" in lines
    assert any(line.endswith(" b") and "|" in line for line in lines)


def test_the_usual_settings_in_json(tmp_path: Path) -> None:
    done = invoke("--log", str(archived(tmp_path)), "--json")
    found = msgspec.json.decode(done.stdout, type=Answer)
    assert (found.failures_proven, found.failures_presumed, found.heartbeats) == (1, 0, 790)
    assert [score.detector for score in found.scores] == ["phi", *["deadline"] * 7, *["phi"] * 7]
    assert set(json.loads(done.stdout)["scores"][0]["settings"]) == set(NAMES)


@pytest.mark.parametrize("name", ["picture.svg", "picture.html"])
def test_the_picture_is_well_formed(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    done = invoke("--log", str(archived(tmp_path)), "--picture", str(path))
    assert done.exit_code == 0, done.output
    text = path.read_text()
    start, end = text.index("<svg"), text.index("</svg>") + len("</svg>")
    drawn = ET.fromstring(text[start:end])
    titles = [element.text or "" for element in drawn.iter("{http://www.w3.org/2000/svg}title")]
    assert sum("deadline failed_after=" in title for title in titles) >= 7
    assert "http" not in text.replace("http://www.w3.org/2000/svg", ""), "it needs nothing from elsewhere"
    if name.endswith(".html"):
        assert text.count("<tr") == 16


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--picture", "x.png"), "--picture x.png: it takes a name that ends in .svg or .html"),
        (("--picture", "no/such/folder/x.svg"), "there is no folder no/such/folder"),
        (("--setting", "fi"), "there is no detector 'fi'"),
    ],
)
def test_mistakes_of_the_command(tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    done = invoke("--log", str(archived(tmp_path)), *arguments)
    assert isinstance(done.exception, CannotReplay)
    assert sentence in str(done.exception)


async def test_a_system_that_runs(bus: Bus, streams: Streams, log: JetStreamLog) -> None:
    registered = await SyntheticEvents(log, "test").worker_registered("w1")
    for number in (1, 2, 3):
        beat = Heartbeat(worker_id="w1", incarnation=registered.last, beat=number, sent_at=utc(BEGIN))
        await send_heartbeat(bus, streams, beat)
    async with StreamBeats(bus, streams) as beats:
        done = await experiment(log, beats, ["deadline"])
    assert (done.trace.beats, len(done.trace.lives)) == (3, 1)
    assert [score.setting for score in done.scores] == ["phi as recorded", "deadline"]


def test_a_recording_without_heartbeats(tmp_path: Path) -> None:
    done = invoke("--log", str(archived(tmp_path, with_heartbeats=False)))
    assert isinstance(done.exception, CannotReplay)
    assert "there are no heartbeats to judge by" in str(done.exception)
