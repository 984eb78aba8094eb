"""One run from start to end: broker, coordinator, workers, the suite, its verdicts, and everything put away again."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from coordinator.commands.submitting import Order, new_run_id, submit
from coordinator.faults import Fault
from coordinator.run.nursery import Nursery
from coordinator.run.show import Show
from coordinator.run.tally import Tally, Test
from coordinator.service import CoordinatorService
from coordinator.settings import Settings
from coordinator.standby import Standby
from events.envelope import Recorded
from events.identity import as_id
from events.policy import Policy
from events.system import RunCancelRequested
from events.work import PytestWork, Suite
from events.worker import WorkerStopped
from events.writer import Writer
from worker.catalogue import ask
from worker.jobs import Collection
from worker.options import Options

LEADING_S_MAX = 20.0
COLLECT_S_MAX = 300.0
CANCEL_S_MAX = 5.0
STOP_S_MAX = 10.0
READ_S = 0.5
TASKS_AHEAD_MAX = 100
LEFT_BEHIND = "left behind by a run that was killed"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asked for."""

    suite: Suite
    workers: int
    actor: str
    timeout_s: float | None
    verdict_retries: int | None
    infrastructure_retries: int | None
    failures_max: int | None
    settings: Settings


class WorkersLost(Fault):
    """No worker is left that could run the rest."""

    exit_code = 3


class Inbox:
    """What the coordinator in this process has folded and the run has not yet looked at."""

    def __init__(self) -> None:
        self._events: list[Recorded] = []
        self._arrived = asyncio.Event()

    def put(self, batch: Sequence[Recorded]) -> None:
        self._events.extend(batch)
        self._arrived.set()

    async def take(self, wait_s: float) -> list[Recorded]:
        """All there is, as soon as there is something; [] after `wait_s` seconds without."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._arrived.wait()
        self._arrived.clear()
        events, self._events = self._events, []
        return events


class Session:
    """`run` once. Afterwards `tally` tells what came of it, even when it raised."""

    def __init__(self, plan: Plan, nursery: Nursery, projector: Standby | None = None) -> None:
        self._plan = plan
        self._nursery = nursery
        self._service = CoordinatorService(
            plan.settings, projector_output=plan.settings.state_dir / "projector.log", projector=projector
        )
        self.tally: Tally | None = None
        self.collection: Collection | None = None
        self._restarts = 0

    async def run(self, show: AbstractContextManager[Show]) -> None:
        """Returns when every test has its verdict, or when collection found nothing to run.

        Raises:
            Fault, LogError: it cannot go on; what has been started is stopped.
        """
        try:
            await self._service.start()
            await self._await_leadership()
            await self._clear_away()
            names = [f"w{number}" for number in range(1, self._plan.workers + 1)]
            self._nursery.start([self._options(name) for name in names])
            self.collection = await self._collect(names[0])
            if self.collection.exit_code == 0 and self.collection.items:
                await self._run_tests(self.collection, names, show)
        finally:
            await self._put_away()

    async def _collect(self, worker_id: str) -> Collection:
        service = self._service
        return await ask(service.bus, service.streams, worker_id, self._plan.suite, within_s=COLLECT_S_MAX)

    def _options(self, name: str) -> Options:
        return Options(
            nats_url=self._service.nats_url,
            worker_id=name,
            slots=1,
            namespace=self._plan.settings.service.namespace,
            drain_timeout_s=0.0,
            warm_suite=self._plan.suite,
        )

    async def _run_tests(
        self, collection: Collection, names: Sequence[str], show: AbstractContextManager[Show]
    ) -> None:
        log = self._service.log
        inbox = Inbox()
        self._service.listen(inbox.put)
        run_id = new_run_id()
        order = Order(
            title=f"pytest {' '.join(self._plan.suite.args)}".strip(),
            actor=self._plan.actor,
            works=tuple(
                PytestWork(suite=self._plan.suite, node_id=item.node_id, occurrence=item.occurrence)
                for item in collection.items
            ),
            timeout_s=self._plan.timeout_s,
            infrastructure_retries=self._plan.infrastructure_retries,
            verdict_retries=self._plan.verdict_retries,
        )
        _, task_ids = await submit(log, order, run_id=run_id)
        tests = {task_id: Test(node_id=item.node_id) for task_id, item in zip(task_ids, collection.items, strict=True)}
        self.tally = Tally(run_id, tests, list(names))
        following = asyncio.create_task(self._follow(self.tally, inbox, show))
        guarding = asyncio.create_task(self._service.wait())
        try:
            done, _ = await asyncio.wait({following, guarding}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except asyncio.CancelledError:
            await self._cancel_run("interrupted")
            raise
        finally:
            for task in (following, guarding):
                task.cancel()
            await asyncio.gather(following, guarding, return_exceptions=True)

    async def _await_leadership(self) -> None:
        """The own coordinator must lead before anything happens; within moments, unless another one lives here."""
        deadline = time.monotonic() + LEADING_S_MAX
        while self._service.health().role != "leader":
            if time.monotonic() > deadline:
                raise Fault(
                    f"another coordinator leads the system in {self._plan.settings.state_dir}; "
                    f"wait for it, or give another --state-dir"
                )
            await asyncio.sleep(0.01)

    async def _clear_away(self) -> None:
        """What a run that was killed in this folder has left: its tests must not run in the midst of this one, and
        its workers, which died with it, must not be waited for. The folder's lock says that it is over."""
        for run_id in self._service.open_runs():
            await self._write_cancel(run_id, LEFT_BEHIND)
        gone = [
            WorkerStopped(worker_id=worker_id, incarnation=incarnation, reason=LEFT_BEHIND)
            for worker_id, incarnation in self._service.workers_present()
        ]
        if gone:
            await self._writer().write(gone, patience_s=CANCEL_S_MAX)

    def _writer(self) -> Writer:
        return Writer(self._service.log, f"cli/{as_id(self._plan.actor)}")

    async def _write_cancel(self, run_id: str, reason: str) -> None:
        event = RunCancelRequested(run_id=run_id, actor=self._plan.actor, reason=reason)
        await self._writer().write(event, correlation_id=run_id, patience_s=CANCEL_S_MAX)

    async def _cancel_run(self, reason: str) -> None:
        if self.tally is not None and not self.tally.complete:
            await self._write_cancel(self.tally.run_id, reason)

    async def _follow(self, tally: Tally, inbox: "Inbox", show: AbstractContextManager[Show]) -> None:
        cancelled = False
        with show as picture:
            while not tally.complete:
                for recorded in await inbox.take(READ_S):
                    picture.update(tally, tally.take(recorded))
                self._note_restarts(tally)
                limit = self._plan.failures_max
                if limit is not None and tally.problems >= limit and not cancelled:
                    cancelled = True
                    await self._cancel_run(f"stopping after {tally.problems} failures")
                if tally.given_up and tally.given_up >= set(tally.lanes):
                    raise WorkersLost(
                        f"all {len(tally.lanes)} workers were given up; {len(tally.tests) - tally.finished} tests "
                        f"have no verdict. 'resurgam events --kind worker.recovery_failed' tells why"
                    )

    def _note_restarts(self, tally: Tally) -> None:
        """The log cannot tell of its own server's end; whoever restarted it can."""
        broker = self._service.broker
        while broker is not None and self._restarts < broker.restarts:
            self._restarts += 1
            tally.news.append("the broker died and was started again; nothing that it had acknowledged is lost")

    async def _put_away(self) -> None:
        self._nursery.stop()
        # The workers take their time to end, and the history takes in what it lacks meanwhile.
        await asyncio.gather(asyncio.to_thread(self._nursery.wait, STOP_S_MAX), self._service.catch_up())
        await self._service.stop("the run is over")


def state_settings(state_dir: Path, base: Settings) -> Settings:
    """The coordinator of a run: everything in one folder, no HTTP, and the broker's own rhythm of syncing, since a
    run would end with the power anyway."""
    service = msgspec.structs.replace(
        base.service,
        db_path=str(state_dir / "history.duckdb"),
        state_dir=str(state_dir),
        broker_sync="default",
        nats_url=None,
    )
    return msgspec.structs.replace(base, service=service, policy=run_policy(base.policy), http=False)


def run_policy(base: Policy) -> Policy:
    """More is handed out ahead of its time, unless somebody chose otherwise: all workers are this run's own, and short
    tests would wait for the log. What is ahead still shrinks with what is left."""
    if base.tasks_ahead_max != Policy().tasks_ahead_max:
        return base
    return msgspec.structs.replace(base, tasks_ahead_max=TASKS_AHEAD_MAX)
