"""The coordinator as a whole: broker, streams, leadership, projector, HTTP; started in this order, stopped in reverse.

`python -m coordinator` runs it for ever; `resurgam run` and `resurgam demo` run it inside their own process.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from coordinator.about import version
from coordinator.broker import EmbeddedBroker
from coordinator.children import ChildService
from coordinator.disconnections import say_if_blind
from coordinator.endpoint import Endpoint, is_alive, read_endpoint, write_endpoint
from coordinator.faults import UsageFault
from coordinator.fleet.document import FleetHealth
from coordinator.health import HealthReport
from coordinator.impact.measuring import Measuring
from coordinator.leadership import Leadership
from coordinator.orders.giving import Desk
from coordinator.provision import provide_streams
from coordinator.settings import Settings
from coordinator.shortages import tell_shortages
from coordinator.snapshots import Custom
from coordinator.standby import Standby
from coordinator.storage import make_folder, streams_fitting
from coordinator.strategies.local import LocalLauncher
from coordinator.strategies.toolbox import Toolbox
from coordinator.vacancy import connection_name
from events.base import Event
from events.bus import Bus
from events.connection import Connection
from events.envelope import Recorded
from events.errors import LogError
from events.identity import as_id
from events.jetstream import JetStreamLog
from events.objects import ObjectStore
from events.streams import Streams
from events.system import CoordinatorStarted, CoordinatorStopped
from events.writer import Writer
from replay.plugins import use_installed_detectors
from worker.lifeline import is_held, this_machine
from worker.witness import serve_witness

if TYPE_CHECKING:
    from coordinator.exposition.page import Observed
    from coordinator.http import HttpServer
    from projections.sql import Reply, Request

log = structlog.get_logger(__name__)

WRITE_S_MAX = 10.0
FAREWELL_S_MAX = 2.0
HTTP_STOP_S_MAX = 3.0
CATCH_UP_S_MAX = 5.0
CATCH_UP_PAUSE_S = 0.1
CANCELLATION_S_MAX = 3.0
CANCELLATIONS_MAX = 3


class CoordinatorService:
    """One coordinator over one `Settings`. `start`, then `wait` beside your own work, then `stop`, once each.

    `projector` is one that waits already, of the module `projections`.
    """

    def __init__(
        self, settings: Settings, *, projector_output: Path | None = None, projector: Standby | None = None
    ) -> None:
        self.settings = settings
        service = settings.service
        self.coordinator_id = service.coordinator_id or as_id(f"{socket.gethostname()[:48]}-{os.getpid()}")
        self.broker: EmbeddedBroker | None = None
        self.streams = Streams(namespace=service.namespace, replicas=service.replicas or 1)
        self._projector_output = projector_output
        self._projector_standby = projector
        self._bus: Bus | None = None
        self._log: JetStreamLog | None = None
        self._leadership: Leadership | None = None
        self._projector: ChildService | None = None
        self._http: HttpServer | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._background: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._failed = asyncio.Event()
        self._stopping = False
        self._announced = False

    @property
    def nats_url(self) -> str:
        assert self._bus is not None, "the service has not been started"
        return self._bus.url

    @property
    def http_address(self) -> str | None:
        return None if self._http is None else self._http.address

    @property
    def log(self) -> JetStreamLog:
        assert self._log is not None, "the service has not been started"
        return self._log

    @property
    def bus(self) -> Bus:
        assert self._bus is not None, "the service has not been started"
        return self._bus

    async def start(self) -> None:
        """Returns when everything has been started; this coordinator may lead by then, or stand by.

        Raises:
            Fault, LogError: something cannot be started; whatever had been is stopped again.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop("it could not be started")
            raise

    async def _start(self) -> None:
        use_installed_detectors()
        service = self.settings.service
        state_dir = self.settings.state_dir
        if self.settings.http:
            # A web server takes as long to load as all the rest, and a run has none.
            from coordinator.exposition.http import metrics_route
            from coordinator.http import HttpServer, listen
            from coordinator.http_sql import sql_route
            from coordinator.orders.http import routes

            # First of all: a taken port is to be known before a broker has been started.
            others = [*routes(self.desk), sql_route(self.ask), metrics_route(self.observe)]
            self._http = HttpServer(self.health, self.fleet, listen(service.host, service.port), others)
        make_folder(state_dir)
        url = service.nats_url
        if url is None:
            if self.streams.replicas > 1:
                raise UsageFault(
                    f"--replicas {self.streams.replicas} needs a cluster: give its addresses with --nats-url "
                    f"('resurgam cluster' starts one here)"
                )
            self.broker = EmbeddedBroker(state_dir / "broker", sync=service.broker_sync)
            await self.broker.start()
            self._run("broker", self.broker.supervise())
            url = self.broker.url
            self.streams = streams_fitting(service.namespace, self.broker.room)
        self._bus = await Connection.connect(url, name=connection_name(self.coordinator_id))
        await self._ensure_streams()
        self._log = JetStreamLog(self._bus, self.streams)
        await self._say(
            CoordinatorStarted(
                coordinator_id=self.coordinator_id,
                host=socket.gethostname()[:255],
                pid=os.getpid(),
                version=version(),
            ),
            WRITE_S_MAX,
        )
        self._announced = True
        await self._look_after_workers(url)
        toolbox = Toolbox(launchers={"local": LocalLauncher(state_dir.absolute() / "workers")})
        self._leadership = Leadership(
            self._log,
            self._bus,
            self.streams,
            self.coordinator_id,
            self.settings.policy,
            toolbox,
            snapshots=Custom(ObjectStore(self._bus, self.streams.snapshots), service.snapshot_events),
            measuring=Measuring(self._pids),
        )
        self._run("leadership", self._leadership.run())
        if self.broker is not None:
            source = f"coordinator/{self.coordinator_id}"
            self._run("shortages", tell_shortages(self.broker.shortages, self._say, source))
        self._projector = ChildService(
            "projector",
            self._projector_command(url),
            output=self._projector_output,
            standby=self._projector_standby,
        )
        self._run("projector", self._projector.run())
        spawned = asyncio.create_task(self._projector.spawned.wait())
        await asyncio.wait({spawned, self._tasks["projector"]}, return_when=asyncio.FIRST_COMPLETED)
        spawned.cancel()
        if self._http is not None:
            self._run("http", self._http.run_until_stopped())
        self._write_endpoint(alive=True)

    def _pids(self) -> list[int]:
        """What belongs to this coordinator, as far as it runs."""
        others = (self._projector and self._projector.pid, self.broker and self.broker.pid)
        return [os.getpid(), *(pid for pid in others if pid)]

    async def wait(self) -> None:
        """Returns never; raises what has ended a part of the service that ought to go on."""
        await self._failed.wait()
        assert self._failure is not None
        raise self._failure

    def health(self) -> HealthReport:
        status = self._leadership.status() if self._leadership is not None else None
        return HealthReport(
            coordinator_id=self.coordinator_id,
            broker_reachable=self._bus is not None and self._bus.connected,
            role="leader" if status is not None and status.leading else "standby",
            term=0 if status is None else status.term,
            sequence=0 if status is None else status.sequence,
            lag=0 if status is None else status.lag,
            projector_alive=self._projector is not None and self._projector.alive,
        )

    async def fleet(self, limit: int | None) -> FleetHealth | None:
        """How the farm is, with `limit` of its workers, the worst first; None: the log is not being read yet."""
        return None if self._leadership is None else await self._leadership.fleet(limit)

    async def observe(self) -> "Observed":
        """What `/metrics` tells."""
        from coordinator.exposition.lag import projection_lag
        from coordinator.exposition.page import Observed

        health, lag = self.health(), None
        view = None if self._leadership is None else self._leadership.view()
        if view is not None and health.broker_reachable:
            lag = await projection_lag(self.bus, self.streams, health.sequence, view.now)
        return Observed(health, view, lag, whole=self._leadership is not None and self._leadership.whole)

    def desk(self) -> Desk | None:
        """Where orders can be given; None: the log is not folded to its end yet."""
        leadership = self._leadership
        state = None if leadership is None else leadership.folded()
        if leadership is None or state is None:
            return None
        return Desk(self.log, f"coordinator/{self.coordinator_id}", lambda: leadership.folded() or state)

    def listen(self, listener: Callable[[Sequence[Recorded]], None]) -> None:
        """Hands on every event that this coordinator folds from now on; to be called once it leads."""
        assert self._leadership is not None, "the service has not been started"
        self._leadership.listen(listener)

    def open_runs(self) -> list[str]:
        """The runs that have tasks without a verdict, as far as the log has been folded."""
        return [] if self._leadership is None else self._leadership.open_runs()

    def workers_present(self) -> list[tuple[str, int]]:
        """Ids and incarnations of the workers that have neither stopped nor been given up, as far as is folded."""
        return [] if self._leadership is None else self._leadership.workers_present()

    async def stop(self, reason: str = "asked to stop") -> None:
        """Everything in order: no more questions, no more decisions, a farewell, the history up to date, the broker."""
        if self._stopping:
            return
        self._stopping = True
        if self._http is not None:
            self._http.stop()
            await self._ended("http", HTTP_STOP_S_MAX)
            self._http.close()
        if self._background is not None:
            self._background.cancel()
        await self._cancel("leadership")  # it gives the lease back on its way out
        if self._announced:
            try:
                await self._say(CoordinatorStopped(coordinator_id=self.coordinator_id, reason=reason), FAREWELL_S_MAX)
            except LogError as error:
                log.warning("farewell_not_recorded", error=str(error))
        if self._projector is not None:
            await self.catch_up()
            await self._projector.stop()
            await self._ended("projector", CATCH_UP_S_MAX)
        if self._bus is not None:
            self._write_endpoint(alive=False)
            await self._bus.close()
        if self.broker is not None:
            await self.broker.stop()
        for name in list(self._tasks):
            await self._cancel(name)

    def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks[name] = task
        task.add_done_callback(self._part_ended)

    def _part_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if self._stopping or self._failed.is_set():
            if error is not None:
                log.warning("part_failed_while_stopping", part=task.get_name(), error=str(error))
            return
        self._failure = error or RuntimeError(f"the {task.get_name()} ended by itself")
        self._failed.set()

    async def _ended(self, name: str, within_s: float) -> bool:
        task = self._tasks.get(name)
        if task is None:
            return False
        await asyncio.wait({task}, timeout=within_s)
        return task.done()

    async def _cancel(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is None:
            return
        for _ in range(CANCELLATIONS_MAX):
            # nats-py swallows a cancellation that meets it while it flushes: once may not be enough.
            task.cancel()
            await asyncio.wait({task}, timeout=CANCELLATION_S_MAX)
            if task.done():
                return
        log.error("part_does_not_end", part=name)

    async def _say(self, event: Event, patience_s: float) -> None:
        await Writer(self.log, f"coordinator/{self.coordinator_id}").write(event, patience_s=patience_s)

    async def ask(self, request: "Request") -> "Reply":
        """The history's answer, from the projector.

        Raises:
            QueryError: there is none.
        """
        from projections.client import ask

        return await ask(self.bus, self.streams, request)

    async def catch_up(self) -> None:
        """Lets the history take in all that the log holds now: whoever opens the file then finds the whole story."""
        from projections.client import wait_until
        from projections.errors import QueryError

        projector = self._projector
        if projector is None:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CATCH_UP_S_MAX
        while projector.alive:
            try:
                last = await self.log.last_sequence()
                await wait_until(self.bus, self.streams, last, timeout_s=CATCH_UP_S_MAX)
            except (QueryError, LogError) as error:
                # A projector that has only just been started does not answer yet.
                if loop.time() >= deadline:
                    log.warning("history_not_caught_up", error=str(error))
                    return
            else:
                return
            await asyncio.sleep(CATCH_UP_PAUSE_S)

    async def _look_after_workers(self, url: str) -> None:
        """Testifies about the workers of this machine, and finds out whether the broker tells when one is cut off."""
        machine = this_machine()
        if machine is not None:
            await serve_witness(self.bus, self.streams, machine, is_held)
        if self.broker is None:
            # Nothing waits for it: this coordinator does not need it to do its work.
            self._background = asyncio.create_task(
                say_if_blind(self.bus, lambda name: Connection.connect(url, name=name)), name="canary"
            )

    async def _ensure_streams(self) -> None:
        await provide_streams(self.bus, self.streams, replicas=self.settings.service.replicas)

    def _projector_command(self, url: str) -> list[str]:
        service = self.settings.service
        return [
            *("-m", "projections", "--db-path", str(Path(service.db_path).absolute())),
            *("--nats-url", url, "--namespace", service.namespace),
        ]

    def _write_endpoint(self, *, alive: bool) -> None:
        """Only for our own: a standby in the same folder leaves the file to the coordinator that was first."""
        service, state_dir = self.settings.service, self.settings.state_dir
        present = read_endpoint(state_dir)
        ours = present is not None and present.pid == os.getpid()
        foreign = present is not None and not ours and is_alive(present.pid)
        if foreign or (not alive and not ours):
            return
        write_endpoint(
            state_dir,
            Endpoint(
                nats_url=self.bus.url,
                namespace=service.namespace,
                db_path=str(Path(service.db_path).absolute()),
                pid=os.getpid() if alive else 0,
                http=self.http_address if alive else None,
            ),
        )
