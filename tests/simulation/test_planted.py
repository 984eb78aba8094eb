"""The planted bugs: each is in the code while it is planted and leaves no trace, changes what is decided, and is caught
by the seed that the docs name."""

import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import NoReturn

import pytest

from events.policy import Policy
from recovery import schedule
from recovery.consumer import RecoveryConsumer
from tests.recovery.story import Story
from tests.simulation.jobs import simulator
from tests.simulation.planted import BUGS, simulators
from tests.simulation.planted.bug import Bug, Misfit, bug, resolve
from tests.simulation.planted.hunt import BEGIN, END, PAGE, SEEDS_MAX, SIMULATORS, Catch, rows, updated
from tests.simulation.planted.in_core import DECIDE, FOLD, TIMERS
from tests.simulation.planted.stories import STORIES
from tests.simulation.scenario import Outcome, Scenario, Violation
from tests.simulation.schedule import scenario_of

ALL = pytest.mark.parametrize("planted", BUGS.values(), ids=BUGS.keys())

CAUGHT_MIN = 48
SEEDS_AT_HAND = 60
"""Looked at where the seed of the table has lost its way."""


@ALL
def test_a_bug_is_there_while_it_is_planted(planted: Bug) -> None:
    functions = {edit.function: resolve(edit.function) for edit in planted.edits}
    before = {name: function.__code__ for name, function in functions.items()}
    with pytest.raises(InterruptedError), planted.planted():
        _look_at(functions, before)
    assert {name: function.__code__ for name, function in functions.items()} == before


def _look_at(functions: dict[str, FunctionType], before: dict[str, CodeType]) -> NoReturn:
    for name, function in functions.items():
        assert function.__code__ != before[name]
        assert function.__code__.co_qualname == before[name].co_qualname
        assert inspect.iscoroutinefunction(function) == bool(before[name].co_flags & inspect.CO_COROUTINE)
    raise InterruptedError


@ALL
def test_a_bug_says_what_somebody_did(planted: Bug) -> None:
    assert planted.mistake.endswith(".")
    assert planted.mistake.count(". ") == 0, "one sentence"
    assert "|" not in planted.mistake, "it stands in a table"


def test_there_are_enough_bugs() -> None:
    assert len(BUGS) >= 20


MISFITS = {
    "no such module": ("recovery.nowhere:f", "pass", ""),
    "no such function": ("recovery.schedule:forward_s", "pass", ""),
    "no such method": ("recovery.timers:Timers.lose", "pass", ""),
    "no function": ("recovery.schedule:LADDER", "pass", ""),
    "no such line": ("recovery.schedule:backoff_s", "if recent == 1:", "pass"),
    "part of a line": ("recovery.schedule:backoff_s", "recent == 0", "True"),
    "a line that is there twice": ("recovery.timers:Timers.set", "self._ripe.drop(key)", ""),
    "other indentation": ("recovery.schedule:backoff_s", "if recent == 0:\nreturn 0.0", "pass"),
    "an unknown name": ("recovery.schedule:backoff_s", "return 0.0", "return utc(0.0)"),
    "something around it": ("events.connection:Connection.__init__", "super().__init__(url)", "super().__init__('')"),
}


@pytest.mark.parametrize("edit", MISFITS.values(), ids=MISFITS.keys())
def test_an_edit_that_does_not_fit_is_an_error(edit: tuple[str, str, str]) -> None:
    before = schedule.backoff_s.__code__
    with pytest.raises((Misfit, ModuleNotFoundError)), bug("misfit", "Nothing.", edit).planted():
        pytest.fail("it is planted")
    assert schedule.backoff_s.__code__ is before


def test_nothing_is_planted_when_one_of_two_edits_does_not_fit() -> None:
    fits = ("recovery.schedule:backoff_s", "return 0.0", "return 1.0")
    misfit = ("recovery.schedule:unit_hash", "return 0.0", "return 1.0")
    with pytest.raises(Misfit), bug("half", "Nothing.", fits, misfit).planted():
        pytest.fail("it is planted")
    assert schedule.backoff_s(Policy(), 0, "") == 0.0


def test_two_edits_of_one_function_and_the_names_that_others_know_it_by() -> None:
    imported_by_name = schedule.backoff_s
    with bug(
        "two",
        "Nothing.",
        ("recovery.schedule:backoff_s", "return 0.0", "return 1.0"),
        ("recovery.schedule:backoff_s", "return ceiling * unit_hash(key)", "return ceiling"),
    ).planted():
        assert imported_by_name(Policy(), 0, "") == 1.0
        assert imported_by_name(Policy(), 4, "") == 8.0
    assert imported_by_name(Policy(), 0, "") == 0.0


# Bugs of the core in short stories


@pytest.mark.parametrize(("tell", "right", "wrong"), STORIES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_bug_of_the_core_changes_a_story(tell: Callable[[Story], object], right: object, wrong: object) -> None:
    planted = BUGS[tell.__name__.replace("_", "-")]
    policy = Policy(max_recovery_attempts=1) if "attempt" in planted.name or "permanent" in planted.name else None
    assert tell(Story(policy)) == right
    with planted.planted():
        assert tell(Story(policy, checks=False)) == wrong
    assert tell(Story(policy)) == right


def test_every_bug_of_the_core_has_its_story() -> None:
    assert [tell.__name__.replace("_", "-") for tell, _, _ in STORIES] == [
        one.name for one in (*FOLD, *DECIDE, *TIMERS)
    ]


# Bugs in simulations


def outcome(scenario: Scenario, *, caught: bool, digest: str = "") -> Outcome:
    violation = Violation("budgets", 7, "t1", "overdrawn") if caught else None
    return Outcome(scenario=scenario, violation=violation, digest=digest, virtual_s=0.0)


@pytest.fixture
def nothing_known() -> Iterator[None]:
    """Of scenarios without a bug: neither before nor afterwards, as another simulator answers."""
    simulators.is_clean.cache_clear()
    yield
    simulators.is_clean.cache_clear()


@pytest.mark.usefixtures("nothing_known")
@pytest.mark.parametrize(("with_bug", "without"), [(True, False), (True, True), (False, False)])
def test_a_bug_is_caught_where_the_scenario_is_clean_without_it(
    monkeypatch: pytest.MonkeyPatch, with_bug: bool, without: bool
) -> None:
    fenced = RecoveryConsumer._append.__code__

    def simulate(scenario: Scenario, *, keep_records: bool = False) -> Outcome:
        is_planted = RecoveryConsumer._append.__code__ is not fenced
        return outcome(scenario, caught=with_bug if is_planted else without)

    monkeypatch.setattr(simulators, "simulator", lambda name: simulate)
    found = simulator(f"{SIMULATORS}:fence-not-sent")(Scenario(seed=1))
    assert (found.violation is not None) == (with_bug and not without)


@pytest.mark.usefixtures("nothing_known")
def test_a_bug_of_order_shows_between_two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    differing = {"only with the bug": 0, "always": 1, "never": 2}

    def elsewhere(planted: Bug | None, scenario: Scenario, hash_seed: str) -> Outcome:
        differs = scenario.seed == differing["always"] or (planted is not None and scenario.seed == 0)
        return outcome(scenario, caught=False, digest=hash_seed if differs else "the same")

    monkeypatch.setattr(simulators, "_elsewhere", elsewhere)
    search = simulator(f"{SIMULATORS}:order-of-a-set")
    found = {when: search(Scenario(seed=seed)).violation for when, seed in differing.items()}
    assert found["only with the bug"] is not None
    assert found["only with the bug"].invariant == simulators.SAME_LOG
    assert found["always"] is None
    assert found["never"] is None


def test_no_simulator_for_a_bug_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no bug is called 'fence-sent'"):
        simulator(f"{SIMULATORS}:fence-sent")


def test_the_table_on_the_page() -> None:
    first, second, third = list(BUGS)[:3]
    page = f"before\n{BEGIN}\n{END}\nafter\n"
    page = updated(page, [Catch(second, 12, 13, "budgets", "overdrawn")])
    assert rows(page) == [Catch(second, 12, 13, "budgets")]
    page = updated(page, [Catch(first, 0, 1, "liveness"), Catch(third, 999, 1000, "same-log")])
    assert rows(page) == [
        Catch(first, 0, 1, "liveness"),
        Catch(second, 12, 13, "budgets"),
        Catch(third, 999, 1000, "same-log"),
    ]
    assert updated(page, []) == page
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    with pytest.raises(ValueError, match="holds no lines"):
        updated("nothing", [])


def test_the_table_names_bugs_that_there_are_and_tells_what_they_are() -> None:
    """Those that no seed has caught so far are not in it; the page says how many there are."""
    text = PAGE.read_text(encoding="utf-8")
    caught = [row.bug for row in rows(text)]
    assert caught == [name for name in BUGS if name in caught]
    assert len(caught) >= CAUGHT_MIN
    assert updated(text, []) == text, "run python -m tests.simulation.planted --write --seeds 0:0"
    assert all(row.seeds <= SEEDS_MAX for row in rows(text))


@pytest.mark.parametrize("row", rows(PAGE.read_text(encoding="utf-8")), ids=lambda row: row.bug)
def test_a_bug_of_the_table_is_caught_by_its_seed_or_soon_after(row: Catch) -> None:
    """And the same seed is clean without it. What a seed does is another thing after every change of the product, so
    the table says with what seed a bug was caught when it was last hunted; that it is caught must not change."""
    search = simulator(f"{SIMULATORS}:{row.bug}")
    seeds = (row.seed, *(seed for seed in range(SEEDS_AT_HAND) if seed != row.seed))
    assert any(search(scenario_of(seed)).violation is not None for seed in seeds), (
        f"none of {len(seeds)} seeds catches it any more: python -m tests.simulation.planted --write {row.bug}"
    )
