"""`python -m projections` as an operator meets it: killed, stopped, told nonsense."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import duckdb
import pytest

from events.bus import Bus
from events.jetstream import JetStreamLog
from events.streams import Streams
from events.writer import append_until_stored
from projections.client import query, query_file
from projections.database import Database, Made
from projections.errors import QueryError
from projections.snapshots import Snapshots
from tests.conftest import BrokerProcess
from tests.projections.farm import Farm
from tests.projections.histories import dump
from tests.projections.test_projector import following, projector_of
from tests.waiting import until

BACKLOG = 15_000

SMALL_BATCHES = "import projections.feed as feed; feed.EVENTS_MAX = 500; from projections.__main__ import app; app()"
"""The program with more moments between two transactions."""


class Program:
    """The program with a broker, a namespace and a file."""

    def __init__(self, url: str, namespace: str, path: Path) -> None:
        self.path = path
        self._options = ["--db-path", str(path), "--nats-url", url, "--namespace", namespace]

    async def start(self, *arguments: str, code: str | None = None) -> asyncio.subprocess.Process:
        program = ["-m", "projections"] if code is None else ["-c", code]
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *program,
            *self._options,
            *arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"RESURGAM_LOG_LEVEL": "WARNING"},
        )

    async def run(self, *arguments: str) -> tuple[int | None, str, str]:
        process = await self.start(*arguments)
        async with asyncio.timeout(60):
            out, complaint = await process.communicate()
        return process.returncode, out.decode().strip(), complaint.decode().strip()

    @asynccontextmanager
    async def running(self, code: str | None = None) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await self.start(code=code)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    def size(self) -> int:
        return sum(
            file.stat().st_size for file in (self.path, self.path.with_name(self.path.name + ".wal")) if file.exists()
        )


@pytest.fixture
def program(broker: BrokerProcess, streams: Streams, tmp_path: Path) -> Program:
    return Program(broker.url, streams.namespace, tmp_path / "history.duckdb")


async def fill(log: JetStreamLog, events: int) -> int:
    drafts = Farm(11).drafts()
    for done in range(0, events, 1000):
        await append_until_stored(log, list(itertools.islice(drafts, min(1000, events - done))), patience_s=20)
    return await log.last_sequence()


def grown(program: Program, process: asyncio.subprocess.Process, enough: int) -> bool:
    return program.size() > enough or process.returncode is not None


def position(path: Path) -> int:
    database = Database.open(path)
    database.close()
    return database.position.sequence


async def test_killed_again_and_again_it_ends_up_equal_to_the_log(program: Program, log: JetStreamLog) -> None:
    last = await fill(log, BACKLOG)
    positions = [0]
    for kill in range(6):
        # Each time at another point of the work: when the file and its log have grown by so much.
        enough = program.size() + 200_000 + 300_000 * (kill % 3)
        async with program.running(SMALL_BATCHES) as process:
            await until(partial(grown, program, process, enough), 20)
            if process.returncode is not None:
                break
            process.kill()
            await process.wait()
        positions.append(position(program.path))
        if positions[-1] == last:
            break
    assert positions == sorted(positions)
    assert len({sequence for sequence in positions if 0 < sequence < last}) >= 2, positions
    assert await program.run("--once") == (0, "", "")
    assert position(program.path) == last
    assert await program.run("verify") == (0, f"{program.path} equals the log up to event {last}", "")
    survived = dump(program.path)
    program.path.unlink()
    assert await program.run("--once") == (0, "", "")
    assert dump(program.path) == survived


async def test_it_serves_until_it_is_told_to_stop(
    program: Program, log: JetStreamLog, bus: Bus, streams: Streams
) -> None:
    last = await fill(log, 500)
    async with program.running() as process:

        async def answered() -> list[list[object]]:
            try:
                return (await query(bus, streams, "SELECT count(*) FROM events", at_least=last)).rows
            except QueryError:
                return []

        found: list[list[object]] = await until(answered, 20)
        assert found == [[last]]
        code, _, complaint = await program.run("--once")
        assert code == 4
        assert f"process {process.pid}" in complaint
        assert len(complaint.splitlines()) == 1
        process.send_signal(signal.SIGTERM)
        _, complaint_bytes = await process.communicate()
        assert (process.returncode, complaint_bytes) == (0, b"")
    assert position(program.path) == last
    assert not program.path.with_name(program.path.name + ".wal").exists()


async def test_until_a_sequence(program: Program, log: JetStreamLog) -> None:
    await fill(log, 500)
    assert await program.run("--until", "77") == (0, "", "")
    assert position(program.path) == 77
    code, out, _ = await program.run("verify")
    assert (code, out) == (0, f"{program.path} equals the log up to event 77")


async def test_verify_says_what_differs(program: Program, log: JetStreamLog) -> None:
    await fill(log, 500)
    await program.run("--once")
    with duckdb.connect(str(program.path)) as connection:
        connection.execute("UPDATE workers SET host = 'elsewhere' WHERE worker_id = 'worker-3'")
    code, out, _ = await program.run("verify")
    assert code == 1
    assert out.startswith(f"{program.path} differs from the log: workers, worker_id worker-3:")
    assert "elsewhere" in out


async def test_a_file_that_is_not_ours(program: Program) -> None:
    program.path.write_text("a letter")
    code, out, complaint = await program.run("--once")
    assert (code, out) == (4, "")
    assert complaint.startswith(f"{program.path}: is not a DuckDB file")
    assert program.path.read_text() == "a letter"


async def test_nobody_at_the_broker(tmp_path: Path) -> None:
    program = Program("nats://127.0.0.1:1", "resurgam", tmp_path / "history.duckdb")
    code, _, complaint = await program.run("--once")
    assert code == 3
    assert complaint.startswith("no NATS server answers at nats://127.0.0.1:1")
    assert len(complaint.splitlines()) == 1


async def test_a_log_that_is_not_there(broker: BrokerProcess, tmp_path: Path) -> None:
    program = Program(broker.url, "nobody", tmp_path / "history.duckdb")
    code, _, complaint = await program.run("--once")
    assert code == 3
    assert "stream not found" in complaint


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--until", "0"], ["--until", "x"], ["--namespace", "a.b"]])
async def test_wrong_options(program: Program, arguments: list[str]) -> None:
    code, _, complaint = await program.run(*arguments)
    assert code == 2
    assert arguments[0] in complaint


async def test_a_history_is_made_anew_while_the_old_one_answers(
    program: Program, log: JetStreamLog, bus: Bus, streams: Streams
) -> None:
    last = await fill(log, 3000)
    count = "SELECT count(*) FROM events"
    async with program.running() as process:

        async def ready() -> bool:
            return await answers(bus, streams, last)

        _: bool = await until(ready, 20)
        inode = program.path.stat().st_ino
        rebuilding = asyncio.create_task(program.run("rebuild"))
        answered = 0
        while not rebuilding.done():
            assert (await query(bus, streams, count)).rows >= [[last]]
            answered += 1
        assert await rebuilding == (0, f"{program.path} was made anew, up to event {last}", "")
        assert answered > 1
        assert program.path.stat().st_ino != inode
        found = await query(bus, streams, "SELECT kind, success FROM incidents", at_least=last + 1)
        assert found.rows[-1:] == [["projection_rebuilt", True]]
        code, said, complaint = await program.run("verify")
        assert (code, complaint) == (0, "")
        assert said == f"{program.path} equals the log up to event {last + 1}"
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert await program.run("rebuild") == (0, f"{program.path} was made anew, up to event {last + 1}", "")
    assert await program.run("--once") == (0, "", "")
    assert await program.run("verify") == (0, f"{program.path} equals the log up to event {last + 2}", "")
    assert not [file.name for file in program.path.parent.iterdir() if "anew" in file.name or "verify" in file.name]


async def answers(bus: Bus, streams: Streams, sequence: int) -> bool:
    try:
        return bool((await query(bus, streams, "SELECT 1", at_least=sequence)).rows)
    except QueryError:
        return False


async def test_what_cannot_be_made_anew(program: Program, log: JetStreamLog) -> None:
    await fill(log, 200)
    assert await program.run("rebuild") == (4, "", f"{program.path}: there is no such file; a projector makes it")
    await program.run("--once")
    with duckdb.connect(str(program.path)):
        code, _, complaint = await program.run("rebuild")
        assert (code, complaint) == (
            4,
            f"{program.path}: somebody has it open, and no projector of this system answers for it",
        )
        code, _, complaint = await program.run("verify")
        assert code == 4
        assert "somebody has it open, and no copy of it can be had: no projector answers" in complaint
    assert (await program.run("verify"))[0] == 0


async def test_old_tables_answer_while_another_schema_is_made(
    tmp_path: Path, log: JetStreamLog, bus: Bus, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an upgrade of the program."""
    path = tmp_path / "history.duckdb"
    last = await fill(log, 300)
    await projector_of(path, log).run(once=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE position SET schema_version = 99")
    go_on = threading.Event()
    store = Database.store

    def held_up(database: Database, made: Made) -> None:
        assert go_on.wait(20)
        store(database, made)

    monkeypatch.setattr(Database, "store", held_up)
    async with following(projector_of(path, log)) as projector:
        snapshots = Snapshots(projector)
        await until(lambda: projector.rebuilding is not None and projector.copied is not None)
        asked = asyncio.create_task(snapshots.fresh(last, 5))
        with pytest.raises(QueryError, match="made anew"):
            await snapshots.fresh(last + 1, 0.01)
        go_on.set()
        assert query_file(await asked, "SELECT count(*) FROM events").rows == [[last]]
        assert await projector.wait_for(last + 1, 20)  # that it was made anew
        assert query_file(await snapshots.fresh(last + 1, 5), "SELECT count(*) FROM events").rows == [[last + 1]]
