"""Patterns: what is planted is found first, and where nothing is planted nothing is found."""

import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from events.system import LeaderElected
from projections.client import query_file
from projections.patterns import killers
from projections.patterns.material import HOUR_SLOTS, Death, Life, Material, Onset, Period, Sign
from projections.patterns.search import ERROR_RATE, among
from projections.patterns.words import chance_of, conclusion
from tests.projections.histories import records
from tests.projections.seasons import BEGAN, DAY, WHOLE, Plant, Season, found_in, stored

PLANTED = {
    "a pair": (Plant(together=("w2", "w5")), "failing_together", "w2 + w5"),
    "a machine": (Plant(together=("w1", "w2", "w3")), "failing_together", "w1 + w2 + w3"),
    "a killer": (Plant(killer=True), "deadly_test", "test_killer"),
    "a bad hour": (Plant(days=10.0, hour=3), "time_of_day", "03:00-03:59 UTC"),
    "a sign": (Plant(sign=True), "motif", "worker.suspicion_refuted"),
    "a bad policy": (Plant(slower_after=3.5), "policy", "policy "),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found_first(tmp_path: Path, name: str) -> None:
    plant, kind, subject = PLANTED[name]
    path = stored(Season(11, plant).records, tmp_path / "history.duckdb")
    found = found_in(path)
    first = found.findings[0]
    assert (first.kind, first.subject[: len(subject)]) == (kind, subject)
    assert first.p_adjusted <= ERROR_RATE
    # The statement shows the rows that were counted, to whoever asks from outside.
    assert len(query_file(path, first.sql).rows) == first.seen
    assert str(first.seen) in first.sentence
    assert [one.kind for one in found.findings if one.kind != kind] == []


def test_all_of_four_are_found_and_nothing_else(tmp_path: Path) -> None:
    plant = Plant(days=10.0, killer=True, sign=True, together=("w1", "w2", "w3"), hour=4)
    found = found_in(stored(Season(30, plant).records, tmp_path / "history.duckdb"))
    assert [one.subject for one in found.findings] == [
        "test_killer",
        "worker.suspicion_refuted",
        "w1 + w2 + w3",
        "04:00-04:59 UTC",
    ]


def test_made_up_failures_are_no_failures(tmp_path: Path) -> None:
    told = Season(13, Plant(days=2.0, together=("w1", "w2"))).records
    drills = [msgspec.structs.replace(one, synthetic="drill") for one in told]
    found = found_in(stored(drills, tmp_path / "history.duckdb"))
    assert (found.failures, found.findings) == (0, [])


def test_an_empty_history_has_none(tmp_path: Path) -> None:
    path = stored(records(LeaderElected(coordinator_id="c1", term=1)), tmp_path / "history.duckdb")
    found = found_in(path)
    assert (found.findings, found.tried, found.failures) == ([], 0, 0)
    assert conclusion(found) == "0 failures of workers, too few for a pattern"


@pytest.mark.parametrize("seed", range(4))
def test_noise_in_a_log_gives_nothing(tmp_path: Path, seed: int) -> None:
    plant = (
        Plant(days=3.0),
        Plant(days=2.0, workers=12, deaths_a_day=40.0),
        Plant(days=1.0, workers=3, deaths_a_day=60.0),
    )[seed % 3]
    found = found_in(stored(Season(seed, plant).records, tmp_path / "history.duckdb"))
    assert found.failures > 5
    assert found.tried > 10
    assert found.findings == []


def noise(seed: int) -> Material:
    """Failures, tests and signs that know nothing of each other, on a farm that is busy by day."""
    dice = random.Random(seed)
    first = int(BEGAN // 3600)
    active = {first + hour: HOUR_SLOTS if 7 <= hour % 24 <= 19 else 30 for hour in range(5 * 24)}
    slots = [hour * HOUR_SLOTS + place for hour, number in active.items() for place in range(number)]
    workers = [f"w{number}" for number in range(dice.randrange(3, 15))]
    onsets = [
        Onset(number, dice.choice(workers), slot * 10_000_000 + 1, dice.lognormvariate(2, 1), dice.random() < 0.2)
        for number, slot in enumerate(sorted(dice.choices(slots, k=dice.randrange(10, 120))))
    ]
    tests = {f"t{number}": dice.expovariate(1.0) for number in range(dice.randrange(5, 60))}
    total = sum(tests.values())
    deaths = [
        Death(onset.sequence, onset.worker_id, dice.choices(list(tests), list(tests.values()))[0]) for onset in onsets
    ]
    shares = {(worker_id, test): share / total for worker_id in workers for test, share in tests.items()}
    lives = [Life(onset.sequence, dice.randrange(2, 241)) for onset in onsets]
    signs = [
        Sign(life.failure, dice.randrange(life.minutes), number, dice.choice("abcdef"))
        for number, life in enumerate(dice.choices(lives, k=400))
    ]
    middle, end = int((BEGAN + dice.random() * 5 * DAY) * 1e6), int((BEGAN + 5 * DAY) * 1e6)
    before = sum(slot * 10_000_000 < middle for slot in slots)
    periods = [
        Period(1, int(BEGAN * 1e6), middle, before, "", "c1"),
        Period(2, middle, end, len(slots) - before, "{}", "alice"),
    ]
    return Material(active, onsets, deaths, len(tests), shares, lives, signs, periods)


def test_noise_gives_less_than_the_stated_rate() -> None:
    """In so many histories in which nothing belongs together, at most one in twenty has any finding at all."""
    seeds = 120
    wrong = [seed for seed in range(seeds) if among(noise(seed), WHOLE).findings]
    assert len(wrong) <= ERROR_RATE * seeds


def with_pair(material: Material) -> Material:
    more = [
        one._replace(worker_id="twin", sequence=one.sequence + 1000) for one in material.onsets if one.worker_id == "w0"
    ]
    return material._replace(onsets=sorted(material.onsets + more, key=lambda one: one.at_us))


def with_killer(material: Material) -> Material:
    shares = material.shares | {(onset.worker_id, "killer"): 0.001 for onset in material.onsets}
    more = [Death(death.failure, death.worker_id, "killer") for death in material.deaths[:4]]
    return material._replace(deaths=material.deaths + more, shares=shares)


def with_sign(material: Material) -> Material:
    more = [Sign(life.failure, 0, 10_000 + life.failure, "omen") for life in material.lives[:8] if life.minutes > 20]
    return material._replace(signs=material.signs + more)


@pytest.mark.parametrize(("plant", "subject"), [(with_pair, "twin + w0"), (with_killer, "killer"), (with_sign, "omen")])
def test_in_much_noise_what_is_planted_comes_first(plant: Callable[[Material], Material], subject: str) -> None:
    tried, first = 0, 0
    for seed in range(40):
        material = noise(seed)
        if len(material.onsets) < 60:
            continue
        tried += 1
        findings = among(plant(material), WHOLE).findings
        first += bool(findings) and subject in {
            findings[0].subject,
            " + ".join(reversed(findings[0].subject.split(" + "))),
        }
    assert tried > 10
    assert first >= 0.9 * tried


def test_crash_loops_and_bad_hours_make_no_pair() -> None:
    """Two workers have all their failures in the same bad hour, and each fails again and again."""
    dice = random.Random(3)
    hour = int(BEGAN // 3600)
    onsets = [
        Onset(number, worker_id, (hour * HOUR_SLOTS + dice.randrange(HOUR_SLOTS)) * 10_000_000, 1.0, False)
        for number, worker_id in enumerate(["w1", "w2"] * 20)
    ]
    active = {hour + number: HOUR_SLOTS for number in range(48)}
    assert among(Material(active, onsets, [], 0, {}, [], [], []), WHOLE).findings == []


def test_a_test_that_runs_all_the_time_is_there_at_every_death() -> None:
    deaths = [Death(number, "w1", "long") for number in range(20)]
    material = Material({}, [], deaths, 5, {("w1", "long"): 0.97}, [], [], [])
    assert among(material, WHOLE).findings == []
    [judged] = killers.search(material, WHOLE).candidates
    assert (judged.seen, judged.of) == (20, 20)
    assert judged.p == pytest.approx(0.97**20)


def test_words() -> None:
    material = with_killer(noise(1))
    found = among(material, WHOLE)
    [first, *_] = found.findings
    assert "workers die under killer: it was running at 4 of" in first.sentence
    assert chance_of(first).startswith("p ")
    assert conclusion(found).endswith("the surest first")
