"""Kills the projector of a busy log at random moments: after each kill its file equals a rebuild up to its position.

`python -m tests.projections.kills --kills 200 --seed 1` takes about ten minutes; test_kills.py does a few.
"""

import argparse
import asyncio
import contextlib
import itertools
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import structlog

from events.bus import Bus
from events.connection import Connection
from events.envelope import Recorded
from events.jetstream import JetStreamLog
from events.streams import Streams, ensure_streams
from events.writer import append_until_stored
from projections.database import Database
from projections.verify import compare
from tests.conftest import BrokerProcess, _await_ports, nats_server_binary
from tests.projections.farm import Farm
from tests.waiting import until

RATE = 2000
"""Events a second that are appended meanwhile."""
BATCH = 100
KILLS_PER_LOG = 20
LIFE_S_MAX = 1.5
SMALL_BATCHES = "import projections.feed as feed; feed.EVENTS_MAX = 500; from projections.__main__ import app; app()"


class Kill(NamedTuple):
    number: int
    position: int
    """What the file had come to."""
    behind: int
    """What the log held besides."""
    difference: str | None


class Scene:
    """One log that grows, one file, and what the file ought to be."""

    def __init__(self, bus: Bus, streams: Streams, folder: Path, seed: int) -> None:
        self.path = folder / "history.duckdb"
        self._expected = folder / "expected.duckdb"
        self._bus = bus
        self._streams = streams
        self._log = JetStreamLog(bus, streams)
        self._random = random.Random(seed)
        self._drafts = Farm(seed).drafts()
        self._records: list[Recorded] = []

    @contextlib.asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        writing, reading = asyncio.create_task(self._write()), asyncio.create_task(self._read())
        try:
            yield
        finally:
            for task in (writing, reading):
                task.cancel()
            await asyncio.gather(writing, reading, return_exceptions=True)

    async def _write(self) -> None:
        while True:
            await append_until_stored(self._log, list(itertools.islice(self._drafts, BATCH)))
            await pause(BATCH / RATE)

    async def _read(self) -> None:
        async with await self._log.reader(len(self._records)) as reader:
            while True:
                self._records += await reader.next()

    async def kill(self, number: int) -> Kill:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", SMALL_BATCHES, "--db-path", self.path),
            *("--nats-url", self._bus.url, "--namespace", self._streams.namespace),
            stderr=subprocess.DEVNULL,
            env=os.environ | {"RESURGAM_LOG_LEVEL": "ERROR"},
        )
        size = self._size()
        # From before its first transaction to far into its work.
        while program.returncode is None and self._size() == size and self._random.random() > 0.002:
            await pause(0.005)
        await pause(self._random.uniform(0, LIFE_S_MAX))
        program.kill()
        await program.wait()
        position = await asyncio.to_thread(self._position)
        await until(lambda: len(self._records) >= position, what="the log's records")
        difference = await asyncio.to_thread(self._difference, position)
        return Kill(number, position, len(self._records) - position, difference)

    def _size(self) -> int:
        return sum(file.stat().st_size for file in self.path.parent.glob("history.duckdb*"))

    def _position(self) -> int:
        database = Database.open(self.path)
        database.close()
        return database.position.sequence

    def _difference(self, position: int) -> str | None:
        expected = Database.open(self._expected)
        while expected.position.sequence < position:
            done = expected.position.sequence
            expected.apply(self._records[done : min(position, done + self._random.randint(1, 3000))])
        expected.close()
        return compare(self.path, self._expected)


async def pause(seconds: float) -> None:
    """In a script: nobody tells it when the moment to kill has come."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


async def kills(bus: Bus, folder: Path, total: int, seed: int) -> AsyncIterator[Kill]:
    """Several logs one after another, for a comparison costs as much as the whole file."""
    for number in range(total):
        if number % KILLS_PER_LOG == 0:
            streams = Streams(namespace=f"kills{seed}-{number}")
            await ensure_streams(bus, streams)
            place = folder / str(number)
            place.mkdir()
            scene = Scene(bus, streams, place, seed + number)
        async with scene.busy():
            yield await scene.kill(number + 1)


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[str]:
    command = [nats_server_binary(), "-js", "-sd", str(folder / "store"), "-a", "127.0.0.1", "-p", "-1"]
    process = subprocess.Popen([*command, "--ports_file_dir", str(folder)], stderr=subprocess.DEVNULL)
    try:
        yield BrokerProcess(_await_ports(process, folder), process.pid, folder).url
    finally:
        process.terminate()
        process.wait()


async def main(total: int, seed: int) -> int:
    with tempfile.TemporaryDirectory(prefix="resurgam-kills-") as name, broker(Path(name)) as url:
        bus = await Connection.connect(url, name="kills")
        began, wrong, positions = time.monotonic(), 0, []
        async for kill in kills(bus, Path(name), total, seed):
            positions.append(kill.position)
            wrong += kill.difference is not None
            said = kill.difference or "equal"
            print(f"kill {kill.number}: at event {kill.position}, {kill.behind} behind: {said}", flush=True)
        await bus.close()
        print(f"{total} kills, {wrong} differences, {len(set(positions))} positions, {time.monotonic() - began:.0f} s")
        return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    sys.exit(asyncio.run(main(arguments.kills, arguments.seed)))
