"""A whole system as separate processes: a broker, coordinators with their projectors, workers. And ways to hurt it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlparse

import duckdb
import msgspec
import psutil

from coordinator.broker import EmbeddedBroker
from coordinator.commands.submitting import Order, submit
from coordinator.endpoint import read_endpoint
from events.base import Event
from events.connection import Connection
from events.envelope import Recorded
from events.jetstream import JetStreamLog
from events.log import Appended
from events.policy import Policy
from events.streams import Streams
from events.system import PolicyChanged
from events.task import TaskAssigned, TaskAttemptFinished, TaskCompleted, TaskStarted
from events.work import AnyWork
from events.worker import WorkerExited, WorkerRegistered
from events.writer import Writer, append_until_stored
from projections.child import Result
from projections.client import QueryError, query
from replay.reading import stretch
from tests.chaos.work import Workshop
from tests.waiting import described, event_in, is_kind, until
from tests.worker.processes import MARK, bystanders, marked, new_mark

ROOT = Path(__file__).parents[2]
TETHER = ROOT / "coordinator" / "tether.py"
PYTHON_PATH = str(ROOT)
ORDERLY_S_MAX = 20.0
SEEN_MAX = 25

CALM = Policy(
    heartbeat_interval=0.5,
    suspect_after=2.5,
    self_fence_after=4.0,
    failed_after=6.0,
    watchdog_after=2.0,
    recovery_backoff=0.2,
    recovery_interval=1.0,
)
"""For tests about something else than silence: a busy machine must not look like a dead worker."""

HASTY = msgspec.structs.replace(
    CALM,
    heartbeat_interval=0.2,
    suspect_after=0.6,
    self_fence_after=1.0,
    failed_after=1.5,
    watchdog_after=0.8,
    recovery_interval=0.5,
)


class Member:
    """One process that the test has started; a coordinator or a worker with its supervisor."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        self.name = name
        self.process = process
        self.folder = folder

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    async def ended(self, within_s: float = 10.0) -> int:
        """Its exit code."""
        await until(lambda: not self.running, within_s, f"the end of {self.name}")
        return self.process.wait()

    def said(self) -> str:
        return (self.folder / "output.log").read_text(errors="replace")

    @property
    def db_path(self) -> Path:
        return self.folder / "history.duckdb"


class Farm:
    """Use as an asynchronous context manager; whatever happens inside, no process is left behind.

    `submit`, `say` and `publish` keep a ledger of what the broker acknowledged to the test.
    """

    def __init__(self, folder: Path, policy: Policy = CALM) -> None:
        self.folder = folder
        self.policy = policy
        self.broker = EmbeddedBroker(folder / "broker")
        self.shop = Workshop(folder / "shop")
        self.mark = new_mark()
        self.members: dict[str, Member] = {}
        """The newest of each name."""
        self.everyone: list[Member] = []
        self.environments: dict[str, dict[str, str]] = {}
        """What each process is told besides, by its name."""
        self.tasks: list[str] = []
        self.ledger: dict[int, str] = {}
        """Sequence and id of what was acknowledged; an id of "" for what is no event."""
        self.streams = Streams()
        self._config = folder / "resurgam.toml"

    async def __aenter__(self) -> Self:
        self._config.write_text(as_toml(self.policy))
        self.bus = await Connection.connect(await self.start_broker(), name="test")
        self.log = JetStreamLog(self.bus, self.streams)
        self.writer = Writer(self.log, "test")
        return self

    async def start_broker(self) -> str:
        """Where it can be reached."""
        await self.broker.__aenter__()
        return self.broker.url

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                error.add_note(await self._story())
        finally:
            for member in self.everyone:
                if member.running:
                    member.process.kill()
                    member.process.wait()
            await self.bus.close()
            await self.broker.stop()
            for pid in bystanders(self.mark):
                psutil.Process(pid).kill()
            for pid in marked(self.mark):
                if error is None:
                    raise AssertionError(f"process {pid} is left")
                psutil.Process(pid).kill()

    async def _story(self) -> str:
        """The last that was recorded and said, for the message of a failure."""
        try:
            last = [described(recorded) for recorded in (await self.records())[-SEEN_MAX:]]
        except Exception as error:  # noqa: BLE001 - it must not hide the failure that it explains
            last = [f"the log cannot be read: {error!r}"]
        said = [f"{member.name}: {line}" for member in self.everyone for line in member.said().splitlines()[-5:]]
        return "\n  ".join(["the last events:", *(line[:400] for line in last), "what was said:", *said])

    # Starting

    def launch(self, name: str, *command: str, url: str = "") -> Member:
        """Starts a module of ours, which dies with this process whatever happens to it. `url`: of the broker, if not
        its own."""
        (folder := self.folder / f"{name}-{len(self.everyone)}").mkdir()
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RESURGAM_")}
        environment |= self.environments.get(name, {})
        environment |= {MARK: self.mark, "PYTHONPATH": PYTHON_PATH, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        tether = [sys.executable, "-I", "-S", str(TETHER), str(int(signal.SIGKILL)), str(os.getpid())]
        with (folder / "output.log").open("wb") as output:
            process = subprocess.Popen(
                [*tether, sys.executable, "-m", *command, "--nats-url", url or self.broker.url],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        member = Member(name, process, folder)
        self.members[name] = member
        self.everyone.append(member)
        return member

    def launch_coordinator(self, name: str = "c1", *options: str, db_path: Path | None = None) -> Member:
        path = db_path or self.folder / f"{name}.duckdb"
        return self.launch(
            name, "coordinator", "--coordinator-id", name, "--port", "0", "--config", str(self._config),
            "--db-path", str(path), "--state-dir", "state", *options,
        )  # fmt: skip

    async def start_coordinator(self, name: str = "c1", *options: str, db_path: Path | None = None) -> Member:
        """Returns when it serves: as the leader, or standing by."""
        member = self.launch_coordinator(name, *options, db_path=db_path)

        def serves() -> bool:
            assert member.running, member.said()
            return read_endpoint(member.folder / "state") is not None

        await until(serves, 15, f"{name} to serve")
        return member

    def launch_worker(self, name: str, *options: str, slots: int = 1, url: str = "") -> Member:
        return self.launch(name, "worker", "--worker-id", name, "--slots", str(slots), *options, url=url)

    async def start_workers(self, *names: str, slots: int = 1) -> None:
        after = await self.log.last_sequence()
        for name in names:
            self.launch_worker(name, slots=slots)
        for name in names:
            await self.registered(name, after)

    async def start(self, *options: str, workers: int = 3, slots: int = 1) -> None:
        """A leader `c1` that has handed over its policy, and the workers `w1`, `w2`, ..."""
        await self.start_coordinator("c1", *options)
        await self.seen(PolicyChanged)
        await self.start_workers(*(f"w{number}" for number in range(1, workers + 1)), slots=slots)

    # Looking

    async def records(self) -> list[Recorded]:
        """The whole log as it stands."""
        return [recorded async for batch in stretch(self.log) for recorded in batch]

    async def events(self, *kinds: type[Event]) -> list[Recorded]:
        return [recorded for recorded in await self.records() if isinstance(recorded.event, kinds)]

    async def seen(self, kind: type[Event], within_s: float = 15.0, *, after: int = 0, **fields: object) -> Recorded:
        what = f"{kind.__name__} {fields}"
        return await event_in(self.log, is_kind(kind, **fields), within_s, what, after)

    async def registered(self, name: str, after: int, within_s: float = 15.0) -> int:
        """The worker's next incarnation."""
        return (await self.seen(WorkerRegistered, within_s, after=after, worker_id=name)).sequence

    async def running(self, task_id: str, after: int = 0) -> TaskStarted:
        """Who began the task last behind `after`."""
        event = (await self.seen(TaskStarted, after=after, task_id=task_id)).event
        assert isinstance(event, TaskStarted)
        return event

    async def verdicts(self, number: int | None = None, within_s: float = 40.0) -> dict[str, TaskCompleted]:
        """Waits until so many of the submitted tasks have one; all of them when no number is given."""
        wanted = len(self.tasks) if number is None else number
        found: dict[str, TaskCompleted] = {}
        async with asyncio.timeout(within_s) as bound, await self.log.reader(0, ["task.*.completed"]) as reader:
            try:
                while len(found) < wanted:
                    for recorded in await reader.next():
                        if isinstance(recorded.event, TaskCompleted):
                            found[recorded.event.task_id] = recorded.event
            except asyncio.CancelledError:
                if not bound.expired():
                    raise
                missing = [task_id for task_id in self.tasks if task_id not in found]
                raise AssertionError(f"{wanted} verdicts, not {len(found)}; without one: {missing}") from None
        return found

    async def quiet(self) -> bool:
        """Whether every attempt that was assigned has ended, by a word of its worker or with it."""
        waiting: set[tuple[str, int]] = set()
        for recorded in await self.records():
            event = recorded.event
            if isinstance(event, TaskAssigned):
                waiting.add((event.worker_id, event.incarnation))
            elif isinstance(event, TaskAttemptFinished | WorkerExited):
                waiting.discard((event.worker_id, event.incarnation))
        return not waiting

    async def ask(self, sql: str) -> list[Any]:
        """Through the projector that runs, when it holds all that the log holds now. One that was killed may be on its
        way back."""
        last = await self.log.last_sequence()
        found: list[Result] = []

        async def answered() -> bool:
            try:
                found[:] = [await query(self.bus, self.streams, sql, at_least=last)]
            except QueryError:
                return False
            return True

        await until_true(answered, 15, "an answer of the projector")
        return found[0].rows

    async def health(self, name: str) -> dict[str, Any]:
        """What /healthz of a coordinator says."""
        endpoint = read_endpoint(self.members[name].folder / "state")
        assert endpoint is not None
        parsed = urlparse(endpoint.http)
        assert isinstance(parsed.hostname, str)
        reader, writer = await asyncio.open_connection(parsed.hostname, parsed.port)
        writer.write(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return msgspec.json.decode(answer.partition(b"\r\n\r\n")[2], type=dict[str, Any])

    # Working

    async def submit(self, works: Iterable[AnyWork], **settings: Any) -> list[str]:
        order = Order(title="chaos", actor="test", works=tuple(works), **settings)
        _, task_ids = await submit(self.log, order)
        self.tasks += task_ids
        return task_ids

    async def say(self, *events: Event) -> Appended:
        """Appends one event after another, each until it is stored, and enters them in the ledger."""
        appended = Appended(0, duplicate=False)
        for event in events:
            draft = self.writer.draft(event)
            appended = await append_until_stored(self.log, [draft], patience_s=30)
            if not appended.duplicate:
                self.ledger[appended.last] = draft.envelope.id
        return appended

    async def publish(self, tail: str, payload: bytes) -> int:
        """Anything at all, straight into the stream of events; its sequence."""
        answer = await self.bus.request(self.streams.event_subject(tail), payload)
        sequence = int(msgspec.json.decode(answer, type=dict[str, Any])["seq"])
        self.ledger[sequence] = ""
        return sequence

    # Hurting

    async def agent(self, name: str) -> psutil.Process:
        last = await self.log.last_on(f"worker.{name}.registered")
        assert last is not None
        assert isinstance(last.event, WorkerRegistered)
        return psutil.Process(last.event.pid)

    def supervisor(self, name: str) -> psutil.Process:
        return psutil.Process(self.members[name].pid)

    def projector(self, name: str = "c1") -> psutil.Process | None:
        for child in psutil.Process(self.members[name].pid).children():
            try:
                if "projections" in child.cmdline() and str(TETHER) not in child.cmdline():
                    return child
            except psutil.Error:
                continue
        return None

    async def kill_agent(self, name: str) -> list[psutil.Process]:
        """With SIGKILL; what it was and what was beneath it."""
        agent = await self.agent(name)
        tree = [agent, *agent.children(recursive=True)]
        agent.kill()
        return tree

    async def kill_broker(self) -> None:
        """With SIGKILL; returns when it is back on its port."""
        restarts = self.broker.restarts
        assert self.broker.pid is not None
        os.kill(self.broker.pid, signal.SIGKILL)
        await until(lambda: self.broker.restarts > restarts, 15, "the broker's return")

    # Stopping

    async def stop(self, *names: str) -> None:
        """Tells members to end, and waits until they have; without names all workers, then all coordinators."""
        workers = [name for name in self.members if name.startswith("w")]
        groups = [names] if names else [workers, *([name] for name in self.members if name not in workers)]
        for group in groups:
            chosen = [self.members[name] for name in group if self.members[name].running]
            for member in chosen:
                member.process.terminate()
            for member in chosen:
                await member.ended(ORDERLY_S_MAX)

    def rows(self, sql: str, name: str = "c1") -> list[Any]:
        """From the history file of a coordinator that has ended."""
        with duckdb.connect(str(self.folder / f"{name}.duckdb"), read_only=True) as connection:
            return connection.execute(sql).fetchall()


async def until_true(question: Callable[[], Awaitable[bool]], within_s: float, what: str) -> None:
    """`until`, for a question that is a coroutine function."""
    await until(question, within_s, what)


def as_toml(policy: Policy) -> str:
    """Without tables of overrides."""
    return "".join(["[policy]\n", *(f"{key} = {_toml(value)}\n" for key, value in msgspec.to_builtins(policy).items())])


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    return msgspec.json.encode(value).decode()
