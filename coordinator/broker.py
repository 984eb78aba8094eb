"""The embedded broker: nats-server as a child process that lives and dies with us, and is brought back when it falls.
It may be a node of a cluster (`coordinator.cluster`).

Its folder holds all that it has: `nats.conf` (written by us), `store/`, `lock`, its log and its pid. The port is chosen
once, outside the range of ports that the system hands out for outgoing connections (a client that reconnects to such a
port could be given that very port, and meet itself), and kept for every later start: workers find the broker again.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import structlog

from coordinator.binary import check_version, find_binary
from coordinator.broker_configuration import ACCOUNT, GLOBAL_ACCOUNT, HOST, Membership, Sync, server_configuration
from coordinator.faults import BrokerFault, UsageFault
from coordinator.monitoring import UP, WELL, cluster_leader_at, monitor_in, trouble_at
from coordinator.shortages import Shortage
from coordinator.storage import ROOM_TO_START, FolderLock, free_in, room_in
from events.credentials import NONE, credentials
from events.host import host
from events.streams import MIB

log = structlog.get_logger(__name__)

PORTS = (10_240, 32_767)
PORT_TRIES = 5
CONFIGURATION = "nats.conf"
READY_S_MAX = 60.0
"""A large store is read through after a crash before the server answers."""

POLL_S = 0.005
STOP_S_MAX = 5.0
HEALTH_EVERY_S = 1.0
UNHEALTHY_MAX = 5
"""So many checks in a row must fail: a slow disk is no reason to throw everybody out."""

RESTARTS_AT_ONCE = 3
RESTART_PAUSE_S = 0.1
RESTART_PAUSE_S_MAX = 10.0
RESTARTS_FORGOTTEN_AFTER_S = 60.0
TETHER = Path(__file__).with_name("tether.py")


class EmbeddedBroker:
    """One nats-server over one folder.

    Start it from a thread that lives as long as the process (the main thread): the child dies with that thread.
    `async with` starts it, keeps it up, and stops it; otherwise run `supervise` beside your own work.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sync: Sync = "always",
        port: int | None = None,
        membership: Membership | None = None,
        disk_share: float = 1.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """With a `membership` it is a node of a cluster. `disk_share` is its share of the room on the disk."""
        self.folder = folder.absolute()
        self.sync: Sync = sync
        self.membership = membership
        self.restarts = 0
        self.room = 0
        """Bytes that all streams together may take; known after `start`."""
        self._disk_share = disk_share
        self._port_wanted = port
        self._port: int | None = None
        self._environment = environment
        self._binary = Path()
        self._own = NONE
        self._lock = FolderLock(self.folder)
        self._changing = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._monitor: tuple[str, int] = (HOST, 0)
        self._stopping = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self.shortages: asyncio.Queue[Shortage] = asyncio.Queue()
        """Those that are over, for whoever writes them down."""

    @property
    def url(self) -> str:
        assert self._port is not None, "the broker has not been started"
        return f"nats://{HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        """Of the nats-server that runs now."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    async def __aenter__(self) -> Self:
        await self.start()
        self._keeper = asyncio.create_task(self.supervise(), name="broker supervisor")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def problem(self) -> str | None:
        """What is wrong with the server at present; None: it is well, and so are the streams that it keeps."""
        return "it is not running" if self.pid is None else await trouble_at(*self._monitor)

    async def cluster_leader(self) -> str:
        """The node that coordinates the cluster, as this one knows; empty: none, or nothing is known."""
        return await cluster_leader_at(*self._monitor)

    async def start(self) -> None:
        """Returns when clients can connect and JetStream answers. (A node does not wait for the others.)

        Raises:
            UsageFault: no usable nats-server, the folder is held by another process, the port is taken, no room.
            BrokerFault: the server does not come up; the message holds what it said last.
            CredentialsUnusable: those that it is to demand cannot be read.
        """
        self._stopping.clear()
        try:
            (self.folder / "ports").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageFault(
                f"the folder {self.folder} cannot be made ({error.strerror}); give another --state-dir"
            ) from error
        self._own = credentials(self._environment)
        self._binary = find_binary(self._environment)
        version = await check_version(self._binary)
        await asyncio.to_thread(self._lock.acquire)
        try:
            self.room = await asyncio.to_thread(room_in, self.folder, self._disk_share)
            async with self._changing:
                await self._start_on_some_port()
        except BaseException:
            self._lock.release()
            raise
        log.info("broker_started", url=self.url, version=version, folder=str(self.folder), sync=self.sync)

    async def _start_on_some_port(self) -> None:
        if self._port_wanted is not None:
            if not is_free(self._port_wanted):
                raise UsageFault(f"port {self._port_wanted} on {HOST} is taken; give the broker another one")
            return await self._launch(self._port_wanted)
        remembered = read_configuration(self.folder).get("port")
        candidates = [random_port() for _ in range(PORT_TRIES)]
        if isinstance(remembered, int):
            candidates.insert(0, remembered)
        refused: BrokerFault | None = None
        for port in filter(is_free, candidates):
            try:
                return await self._launch(port)
            except BrokerFault as fault:
                if "address already in use" not in str(fault):
                    raise
                refused = fault
        raise refused or BrokerFault(f"none of the ports {candidates} on {HOST} is free; try again")

    async def supervise(self) -> None:
        """Brings the server back, on its port, whenever it dies or stays unhealthy. Returns after `stop`."""
        loop = asyncio.get_running_loop()
        recent: list[float] = []
        while not self._stopping.is_set():
            reason = await self._trouble()
            if self._stopping.is_set():
                return
            recent = [at for at in recent if loop.time() - at < RESTARTS_FORGOTTEN_AFTER_S]
            pause = _restart_pause_s(len(recent))
            recent.append(loop.time())
            log.warning("broker_down", reason=reason, restart_in_s=pause)
            await asyncio.sleep(pause)
            await self._room_to_start()
            async with self._changing:
                if self._stopping.is_set():
                    return
                await self._end_process(signal.SIGKILL)
                assert self._port is not None
                try:
                    await self._launch(self._port)
                except (BrokerFault, OSError) as error:
                    log.error("broker_restart_failed", error=str(error))
                    continue
            self.restarts += 1
            log.info("broker_restarted", url=self.url, took_s=round(loop.time() - recent[-1], 3))

    async def stop(self) -> None:
        self._stopping.set()
        async with self._changing:
            await self._end_process(signal.SIGTERM)
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        self._lock.release()

    async def _trouble(self) -> str:
        """Returns, with a reason, when the running server must be replaced."""
        process = self._process
        if process is None or process.returncode is not None:
            return "it is not running"
        ended = asyncio.create_task(process.wait())
        unhealthy = 0
        try:
            while True:
                await asyncio.wait({ended}, timeout=HEALTH_EVERY_S)
                if ended.done():
                    return f"it ended with code {ended.result()}"
                # A node whose streams catch up, or that is without its majority, is not mended by a restart.
                problem = await trouble_at(*self._monitor, WELL if self.membership is None else UP)
                unhealthy = 0 if problem is None else unhealthy + 1
                if unhealthy >= UNHEALTHY_MAX:
                    # It answers still, and without room another one would not even do that.
                    await self._room_to_start(unless=ended)
                    return f"unhealthy {unhealthy} times in a row: {problem}"
        finally:
            ended.cancel()

    async def _room_to_start(self, unless: "asyncio.Task[int] | None" = None) -> None:
        """Waits until the disk has room for what a server writes before it serves; or until it has ended, or we do."""
        waiting, since = False, host().wall()
        while (free := await asyncio.to_thread(free_in, self.folder)) < ROOM_TO_START:
            if not waiting:
                waiting = True
                log.error(
                    "broker_disk_full",
                    folder=str(self.folder),
                    free_bytes=free,
                    consequence="nothing is recorded, and nothing that was recorded is lost",
                    remedy=f"make room for {ROOM_TO_START // MIB} MiB: it goes on by itself",
                )
            done = [asyncio.create_task(self._stopping.wait()), *([] if unless is None else [unless])]
            await asyncio.wait(done, timeout=HEALTH_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
            done[0].cancel()
            if self._stopping.is_set() or (unless is not None and unless.done()):
                return
        if waiting:
            log.info("broker_has_room", folder=str(self.folder), free_bytes=free)
            detail = f"the disk of {self.folder} was full, and nothing could be recorded"
            self.shortages.put_nowait(Shortage(since, detail))

    async def _launch(self, port: int) -> None:
        for stale in (self.folder / "ports").iterdir():
            stale.unlink(missing_ok=True)
        configuration = self._write_configuration(port)
        self._adopt_streams()
        command = [str(self._binary), "-c", str(configuration)]
        with (self.folder / "nats.err").open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", str(TETHER), str(int(signal.SIGKILL)), str(os.getpid())),
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                # Ctrl-C in the terminal is for us; the broker goes last.
                start_new_session=True,
                pass_fds=(self._lock.fd,),
            )
        try:
            self._monitor = await self._ready(self._process)
        except BaseException:
            await self._end_process(signal.SIGKILL)
            raise
        self._port = port

    async def _ready(self, process: asyncio.subprocess.Process) -> tuple[str, int]:
        """Waits for clients' port, then for JetStream; returns where its health can be asked."""
        ports = self.folder / "ports" / f"nats-server_{process.pid}.ports"
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_S_MAX
        problem: str | None = "it has not said its ports"
        while loop.time() < deadline:
            if process.returncode is not None:
                raise BrokerFault(f"nats-server ended at once with code {process.returncode}: {self._last_words()}")
            monitor = monitor_in(ports)
            if monitor is not None:
                problem = await trouble_at(*monitor, WELL if self.membership is None else UP)
                if problem is None:
                    return monitor
            await asyncio.sleep(POLL_S)
        raise BrokerFault(
            f"nats-server is not ready after {READY_S_MAX:g} s ({problem}): see {self.folder / 'nats.log'}"
        )

    async def _end_process(self, first: signal.Signals) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        for number in (first, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            try:
                async with asyncio.timeout(STOP_S_MAX):
                    await process.wait()
            except TimeoutError:
                continue
            return

    def _write_configuration(self, port: int) -> Path:
        previous = read_configuration(self.folder).get("jetstream", {}).get("max_file_store", 0)
        configuration = server_configuration(
            self.folder,
            port=port,
            # Never less than before: the server refuses to load streams whose limits have no room.
            store_bytes_max=max(self.room, previous if isinstance(previous, int) else 0),
            sync=self.sync,
            membership=self.membership,
            own=self._own,
        )
        path = self.folder / CONFIGURATION
        path.touch(0o600)
        path.chmod(0o600)  # it may hold a password
        path.write_text(json.dumps(configuration, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return path

    def _adopt_streams(self) -> None:
        """A store from before there were accounts becomes the account's: the server looks nowhere else for it."""
        stores = self.folder / "store" / "jetstream"
        if (stores / GLOBAL_ACCOUNT).is_dir() and not (stores / ACCOUNT).exists():
            (stores / GLOBAL_ACCOUNT).rename(stores / ACCOUNT)

    def _last_words(self) -> str:
        for name in ("nats.log", "nats.err"):
            lines = _tail(self.folder / name)
            telling = [line for line in lines if "[FTL]" in line or "[ERR]" in line or name == "nats.err"]
            if telling:
                return telling[-1].partition("] ")[2] or telling[-1]
        return f"it said nothing; see {self.folder}"


def _restart_pause_s(recent: int) -> float:
    """A few restarts a minute come at once; one that keeps falling gets growing pauses."""
    excess = recent - RESTARTS_AT_ONCE
    return 0.0 if excess < 0 else min(RESTART_PAUSE_S * 2 ** min(excess, 10), RESTART_PAUSE_S_MAX)


def _tail(path: Path, bytes_max: int = 4096) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, _size(file) - bytes_max))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def _size(file: IO[bytes]) -> int:
    return file.seek(0, os.SEEK_END)


def read_configuration(folder: Path) -> dict[str, Any]:
    """What the server of that folder was told last; empty: there has been none."""
    try:
        found = json.loads((folder / CONFIGURATION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def random_port() -> int:
    return random.randint(*PORTS)  # noqa: S311


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
