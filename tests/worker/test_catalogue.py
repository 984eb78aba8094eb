"""The list of a suite's tests, asked of a worker: whole, in pages, and of one that is not there yet."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from events.bus import Bus
from events.errors import Unacknowledged
from events.streams import Streams
from events.work import Suite
from tests.worker.farm import Farm, suite_in
from worker.catalogue import PAGE_BYTES_MAX, Catalogue, ask
from worker.jobs import CollectedItem, Collection

SUITE = Suite(python="/usr/bin/python3", cwd="/nowhere")


async def offered(bus: Bus, streams: Streams, collection: Collection | None) -> Collection:
    future: asyncio.Future[Collection | None] = asyncio.get_running_loop().create_future()
    future.set_result(collection)
    catalogue = Catalogue(bus, streams, "w1")
    catalogue.offer(SUITE, future)
    await catalogue.serve()
    return await ask(bus, streams, "w1", SUITE, within_s=10.0)


async def test_a_worker_lists_what_it_has_warm(farm: Farm, bus: Bus, streams: Streams, tmp_path: Path) -> None:
    text = "import pytest\n@pytest.mark.parametrize('x', ['é', 'b c'])\ndef test_it(x): pass\ndef test_two(): pass\n"
    suite = suite_in(tmp_path / "suite", text)
    farm.launch("w1", "--warm-suite", msgspec.json.encode(suite).decode())
    found = await ask(bus, streams, "w1", suite, within_s=30.0)
    assert (found.exit_code, found.errors) == (0, "")
    assert [item.node_id.rpartition("::")[2] for item in found.items] == [
        "test_it[\\xe9]",
        "test_it[b c]",
        "test_two",
    ]
    other = await ask(bus, streams, "w1", SUITE, within_s=10.0)
    assert other.exit_code == 1
    assert "not warmed" in other.errors


async def test_what_cannot_be_collected_is_told(farm: Farm, bus: Bus, streams: Streams, tmp_path: Path) -> None:
    suite = suite_in(tmp_path / "suite", "import there_is_no_such_module\n")
    farm.launch("w1", "--warm-suite", msgspec.json.encode(suite).decode())
    found = await ask(bus, streams, "w1", suite, within_s=30.0)
    assert found.exit_code == 2
    assert "there_is_no_such_module" in found.errors


@pytest.mark.parametrize("character", ["x", "é", "\x07"])
async def test_a_long_list_comes_in_pages(bus: Bus, streams: Streams, character: str) -> None:
    count = 3 * PAGE_BYTES_MAX // 400
    items = tuple(CollectedItem(f"test_{n}[{character * 300}]", 0, "test_it.py", n) for n in range(count))
    found = await offered(bus, streams, Collection(items, "a warning", 0))
    assert found == Collection(items, "a warning", 0)


async def test_a_worker_that_could_not_warm_says_so(bus: Bus, streams: Streams) -> None:
    found = await offered(bus, streams, None)
    assert (found.items, found.exit_code) == ((), 1)


async def test_nobody_there(bus: Bus, streams: Streams) -> None:
    with pytest.raises(Unacknowledged):
        await ask(bus, streams, "w9", SUITE, within_s=0.2)
