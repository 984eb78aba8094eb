"""Ids, subjects, times, and the policy's own rules."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.clock import EPOCH, ClusterClock, quantised, seconds, utc
from events.identity import as_id, is_id, new_id
from events.memory import MemoryLog
from events.policy import Override, Policy, policy_hash
from events.subjects import matches
from events.synthetic import SyntheticEvents
from events.task import TaskStarted
from events.worker import WorkerFailed, WorkerRegistered

# Ids


@pytest.mark.parametrize("text", ["a", "w-1", "W_1", "x" * 64, "0", "-", "_"])
def test_ids(text: str) -> None:
    assert is_id(text)
    assert as_id(text) == text.strip("-") or text == "-"


@pytest.mark.parametrize("text", ["", "a.b", "a b", "a*", ">", "ü", "x" * 65, "a\n", "\n", "a/b", "$"])
def test_no_ids(text: str) -> None:
    assert not is_id(text)
    assert is_id(as_id(text))


@given(st.text())
def test_as_id_makes_an_id_of_anything(text: str) -> None:
    made = as_id(text)
    assert is_id(made)
    assert as_id(made) == made


def test_the_wire_and_the_program_agree_on_ids() -> None:
    for text in ("a\n", "a.b", "", "x" * 65, "a", "ü"):
        try:
            msgspec.convert({"worker_id": text, "reason": "silence"}, WorkerFailed)
        except msgspec.ValidationError:
            assert not is_id(text)
        else:
            assert is_id(text)


def test_new_ids_are_uuids_of_version_7() -> None:
    made = [new_id() for _ in range(1_000)]
    assert len(set(made)) == 1_000
    for text in made:
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", text)
        assert is_id(text)
    times = [text[:13] for text in made]
    assert times == sorted(times)


# Subjects

PATTERNS = [
    ("a.b", "a.b", True),
    ("a.b", "a.c", False),
    ("a.b", "a", False),
    ("a", "a.b", False),
    ("a.*", "a.b", True),
    ("a.*", "a", False),
    ("a.*", "a.b.c", False),
    ("*.b", "a.b", True),
    ("*.*.w1", "t1.assigned.w1", True),
    ("*.*.w1", "t1.assigned.w2", False),
    (">", "a", True),
    (">", "a.b.c", True),
    ("a.>", "a.b", True),
    ("a.>", "a.b.c", True),
    ("a.>", "a", False),
    ("a.>", "b.c", False),
    ("a.*.>", "a.b", False),
    ("a.*.>", "a.b.c", True),
]


@pytest.mark.parametrize(("pattern", "subject", "expected"), PATTERNS)
def test_patterns(pattern: str, subject: str, expected: bool) -> None:
    assert matches(pattern, subject) == expected


# Times

MICROSECONDS = st.integers(0, 4_102_444_800_000_000)
"""Up to the year 2100."""


@given(MICROSECONDS)
def test_seconds_and_utc_are_exact_inverses(microseconds: int) -> None:
    moment = utc(microseconds / 1_000_000)
    assert (moment - EPOCH).total_seconds() == microseconds / 1_000_000
    assert utc(seconds(moment)) == moment
    assert seconds(utc(seconds(moment))) == seconds(moment)
    wire = msgspec.json.decode(msgspec.json.encode(moment), type=type(moment))
    assert seconds(wire) == seconds(moment)


@given(st.floats(0, 4e9))
def test_what_is_quantised_survives_the_wire(moment: float) -> None:
    there = quantised(moment)
    assert quantised(there) == there
    assert abs(there - moment) <= 1e-6
    assert seconds(msgspec.json.decode(msgspec.json.encode(utc(there)), type=type(EPOCH))) == there


class Hands:
    """Two clocks that only a test moves."""

    def __init__(self) -> None:
        self.monotonic = 50.0
        self.wall = 1_000.0


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def clock(hands: Hands) -> ClusterClock:
    return ClusterClock(monotonic=lambda: hands.monotonic, wall=lambda: hands.wall, window_s=30.0)


def test_without_a_message_the_own_clock_counts(clock: ClusterClock, hands: Hands) -> None:
    assert not clock.synchronised
    assert clock.now() == 1_000.0
    hands.monotonic += 1.5
    assert clock.now() == 1_001.5


def test_a_message_sets_the_clock_and_monotonic_time_carries_it_on(clock: ClusterClock, hands: Hands) -> None:
    clock.observe(5_000.0)
    assert clock.synchronised
    hands.monotonic += 2.0
    assert clock.now() == 5_002.0
    clock.observe(5_001.0)  # it was long on its way: no better bound
    assert clock.now() == 5_002.0
    clock.observe(5_002.5)
    assert clock.now() == 5_002.5


def test_a_bad_estimate_is_forgotten_within_two_windows(clock: ClusterClock, hands: Hands) -> None:
    clock.observe(9_000.0)  # then the broker's clock is set back
    begun = clock.now()
    for second in range(1, 62):
        hands.monotonic += 1.0
        clock.observe(5_000.0 + second)
        clock.now()
    assert clock.now() == begun + 59.0, "it stands while the true time catches up, and never goes back"


@given(st.lists(st.tuples(st.floats(0, 40), st.floats(-5, 5), st.booleans()), max_size=40))
def test_now_never_goes_back_and_always_survives_the_wire(steps: list[tuple[float, float, bool]]) -> None:
    hands = Hands()
    clock = ClusterClock(monotonic=lambda: hands.monotonic, wall=lambda: hands.wall)
    last = 0.0
    for ahead, skew, reading in steps:
        hands.monotonic += ahead
        if reading:
            stored_at = 1_760_000_000.123456789 + hands.monotonic + skew
            clock.observe(stored_at)
            assert clock.now() >= quantised(stored_at)
        now = clock.now()
        assert now >= last
        assert seconds(utc(now)) == now
        last = now


# Policy

CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"heartbeat_interval": 3.0}, "heartbeat_interval 3 s is too long for suspect_after 6 s.*at least 9"),
    ({"suspect_after": 12.0}, "suspect_after 12 s < self_fence_after 12 s < failed_after 15 s does not hold"),
    ({"self_fence_after": 15.0}, "suspect_after 6 s < self_fence_after 15 s < failed_after 15 s does not hold"),
    ({"self_fence_after": 5.0}, "a silent worker must stop its own tasks before they are given away"),
    ({"first_heartbeat_timeout": 1.0}, "first_heartbeat_timeout 1 s is shorter than heartbeat_interval 2 s"),
    ({"phi_suspect": 13.0}, "phi_suspect 13 is above phi_failed 12: a worker is suspected before it is failed"),
    ({"overrides": (Override(worker="a*"),)}, "overrides: table 1 changes nothing; it takes suspect_after, self_fence"),
    (
        {"overrides": (Override(failed_after=16.0), Override(suspect_after=5.0))},
        "overrides: with table 2, heartbeat_interval 2 s is too long for suspect_after 5 s",
    ),
    (
        {"overrides": (Override(labels={"site": "far"}, failed_after=12.0),)},
        "overrides: with table 1, suspect_after 6 s < self_fence_after 12 s < failed_after 12 s does not hold",
    ),
    (
        {"overrides": (Override(first_heartbeat_timeout=1.0),)},
        "overrides: with table 1, first_heartbeat_timeout 1 s is shorter than heartbeat_interval 2 s",
    ),
    ({"critical_below": 0.9}, "critical_below 0.9 is above degraded_below 0.8"),
    ({"recovery_backoff": 61.0}, "recovery_backoff 61 s is longer than its cap, recovery_interval 60 s"),
]
LIMITS: list[dict[str, Any]] = [
    {"max_recovery_attempts": 0},
    {"suspect_after": 0},
    {"suspect_after": -1},
    {"failed_after": 1e9},
    {"infrastructure_retries": -1},
    {"degraded_below": 1.5},
    {"critical_below": 0},
    {"tasks_ahead_max": 101},
    {"unheard_of": 1},
    {"auto_recovery": "yes"},
    {"detector": "Astrology!"},
    {"heartbeat_rate_max": 0},
    {"phi_patience_max": 0.5},
    {"overrides": [{"worker": "a b", "failed_after": 20.0}]},
    {"overrides": [{"watchdog_after": 1.0}]},
    {"overrides": [{"failed_after": 20.0}] * 101},
]


@pytest.mark.parametrize(("settings", "message"), CONTRADICTIONS)
def test_a_policy_that_contradicts_itself_cannot_exist(settings: dict[str, Any], message: str) -> None:
    makers: list[Callable[[], Policy]] = [
        partial(Policy, **settings),
        lambda: msgspec.convert(settings, Policy),
        lambda: msgspec.json.decode(msgspec.json.encode(settings), type=Policy),
    ]
    for make in makers:
        with pytest.raises(ValueError, match=message):
            make()


@pytest.mark.parametrize("settings", LIMITS, ids=str)
def test_each_setting_has_its_limits(settings: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(settings, Policy)


def test_beats_that_just_fit() -> None:
    policy = Policy(heartbeat_interval=0.1, suspect_after=0.3, self_fence_after=0.4, failed_after=0.5)
    assert policy.heartbeat_interval * 3 > policy.suspect_after, "in floating point"


OTHERS = {
    "detector": "deadline",
    "overrides": (Override(failed_after=20.0),),
    "ladders": {"silence": ("restart",)},
    "strategy_order": "history",
    "launcher": "local",
}


def test_the_hash_knows_every_setting() -> None:
    hashes = {policy_hash(Policy())}
    for name in Policy.__struct_fields__:
        value = getattr(Policy(), name)
        factor = 1.001 if name == "suspect_after" else 0.999
        other: Any = OTHERS.get(name)
        if other is None:
            other = (not value) if isinstance(value, bool) else value + 1 if isinstance(value, int) else value * factor
        hashes.add(policy_hash(Policy(**{name: other})))
    assert len(hashes) == 1 + len(Policy.__struct_fields__)
    assert policy_hash(Policy()) == policy_hash(msgspec.json.decode(msgspec.json.encode(Policy()), type=Policy))


# Synthetic events


async def test_synthetic_events_carry_their_label() -> None:
    log = MemoryLog()
    made = SyntheticEvents(log, "the drill: 1")
    registered = await made.worker_registered("w1", slots=2, labels={"gpu": "yes"})
    await made.worker_failed("w1")
    await made.worker_exited("w1", incarnation=registered.last, signal=9)
    await made.worker_draining("w1", incarnation=registered.last)
    await made.worker_stopped("w1", incarnation=registered.last)
    await made.worker_permanently_failed("w1")
    await made.worker_readmitted("w1")
    await made.task_started("t1", "w1", incarnation=registered.last, attempt=1)
    await made.task_attempt_finished("t1", "w1", incarnation=registered.last, attempt=1, outcome="passed")
    records = [log.stored(sequence) for sequence in range(1, log.last + 1)]
    assert len(records) == 9
    assert {recorded.synthetic for recorded in records} == {"the drill: 1"}
    assert all(recorded.envelope and recorded.envelope.source == "synthetic/the-drill-1" for recorded in records)
    assert isinstance(records[0].event, WorkerRegistered)
    assert isinstance(records[7].event, TaskStarted)


@pytest.mark.parametrize("label", ["", "x" * 65, "two\nlines"])
def test_labels_are_short_and_printable(label: str) -> None:
    with pytest.raises(ValueError, match="must be 1 to 64 printable characters"):
        SyntheticEvents(MemoryLog(), label)
