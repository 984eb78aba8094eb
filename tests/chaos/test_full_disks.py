"""29: a disk that is really full, under the broker, under the projector and under a worker; and room again."""

import errno
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from coordinator.broker import EmbeddedBroker
from events.envelope import Draft
from events.errors import Unacknowledged
from events.streams import MIB, Streams, ensure_streams
from events.system import FaultReported
from events.task import TaskAttemptFinished
from events.work import CommandWork
from events.worker import WorkerFailed, WorkerUncordoned
from tests.chaos.checks import check_everything
from tests.chaos.farm import CALM, Farm
from tests.waiting import until

SIZE_MB = 160
SMALL = Streams(events_bytes_max=64 * MIB, heartbeats_bytes_max=16 * MIB, snapshots_bytes_max=16 * MIB)


class Disk:
    """A small one of its own, with a file of somebody else's on it that takes what room there is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stranger = folder / "somebody else's"
        self._stranger.write_bytes(b"precious")

    def fill(self) -> None:
        """To the last byte."""
        with self._stranger.open("ab", buffering=0) as file:
            for size in (MIB, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError as error:
                    assert error.errno == errno.ENOSPC  # noqa: PT017 - that is what full means

    def make_room(self) -> None:
        assert self._stranger.read_bytes()[:8] == b"precious", "only files of our own are ever touched"
        with self._stranger.open("r+b") as file:
            file.truncate(8)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def note(number: int) -> WorkerUncordoned:
    """Something to record that changes nothing."""
    return WorkerUncordoned(worker_id="nobody", actor="test", reason=f"{number} " + "x" * 20_000)


async def stored(farm: Farm, drafts: Iterable[Draft]) -> None:
    for draft in drafts:
        await farm.log.append([draft], timeout_s=1.0)


class CrampedFarm(Farm):
    def __init__(self, folder: Path, disk: Disk) -> None:
        super().__init__(folder, CALM)
        self.disk = disk
        self.broker = EmbeddedBroker(disk.folder / "broker")


@pytest.mark.timeout(90)
async def test_29_the_disk_is_full_under_the_broker(tmp_path: Path, disk: Disk) -> None:
    """Nothing more is taken, whoever waits is told so, and nothing that was acknowledged is lost."""
    async with CrampedFarm(tmp_path, disk) as farm:
        with capture_logs() as logs:
            await ensure_streams(farm.bus, SMALL)
            await farm.start(workers=2)
            await farm.submit(farm.shop.commands(6, 0.01))
            await farm.verdicts()
            (waiting,) = await farm.submit([farm.shop.command("wait", "waits")])
            await farm.running(waiting)
            before = await farm.log.last_sequence()
            disk.fill()
            # What had been set aside may still take some.
            drafts = (farm.writer.draft(note(number)) for number in range(1000))
            with pytest.raises(Unacknowledged):
                await stored(farm, drafts)
            await until(lambda: [one for one in logs if one["event"] == "broker_disk_full"], 20, "the word of it")
            assert await farm.log.last_sequence() >= before, "what is there can be read"
            disk.make_room()
            farm.shop.say_go("waits")
            await farm.submit(farm.shop.commands(6, 0.01))
            verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        assert [one["event"] for one in logs].count("broker_disk_full") == 1
        assert farm.broker.restarts == 1
        await check_everything(farm)


@pytest.mark.timeout(60)
async def test_29_the_disk_is_full_under_the_projector(tmp_path: Path, disk: Disk) -> None:
    """Work goes on without history, and the history is whole when there is room."""
    async with Farm(tmp_path, CALM) as farm:
        db_path = disk.folder / "history.duckdb"
        (tmp_path / "c1.duckdb").symlink_to(db_path)  # where it is looked for in the end
        await farm.start_coordinator("c1", db_path=db_path)
        await farm.start_workers("w1", "w2")
        await farm.submit(farm.shop.commands(4, 0.01))
        await farm.verdicts()
        disk.fill()
        works = [CommandWork(argv=("/bin/echo", "x" * 20_000), cwd="/") for _ in range(60)]
        await farm.submit(works)
        await farm.verdicts()
        member = farm.members["c1"]
        await until(lambda: "No space left" in member.said() or "disk is full" in member.said(), 20, "the word of it")
        await farm.seen(FaultReported, component="projector", error="system_resource")
        disk.make_room()
        assert await farm.ask("SELECT count(*) FROM tasks WHERE verdict = 'passed'") == [[64]]
        await check_everything(farm)


@pytest.mark.timeout(60)
async def test_29_the_disk_is_full_under_a_worker(tmp_path: Path, disk: Disk) -> None:
    """What needs room fails for just that, with the system's own words; what needs none passes; the worker lives."""
    farm = Farm(tmp_path, CALM)
    farm.environments["w1"] = {"TMPDIR": str(disk.folder)}
    async with farm:
        await farm.start(workers=1)
        disk.fill()
        writing = CommandWork(argv=("/bin/cp", "/bin/ls", "written"), cwd=str(disk.folder))
        needy, frugal = await farm.submit([writing, CommandWork(argv=("/bin/true",), cwd=str(disk.folder))])
        verdicts = await farm.verdicts()
        assert (verdicts[needy].verdict, verdicts[frugal].verdict) == ("failed", "passed")
        finished = (await farm.seen(TaskAttemptFinished, task_id=needy)).event
        assert isinstance(finished, TaskAttemptFinished)
        assert "No space left on device" in finished.output
        disk.make_room()
        (again,) = await farm.submit([writing])
        assert (await farm.verdicts())[again].verdict == "passed"
        assert not await farm.events(WorkerFailed)
        await check_everything(farm)
