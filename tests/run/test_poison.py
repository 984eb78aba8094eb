"""Tests that take their worker or their runner down, among many good ones, with real processes."""

import json
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from tests.run.test_run import LIMIT_S, folder, run, verdicts

__all__ = ["folder"]

GOOD = 200
POISON = """
import os, pathlib, pytest, signal

def parent_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

@pytest.mark.parametrize("n", range(100))
def test_before(n): pass

def test_poison():
    os.kill(parent_of(os.getppid()), signal.SIGKILL)  # the agent, above this process's keeper

@pytest.mark.parametrize("n", range(100))
def test_behind(n): pass
"""
CRASHES = """
import ctypes
def test_ok(): pass
def test_segfault(): ctypes.string_at(0)
"""


KILLS_AGENT = "os.kill(parent_of(os.getppid()), signal.SIGKILL)  # the agent, above this process's keeper"


def resurgam(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "resurgam", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = resurgam(folder, "events", "--json", "--kind", kind).stdout.splitlines()
    return [json.loads(line)["envelope"]["event"] for line in lines]


def test_a_test_that_kills_its_worker_is_found_out_and_the_suite_ends(folder: Path) -> None:
    (folder / "test_many.py").write_text(POISON)
    done = run(folder, "--workers", "4", "--junitxml", "report.xml", "--", ".")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"1 quarantined, {GOOD} passed" in done.stdout
    assert "QUARANTINED test_many.py::test_poison - 3 workers or processes have died under it" in done.stdout
    found = verdicts(folder / "report.xml")
    assert {name for name, verdict in found.items() if verdict != "passed"} == {"test_poison"}
    (case,) = (
        one for one in ET.parse(folder / "report.xml").getroot().iter("testcase") if one.get("name") == "test_poison"
    )
    assert "the last one while it ran alone" in (case.findtext("error") or "")
    # Two deaths, one run alone, and nobody else pays more than once.
    killed = [one for one in events(folder, "worker.exited") if one.get("signal") == signal.SIGKILL]
    assert len(killed) == 3
    isolated = events(folder, "task.isolated")
    poison = isolated[0]["task_id"]
    assert [one["task_id"] for one in isolated] == [poison]
    (verdict,) = (one for one in events(folder, "task.completed") if one["verdict"] == "quarantined")
    assert verdict["task_id"] == poison
    assert [one["sequence"] for one in verdict["deaths"]] == sorted(one["sequence"] for one in verdict["deaths"])
    assert resurgam(folder, "check").returncode == 0

    # It is known in the next run.
    again = run(folder, "--workers", "2", "--", ".")
    assert f"1 quarantined, {GOOD} passed" in again.stdout
    assert "worker failure" not in again.stdout
    (known,) = json.loads(resurgam(folder, "quarantine", "list", "--json").stdout)
    assert known["work"] == "test_many.py::test_poison"
    assert known["key"] in again.stdout
    assert known["key"] in resurgam(folder, "quarantine", "list").stdout

    # And until somebody releases it.
    wrong = resurgam(folder, "quarantine", "release", known["key"][:-1] + "x")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert f"did you mean {known['key']}?" in wrong.stderr
    released = resurgam(folder, "quarantine", "release", known["key"], "--reason", "fixed", "--json")
    assert released.returncode == 0, released.stderr
    assert json.loads(released.stdout)["key"] == known["key"]
    assert resurgam(folder, "quarantine", "list").stdout == "nothing is quarantined\n"
    (event,) = events(folder, "system.quarantine_released")
    assert (event["key"], event["reason"]) == (known["key"], "fixed")
    (folder / "test_many.py").write_text(POISON.replace("os.kill", "print"))
    fixed = run(folder, "--workers", "2", "--", ".")
    assert fixed.returncode == 0, fixed.stdout + fixed.stderr
    assert f"{GOOD + 1} passed" in fixed.stdout


def test_a_test_that_crashes_its_runner_again_and_again_is_found_out(folder: Path) -> None:
    (folder / "test_crash.py").write_text(CRASHES)
    done = run(folder, "--workers", "2", "--retries", "9", "--", ".")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 quarantined, 1 passed" in done.stdout
    assert len(events(folder, "worker.exited")) == 0
    (verdict,) = (one for one in events(folder, "task.completed") if one["verdict"] == "quarantined")
    assert verdict["attempt"] == 3


def test_a_test_that_kills_supervisor_and_agent_is_found_out_as_well(folder: Path) -> None:
    """Nobody is left who could tell what had begun: what stood next in line is suspected."""
    kill = "agent = parent_of(os.getppid())\n    supervisor = parent_of(agent)\n"
    kill += "    os.kill(supervisor, signal.SIGSTOP)\n    os.kill(agent, signal.SIGKILL)\n"
    kill += "    os.kill(supervisor, signal.SIGKILL)\n"
    suite = POISON.replace(KILLS_AGENT, kill)
    assert suite != POISON
    (folder / "test_many.py").write_text(suite)
    done = run(folder, "--workers", "4", "--", ".")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"1 quarantined, {GOOD} passed" in done.stdout
    vanished = [one["worker_id"] for one in events(folder, "worker.vanished")]
    # It may have been further down the line than anybody thinks, but not twice.
    assert 3 <= len(vanished) <= 4
    assert {one["budget"] for one in events(folder, "task.requeued")} <= {"none", "infrastructure"}
    assert resurgam(folder, "check").returncode == 0
