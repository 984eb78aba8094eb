"""The processes of a demo: a broker, a coordinator, workers. Started, killed, stopped in order, and counted."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import psutil

from coordinator.broker import EmbeddedBroker
from coordinator.demo.plan import ROOT, Plan
from events.identity import new_id

TETHER = Path(__file__).resolve().parents[1] / "tether.py"
MARK = "DEMO_OF_RESURGAM"
"""A variable that everything started by this process, and whatever that starts, has in its environment."""

DRAIN_S = 5
STOP_S_MAX = 10.0
LEAVE_POLLS, LEAVE_POLL_S = 60, 0.05
HURRY_S = 0.3
"""Between the first and the second SIGTERM when nothing is to be finished any more."""


class Farm:
    """Everything dies with this process, even when that is killed."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._mark = new_id()
        os.environ[MARK] = self._mark
        self.broker = EmbeddedBroker(plan.state_dir / "broker", sync="default")
        self.coordinators: dict[str, asyncio.subprocess.Process] = {}
        self.workers: dict[str, asyncio.subprocess.Process] = {}
        """Supervisors, by the id of the worker: the last one of each."""

    async def start_coordinator(self, coordinator_id: str) -> None:
        plan = self._plan
        self.coordinators[coordinator_id] = await self._start(
            coordinator_id,
            *("coordinator", "--coordinator-id", coordinator_id, "--nats-url", self.broker.url),
            *("--namespace", "resurgam", "--state-dir", str(plan.state_dir), "--db-path", str(plan.db_path)),
            *("--port", "0"),
        )

    async def start_worker(self, worker_id: str) -> None:
        self.workers[worker_id] = await self._start(
            worker_id,
            *("worker", "--worker-id", worker_id, "--nats-url", self.broker.url, "--namespace", "resurgam"),
            *("--slots", "1", "--drain-timeout", str(DRAIN_S)),
            *("--warm-suite", msgspec.json.encode(self._plan.suite).decode()),
        )

    async def _start(self, name: str, *command: str) -> asyncio.subprocess.Process:
        with (self._plan.state_dir / f"{name}.log").open("ab") as output:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", str(TETHER), str(int(signal.SIGKILL)), str(os.getpid()), sys.executable, "-m"),
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                # Ctrl-C in the terminal is for us alone.
                start_new_session=True,
            )

    def ended(self) -> str | None:
        """A sentence about a process that has ended by itself, or None."""
        for name, process in [*self.coordinators.items(), *self.workers.items()]:
            if process.returncode is not None and process.returncode > 0:
                return f"{name} ended with code {process.returncode}: {self.last_words(name)}"
        return None

    def last_words(self, name: str) -> str:
        with contextlib.suppress(OSError):
            lines = (self._plan.state_dir / f"{name}.log").read_text(errors="replace").split("\n")
            return next((line for line in reversed(lines) if line.strip()), "it said nothing")
        return "it said nothing"

    def tree(self, pid: int) -> list[psutil.Process]:
        """A process and everything beneath it; empty when it has ended."""
        try:
            process = psutil.Process(pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def agent_tree(self, worker_id: str, pid: int) -> list[psutil.Process]:
        """The agent of a worker of ours and all that it runs; empty when `pid` is not that agent (any more)."""
        tree = self.tree(pid)
        try:
            return tree if tree and tree[0].ppid() == self.workers[worker_id].pid else []
        except psutil.NoSuchProcess:
            return []

    async def stop_worker(self, worker_id: str) -> int:
        """SIGTERM, as a person would; its exit code."""
        process = self.workers[worker_id]
        await _end([process])
        assert process.returncode is not None
        return process.returncode

    async def stop_workers(self) -> dict[str, int]:
        """In order: what runs is finished first. Returns exit codes by worker."""
        await _end(self.workers.values())
        return {worker_id: process.returncode or 0 for worker_id, process in self.workers.items()}

    async def stop_coordinator(self, coordinator_id: str) -> int:
        process = self.coordinators[coordinator_id]
        await _end([process])
        return process.returncode or 0

    async def stop_everything(self) -> None:
        """At once, whatever is under way: workers, then coordinators. The broker is its owner's to stop."""
        living = [process for process in self.workers.values() if process.returncode is None]
        _signal(living, signal.SIGTERM)
        await _wait(living, HURRY_S)
        await _end(living, within_s=3.0)
        await _end(self.coordinators.values(), within_s=3.0)

    async def clear_up(self) -> None:
        """Gives what is on its way out a moment, and kills what is not: whatever bears our mark."""
        for _ in range(LEAVE_POLLS):
            if not self._marked():
                return
            await asyncio.sleep(LEAVE_POLL_S)
        for process in self._marked():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def left_over(self) -> list[str]:
        """What still runs of all that was ever started here, the broker included."""
        found = []
        for process in self._marked():
            with contextlib.suppress(psutil.Error):
                found.append(f"{process.name()} ({process.pid})")
        return found

    def _marked(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            # The environment of a process that has ended and waits to be reaped cannot be read, and it is gone.
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get(MARK) == self._mark:
                    found.append(process)
        return found


def alive(processes: Iterable[psutil.Process]) -> list[int]:
    """The pids of those that still run; a pid that has another owner by now does not count."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def _signal(processes: Iterable[asyncio.subprocess.Process], number: signal.Signals) -> None:
    for process in processes:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)


async def _wait(processes: Sequence[asyncio.subprocess.Process], within_s: float) -> None:
    waiting = [asyncio.create_task(process.wait()) for process in processes if process.returncode is None]
    if waiting:
        _, late = await asyncio.wait(waiting, timeout=within_s)
        for task in late:
            task.cancel()


async def _end(processes: Iterable[asyncio.subprocess.Process], within_s: float = STOP_S_MAX) -> None:
    """SIGTERM, and SIGKILL for those that take too long."""
    several = list(processes)
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal(several, number)
        await _wait(several, within_s)
