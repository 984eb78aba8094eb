"""What a heartbeat tells of the machine, and of a control group within it."""

import asyncio
import os
import sys
import threading
from pathlib import Path

import pytest

from tests.waiting import until
from worker.gauges import PAGE_BYTES, MachineGauges, memory_group, resident_bytes_below
from worker.ports import Gauges

MIB = 1 << 20
V1 = "5:cpu,cpuacct:/\n4:memory:/pods/one\n0::/\n"
V2 = "0::/pods/one\n"


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_a_limit_of_version_1(tmp_path: Path) -> None:
    folder = tmp_path / "memory" / "pods" / "one"
    statistics = "cache 5\ninactive_file 1\ntotal_inactive_file 30"
    write(folder, memory__limit_in_bytes=100, memory__usage_in_bytes=80, memory__stat=statistics)
    group = memory_group(V1, tmp_path)
    assert group is not None
    assert group.available_bytes() == 50


def test_a_limit_of_version_2(tmp_path: Path) -> None:
    folder = tmp_path / "pods" / "one"
    write(folder, memory__max=100, memory__current=80, memory__stat="anon 7\ninactive_file 15")
    group = memory_group(V2, tmp_path)
    assert group is not None
    assert group.available_bytes() == 35


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    write(tmp_path, memory__max=100, memory__current=99, memory__stat="")
    group = memory_group(V2, tmp_path)
    assert group is not None
    assert group.available_bytes() == 1


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    write(tmp_path / "pods" / "one", memory__max="max", memory__current=99, memory__stat="")
    group = memory_group(V2, tmp_path)
    assert group is not None
    assert group.available_bytes() is None
    assert memory_group("1:cpu:/\n", tmp_path) is None


async def test_this_machine(tmp_path: Path) -> None:
    sample = MachineGauges()
    assert sample(str(tmp_path)).disk_free_bytes is None

    def told() -> Gauges | None:
        found = sample(str(tmp_path))
        return found if found.disk_free_bytes and found.tasks_memory_bytes is not None else None

    found = await until(told, what="the disk's answer, and that of the processes")
    assert found is not None
    assert MIB < found.memory_bytes < 4096 * MIB
    assert found.memory_available_bytes is not None
    assert found.memory_available_bytes > MIB


def process(root: Path, pid: int, pages: int, **children: str) -> None:
    write(root / str(pid), statm=f"9 {pages} 3")
    for thread, pids in children.items():
        write(root / str(pid) / "task" / thread.removeprefix("t"), children=pids)


def test_what_the_tasks_take_is_that_of_all_who_descend_from_the_agent(tmp_path: Path) -> None:
    process(tmp_path, 1, 1000, t1="2", t11="3 4")
    process(tmp_path, 2, 10, t2="5")
    process(tmp_path, 3, 20, t3="")
    process(tmp_path, 5, 40, t5="")
    process(tmp_path, 6, 5000, t6="7")
    assert resident_bytes_below(1, tmp_path) == 70 * PAGE_BYTES, "4 has ended since, and 6 is a stranger"
    assert resident_bytes_below(3, tmp_path) == 0


def test_a_kernel_that_does_not_tell_who_descends_from_whom(tmp_path: Path) -> None:
    write(tmp_path / "1" / "task" / "1", stat="1 (agent) S")
    assert resident_bytes_below(1, tmp_path) is None
    assert resident_bytes_below(2, tmp_path) is None


async def test_a_real_child_and_its_child() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'held = bytearray(40 << 20); input()'])"
    before = resident_bytes_below(os.getpid())
    assert before is not None
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE)

    def taken() -> bool:
        now = resident_bytes_below(os.getpid())
        return now is not None and now - before > 40 * MIB

    try:
        await until(taken, what="the grandchild's memory")
    finally:
        await child.communicate(b"\n")


async def test_a_disk_that_does_not_answer_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mended = threading.Event()
    asked: list[str] = []

    def ask(folder: str) -> os.statvfs_result:
        asked.append(folder)
        assert mended.wait(30)
        raise OSError("stale file handle")

    monkeypatch.setattr("worker.gauges.os.statvfs", ask)
    sample = MachineGauges()
    assert [sample(str(tmp_path)).disk_free_bytes for _ in range(5)] == [None] * 5
    await until(lambda: asked, what="the first question")
    assert [sample(str(tmp_path)).disk_free_bytes for _ in range(5)] == [None] * 5
    assert len(asked) == 1
    mended.set()

    def asks_again() -> bool:
        sample(str(tmp_path))
        return len(asked) > 1

    await until(asks_again, what="the next question")
