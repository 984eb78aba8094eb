"""Tests that let nobody else run in their interpreter do not keep their worker from beating."""

import sys

import msgspec

from events.work import AnyWork, CommandWork, PytestWork
from events.worker import WorkerExited, WorkerFailed, WorkerStalled, WorkerSuspected
from tests.chaos.conftest import NewFarm
from tests.chaos.farm import CALM
from tests.worker.farm import suite_in

SCALED = msgspec.structs.replace(
    CALM,
    heartbeat_interval=0.3,
    suspect_after=0.9,
    self_fence_after=1.8,
    failed_after=2.25,
    watchdog_after=1.0,
)
"""The defaults, about seven times faster. As a test of a minute is to them, one of nine seconds is to these."""
BUSY_S = 9.0
SLOTS = 4

BUSY = f"""
import collections, itertools, time

def hold_the_interpreter(seconds):
    # One call into C that runs no bytecode, so that the lock of the interpreter is never given up.
    def repeat(times):
        began = time.perf_counter()
        collections.deque(itertools.repeat(None, times), maxlen=0)
        return time.perf_counter() - began
    times = 1_000_000
    while (took_s := repeat(times)) < 0.1:
        times *= 2
    repeat(int(times * seconds / took_s))

def test_holds_the_interpreter():
    hold_the_interpreter({BUSY_S})
"""


async def test_a_worker_whose_tests_hold_their_interpreters_is_never_suspected(new_farm: NewFarm) -> None:
    async with new_farm(SCALED) as farm:
        await farm.start(workers=1, slots=SLOTS)
        suite = suite_in(farm.folder / "busy", BUSY)
        script = (sys.executable, "-c", BUSY + "\ntest_holds_the_interpreter()\n")
        works: list[AnyWork] = [PytestWork(suite=suite, node_id="test_it.py::test_holds_the_interpreter")]
        works += [CommandWork(argv=script, cwd=str(farm.folder)), CommandWork(argv=("nice", *script), cwd="/")]
        works += [PytestWork(suite=suite, node_id="test_it.py::test_holds_the_interpreter", occurrence=0)]
        await farm.submit(works)
        verdicts = await farm.verdicts(within_s=120)
        assert {(one.verdict, one.attempt) for one in verdicts.values()} == {("passed", 1)}
        assert max(one.duration_s for one in verdicts.values()) > SCALED.failed_after
        assert not await farm.events(WorkerSuspected, WorkerFailed, WorkerExited, WorkerStalled)
