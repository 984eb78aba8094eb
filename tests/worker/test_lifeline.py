"""Lifelines: held until the last holder is gone, and what others on the machine can say of it."""

import os
import signal
import sys
from pathlib import Path

import pytest

from events.bus import Bus
from events.streams import Streams
from tests.waiting import until
from tests.worker.processes import MARK, marked, new_mark
from worker.jobs import CommandJob
from worker.kept import processes
from worker.kept_process import Ended, Limits
from worker.lifeline import HeldLifeline, Lifeline, hold, is_held, this_machine
from worker.witness import ask_presence, ask_witness, serve_presence, serve_witness

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
LIMITS = Limits(fence_after_s=10.0, grace_s=0.2, memory_limit_bytes=None)


def held() -> HeldLifeline:
    found = hold()
    assert found is not None
    return found


def test_it_is_held_until_its_last_holder_is_gone() -> None:
    line = held()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    line.close()
    assert is_held(line.lifeline)
    os.close(write)
    os.waitpid(child, 0)
    assert not is_held(line.lifeline)


def test_each_is_another_one_and_a_stranger_machine_cannot_be_judged() -> None:
    one, two = held(), held()
    assert one.lifeline.machine == two.lifeline.machine == this_machine()
    assert one.lifeline.name != two.lifeline.name
    with pytest.raises(ValueError, match="another one"):
        is_held(Lifeline("elsewhere", one.lifeline.name))
    one.close()
    two.close()


async def test_a_keeper_holds_it_for_what_it_keeps_and_the_command_does_not(tmp_path: Path) -> None:
    """A command whose descendant has left everything behind, but not its keeper."""
    line, mark = held(), new_mark()
    lines = tmp_path / "fds"
    script = f"ls -l /proc/self/fd > {lines}; setsid sleep 600 & exec sleep 600"
    job = CommandJob("k", ("sh", "-c", script), str(tmp_path))
    ends: list[Ended] = []
    kept = processes([line.fd]).command(job, env={**os.environ, MARK: mark}, limits=LIMITS, on_end=ends.append)
    inode = f"socket:[{os.fstat(line.fd).st_ino}]"
    await until(lambda: lines.exists() and "pipe" in lines.read_text(), 5, "the command's start")
    assert inode not in lines.read_text()
    line.close()
    assert is_held(line.lifeline)
    kept.kill()
    await until(lambda: ends, 5, "the end")
    await until(lambda: not is_held(line.lifeline), 5, "the end of the keeper")
    assert marked(mark) == []


async def test_a_witness_says_what_it_sees_and_nobody_says_nothing(bus: Bus, streams: Streams) -> None:
    line = held()
    lifeline = line.lifeline
    assert await ask_witness(bus, streams, lifeline, timeout_s=1) is None
    await serve_witness(bus, streams, lifeline.machine, is_held)
    assert await ask_witness(bus, streams, lifeline, timeout_s=5) is True
    line.close()
    assert await ask_witness(bus, streams, lifeline, timeout_s=5) is False


async def test_a_worker_that_is_there_answers(bus: Bus, streams: Streams) -> None:
    assert "nobody answers" in await ask_presence(bus, streams, "w1", timeout_s=1)
    await serve_presence(bus, streams, "w1", "agent")
    assert await ask_presence(bus, streams, "w1", timeout_s=5) == ""


async def test_a_killed_keeper_does_not_hold_it(tmp_path: Path) -> None:
    line = held()
    job = CommandJob("k", ("sleep", "600"), str(tmp_path))
    ends: list[Ended] = []
    kept = processes([line.fd]).command(job, env=os.environ, limits=LIMITS, on_end=ends.append)
    os.kill(kept.keeper_pid, signal.SIGKILL)  # type: ignore[attr-defined]
    await until(lambda: ends, 5, "the end")
    line.close()
    assert not is_held(line.lifeline)
