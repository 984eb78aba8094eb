"""The keeper: nothing that a task started outlives it, whatever happens to the agent."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.waiting import until
from tests.worker.processes import (
    FORKING_LOOPS,
    LEAVES_A_DAEMON,
    MARK,
    STUBBORN_TREE,
    STUBBORN_TREE_SIZE,
    marked,
    new_mark,
)
from worker import keeper

KEEPER = keeper.__file__
PYTHON = (sys.executable, "-I", "-S")

# Plays the agent: starts a keeper and sends it keep-alives until somebody stops or kills this process.
AGENT = """
import os, subprocess, sys, time
keeper, fence_after, program = sys.argv[1:]
read, write = os.pipe()
command = [sys.executable, "-I", "-S", keeper, "--control-fd", str(read), "--status-fd", "1"]
command += ["--fence-after", fence_after, "--", sys.executable, "-I", "-S", "-c", program]
subprocess.Popen(command, pass_fds=[read])
while True:
    os.write(write, b".")
    time.sleep(0.02)
"""


def start_agent(mark: str, program: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PYTHON, "-c", AGENT, KEEPER, "0.5", program],
        env={**os.environ, MARK: mark},
        stdout=subprocess.DEVNULL,
    )


class Kept:
    """A keeper that this test gives its orders to."""

    def __init__(self, program: str, *, fence_after_s: float = 20.0, options: tuple[str, ...] = ()) -> None:
        self.mark = new_mark()
        control_read, self.control = os.pipe()
        self.status_read, status_write = os.pipe()
        fds = ("--control-fd", str(control_read), "--status-fd", str(status_write))
        self.process = subprocess.Popen(
            [*PYTHON, KEEPER, *fds, "--fence-after", str(fence_after_s), *options, "--", *PYTHON, "-c", program],
            pass_fds=(control_read, status_write),
            env={**os.environ, MARK: self.mark},
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(control_read)
        os.close(status_write)
        os.set_blocking(self.status_read, False)
        self._status = b""

    def order(self, order: bytes) -> None:
        os.write(self.control, order)

    def _over(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self.status_read, 1000):
                self._status += part
            return True
        return False

    async def status(self) -> str:
        """What the keeper says at its end; by then nothing may be left of what it kept."""
        await until(self._over, what="the keeper's end")
        self.process.wait()
        assert marked(self.mark) == []
        return self._status.decode().strip()

    async def runs(self, processes: int) -> None:
        # One more than asked for: the keeper has the mark as well.
        await until(lambda: len(marked(self.mark)) >= processes + 1, what=f"{processes} processes")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.control)
        os.close(self.status_read)
        for pid in marked(self.mark):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def keep() -> Iterator[type[Kept]]:
    made: list[Kept] = []

    class Closed(Kept):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)  # type: ignore[arg-type]
            made.append(self)

    yield Closed
    for kept in made:
        kept.close()


@pytest.mark.parametrize(
    ("program", "status", "code"),
    [
        ("pass", "exit 0", 0),
        ("raise SystemExit(7)", "exit 7", 7),
        ("import os; os.kill(os.getpid(), 9)", "signal 9", 137),
        ("import os; os.abort()", "signal 6", 134),
        # Its process group is its own: the keeper is not in it.
        ("import os, signal; os.killpg(0, signal.SIGKILL)", "signal 9", 137),
        (LEAVES_A_DAEMON, "exit 0", 0),
    ],
)
async def test_the_commands_own_end_is_told_faithfully(keep: type[Kept], program: str, status: str, code: int) -> None:
    kept = keep(program)
    assert await kept.status() == status
    assert kept.process.returncode == code


def test_a_command_that_does_not_exist() -> None:
    read, write = os.pipe()
    run = subprocess.run(
        [*PYTHON, KEEPER, "--control-fd", str(read), "--status-fd", "1", "--fence-after", "5", "--", "no-such-thing"],
        pass_fds=(read,),
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(read)
    os.close(write)
    assert run.returncode == 127
    assert run.stdout.startswith("failed 2 No such file or directory: 'no-such-thing'")


async def test_kill_takes_a_tree_with_a_daemon_that_ignores_sigterm(keep: type[Kept]) -> None:
    kept = keep(STUBBORN_TREE)
    await kept.runs(STUBBORN_TREE_SIZE)
    kept.order(b"k")
    assert await kept.status() == "killed"


@pytest.mark.parametrize("order", [b"t", b"a"])
async def test_after_the_grace_the_tree_is_killed(keep: type[Kept], order: bytes) -> None:
    deaf = "import signal; signal.signal(signal.SIGABRT, signal.SIG_IGN)\n" + STUBBORN_TREE
    kept = keep(deaf, options=("--grace", "0.1"))
    await kept.runs(STUBBORN_TREE_SIZE)
    kept.order(order)
    assert await kept.status() == "killed"


async def test_kill_does_not_wait_for_a_grace(keep: type[Kept]) -> None:
    kept = keep(STUBBORN_TREE, options=("--grace", "600"), fence_after_s=700)
    await kept.runs(STUBBORN_TREE_SIZE)
    kept.order(b"t")
    kept.order(b"k")
    assert await kept.status() == "killed"


async def test_processes_that_fork_without_end_are_beaten(keep: type[Kept]) -> None:
    kept = keep(FORKING_LOOPS)
    await kept.runs(20)
    kept.order(b"k")
    assert await kept.status() == "killed"


def test_both_ways_of_finding_children_agree() -> None:
    child = subprocess.Popen([*PYTHON, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert child.pid in keeper.children_of(os.getpid())
        assert child.pid in keeper.parents_by_scan()[os.getpid()]
        assert child.pid in keeper.descendants()
    finally:
        child.communicate(b"\n")


async def test_silence_is_a_fence(keep: type[Kept]) -> None:
    kept = keep(STUBBORN_TREE, fence_after_s=0.3)
    assert await kept.status() == "fenced"


async def test_signals_of_a_terminal_are_not_orders(keep: type[Kept]) -> None:
    kept = keep(STUBBORN_TREE)
    await kept.runs(STUBBORN_TREE_SIZE)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        kept.process.send_signal(number)
    kept.order(b".")
    assert len(marked(kept.mark)) == STUBBORN_TREE_SIZE + 1
    kept.order(b"k")
    assert await kept.status() == "killed"


async def test_a_byte_that_comes_after_the_fence_revives_nothing(keep: type[Kept]) -> None:
    """The keeper itself was stopped (a frozen container): others may have started the task meanwhile."""
    kept = keep(STUBBORN_TREE, fence_after_s=0.5)
    await kept.runs(STUBBORN_TREE_SIZE)
    kept.process.send_signal(signal.SIGSTOP)
    with contextlib.suppress(subprocess.TimeoutExpired):
        kept.process.wait(0.6)
    kept.order(b".")
    kept.process.send_signal(signal.SIGCONT)
    assert await kept.status() == "fenced"


async def test_a_limit_on_memory(keep: type[Kept]) -> None:
    kept = keep("bytearray(1 << 30)", options=("--memory-limit", str(512 << 20)))
    assert await kept.status() == "exit 1"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_nothing_outlives_an_agent_that_is_killed_or_stopped(number: signal.Signals) -> None:
    mark = new_mark()
    agent = start_agent(mark, STUBBORN_TREE)
    try:
        await until(lambda: len(marked(mark)) == STUBBORN_TREE_SIZE + 2, what="the tree, its keeper and the agent")
        agent.send_signal(number)
        await until(lambda: set(marked(mark)) <= {agent.pid}, within_s=3, what="the end of the tree")
    finally:
        agent.kill()
        agent.wait()
