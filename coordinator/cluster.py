"""A JetStream cluster on one machine: several embedded brokers that know each other, for trying out a real one.

Each node has a folder of its own beneath the cluster's, and keeps its name and its ports for as long as that exists.
On one machine a cluster guards against a server that dies, and not against the machine.
"""

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import structlog

from coordinator.broker import EmbeddedBroker, is_free, random_port, read_configuration
from coordinator.broker_configuration import HOST, Membership, Sync
from coordinator.faults import BrokerFault, UsageFault
from coordinator.storage import make_folder, room_in

log = structlog.get_logger(__name__)

SIZES = (3, 5)
"""An even number survives no more than the odd one below it; more than five replicas there are not."""
CLUSTER = "resurgam"
READY_S_MAX = 60.0
POLL_S = 0.05


class NodeState(NamedTuple):
    name: str
    url: str
    pid: int | None
    problem: str | None
    """None: it is well, and so is its copy of every stream."""
    leads: bool
    """It coordinates the cluster; the leader of a stream may be another node."""


class LocalCluster:
    """`start`, then `supervise` beside your own work, then `stop`; `async with` does all three.

    Start it from a thread that lives as long as the process, as `EmbeddedBroker`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        size: int = 3,
        sync: Sync = "always",
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """With a `port` the nodes take clients there and on the ports that follow it."""
        self.folder = folder.absolute()
        self._names = [f"n{number}" for number in range(1, size + 1)]
        self._sync: Sync = sync
        self._port = port
        self._environment = environment
        self._supervision: asyncio.Task[None] | None = None
        self.nodes: dict[str, EmbeddedBroker] = {}

    @property
    def url(self) -> str:
        """The addresses of all nodes, as `--nats-url` takes them."""
        return ",".join(node.url for node in self.nodes.values())

    async def __aenter__(self) -> Self:
        await self.start()
        self._supervision = asyncio.create_task(self.supervise(), name="cluster supervisor")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Returns when the nodes have a leader and all of them are well.

        Raises:
            UsageFault: the folder holds a cluster of another size or is in use, a port is taken, no room, no server.
            BrokerFault: a node does not come up, or they do not find together.
        """
        self._check_size()
        make_folder(self.folder)
        await asyncio.to_thread(room_in, self.folder)  # too little for one of them is too little for all
        self.nodes = self._made()
        try:
            await self._start_nodes()
            await self._until_well()
        except BaseException:
            await self.stop()
            raise

    async def _start_nodes(self) -> None:
        outcomes = await asyncio.gather(*(node.start() for node in self.nodes.values()), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def _check_size(self) -> None:
        there = sum((self.folder / f"n{number}").is_dir() for number in range(1, max(SIZES) + 1))
        if there and there != len(self._names):
            # Whoever is missing counts against the majority for ever; whoever is new has to be told of by hand.
            raise UsageFault(
                f"{self.folder} holds a cluster of {there} nodes, not of {len(self._names)}: give --nodes {there}, or "
                f"another --state-dir"
            )

    def _made(self) -> dict[str, EmbeddedBroker]:
        ports: dict[str, int] = {}
        for name in self._names:
            ports[name] = self._route_port(name, taken=ports.values())
        routes = tuple(f"nats://{HOST}:{port}" for port in ports.values())
        return {
            name: EmbeddedBroker(
                self.folder / name,
                sync=self._sync,
                port=None if self._port is None else self._port + number,
                membership=Membership(CLUSTER, name, ports[name], routes),
                disk_share=1 / len(self._names),
                environment=self._environment,
            )
            for number, name in enumerate(self._names)
        }

    def _route_port(self, name: str, *, taken: Collection[int]) -> int:
        remembered = read_configuration(self.folder / name).get("cluster", {}).get("port")
        if isinstance(remembered, int) and is_free(remembered):
            return remembered
        return next(port for port in iter(random_port, None) if port not in taken and is_free(port))

    async def _until_well(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_S_MAX
        while True:
            ill = [node for node in await self.states() if node.problem is not None]
            if not ill:
                return
            if loop.time() >= deadline:
                raise BrokerFault(
                    f"node {ill[0].name} of the cluster is not ready after {READY_S_MAX:g} s ({ill[0].problem}): see "
                    f"{self.folder / ill[0].name / 'nats.log'}"
                )
            await asyncio.sleep(POLL_S)

    async def supervise(self) -> None:
        """Brings back each node that dies, on its ports. Returns after `stop`."""
        await asyncio.gather(*(node.supervise() for node in self.nodes.values()))

    async def states(self) -> list[NodeState]:
        """How each node is now; a node that stands still costs as much time as it may take to answer."""
        return list(await asyncio.gather(*(self._state(name, node) for name, node in self.nodes.items())))

    async def _state(self, name: str, node: EmbeddedBroker) -> NodeState:
        problem = await node.problem()
        leader = "" if node.pid is None else await node.cluster_leader()
        return NodeState(name, node.url, node.pid, problem, leader == name)

    async def stop(self) -> None:
        """Ends all nodes at once: for one after the other each would look for a new leader first."""
        await asyncio.gather(*(node.stop() for node in self.nodes.values()))
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.gather(self._supervision, return_exceptions=True)
            self._supervision = None
