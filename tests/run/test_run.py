"""`resurgam run` as its user meets it: real processes, pytest's verdicts, pytest's exit codes."""

import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from coordinator.endpoint import read_endpoint
from coordinator.run.session import run_policy
from events.connection import Connection
from events.jetstream import JetStreamLog
from events.policy import Policy
from events.streams import Streams
from events.worker import WorkerRecoverySucceeded
from tests.endings import gone
from tests.waiting import event_in, is_kind, until

GOOD = """
import time, pytest
@pytest.mark.parametrize("n", range(12))
def test_wait(n): time.sleep(0.05)
def test_skip(): pytest.skip("not today")
@pytest.mark.xfail
def test_expected(): assert 0
"""

BAD = """
import ctypes, os, pytest, time
def test_ok(): pass
def test_fail(): assert [1] == [2], "they differ"
def test_segfault(): ctypes.string_at(0)
def test_exit(): os._exit(0)
def test_hang(): time.sleep(600)
@pytest.fixture
def broken():
    yield
    raise ValueError("in teardown")
def test_teardown(broken): pass
"""

LONG = """
import pathlib, pytest, time
@pytest.mark.parametrize("n", range(6))
def test_long(n):
    pathlib.Path(f"started-{n}").touch()
    deadline = time.monotonic() + 60
    while not pathlib.Path("go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
"""

LIMIT_S = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:asyncio -p no:hypothesispytest\n")
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "resurgam", "run", "--python", sys.executable, *arguments]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start_one(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command(*arguments), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def verdicts(report: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        bad = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        found[case.get("name", "")] = bad[0] if bad else "passed"
    return found


@pytest.mark.parametrize(("given", "in_force"), [(Policy(), 100), (Policy(tasks_ahead_max=5), 5)])
def test_more_is_handed_out_ahead_unless_somebody_chose_otherwise(given: Policy, in_force: int) -> None:
    assert run_policy(given) == msgspec.structs.replace(given, tasks_ahead_max=in_force)


def test_a_good_suite(folder: Path) -> None:
    (folder / "test_good.py").write_text(GOOD)
    done = run(folder, "--workers", "2", "--junitxml", "out/junit.xml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "12 passed, 1 skipped, 1 xfailed" in done.stdout.splitlines()[-1]
    plain = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--junitxml", "plain.xml"], cwd=folder, capture_output=True, check=False
    )
    assert plain.returncode == 0
    assert verdicts(folder / "out" / "junit.xml") == verdicts(folder / "plain.xml")
    asked = subprocess.run(
        [
            sys.executable,
            "-m",
            "resurgam",
            "sql",
            "--format",
            "json",
            "SELECT verdict, count(*) AS n FROM tasks GROUP BY 1",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT_S,
    )
    assert {row["verdict"]: row["n"] for row in rows_of(asked.stdout)} == {"passed": 13, "skipped": 1}
    verified = subprocess.run(
        [sys.executable, "-m", "resurgam", "replay", "verify"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr


def rows_of(text: str) -> list[dict[str, object]]:
    answer = json.loads(text)
    rows: list[dict[str, object]] = answer["rows"] if isinstance(answer, dict) else answer
    return rows


def test_every_way_for_a_test_to_go_wrong(folder: Path) -> None:
    (folder / "test_bad.py").write_text(BAD)
    done = run(folder, "--workers", "2", "--timeout", "1", "--junitxml", "junit.xml")
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    for words in ("1 failed", "1 error", "2 crashed", "1 timed out", "1 passed"):
        assert words in last
    assert "they differ" in done.stdout
    assert "SIGSEGV" in done.stdout
    assert verdicts(folder / "junit.xml") == {
        "test_ok": "passed",
        "test_fail": "failure",
        "test_segfault": "error",
        "test_exit": "error",
        "test_hang": "error",
        "test_teardown": "error",
    }


def test_exitfirst_cancels_the_rest(folder: Path) -> None:
    body = "import pytest, time\ndef test_a(): assert 0\n"
    body += "@pytest.mark.parametrize('n', range(40))\ndef test_b(n): time.sleep(0.1)\n"
    (folder / "test_x.py").write_text(body)
    done = run(folder, "--workers", "1", "--", "-x")
    assert done.returncode == 1
    assert "1 failed" in done.stdout
    assert "cancelled" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--", "nowhere"], 4, "not found: nowhere"),
        (["--", "-k", "nothing_is_called_so"], 5, "no tests ran"),
        (["--", "--pdb"], 2, "--pdb needs a terminal"),
        (["--", "-n", "3"], 2, "resurgam run --workers N"),
        (["--", "--maxfail=some"], 2, "--maxfail 'some'"),
        (["--timeout", "0"], 2, "--timeout 0"),
        (["--python", "no-such-python"], 2, "no-such-python"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_sentence(folder: Path, arguments: list[str], code: int, words: str) -> None:
    (folder / "test_good.py").write_text("def test_it(): pass\n")
    done = run(folder, "--workers", "1", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_suite_that_cannot_be_collected(folder: Path) -> None:
    (folder / "test_broken.py").write_text("import there_is_no_such_module\n")
    done = run(folder, "--workers", "1")
    assert done.returncode == 2
    assert "there_is_no_such_module" in done.stderr


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The agents: each is the only child of its supervisor that has children of its own."""
    found = []
    for child in psutil.Process(process.pid).children():
        for supervisor in child.children():
            found += supervisor.children()
    return found


async def recovered(folder: Path) -> None:
    """Returns when the log of the run in this folder says that a worker has recovered."""
    endpoint = read_endpoint(folder / ".resurgam")
    assert endpoint is not None
    bus = await Connection.connect(endpoint.nats_url, name="test")
    try:
        await event_in(JetStreamLog(bus, Streams()), is_kind(WorkerRecoverySucceeded), within_s=LIMIT_S)
    finally:
        await bus.close()


async def test_a_killed_worker_costs_nothing(folder: Path, start: Start) -> None:
    (folder / "test_long.py").write_text(LONG)
    process = start("--workers", "2")
    await until(lambda: len(list(folder.glob("started-*"))) >= 2, what="two tests to run", within_s=LIMIT_S)
    agents = workers_of(process)
    assert len(agents) == 2
    agents[0].kill()
    await recovered(folder)
    (folder / "go").touch()
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, output
    assert "6 passed" in output.splitlines()[-1]
    assert "1 worker failure, 1 recovered" in output.splitlines()[-1]
    assert "killed by signal 9" in output


async def test_a_killed_supervisor_is_replaced(folder: Path, start: Start) -> None:
    (folder / "test_long.py").write_text(LONG)
    process = start("--workers", "1")
    await until(lambda: any(folder.glob("started-*")), what="a test to run", within_s=LIMIT_S)
    (agent,) = workers_of(process)
    supervisor = agent.parent()
    assert supervisor is not None
    (folder / "go").touch()
    supervisor.kill()
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, output
    assert "6 passed" in output.splitlines()[-1]


async def test_an_interrupt_ends_in_order_and_the_next_run_starts_clean(folder: Path, start: Start) -> None:
    (folder / "test_long.py").write_text(LONG)
    process = start("--workers", "2")
    await until(lambda: any(folder.glob("started-*")), what="a test to run", within_s=LIMIT_S)
    family = psutil.Process(process.pid).children(recursive=True)
    second = run(folder, "--workers", "1")
    assert second.returncode == 2
    assert "in use by process" in second.stderr
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2, output
    assert "without a verdict" in output
    assert gone(family)()
    (folder / "go").touch()
    third = run(folder, "--workers", "2")
    assert third.returncode == 0, third.stdout + third.stderr
    assert "6 passed" in third.stdout.splitlines()[-1]


async def test_a_run_killed_outright_leaves_nothing_and_hinders_nobody(folder: Path, start: Start) -> None:
    (folder / "test_long.py").write_text(LONG)
    process = start("--workers", "2")
    await until(lambda: any(folder.glob("started-*")), what="a test to run", within_s=LIMIT_S)
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=LIMIT_S)
    await until(gone(family), what="all of its processes to end", within_s=30)
    (folder / "go").touch()
    again = run(folder, "--workers", "1")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "6 passed" in again.stdout.splitlines()[-1]
