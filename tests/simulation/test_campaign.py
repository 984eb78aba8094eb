"""The campaign and its command line, over a toy in the world's place; at the end over the world itself."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil
import pytest

from tests.simulation.campaign import Campaign, Failure, Settings, Tally, Watcher, read_scenario, write_scenario
from tests.simulation.faults import LEADER, Fault, FaultKind, Faults, Hazard, Schedule
from tests.simulation.jobs import STORY_LINES_MAX, Broken, story_of
from tests.simulation.report import brief, size_of
from tests.simulation.scenario import Scenario, Violation, Workload
from tests.simulation.toy import simulate
from tests.waiting import until

ROOT = Path(__file__).parents[2]
TOY = "tests.simulation.toy:simulate"

PAUSE = Fault(10.0, FaultKind.LEADER_PAUSE, LEADER, duration_s=8.0)
CRASH = Fault(12.0, FaultKind.BROKER_CRASH, "broker", duration_s=1.0)
NOISE = tuple(Fault(float(at), FaultKind.CONNECTION_RESET, "worker-1") for at in range(5, 25))
RAISES = Fault(3.0, FaultKind.FORGED_EVENT)
DIES = Fault(3.0, FaultKind.MALFORMED_EVENT)
HANGS = Fault(3.0, FaultKind.UNKNOWN_EVENT)
FAILING = tuple(sorted((*NOISE, PAUSE, CRASH), key=lambda fault: fault.at))


def scenario(seed: int, schedule: Schedule = NOISE) -> Scenario:
    return Scenario(seed=seed, faulty_s=60.0, schedule=schedule)


class Ran(NamedTuple):
    tally: Tally
    told: list[Failure]


def run(scenarios: Iterable[Scenario], folder: Path, **settings: object) -> Ran:
    """A campaign over the toy."""
    told: list[Failure] = []
    chosen = msgspec.structs.replace(Settings(folder=folder, simulator=TOY, seconds_max=60.0), **settings)
    return Ran(Campaign(scenarios, chosen, Watcher(failure=told.append)).run(), told)


def test_a_clean_campaign_counts(tmp_path: Path) -> None:
    tally, told = run((scenario(seed) for seed in range(7)), tmp_path, processes=2)
    assert told == []
    assert (tally.done, tally.virtual_s, tally.failures) == (7, 420.0, [])
    assert tally.faults == {"connection_reset": 140}
    assert tally.tasks == tally.verdicts["passed"] == 140
    assert list(tmp_path.iterdir()) == []
    alone, _ = run((scenario(seed) for seed in reversed(range(7))), tmp_path, processes=1)
    assert alone.digest() == tally.digest()
    others, _ = run((scenario(seed) for seed in range(8)), tmp_path, processes=1)
    assert others.digest() != tally.digest()


def test_a_violation_is_told_with_its_story_and_made_small(tmp_path: Path) -> None:
    tally, [failure] = run([scenario(1), scenario(2, FAILING), scenario(3)], tmp_path)
    assert tally.done == 3
    assert tally.reducing == 0
    assert tally.failures == [failure]
    assert failure.scenario.seed == 2
    assert failure.violation == Violation("one_verdict", 22, "task-1", "task-1 has two verdicts")
    assert [line.split()[4] for line in failure.story] == ["task.cancel_requested"] * 2
    assert all("task-1 " in line for line in failure.story)
    assert failure.reduction is not None
    assert [fault.kind for fault in failure.reduction.scenario.schedule or ()] == [PAUSE.kind, CRASH.kind]
    assert failure.reduced == tmp_path / "seed-2.json"
    again = read_scenario(failure.reduced)
    assert again == failure.reduction.scenario
    assert simulate(again).violation == failure.reduction.violation


def test_a_reduction_can_be_declined(tmp_path: Path) -> None:
    _, [failure] = run([scenario(2, FAILING)], tmp_path, shrink=False)
    assert failure.reduction is None
    assert failure.reduced is None
    assert len(failure.story) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_raises_is_a_failure_and_is_made_small(tmp_path: Path) -> None:
    tally, [failure] = run([scenario(1, (*NOISE, RAISES)), scenario(2)], tmp_path)
    assert tally.done == 2
    assert failure.broken is not None
    assert failure.broken.sentence == "the simulation raised LookupError: somebody forged an event"
    assert "toy.py" in failure.broken.traceback
    assert failure.reduction is not None
    assert failure.reduction.violation == Violation("raises LookupError", 0, "", "somebody forged an event")
    assert [fault.kind for fault in failure.reduction.scenario.schedule or ()] == [RAISES.kind]


def test_a_job_that_takes_its_process_down_costs_nobody_else(tmp_path: Path) -> None:
    scenarios = [scenario(1), scenario(2, (DIES,)), scenario(3), scenario(4, (DIES,)), scenario(5)]
    tally, told = run(scenarios, tmp_path, processes=2)
    assert tally.done == 5
    assert tally.virtual_s == 180.0
    assert sorted(failure.scenario.seed for failure in told) == [2, 4]
    assert {failure.broken for failure in told} == {Broken("the process that ran it ended with exit code 3")}
    assert all(failure.reduction is None for failure in told)


def test_a_reduction_that_takes_its_process_down_is_told(tmp_path: Path) -> None:
    """The whole schedule raises before it could die; a part of it dies."""
    _, [failure] = run([scenario(1, (DIES, RAISES))], tmp_path)
    assert failure.broken is not None
    assert failure.broken.traceback
    assert failure.reduction is None
    assert failure.reduced_broken == Broken("the process that ran it ended with exit code 3")


def test_a_job_that_does_not_end_is_ended(tmp_path: Path) -> None:
    tally, [failure] = run([scenario(1, (HANGS,)), scenario(2)], tmp_path, seconds_max=5.0)
    assert failure.broken == Broken("did not end within 5 s and was killed")
    assert tally.done == 2
    assert tally.virtual_s == 60.0


def test_enough_failures_end_it(tmp_path: Path) -> None:
    scenarios = (scenario(seed, FAILING) for seed in range(100))
    tally, told = run(scenarios, tmp_path, stop_after=3, shrink=False)
    assert len(told) == tally.done == 3
    assert next(scenarios).seed == 3


def test_logs_are_kept_on_request(tmp_path: Path) -> None:
    folder = tmp_path / "there" / "in"
    _, [failure] = run([scenario(1), scenario(2, FAILING)], folder, keep_log=True, shrink=False)
    assert failure.log == folder / "seed-2.log.jsonl"
    for seed in (1, 2):
        lines = [msgspec.json.decode(line) for line in (folder / f"seed-{seed}.log.jsonl").read_text().splitlines()]
        assert [line["sequence"] for line in lines] == list(range(1, 23))
        assert lines[0]["envelope"]["event"]["kind"] == "system.leader"


def test_an_interrupt_tells_what_was_found(tmp_path: Path) -> None:
    told: list[Failure] = []

    def progress(tally: Tally) -> None:
        if tally.reducing:
            raise KeyboardInterrupt

    settings = Settings(folder=tmp_path, simulator=TOY, processes=2)
    scenarios = [scenario(1, (HANGS,)), scenario(2, FAILING), scenario(3)]
    campaign = Campaign(scenarios, settings, Watcher(progress, told.append))
    with pytest.raises(KeyboardInterrupt):
        campaign.run()
    assert told == campaign.tally.failures
    assert [failure.scenario.seed for failure in told] == [2]
    assert told[0].reduction is None
    assert campaign.tally.done == 1
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def test_a_long_story_is_cut_in_the_middle() -> None:
    outcome = simulate(scenario(1, FAILING))
    story = story_of(msgspec.structs.replace(outcome, records=outcome.records[1:2] * 502))
    assert len(story) == STORY_LINES_MAX + 1
    assert "... 382 more ..." in story[STORY_LINES_MAX // 2]


def test_a_violation_that_is_about_nobody_is_told_by_what_came_last() -> None:
    outcome = simulate(scenario(1, FAILING))
    nobody = msgspec.structs.replace(outcome, violation=Violation("terms_rise", 0, "", "they do not"))
    assert [int(line.split()[0]) for line in story_of(nobody)] == list(range(3, 23))


def test_a_scenario_file_says_what_is_special_about_it_and_nothing_else(tmp_path: Path) -> None:
    special = Scenario(
        seed=3,
        workers=1,
        workload=Workload(at_start=0, failing=0.0),
        faults=msgspec.structs.replace(Faults(), agent_crash=Hazard(5)),
        schedule=(PAUSE,),
    )
    write_scenario(tmp_path / "s.json", special)
    assert read_scenario(tmp_path / "s.json") == special
    assert msgspec.json.decode((tmp_path / "s.json").read_bytes()) == {
        "seed": 3,
        "workers": 1,
        "workload": {"at_start": 0, "failing": 0.0},
        "faults": {"agent_crash": {"per_hour": 5}},
        "schedule": [{"at": 10.0, "kind": "leader_pause", "target": "leader", "duration_s": 8.0}],
    }


def test_summaries() -> None:
    tally = Tally(virtual_s=7200.0)
    assert brief(tally, 3.6) == "2.0 h simulated, 2,000 h/h, 0 faults, 0 failures"
    assert size_of(scenario(1, (PAUSE,))) == "1 fault, 3 workers, 1 coordinator, 20 tasks, 60 s"


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", str(ROOT / "resurgam.py"), "simulate", *arguments]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RESURGAM_")}
    return kept | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def simulated(folder: Path, *arguments: str) -> Ended:
    """`resurgam simulate` with the toy, from another folder than the sources'."""
    done = subprocess.run(
        command(*arguments, "--simulator", TOY),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "Traceback (most" not in done.stderr, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (
            ["--seeds", "5:3"],
            2,
            "--seeds 5:3: there is no seed from 5 up to, but without, 3; --seeds 5:6 is one seed",
        ),
        (["--seeds", "4:4"], 2, "--seeds 4:4: there is no seed"),
        (["--seeds", "a:b"], 2, "--seeds 'a:b': it takes two numbers with a colon between them"),
        (["--seeds", "-1:3"], 2, "--seeds '-1:3': it takes two numbers"),
        (["--hours", "0"], 2, "--hours 0: it takes a number above 0"),
        (["--hours", "nan"], 2, "--hours nan: it takes a number above 0"),
        (["--timeout", "-1"], 2, "--timeout -1: it takes a number above 0"),
        (["--faults", "-1"], 2, "Invalid value for '--faults'"),
        (["--workers", "0"], 2, "Invalid value for '--workers'"),
        (["--scenario", "gone.json"], 4, "--scenario gone.json: cannot be read (No such file or directory)"),
        (["--scenario", "bad.json"], 4, "--scenario bad.json: is no scenario (Object missing required field `seed`)"),
        (["--scenario", "bad.json", "--seeds", "1:2"], 2, "--scenario brings its own seed and sizes"),
        (["--scenario", "bad.json", "--workers", "3"], 2, "--scenario brings its own seed and sizes"),
    ],
)
def test_mistakes(tmp_path: Path, arguments: list[str], code: int, sentence: str) -> None:
    (tmp_path / "bad.json").write_text("{}")
    ended = simulated(tmp_path, *arguments)
    assert sentence in ended.err
    assert ended.code == code


def test_clean_seeds(tmp_path: Path) -> None:
    write_scenario(tmp_path / "clean.json", scenario(1))
    ended = simulated(tmp_path, "--scenario", "clean.json")
    assert ended.code == 0
    assert "none failed" in ended.out
    assert "connection_reset" in ended.out
    assert ended.err == ""


def test_a_failing_seed_prints_the_commands_that_repeat_it(tmp_path: Path) -> None:
    write_scenario(tmp_path / "failing.json", scenario(8, FAILING))
    ended = simulated(tmp_path, "--scenario", "failing.json", "--shrink")
    assert ended.code == 1
    assert "seed 8 violates one_verdict at sequence 22: task-1 has two verdicts" in ended.out
    assert "reduced to 2 faults, 1 worker, 1 coordinator, 0 tasks" in ended.out
    assert "leader_pause" in ended.out
    assert "the story of task-1" in ended.out
    commands = re.findall(r"^again: resurgam simulate (.*)$", ended.out, re.MULTILINE)
    assert [line.split()[1] for line in commands] == ["failing.json", ".resurgam/simulation/seed-8.json"]
    for line in commands:
        again = simulated(tmp_path, *line.split()[:2])
        assert again.code == 1
        assert "seed 8 violates one_verdict" in again.out


def test_the_command_of_a_seed_has_what_decides_it(tmp_path: Path) -> None:
    arguments = ["--faults", "200", "--workers", "2", "--no-projector", "--no-shrink", "--timeout", "20"]
    ended = simulated(tmp_path, "--seeds", "0:40", "--stop-after", "1", "--processes", "1", *arguments)
    assert ended.code == 1
    [line] = re.findall(r"^again: resurgam simulate (.*)$", ended.out, re.MULTILINE)
    assert line.endswith(f"--workers 2 --faults 200 --no-projector --simulator {TOY}")
    seed = int(line.split()[1].partition(":")[0])
    assert f"{39 - seed} of 40 seeds were not done" in ended.out
    again = simulated(tmp_path, *line.split()[:-2], "--no-shrink", "--timeout", "20")
    first = next(text for text in ended.out.splitlines() if text.startswith("seed"))
    assert first in again.out


def started(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """A campaign that does not end by itself, as the leader of a group of its own."""
    return subprocess.Popen(
        command("--seeds", "0:1000000", *arguments, "--simulator", TOY),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


async def test_an_interrupt_ends_it_in_order(tmp_path: Path) -> None:
    campaign = started(tmp_path, "--keep-log", "--no-shrink", "--stop-after", "1000000")
    try:
        await until(lambda: list(tmp_path.glob(".resurgam/simulation/*.jsonl")), 60.0, "the first log")
        children = psutil.Process(campaign.pid).children(recursive=True)
        # As a terminal does it: to the whole group.
        os.killpg(campaign.pid, signal.SIGINT)
        out, err = campaign.communicate(timeout=60)
    finally:
        campaign.kill()
    assert campaign.returncode == 130
    assert err == ""
    assert "of 1,000,000 seeds were not done" in out
    assert "simulated hours an hour" in out
    assert children
    psutil.wait_procs(children, timeout=10)
    assert not [child for child in children if child.is_running()]


def test_the_world_is_the_same_in_every_process(tmp_path: Path) -> None:
    printed = set()
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seeds", "0:3", "--no-shrink", "--processes", "1"],
            cwd=tmp_path,
            env=environment() | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.stderr == ""
        printed.add((done.returncode, *re.findall(r"^(?:digest|events|faults|tasks) .*$", done.stdout, re.MULTILINE)))
    assert len(printed) == 1
    [(code, *lines)] = printed
    assert len(lines) == 4
    assert code == 0


def test_without_the_tests_it_says_where_they_are(tmp_path: Path) -> None:
    """An installed wheel has no tests beside the command line."""
    shutil.copy(ROOT / "resurgam.py", tmp_path)
    installed = subprocess.run(
        [sys.executable, str(tmp_path / "resurgam.py"), "simulate"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert installed.returncode == 2
    assert installed.stderr == (
        "resurgam: the simulator is part of the tests, which are not installed: get the sources and run "
        "'make simulate' there\n"
    )
