"""What is read ahead of the database, and by how much of it a transaction is filled."""

import asyncio

import pytest

from events.ending import Closing
from events.envelope import Recorded
from events.errors import Unacknowledged
from projections import feed
from projections.feed import Feed
from tests.projections.farm import Farm
from tests.projections.histories import recorded_from

LOG = recorded_from(Farm(4).drafts(), 200)


class Scripted(Closing):
    """Keeps `events.log.Reader`: gives `events` by `size` each, and then, where the log does not end there, `failure`
    or nothing any more."""

    def __init__(self, events: int, size: int, *, ends: bool = True, failure: Exception | None = None) -> None:
        self._rest = LOG[:events]
        self._size = size
        self._ends = ends
        self._failure = failure
        self.sequence = 0
        self.steady = True

    @property
    def caught_up(self) -> bool:
        return self._ends and not self._rest

    async def next(self, wait_s: float | None = None) -> list[Recorded]:
        del wait_s
        if not self._rest:
            if self._failure is not None:
                raise self._failure
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        given, self._rest = self._rest[: self._size], self._rest[self._size :]
        self.sequence = given[-1].sequence
        return given

    def damage(self) -> list[tuple[int, int]]:
        return []

    async def close(self) -> None:
        pass


def nothing() -> None:
    pass


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "EVENTS_MAX", 100)
    monkeypatch.setattr(feed, "GATHER_S_MAX", 60)


async def test_a_backlog_is_taken_by_as_much_as_one_transaction_holds() -> None:
    read = Feed(Scripted(150, 40), nothing)
    await read.gather()
    assert read.take() == LOG[:100]
    await read.gather()
    assert read.take() == LOG[100:150]
    assert read.exhausted
    await read.close()


async def test_a_log_that_cannot_be_read_any_more_is_not_waited_for() -> None:
    read = Feed(Scripted(30, 10, ends=False, failure=Unacknowledged("the connection is closed")), nothing)
    await read.gather()
    assert read.take() == LOG[:30]
    with pytest.raises(Unacknowledged):
        read.take()
    await read.close()


async def test_a_log_that_comes_slowly_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Feed(Scripted(30, 10, ends=False), nothing)
    monkeypatch.setattr(feed, "GATHER_S_MAX", 0.01)
    while not read.waiting:
        await read.gather()
    assert read.more_to_come
    assert read.take()
    await read.close()
