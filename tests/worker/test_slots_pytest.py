"""Slots with warm pytest processes: crashes, withdrawals, fixtures, and suites that do not start."""

import asyncio
import contextlib
import os
import signal
import threading
from pathlib import Path

import pytest
import uvloop

from tests.waiting import until
from tests.worker.conftest import Lane
from tests.worker.orders import CRASHES, WAITS, SuiteOf, command, let_go, pytest_jobs
from worker.slots import CommandJob, Job, Outcome, PytestJob, Slot, SlotEvent, SlotFinished, SlotStarted, Suite


async def test_a_crash_is_blamed_on_the_test_that_ran(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of(test_it=CRASHES)
    ends = await lane.run(
        lane.slot(),
        *pytest_jobs(suite, "first", "segfault", "exit", "kill"),
        *pytest_jobs(suite, "hang", "deaf", timeout_s=0.3),
        *pytest_jobs(suite, "keeper", "last"),
    )
    assert [(end.key, end.outcome, end.exit_code, end.signal) for end in ends] == [
        ("first", "passed", None, None),
        ("segfault", "crashed", None, signal.SIGSEGV),
        ("exit", "crashed", 0, None),
        ("kill", "crashed", None, signal.SIGKILL),
        ("hang", "timed_out", None, None),
        ("deaf", "timed_out", None, None),
        ("keeper", "crashed", None, None),
        ("last", "passed", None, None),
    ]
    assert all(lane.starts(end.key) == 1 for end in ends)
    by_key = {end.key: end.message for end in ends}
    assert "Segmentation fault" in by_key["segfault"]
    assert 'test_it.py", line 4 in test_segfault' in by_key["segfault"]
    assert "exited with code 0 while it ran this test" in by_key["exit"]
    assert 'test_it.py", line 9 in test_hang' in by_key["hang"]
    assert "somebody killed it" in by_key["keeper"]


async def test_an_end_and_the_next_start_are_one_moment(lane: Lane, suite_of: SuiteOf) -> None:
    ends = await lane.run(lane.slot(), *pytest_jobs(suite_of(test_it=CRASHES), "first", "last"))
    (moment,) = (moment for moment in lane.moments if ends[0] in moment)
    assert isinstance(following := moment[moment.index(ends[0]) + 1], SlotStarted)
    assert following.key == "last"


async def test_what_has_not_started_can_be_withdrawn(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of(test_it=WAITS)
    slot = lane.slot()
    for job in pytest_jobs(suite, "waits", "one", "two", "three"):
        slot.feed(job)
    slot.feed(command("later", "true"))
    await lane.started("waits")
    assert [job.key for job in slot.queued] == ["one", "two", "three", "later"]
    assert slot.withdraw("two")
    assert slot.withdraw("later")
    assert not slot.withdraw("waits")
    assert not slot.withdraw("never heard of")
    let_go(suite)
    assert (await lane.end_of("three")).outcome is Outcome.passed
    assert [event.key for event in lane.events() if isinstance(event, SlotStarted)] == ["waits", "one", "three"]


SHARED = """
import pytest

@pytest.fixture(scope="session")
def thing():
    with open("log", "a") as file:
        file.write("made ")
    yield
    with open("log", "a") as file:
        file.write("gone ")
""" + WAITS.replace("(): pass", "(thing): pass").replace("test_waits()", "test_waits(thing)")


def log_of(suite: Suite) -> str:
    return Path(suite.cwd, "log").read_text()


async def test_what_is_fed_while_a_test_runs_keeps_its_fixtures(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of(test_it=SHARED)
    slot = lane.slot()
    slot.feed(pytest_jobs(suite, "waits")[0])
    await lane.started("waits")
    slot.feed(pytest_jobs(suite, "one")[0])
    let_go(suite)
    await lane.end_of("one")
    assert log_of(suite) == "made gone "


async def test_fixtures_are_not_kept_for_a_withdrawn_test(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of(test_it=SHARED, test_other="def test_other():\n    assert open('log').read() == 'made gone '\n")
    slot = lane.slot()
    for job in pytest_jobs(suite, "waits", "one"):
        slot.feed(job)
    slot.feed(PytestJob("other", "test_other.py::test_other", suite))
    await lane.started("waits")
    assert slot.withdraw("one")
    assert slot.withdraw("other")
    let_go(suite)
    await lane.end_of("waits")
    assert log_of(suite) == "made gone "


async def test_cancelling_one_test_leaves_the_others_alone(lane: Lane, suite_of: SuiteOf) -> None:
    slot = lane.slot()
    suite = suite_of(test_it=WAITS)
    for job in pytest_jobs(suite, "waits", "one", "two"):
        slot.feed(job)
    await lane.started("waits")
    await asyncio.gather(slot.cancel("one"), slot.cancel("waits"))
    assert [(await lane.end_of(key)).outcome for key in ("waits", "one", "two")] == ["cancelled", "cancelled", "passed"]
    assert lane.starts("two") == 1


async def test_cancelling_at_any_moment_ends_a_job_once(lane: Lane, suite_of: SuiteOf) -> None:
    """The cancellation races with the start and the end of a test; whoever wins, there is one end."""
    slot = lane.slot()
    suite = suite_of(test_it=CRASHES)
    await slot.warm(suite)
    for number in range(12):
        jobs = [PytestJob(f"{number}-{place}", "test_it.py::test_first", suite) for place in range(3)]
        for job in jobs:
            slot.feed(job)
        for _ in range(number * 3):  # a little further into it every time
            await asyncio.sleep(0)
        await slot.cancel(jobs[1].key)
        ends = [await lane.end_of(job.key) for job in jobs]
        assert ends[1].outcome in (Outcome.cancelled, Outcome.passed)
        assert [ends[0].outcome, ends[2].outcome] == ["passed", "passed"]
        assert all(lane.starts(job.key) <= 1 for job in jobs)


async def test_one_process_serves_many_tests(lane: Lane, suite_of: SuiteOf) -> None:
    text = "import os, pytest\n@pytest.mark.parametrize('n', range(30))\ndef test_it(n): print(os.getpid()); assert 0\n"
    suite = suite_of(test_it=text)
    slot = lane.slot()
    await slot.warm(suite)
    ends = await lane.run(slot, *(PytestJob(str(n), f"test_it.py::test_it[{n}]", suite) for n in range(30)))
    assert len({end.output for end in ends}) == 1


async def test_suites_and_commands_take_turns(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of(test_it=CRASHES)
    other = Suite(suite.python, suite.cwd, ("-v",))
    slot = lane.slot()
    jobs: list[Job] = [
        *pytest_jobs(suite, "first"),
        command("a", "true"),
        *pytest_jobs(other, "last"),
        command("b", "true"),
    ]
    ends = await lane.run(slot, *jobs)
    assert [end.outcome for end in ends] == ["passed"] * 4
    assert [event.key for event in lane.events() if isinstance(event, SlotStarted)] == ["first", "a", "last", "b"]


@pytest.mark.parametrize(
    ("args", "module", "text"),
    [
        (("--no-such-option",), "def test_first(): pass\n", "unrecognized arguments: --no-such-option"),
        ((), "import nothing_of_this_name\n", "No module named 'nothing_of_this_name'"),
        ((), "import pytest\npytest.exit('not today')\n", "not today"),
        ((), "import os\nos.kill(os.getpid(), 9)\n", "SIGKILL"),
        ((), "def test_other(): pass\n", "no such test among the 1 that pytest"),
    ],
)
async def test_a_suite_that_does_not_start(
    lane: Lane, suite_of: SuiteOf, args: tuple[str, ...], module: str, text: str
) -> None:
    suite = suite_of(*args, test_it=module)
    ends = await lane.run(lane.slot(), *pytest_jobs(suite, "first", "last", "more", "of", "them"))
    assert {end.outcome for end in ends} == {Outcome.error}
    assert all(text in end.message for end in ends)


async def test_a_python_that_does_not_exist(lane: Lane, suite_of: SuiteOf) -> None:
    suite = Suite("no-such-python", suite_of().cwd)
    (end,) = await lane.run(lane.slot(), *pytest_jobs(suite, "first"))
    assert end.outcome is Outcome.error
    assert "No such file or directory: 'no-such-python'" in end.message


async def test_a_collection_that_hangs(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of(test_it="import time\ntime.sleep(600)\n")
    (end,) = await lane.run(lane.slot(start_timeout_s=0.7), *pytest_jobs(suite, "first"))
    assert end.outcome is Outcome.error
    assert "not ready to run a test within 0.7 s" in end.message
    assert 'test_it.py", line 2' in end.message


async def test_warming_is_bounded_and_told_with_the_first_job(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of("--no-such-option")
    slot = lane.slot(start_timeout_s=5)
    await slot.warm(suite)
    await slot.warm(suite_of(test_it="import time\ntime.sleep(600)\n"))
    assert lane.events() == []
    (end,) = await lane.run(slot, *pytest_jobs(suite, "first"))
    assert "unrecognized arguments: --no-such-option" in end.message


async def test_standing_idle_is_not_failing_to_start(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of(test_it=WAITS)
    slot = lane.slot(start_timeout_s=3)
    ends = await lane.run(slot, *pytest_jobs(suite, "one"), command("a", "sleep", "3.1"), *pytest_jobs(suite, "two"))
    assert [end.outcome for end in ends] == ["passed"] * 3


async def test_a_warm_process_that_dies_beside_a_command(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of(
        test_it="import os, threading\ndef test_one(): pass\ndef test_pid(): print(os.getpid()); assert 0\n"
    )
    slot = lane.slot()
    pid = int((await lane.run(slot, *pytest_jobs(suite, "pid")))[0].output.split()[-1])
    slot.feed(command("a", "sleep", "600"))
    await lane.started("a")
    os.kill(pid, signal.SIGKILL)
    await until(lambda: pid not in lane.processes(), what="the end of the warm process")
    await slot.cancel("a")
    assert (await lane.end_of("a")).outcome is Outcome.cancelled
    (end,) = await lane.run(slot, *pytest_jobs(suite, "one"))
    assert end.outcome is Outcome.passed


async def test_an_id_too_long_to_be_handed_over(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of(test_it=CRASHES)
    jobs = [PytestJob("a", "x" * 1_000_000, suite), *(PytestJob(n, n * 90_000, suite) for n in "bcde")]
    ends = await lane.run(lane.slot(), *jobs, *pytest_jobs(suite, "first"))
    assert [end.outcome for end in ends] == ["error"] * 5 + ["passed"]


async def test_no_file_is_left_open(lane: Lane, suite_of: SuiteOf) -> None:
    suite = suite_of(test_it=CRASHES)
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    slot = lane.slot()
    jobs: list[Job] = [*pytest_jobs(suite, "first", "segfault", "last"), command("a", "true"), command("b", "nothing")]
    await lane.run(slot, *jobs, *pytest_jobs(Suite("no-such-python", suite.cwd), "exit"))
    await lane.run(slot, CommandJob("c", ("nul\0",), "/"), PytestJob("d", "x", Suite("nul\0", "/")))
    await slot.close()
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


async def test_closing_ends_everything(lane: Lane, suite_of: SuiteOf) -> None:
    slot = lane.slot()
    jobs: list[Job] = [*pytest_jobs(suite_of(test_it=WAITS), "waits", "one"), command("a", "true")]
    for job in jobs:
        slot.feed(job)
    await lane.started("waits")
    await slot.close()
    assert {event.outcome for event in lane.events() if isinstance(event, SlotFinished)} == {Outcome.cancelled}
    assert not slot.busy
    assert lane.processes() == []
    with pytest.raises(RuntimeError, match="closed"):
        slot.feed(command("b", "true"))


async def test_a_session_ends_in_order_when_its_slot_closes(lane: Lane, suite_of: SuiteOf) -> None:
    ends = "def pytest_sessionfinish():\n    open('ended', 'w').close()\n"
    suite = suite_of(test_it=CRASHES, conftest=ends)
    slot = lane.slot()
    await lane.run(slot, *pytest_jobs(suite, "first"))
    await slot.close()
    assert "ended" in os.listdir(suite.cwd)  # noqa: PTH208


async def test_a_key_is_taken_once(lane: Lane) -> None:
    slot = lane.slot()
    slot.feed(command("a", "sleep", "600"))
    slot.feed(command("b", "true"))
    for key in "ab":
        with pytest.raises(ValueError, match=f"has job '{key}' already"):
            slot.feed(command(key, "true"))


def test_it_works_on_uvloop_with_somebody_else_reaping(plain_env: dict[str, str], suite_of: SuiteOf) -> None:
    suite = suite_of(test_it=CRASHES)
    events: list[SlotEvent] = []

    over = threading.Event()

    async def scenario() -> None:
        slot = Slot(0, events.extend, fence_after_s=10, worker_id="w", env=plain_env)
        jobs: list[Job] = [*pytest_jobs(suite, "first", "segfault", "last"), command("a", "sh", "-c", "exit 3")]
        for job in jobs:
            slot.feed(job)
        await until(lambda: not slot.busy, what="the end of all")
        await slot.close()

    def reap() -> None:
        while not over.is_set():
            # Without waiting: this process may have other children, which live on.
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(-1, os.WNOHANG)[0]:
                    continue
            over.wait(0.001)

    reaper = threading.Thread(target=reap)
    reaper.start()
    try:
        uvloop.run(scenario())
    finally:
        over.set()
        reaper.join()
    ends = [event.outcome for event in events if isinstance(event, SlotFinished)]
    assert ends == [Outcome.passed, Outcome.crashed, Outcome.passed, Outcome.failed]
