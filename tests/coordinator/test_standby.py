"""A service that was forked before its time: it is the first process, and only that."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from coordinator.endpoint import is_alive
from tests.waiting import until

SERVICE = """
import os, signal, sys

def load():
    print("loaded", flush=True)

def app(args, prog_name):
    if "--refuse" in args:
        print("resurgam: no, because of x")
        sys.exit(4)
    print("up", os.getpid(), prog_name, *args, flush=True)
    signal.pause()

if __name__ == "__main__":
    app(sys.argv[1:], "by command")
"""

PARENT = """
import asyncio, sys
from pathlib import Path
from coordinator.children import ChildService
from coordinator.faults import Fault
from coordinator.standby import open_standby

standby = open_standby("service")
print(standby.pid, flush=True)
if not sys.stdin.readline():
    sys.exit()
child = ChildService("service", ["-m", "service", *sys.argv[2:]], output=Path(sys.argv[1]), standby=standby)

async def serve():
    running = asyncio.create_task(child.run())
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    asked = asyncio.create_task(reader.readline())
    await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
    await child.stop()
    await running

try:
    asyncio.run(serve())
except Fault as fault:
    print(type(fault).__name__, fault, flush=True)
"""


class Parent:
    """A program with a service in waiting: a line on its stdin calls the service, the next one ends it."""

    def __init__(self, process: asyncio.subprocess.Process, pid: int, output: Path) -> None:
        self.process = process
        self.pid = pid
        """Of the one that waits."""
        self._output = output

    def tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    def lines(self) -> list[str]:
        return self._output.read_text().splitlines() if self._output.exists() else []

    def up(self) -> list[list[str]]:
        return [line.split()[1:] for line in self.lines() if line.startswith("up")]


@asynccontextmanager
async def parent(folder: Path, *arguments: str) -> AsyncIterator[Parent]:
    package = folder / "service"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(SERVICE)
    output = folder / "out"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(output), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parents[2])])},
    )
    assert process.stdout is not None
    try:
        yield Parent(process, int(await process.stdout.readline()), output)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_it_is_the_first_process_and_the_next_one_is_started_by_the_command(tmp_path: Path) -> None:
    async with parent(tmp_path, "--flag", "a b") as program:
        program.tell()
        await until(program.up, 10, "its first word")
        assert program.lines()[0] == "loaded"
        assert program.up() == [[str(program.pid), "python", "-m", "service", "--flag", "a", "b"]]
        os.kill(program.pid, signal.SIGKILL)
        await until(lambda: len(program.up()) == 2, 10, "the next process")
        assert program.up()[1][1:] == ["by", "command", "--flag", "a", "b"]


async def test_it_ends_in_order(tmp_path: Path) -> None:
    async with parent(tmp_path) as program:
        program.tell()
        await until(program.up, 10, "its first word")
        program.tell()
        assert await program.process.wait() == 0
        assert not is_alive(program.pid)


async def test_one_that_died_while_it_waited_is_replaced(tmp_path: Path) -> None:
    async with parent(tmp_path) as program:
        os.kill(program.pid, signal.SIGKILL)
        program.tell()
        await until(program.up, 10, "the next process")
        assert program.up()[0][1:] == ["by", "command"]


async def test_a_refusal_is_final_and_quoted(tmp_path: Path) -> None:
    async with parent(tmp_path, "--refuse") as program:
        program.tell()
        said, _ = await program.process.communicate()
        assert said.decode().endswith("FileFault no, because of x\n")


@pytest.mark.parametrize("how", [signal.SIGKILL, None])
async def test_it_leaves_with_a_parent_that_never_called_it(tmp_path: Path, how: signal.Signals | None) -> None:
    async with parent(tmp_path) as program:
        assert is_alive(program.pid)
        if how is None:
            await program.process.communicate(b"")
        else:
            program.process.send_signal(how)
        await until(lambda: not is_alive(program.pid), 5, "its end")
