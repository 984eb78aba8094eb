"""Slots: every job that is fed ends once, with the blame where it belongs, and nothing is left of it."""

import asyncio
import re
import resource
import signal
from pathlib import Path

import pytest

from tests.waiting import until
from tests.worker.conftest import Lane
from tests.worker.orders import PYTHON, SuiteOf, command, pytest_jobs
from tests.worker.processes import LEAVES_A_DAEMON, STUBBORN_TREE, STUBBORN_TREE_SIZE
from worker.slots import CommandJob, Outcome, Slot, SlotEvent, SlotFinished, SlotStarted

# Commands


@pytest.mark.parametrize(
    ("argv", "outcome", "exit_code", "number", "output"),
    [
        (("echo", "hello"), Outcome.passed, 0, None, "hello\n"),
        (("sh", "-c", "echo out; echo err >&2; exit 3"), Outcome.failed, 3, None, "out\nerr\n"),
        (("sh", "-c", "kill -SEGV $$"), Outcome.crashed, None, signal.SIGSEGV, ""),
        (("sh", "-c", "kill -9 $PPID; sleep 600"), Outcome.crashed, None, None, ""),
        (("no-such-command",), Outcome.error, None, None, ""),
        (("nul\0byte",), Outcome.error, None, None, ""),
        (("cat",), Outcome.passed, 0, None, ""),  # standard input is empty
        ((*PYTHON, LEAVES_A_DAEMON), Outcome.passed, 0, None, "done\n"),  # which holds its output open
    ],
)
async def test_how_a_command_ends(
    lane: Lane, argv: tuple[str, ...], outcome: Outcome, exit_code: int | None, number: int | None, output: str
) -> None:
    (end,) = await lane.run(lane.slot(), command("a", *argv))
    assert (end.outcome, end.exit_code, end.signal, end.output) == (outcome, exit_code, number, output)
    assert lane.processes() == []


async def test_a_command_has_its_directory_and_environment(lane: Lane, tmp_path: Path) -> None:
    job = CommandJob("a", ("sh", "-c", "pwd; echo $THING $RESURGAM_WORKER_ID"), str(tmp_path), (("THING", "x"),))
    (end,) = await lane.run(lane.slot(), job)
    assert end.output == f"{tmp_path}\nx worker-1\n"


async def test_a_command_in_no_directory(lane: Lane) -> None:
    (end,) = await lane.run(lane.slot(), CommandJob("a", ("true",), "/no/such/directory"))
    assert end.outcome is Outcome.error
    assert "No such file or directory: '/no/such/directory'" in end.message


async def test_commands_follow_each_other_in_one_moment(lane: Lane) -> None:
    ends = await lane.run(lane.slot(), command("a", "true"), command("b", "true"))
    (moment,) = (moment for moment in lane.moments if ends[0] in moment)
    assert isinstance(moment[moment.index(ends[0]) + 1], SlotStarted)


async def test_much_output_passes_through(lane: Lane) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    program = "import sys\nfor n in range(1600): sys.stdout.write('x' * 65535 + chr(10))\nprint('the end')"
    (end,) = await lane.run(lane.slot(), command("a", *PYTHON, program))
    assert end.outcome is Outcome.passed
    assert end.output.endswith("x\nthe end\n")
    assert re.search(r"\n\[\.\.\. 1047\d{5} bytes left out \.\.\.\]\n", end.output)
    assert len(end.output) < 66_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024  # KiB


async def test_a_timeout_takes_a_tree_that_ignores_sigterm(lane: Lane) -> None:
    left_at_the_end: list[int] = []

    def look(events: list[SlotEvent]) -> None:
        lane.moments.append(events)
        if isinstance(events[-1], SlotFinished):
            left_at_the_end.extend(lane.processes())

    slot = Slot(0, look, fence_after_s=10, worker_id="w", env=lane.env, grace_s=0.1)
    lane.slots.append(slot)
    slot.feed(command("a", *PYTHON, STUBBORN_TREE, timeout_s=0.4))
    await until(lambda: len(lane.processes()) == STUBBORN_TREE_SIZE + 1, what="the tree and its keeper")
    end = await lane.end_of("a")
    assert end.outcome is Outcome.timed_out
    assert end.message == "no end within 0.4 s"
    assert left_at_the_end == []


async def test_a_command_that_stops_its_keeper(lane: Lane) -> None:
    (end,) = await lane.run(lane.slot(), command("a", "sh", "-c", "kill -STOP $PPID; sleep 600", timeout_s=0.2))
    assert end.outcome is Outcome.timed_out


async def test_a_cancelled_command_may_clean_up(lane: Lane) -> None:
    slot = lane.slot(grace_s=5)
    slot.feed(command("a", "sh", "-c", "trap 'echo cleaned; exit 0' TERM; echo ready; while :; do sleep 0.01; done"))
    await until(lambda: len(lane.processes()) >= 2, what="the command")
    await lane.started("a")
    slot.feed(command("b", "true"))
    await asyncio.gather(slot.cancel("b"), slot.cancel("a"))
    assert lane.finished("b") is not None
    end = await lane.end_of("a")
    assert end.outcome is Outcome.cancelled
    assert slot.running is None
    assert lane.processes() == []


async def test_a_fence_ends_everything_that_was_fed(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of(test_it="def test_quick(): pass\n")
    slot = lane.slot(fence_after_s=0.3)
    slot.feed(command("a", "sleep", "600"))
    slot.feed(command("b", "true"))
    slot.feed(pytest_jobs(suite, "quick")[0])
    await lane.started("a")
    lane.keeping_alive = False
    assert {(await lane.end_of(key)).outcome for key in ("a", "b", "quick")} == {Outcome.fenced}
    assert lane.processes() == []
    lane.keeping_alive = True
    (end,) = await lane.run(slot, command("c", "true"))  # fed again, things run again
    assert end.outcome is Outcome.passed
