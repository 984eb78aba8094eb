"""Slots whose events can be waited for, suites written for one test, and a look at what they leave behind."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from events.bus import Bus
from events.streams import Streams
from tests.waiting import until
from tests.worker.farm import Farm
from tests.worker.processes import MARK, marked, new_mark
from worker.slots import Job, Slot, SlotEvent, SlotFinished, SlotStarted, Suite

KEEP_ALIVE_EVERY_S = 0.05


class Lane:
    """A slot with an agent that keeps it alive and notes what it says."""

    def __init__(self, env: dict[str, str]) -> None:
        self.mark = new_mark()
        self.env = {**env, MARK: self.mark}
        self.moments: list[list[SlotEvent]] = []
        self.keeping_alive = True
        self.slots: list[Slot] = []

    def slot(self, **options: object) -> Slot:
        settings: dict[str, object] = {"fence_after_s": 10.0, "worker_id": "worker-1", "env": self.env, "grace_s": 0.2}
        made = Slot(len(self.slots), self.moments.append, **(settings | options))  # type: ignore[arg-type]
        self.slots.append(made)
        return made

    def events(self) -> list[SlotEvent]:
        return [event for moment in self.moments for event in moment]

    def finished(self, key: str) -> SlotFinished | None:
        found = [event for event in self.events() if isinstance(event, SlotFinished) and event.key == key]
        assert len(found) <= 1, f"{key} finished more than once"
        return found[0] if found else None

    def starts(self, key: str) -> int:
        return sum(isinstance(event, SlotStarted) and event.key == key for event in self.events())

    async def started(self, key: str) -> None:
        await until(lambda: self.starts(key) > 0, what=f"the start of {key}")

    async def end_of(self, key: str) -> SlotFinished:
        found = await until(lambda: self.finished(key), within_s=20, what=f"the end of {key}")
        assert found is not None
        return found

    async def run(self, slot: Slot, *jobs: Job) -> list[SlotFinished]:
        for job in jobs:
            slot.feed(job)
        return [await self.end_of(job.key) for job in jobs]

    def processes(self) -> list[int]:
        return marked(self.mark)

    async def keep_alive(self) -> None:
        while True:
            if self.keeping_alive:
                for slot in self.slots:
                    slot.keep_alive()
            await asyncio.sleep(KEEP_ALIVE_EVERY_S)


@pytest.fixture
async def farm(bus: Bus, streams: Streams) -> AsyncIterator[Farm]:
    made = Farm(bus, streams)
    await made.rule()
    yield made
    made.stop()
    for worker in made.workers:
        await until(lambda worker=worker: not worker.alive(), what="the worker's processes to be gone")  # type: ignore[misc]


@pytest.fixture
def plain_env() -> dict[str, str]:
    """An environment in which a suite's pytest loads no plugins but its own, and starts five times as fast."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    return kept | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


@pytest.fixture
async def lane(plain_env: dict[str, str]) -> AsyncIterator[Lane]:
    made = Lane(plain_env)
    task = asyncio.create_task(made.keep_alive())
    yield made
    for slot in made.slots:
        await slot.close()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert made.processes() == []


@pytest.fixture
def suite_of(tmp_path: Path) -> Callable[..., Suite]:
    """Write a suite: its files by name, ``test_it`` being a module's text."""

    def write(*args: str, **modules: str) -> Suite:
        (tmp_path / "suite").mkdir(exist_ok=True)
        (tmp_path / "suite" / "pytest.ini").write_text(modules.pop("ini", "[pytest]\n"))
        for name, text in modules.items():
            (tmp_path / "suite" / f"{name}.py").write_text(text)
        return Suite(sys.executable, str(tmp_path / "suite"), args)

    return write
