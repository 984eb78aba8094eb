"""Real workers on a real broker; the test plays the coordinator."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from events.base import Event, TaskEvent
from events.bus import Bus
from events.clock import utc
from events.envelope import Recorded
from events.heartbeats import HeartbeatReader
from events.jetstream import JetStreamLog
from events.log import Appended
from events.policy import Policy, policy_hash
from events.streams import Streams
from events.system import PolicyChanged
from events.task import TaskAssigned, TaskAttemptFinished
from events.work import CommandWork, PytestWork, Suite
from events.worker import Heartbeat, RecordedHeartbeat, WorkerExited, WorkerRecoveryStarted, WorkerRegistered
from events.writer import Writer
from tests.waiting import event_in, is_kind, until
from tests.worker.processes import MARK, bystanders, marked, new_mark

ROOT = Path(__file__).parents[2]
PYTHON = (sys.executable, "-I", "-S", "-c")
SLEEPS = (*PYTHON, "import time; time.sleep(600)")
# It ignores SIGTERM, and so does what it leaves in a session of its own.
CLINGS = (
    *PYTHON,
    "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork() or os.setsid(); time.sleep(600)",
)
SHORT = Policy(heartbeat_interval=0.2, suspect_after=0.7, self_fence_after=1.2, failed_after=1.8, watchdog_after=1.0)
RUN = "run-1"


def command(*argv: str, **environment: str) -> CommandWork:
    return CommandWork(argv=argv, cwd="/", environment=environment)


def script(text: str) -> CommandWork:
    return command(*PYTHON, text)


class Worker:
    """One `python -m worker`, and everything beneath it."""

    def __init__(self, worker_id: str, process: "subprocess.Popen[bytes]", mark: str) -> None:
        self.worker_id = worker_id
        self.process = process
        self.mark = mark
        self.agent_pid = 0
        self.incarnation = 0

    def alive(self) -> list[int]:
        return marked(self.mark)

    async def beneath(self, count: int) -> list[int]:
        """Pids of what runs beneath the agent, once there are as many."""

        def found() -> list[int]:
            pids = [pid for pid in self.alive() if pid not in (self.process.pid, self.agent_pid)]
            return pids if len(pids) >= count else []

        return await until(found, what=f"{count} processes beneath the agent")

    async def ended(self, within_s: float = 10.0) -> int:
        code = await until(
            lambda: None if self.process.poll() is None else (self.process.returncode,), within_s, "exit"
        )
        assert code is not None
        return int(code[0])

    def stderr(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def stop(self) -> None:
        self.process.kill()  # takes along what was stopped, too
        self.process.wait()
        for pid in bystanders(self.mark):
            os.kill(pid, signal.SIGKILL)
        if self.process.stderr is not None:
            self.process.stderr.close()


class Farm:
    def __init__(self, bus: Bus, streams: Streams) -> None:
        self.bus = bus
        self.streams = streams
        self.log = JetStreamLog(bus, streams)
        self.writer = Writer(self.log, "coordinator/test")
        self.workers: list[Worker] = []

    async def say(self, *events: Event) -> Appended:
        return await self.writer.write(events, correlation_id=RUN)

    async def rule(self, policy: Policy = SHORT) -> None:
        await self.say(PolicyChanged(policy=policy, policy_hash=policy_hash(policy), actor="test"))

    def launch(self, worker_id: str = "w1", *options: str, slots: int = 1) -> Worker:
        mark = new_mark()
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "--nats-url", self.bus.url, "--namespace", self.streams.namespace,
             "--worker-id", worker_id, "--slots", str(slots), *options],
            cwd=ROOT,
            env={**os.environ, MARK: mark, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            stderr=subprocess.PIPE,
        )  # fmt: skip
        worker = Worker(worker_id, process, mark)
        self.workers.append(worker)
        return worker

    async def start(self, worker_id: str = "w1", *options: str, slots: int = 1) -> Worker:
        after = await self.log.last_sequence()
        worker = self.launch(worker_id, *options, slots=slots)
        await self.registered(worker, after)
        return worker

    async def registered(self, worker: Worker, after: int | None = None) -> Recorded:
        """Waits for the worker's next incarnation, and takes it over."""
        kind = is_kind(WorkerRegistered, worker_id=worker.worker_id)
        recorded = await self.seen(kind, after=worker.incarnation if after is None else after, what="registration")
        assert isinstance(recorded.event, WorkerRegistered)
        worker.agent_pid, worker.incarnation = recorded.event.pid, recorded.sequence
        return recorded

    async def seen(
        self, predicate: Callable[[Recorded], bool], within_s: float = 10.0, *, after: int = 0, what: str = "the event"
    ) -> Recorded:
        return await event_in(self.log, predicate, within_s, what, after)

    async def assign(self, worker: Worker, *works: Any, attempt: int = 1, first: int = 1, **settings: Any) -> int:
        """Assigns tasks `t1`, `t2`, ... in one batch; the sequence of the last."""
        events = [
            TaskAssigned(
                task_id=f"t{number}",
                worker_id=worker.worker_id,
                incarnation=worker.incarnation,
                attempt=attempt,
                work=work,
                **settings,
            )
            for number, work in enumerate(works, start=first)
        ]
        return (await self.say(*events)).last

    async def ending(self, task_id: str = "t1", within_s: float = 20.0, **fields: Any) -> TaskAttemptFinished:
        kind = is_kind(TaskAttemptFinished, task_id=task_id, **fields)
        event = (await self.seen(kind, within_s, what=f"the end of {task_id}")).event
        assert isinstance(event, TaskAttemptFinished)
        return event

    async def exit_of(self, worker: Worker, within_s: float = 5.0, **fields: Any) -> WorkerExited:
        kind = is_kind(WorkerExited, worker_id=worker.worker_id, **fields)
        event = (await self.seen(kind, within_s, what="the report of the agent's end")).event
        assert isinstance(event, WorkerExited)
        return event

    async def order_restart(self, worker: Worker, attempt: int = 1, within_s: float = 30.0) -> int:
        latest = await self.log.read_one(await self.log.last_sequence())
        assert latest is not None
        order = WorkerRecoveryStarted(
            worker_id=worker.worker_id,
            incarnation=worker.incarnation,
            attempt=attempt,
            strategy="restart",
            deadline=utc(latest.time) + timedelta(seconds=within_s),
        )
        return (await self.say(order)).last

    async def events(self, *kinds: type[Event]) -> list[Recorded]:
        """All that the log holds of these kinds."""
        last = await self.log.last_sequence()
        found: list[Recorded] = []
        async with await self.log.reader() as reader:
            while reader.sequence < last:
                found += await reader.next()
        return [recorded for recorded in found if isinstance(recorded.event, kinds or (Event,))]

    async def story(self, task_id: str = "t1") -> list[str]:
        """What the log says of a task, in order: `assigned`, `started`, the outcome of an attempt, `returned`."""
        story = []
        for recorded in await self.events(TaskEvent):
            event = recorded.event
            if isinstance(event, TaskEvent) and event.task_id == task_id:
                story.append(event.outcome if isinstance(event, TaskAttemptFinished) else event.name)
        return story

    async def beat(self, worker: Worker, fits: Callable[[RecordedHeartbeat], bool]) -> RecordedHeartbeat:
        reader = await HeartbeatReader.start(self.bus, self.streams)
        try:
            async with asyncio.timeout(10):
                while True:
                    for recorded in await reader.next():
                        if recorded.heartbeat and recorded.heartbeat.worker_id == worker.worker_id and fits(recorded):
                            return recorded
        finally:
            await reader.close()

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()


class MortalBroker:
    """A nats-server to be killed: it comes back on its port, with what it had stored."""

    def __init__(self, folder: Path, binary: str) -> None:
        self._folder = folder
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self._port = "-1"
        self.url = ""

    async def start(self) -> None:
        process = self._launch()

        def ports() -> str:
            try:
                text = (self._folder / f"nats-server_{process.pid}.ports").read_text()
                return str(json.loads(text)["nats"][0])
            except (OSError, ValueError):
                return ""

        self.url = await until(ports, what="the broker's port")
        self._port = self.url.rpartition(":")[2]

    def _launch(self) -> "subprocess.Popen[bytes]":
        self._process = process = subprocess.Popen(
            [self._binary, "-a", "127.0.0.1", "-p", self._port, "-js", "-sd", str(self._folder / "store"),
             "-l", str(self._folder / "nats.log"), "--ports_file_dir", str(self._folder)]
        )  # fmt: skip
        return process

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


def suite_in(folder: Path, text: str) -> Suite:
    folder.mkdir(exist_ok=True)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_it.py").write_text(text)
    return Suite(python=sys.executable, cwd=str(folder), args=("-p", "no:cacheprovider"))


def work_of(suite: Suite, *names: str) -> Iterable[PytestWork]:
    return [PytestWork(suite=suite, node_id=f"test_it.py::{name}") for name in names]


def waits_for(path: Path) -> str:
    """A program that ends once the file is there."""
    return f"import os, time\nwhile not os.path.exists({str(path)!r}): time.sleep(0.005)"


def gated(folder: Path) -> tuple[Path, Suite]:
    """A suite whose `test_waits` ends once the file is there, and the file."""
    gate = folder / "gate"
    text = f"def test_waits():\n    exec({waits_for(gate)!r})\ndef test_quick(): pass\n"
    return gate, suite_in(folder / "suite", text)


def holds(beat: Heartbeat, running: str, queued: int) -> bool:
    return (beat.running, beat.queued) == ((running,), queued)
