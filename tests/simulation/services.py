"""Coordinators and projectors in virtual time: the production code of each in a simulated process, started again by
whoever looks after it, as a service manager does."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from coordinator.leadership import Leadership
from coordinator.snapshots import Custom
from coordinator.strategies.toolbox import Toolbox
from coordinator.vacancy import connection_name
from events.bus import Bus
from events.errors import LogError
from events.jetstream import JetStreamLog
from events.objects import ObjectStore
from events.policy import Policy
from events.streams import Streams, ensure_streams
from events.writer import Writer
from projections.errors import ProjectionError
from projections.projector import Projector
from tests.simulation.process import SimHost, SimProcess

Connect = Callable[[SimProcess, str], Awaitable[Bus]]

BOOT_S = (0.3, 0.9)
RESPAWN_S = (0.5, 2.0)
"""Until a service manager starts again what has ended by itself."""
UNREACHABLE = 3
SNAPSHOT_EVENTS = 60
"""Few, so that most of those that begin anew find one, and none of it is new any more."""


class Service:
    """One service on a host of its own. Operations on what is dead already do nothing."""

    def __init__(self, host: SimHost, connect: Connect) -> None:
        self.host = host
        self.connect = connect
        self.process: SimProcess | None = None
        self._main: asyncio.Task[int] | None = None
        self._wanted = False

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    @property
    def connection_name(self) -> str:
        return self.host.name

    def start(self) -> None:
        self._wanted = True
        if self.alive:
            return
        self.process = process = SimProcess(self.host.loop, self.host, self.host.name)
        process.on_death(lambda: self._died(process))
        self._main = process.start(self._run(process))

    def kill(self) -> None:
        self._wanted = False
        if self.process is not None:
            self.process.kill()

    def terminate(self) -> None:
        """SIGTERM: it ends in order."""
        self._wanted = False
        if self.process is not None and self.process.alive:
            self.process.call(self.ask_to_stop)

    def ask_to_stop(self) -> None:
        assert self._main is not None
        self._main.cancel()

    def pause(self) -> None:
        if self.process is not None:
            self.process.pause()

    def resume(self) -> None:
        if self.process is not None:
            self.process.resume()

    def died(self) -> None:
        """For what the kernel does when a process is gone."""

    async def serve(self, bus: Bus) -> None:
        raise NotImplementedError

    def _died(self, process: SimProcess) -> None:
        self.died()
        if self._wanted and process is self.process:
            loop = self.host.loop
            loop.call_later(self.host.uniform(*RESPAWN_S), self._respawn, context=loop.world)

    def _respawn(self) -> None:
        if self._wanted:
            self.start()

    async def _run(self, process: SimProcess) -> int:
        try:
            await asyncio.sleep(self.host.uniform(*BOOT_S))
            bus = await self.connect(process, self.connection_name)
            try:
                await self.serve(bus)
            finally:
                await bus.close()
        except LogError:
            return UNREACHABLE
        except asyncio.CancelledError:
            return 0  # SIGTERM
        return 0


async def at_once(make: Callable[[], bytes]) -> bytes:
    """In the place of a child process."""
    return make()


class SimCoordinator(Service):
    def __init__(
        self, host: SimHost, connect: Connect, streams: Streams, policy: Policy, toolbox: Toolbox | None = None
    ) -> None:
        super().__init__(host, connect)
        self._streams = streams
        self._policy = policy
        self._toolbox = toolbox
        self.leadership: Leadership | None = None

    @property
    def connection_name(self) -> str:
        return connection_name(self.host.name)

    @property
    def leading(self) -> bool:
        return self.alive and self.leadership is not None and self.leadership.status().leading

    async def serve(self, bus: Bus) -> None:
        await ensure_streams(bus, self._streams)
        log = JetStreamLog(bus, self._streams)
        snapshots = Custom(ObjectStore(bus, self._streams.snapshots), SNAPSHOT_EVENTS, at_once)
        self.leadership = Leadership(
            log, bus, self._streams, self.host.name, self._policy, self._toolbox, snapshots=snapshots
        )
        await self.leadership.run()

    def died(self) -> None:
        self.leadership = None


class MortalProjector(Projector):
    """Dies where it is told to: before DuckDB begins with something, or after it has ended with it."""

    def __init__(self, service: "SimProjector", log: JetStreamLog, bus: Bus) -> None:
        super().__init__(service.path, log, Writer(log, "projector"), bus)
        self._service = service

    async def _in_thread(self, function: Callable[..., Any], *arguments: object) -> Any:
        await self._boundary()
        result = await super()._in_thread(function, *arguments)
        await self._boundary()
        return result

    async def _boundary(self) -> None:
        self._service.boundary()
        await asyncio.sleep(0)  # a process that has just been killed comes no further


class SimProjector(Service):
    """Keeps a real DuckDB file. What the file holds when the process dies is what was committed, since DuckDB works in
    the turn of the loop that asks it to."""

    def __init__(self, host: SimHost, connect: Connect, streams: Streams, path: Path) -> None:
        super().__init__(host, connect)
        self._streams = streams
        self.path = path
        self.projector: Projector | None = None
        self._boundaries_left = -1
        """How many more times it may give DuckDB work, or hear of the end of it, before it dies; negative: for ever."""

    def die_after(self, boundaries: int) -> None:
        self._boundaries_left = boundaries
        self._wanted = False

    def live_on(self) -> None:
        self._boundaries_left = -1

    def boundary(self) -> None:
        """To be called by the projector wherever its death must do no harm."""
        if self._boundaries_left == 0:
            self._boundaries_left = -1
            self.kill()
        elif self._boundaries_left > 0:
            self._boundaries_left -= 1

    async def serve(self, bus: Bus) -> None:
        log = JetStreamLog(bus, self._streams)
        self.projector = projector = MortalProjector(self, log, bus)
        try:
            await projector.run()
        except ProjectionError:
            # Somebody else has the file, or it is not ours: neither can be here.
            self.host.loop.call_exception_handler({"message": "the projector refuses its own file"})
            raise

    def ask_to_stop(self) -> None:
        if self.projector is not None:
            self.projector.stop()
        else:
            super().ask_to_stop()

    def died(self) -> None:
        self._boundaries_left = -1
        projector, self.projector = self.projector, None
        if projector is not None:
            # Kernel and DuckDB would do it: locks are dropped, and a transaction that is open is gone.
            if projector._rebuild is not None:
                projector._rebuild.abandon()
            if projector._database is not None:
                projector._database.close()
