"""The list of a suite's tests, asked of a worker that has the suite warm anyway.

Whoever spreads a suite needs its tests' ids, and every worker collects them in order to run them: to collect a third
time for the list alone would cost as much as many a suite runs. One worker answers on `service.catalogue.<its id>`.
"""

import asyncio
import itertools
from collections.abc import Iterable

import msgspec

from events.bus import Bus, Message
from events.errors import Unacknowledged
from events.streams import Streams
from events.work import Suite
from worker.jobs import CollectedItem, Collection

PAGE_BYTES_MAX = 700_000
"""Of the node ids in one answer; a message of the broker holds 1 MiB."""
ANSWER_S_MAX = 1.0
"""After this long an asker hears that it is not ready yet, so that it notices a worker that is gone."""
ASK_PAUSE_S = 0.02


class Question(msgspec.Struct, frozen=True):
    suite: Suite
    skip: int = 0
    """Items that the asker has already."""


class Page(msgspec.Struct, frozen=True):
    ready: bool
    items: tuple[tuple[str, int, str, int], ...] = ()
    total: int = 0
    errors: str = ""
    exit_code: int = 0


def service(streams: Streams, worker_id: str) -> str:
    return streams.service_subject(f"catalogue.{worker_id}")


class Catalogue:
    """The worker's side: `offer` what is being collected, then `serve` answers until the connection ends."""

    def __init__(self, bus: Bus, streams: Streams, worker_id: str) -> None:
        self._bus = bus
        self._subject = service(streams, worker_id)
        self._collections: dict[Suite, asyncio.Future[Collection | None]] = {}

    def offer(self, suite: Suite, collection: "asyncio.Future[Collection | None]") -> None:
        self._collections[suite] = collection

    async def serve(self) -> None:
        await self._bus.subscribe(self._subject, self._answer)

    async def _answer(self, message: Message) -> None:
        question = msgspec.json.decode(message.data, type=Question)
        collection = self._collections.get(question.suite)
        page = Page(ready=True, exit_code=1, errors="this worker has not warmed that suite")
        if collection is not None:
            await asyncio.wait({collection}, timeout=ANSWER_S_MAX)
            page = _page(collection.result(), question.skip) if collection.done() else Page(ready=False)
        await self._bus.publish(message.reply, msgspec.json.encode(page))


def _page(collection: Collection | None, skip: int) -> Page:
    if collection is None:
        return Page(ready=True, exit_code=1, errors="this worker could not warm the suite")
    return Page(
        ready=True,
        items=tuple(_fitting(itertools.islice(collection.items, skip, None))),
        total=len(collection.items),
        errors=collection.errors[:PAGE_BYTES_MAX] if skip == 0 else "",
        exit_code=collection.exit_code,
    )


def _fitting(items: Iterable[CollectedItem]) -> Iterable[tuple[str, int, str, int]]:
    size = 0
    for item in items:
        row = (item.node_id, item.occurrence, item.file, item.line)
        size += len(msgspec.json.encode(row)) + 1
        if size > PAGE_BYTES_MAX:
            return
        yield row


async def ask(bus: Bus, streams: Streams, worker_id: str, suite: Suite, *, within_s: float) -> Collection:
    """The asker's side: waits for the worker, and for pytest to have collected.

    Raises:
        Unacknowledged: no whole answer within the time.
    """
    deadline = asyncio.get_running_loop().time() + within_s
    items: list[CollectedItem] = []
    errors = ""
    while True:
        try:
            question = msgspec.json.encode(Question(suite, len(items)))
            answer = await bus.request(service(streams, worker_id), question, timeout_s=2 * ANSWER_S_MAX)
        except Unacknowledged:
            if asyncio.get_running_loop().time() >= deadline:
                raise
            await asyncio.sleep(ASK_PAUSE_S)
            continue
        page = msgspec.json.decode(answer, type=Page)
        if not page.ready:
            if asyncio.get_running_loop().time() >= deadline:
                raise Unacknowledged(f"pytest has not collected the suite within {within_s:g} s")
            continue
        items.extend(CollectedItem(*row) for row in page.items)
        errors += page.errors
        if len(items) >= page.total or not page.items:
            return Collection(tuple(items), errors, page.exit_code)
