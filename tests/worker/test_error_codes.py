"""Codes of errors, set where they happen: by the operating system's word, and never by the text of a message."""

import errno
import signal
from pathlib import Path

import pytest

from tests.worker.conftest import Lane
from tests.worker.orders import SuiteOf, command, pytest_jobs
from worker import kept_process, shortages
from worker.jobs import CommandJob, Outcome
from worker.kept_process import parse_status
from worker.shortages import code_of_errno, memory_kills, more_kills
from worker.watchdog import Watchdog
from worker.watched import Watched

RAISING = """
def test_denied():
    raise PermissionError(13, "denied")

def test_hungry():
    raise MemoryError

def test_wrong():
    assert 1 == 2, "PermissionError"

def test_right():
    pass
"""


async def test_what_is_not_allowed_is_told_apart_from_what_is_not_there(lane: Lane, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    denied, absent, nowhere = await lane.run(
        lane.slot(),
        command("a", str(plain)),
        command("b", "no-such-command"),
        CommandJob("c", ("true",), "/no/such/directory"),
    )
    assert [end.error for end in (denied, absent, nowhere)] == ["security", "worker_resource", "worker_resource"]
    assert all(end.unstartable and end.outcome is Outcome.error for end in (denied, absent, nowhere))


async def test_a_command_that_fails_by_itself_has_no_code_of_its_own(lane: Lane) -> None:
    ends = await lane.run(lane.slot(), command("a", "false"), command("b", "sh", "-c", "kill -9 $$"))
    assert [(end.outcome, end.error) for end in ends] == [(Outcome.failed, None), (Outcome.crashed, None)]


async def test_a_command_that_the_kernel_kills_for_want_of_memory(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """That it has killed somebody meanwhile is its own count; whom, it does not say."""
    counts = iter([3, 4])
    monkeypatch.setattr(kept_process, "memory_kills", lambda: next(counts))
    (end,) = await lane.run(lane.slot(), command("a", "sh", "-c", "kill -9 $$"))
    assert (end.outcome, end.error) == (Outcome.crashed, "task_resource")


async def test_what_a_test_raises(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of(test_it=RAISING)
    names = ("denied", "hungry", "wrong", "right")
    ends = await lane.run(lane.slot(), *pytest_jobs(suite, *names))
    assert [end.error for end in ends] == ["security", "task_resource", None, None]


def test_how_a_keeper_tells_of_what_could_not_be_started() -> None:
    ended = parse_status("failed 13 Permission denied: 'x' (in '/')\n")
    assert (ended.cause, ended.errno, ended.text) == ("not_started", 13, "Permission denied: 'x' (in '/')")
    assert parse_status("failed ValueError: no number").errno is None


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EACCES, "security"),
        (errno.EPERM, "security"),
        (errno.ENOSPC, "worker_resource"),
        (errno.EMFILE, "worker_resource"),
        (errno.ENOENT, "worker_resource"),
        (None, "worker_resource"),
    ],
)
def test_what_the_operating_system_says(number: int | None, code: str) -> None:
    assert code_of_errno(number) == code


def test_the_kernel_counts_what_it_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "vmstat"
    path.write_text("nr_free_pages 7\noom_kill 12\n")
    monkeypatch.setattr(shortages, "VMSTAT", path)
    assert memory_kills() == 12
    path.write_text("nr_free_pages 7\n")
    assert memory_kills() is None
    path.unlink()
    assert memory_kills() is None
    assert [more_kills(*pair) for pair in ((1, 2), (2, 2), (None, 2), (2, None))] == [True, False, False, False]


@pytest.mark.parametrize(
    ("code", "kills", "hung_s", "stalled", "killed_for", "error"),
    [
        (-signal.SIGKILL, 4, None, False, "", "worker_resource"),
        (-signal.SIGKILL, 3, None, False, "", "worker_exit"),
        (-signal.SIGKILL, 4, None, False, "replaced by order", "worker_exit"),
        (-signal.SIGSEGV, 4, None, False, "", "worker_exit"),
        (1, 4, None, False, "", "worker_exit"),
        (-signal.SIGKILL, 4, 2.5, False, "", "timeout"),
        (-signal.SIGKILL, 4, None, True, "", "timeout"),
    ],
)
def test_what_a_supervisor_says_of_its_agent(
    code: int, kills: int, hung_s: float | None, stalled: bool, killed_for: str, error: str
) -> None:
    agent = Watched(Watchdog(2.0, 0.0), memory_kills=3)
    agent.hung_s, agent.stalled, agent.killed_for = hung_s, stalled, killed_for
    assert agent.error(code, kills) == error
