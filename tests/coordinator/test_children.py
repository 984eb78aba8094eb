"""A supervised child process: it comes back, it is heard, it ends when told to."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from coordinator import children
from coordinator.children import ChildService
from coordinator.endpoint import is_alive
from coordinator.faults import FileFault, UsageFault
from tests.waiting import until

ENDLESS = "import signal; print('up', flush=True); signal.pause()"
DEAF = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
)


@asynccontextmanager
async def running(program: str, output: Path) -> AsyncIterator[ChildService]:
    child = ChildService("child", ["-c", program], output=output)
    task = asyncio.create_task(child.run())
    try:
        await until(lambda: output.exists() and "up" in output.read_text(), 10, "the child's first word")
        yield child
    finally:
        await child.stop()
        await task


def pid_of(child: ChildService) -> int:
    assert child.pid is not None
    return child.pid


async def test_it_comes_back(tmp_path: Path) -> None:
    async with running(ENDLESS, tmp_path / "out") as child:
        first = pid_of(child)
        os.kill(first, signal.SIGKILL)
        await until(lambda: child.alive and child.pid != first, 10, "the next process")
        assert child.restarts == 1


async def test_it_ends_in_order(tmp_path: Path) -> None:
    async with running(ENDLESS, tmp_path / "out") as child:
        pid = pid_of(child)
    assert not is_alive(pid)
    assert not child.alive


async def test_it_ends_even_when_it_does_not_want_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "STOP_S_MAX", 0.1)
    async with running(DEAF, tmp_path / "out") as child:
        pid = pid_of(child)
    assert not is_alive(pid)


@pytest.mark.parametrize(("code", "fault"), [(4, FileFault), (2, UsageFault)])
async def test_a_refusal_is_final_and_quoted(tmp_path: Path, code: int, fault: type[Exception]) -> None:
    program = f"import sys; print('resurgam: no, because of x', file=sys.stderr); sys.exit({code})"
    child = ChildService("child", ["-c", program], output=tmp_path / "out")
    with pytest.raises(fault, match=r"^no, because of x$"):
        await child.run()
    assert child.restarts == 0


async def test_what_it_says_goes_to_our_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    child = ChildService("child", ["-c", "import sys; print('a line'); sys.exit(4)"])
    with pytest.raises(FileFault, match="a line"):
        await child.run()
    assert "a line" in capfd.readouterr().err


async def test_a_refusal_without_a_word(tmp_path: Path) -> None:
    child = ChildService("child", ["-c", "import sys; sys.exit(4)"], output=tmp_path / "out")
    with pytest.raises(FileFault, match="child ended with code 4 and said nothing"):
        await child.run()


async def test_cancelling_ends_the_child(tmp_path: Path) -> None:
    output = tmp_path / "out"
    child = ChildService("child", ["-c", ENDLESS], output=output)
    task = asyncio.create_task(child.run())
    await until(lambda: output.exists() and "up" in output.read_text(), 10, "the child's first word")
    pid = pid_of(child)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not is_alive(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="parents' deaths are told by the kernel on Linux only")
async def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from coordinator.children import ChildService\n"
        f"child = ChildService('child', ['-c', {'import os; print(os.getpid(), flush=True)' + chr(10) + ENDLESS!r}], "
        "output=Path(sys.argv[1]))\n"
        "asyncio.run(child.run())\n"
    )
    output = tmp_path / "out"
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(output), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    await until(lambda: output.exists() and "up" in output.read_text(), 10, "the child's first word")
    pid = int(output.read_text().split()[0])
    parent.kill()
    await parent.wait()
    await until(lambda: not is_alive(pid), 5, "the end of the orphan")
