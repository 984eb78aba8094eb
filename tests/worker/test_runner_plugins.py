"""Kinds of work that a distribution brings along, run by real workers."""

from pathlib import Path
from typing import Any

import pytest

from events.task import Outcome
from events.work import CommandWork
from tests.plugins import check_page, installed
from tests.worker.farm import PYTHON, Farm
from worker import runners
from worker.jobs import CommandJob
from worker.jobs import Outcome as JobOutcome
from worker.runners import Command, command_of, verdict_of


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed("watch", tmp_path_factory.mktemp("site"))


@pytest.fixture(autouse=True)
def plugged(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    runners._runner.cache_clear()


def tap(*lines: str, code: int = 0, kind: str = "tap") -> CommandWork:
    report = "\n".join(lines)
    return CommandWork(argv=(*PYTHON, f"print({report!r}); raise SystemExit({code})"), cwd="/", kind=kind)


async def test_what_a_runner_says_of_the_end_counts(farm: Farm) -> None:
    worker = await farm.start()
    works = [
        tap("1..2", "ok 1", "ok 2"),
        tap("1..2", "ok 1", "not ok 2 - sums"),
        tap("1..0 # SKIP no database"),
        tap("1..9", "ok 1", code=3),
    ]
    await farm.assign(worker, *works)
    expected: list[Outcome] = ["passed", "failed", "skipped", "error"]
    ends = [await farm.ending(f"t{number}") for number in range(1, 5)]
    assert [end.outcome for end in ends] == expected
    assert ends[1].message == "not ok 2 - sums"
    assert ends[3].message == "it ended with code 3 before its tests were done"
    assert not any(end.unstartable for end in ends)


async def test_its_command_is_kept_and_timed_like_any_other(farm: Farm) -> None:
    worker = await farm.start()
    work = CommandWork(argv=(*PYTHON, "import time; time.sleep(600)"), cwd="/", kind="tap")
    await farm.assign(worker, work, timeout_s=0.3)
    assert (await farm.ending("t1")).outcome == "timed_out"
    environment = CommandWork(
        argv=(
            *PYTHON,
            "import os; print('1..1\\nok 1' if os.environ['HARNESS_ACTIVE'] == os.environ['B'] else 'not ok')",
        ),
        cwd="/",
        environment={"B": "1"},
        kind="tap",
    )
    await farm.assign(worker, environment, first=2)
    assert (await farm.ending("t2")).outcome == "passed"


async def test_without_its_runner_the_work_cannot_be_begun_there(farm: Farm) -> None:
    worker = await farm.start()
    await farm.assign(worker, tap("1..1", kind="moon"))
    end = await farm.ending("t1")
    assert (end.outcome, end.unstartable) == ("error", True)
    assert "this worker has no runner 'moon': nobody offers it in the entry point group resurgam.runners" in end.message


class Careless:
    def command(self, arguments: tuple[str, ...], cwd: str) -> Command:
        raise KeyError(cwd)

    def verdict(self, exit_code: int, output: str) -> Any:
        return "maybe", ""


def test_a_runner_that_fails_fails_its_work_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.runners.load", lambda *_: Careless)
    with pytest.raises(ValueError, match=r"runner 'x' makes no command of it: KeyError: '/srv'"):
        command_of(CommandJob("k", ("true",), "/srv", kind="x"))
    outcome, message = verdict_of("x", 0, "")
    assert outcome is JobOutcome.error
    assert "does not say what exit code 0 means" in message
    runners._runner.cache_clear()
    monkeypatch.setattr("worker.runners.load", lambda *_: Unmade)
    with pytest.raises(ValueError, match=r"runner 'y' cannot be made: OSError: no"):
        command_of(CommandJob("k", ("true",), "/srv", kind="y"))


class Unmade:
    def __init__(self) -> None:
        raise OSError("no")


def test_a_command_needs_no_runner() -> None:
    assert command_of(CommandJob("k", ("true",), "/")) == Command(("true",))


def test_the_page_shows_the_example_as_it_is() -> None:
    check_page("watch", "farm_watch.py")
