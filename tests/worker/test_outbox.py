"""What an agent keeps in memory: its reports on their way, its tasks in their order, and texts cut to fit."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
import pytest

from events.envelope import Draft
from events.errors import BrokerRefused, LogFull, Unacknowledged
from events.log import Appended, Fence
from events.memory import MemoryLog
from events.task import TaskAssigned, TaskReturned
from events.work import CommandWork
from events.writer import Writer
from tests.waiting import until
from worker import outbox as module
from worker.backlog import Assignment, Backlog, key_of
from worker.outbox import BATCH_MAX, Outbox
from worker.texts import CHARACTERS_MAX, JSON_BYTES_MAX, fit


class Line:
    """The part of a bus that an outbox looks at."""

    def __init__(self) -> None:
        self.connected = True
        self.callbacks: list[Callable[[], None]] = []

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def forget_reconnect(self, callback: Callable[[], None]) -> None:
        self.callbacks.remove(callback)

    def reconnect(self) -> None:
        self.connected = True
        for callback in self.callbacks:
            callback()


class MoodyLog(MemoryLog):
    """Notes each try; `moods` says what the next ones come to: an error, which hides whether it was `stored`."""

    def __init__(self) -> None:
        super().__init__()
        self.moods: list[tuple[Exception, bool]] = []
        self.tries: list[list[str]] = []
        self.hanging = False

    async def append(self, drafts: Sequence[Draft], *, fence: Fence | None = None, timeout_s: float = 2.0) -> Appended:
        self.tries.append([draft.envelope.id for draft in drafts])
        if self.hanging:
            self.hanging = False
            await asyncio.Event().wait()
        mood = self.moods.pop(0) if self.moods else None
        if mood is None:
            return await super().append(drafts, fence=fence)
        if mood[1]:
            await super().append(drafts, fence=fence)
        raise mood[0]

    def stored_ids(self) -> list[str]:
        return [self.stored(sequence).id for sequence in range(1, self.last + 1)]


class Desk:
    def __init__(self) -> None:
        self.log = MoodyLog()
        self.line = Line()
        self.outbox = Outbox(self.log, self.line)  # type: ignore[arg-type]
        self.writer = Writer(self.log, "worker/test")

    def put(self, count: int = 1) -> list[str]:
        drafts = [
            self.writer.draft(TaskReturned(task_id="t", worker_id="w", incarnation=1, attempt=1)) for _ in range(count)
        ]
        self.outbox.put(drafts)
        return [draft.envelope.id for draft in drafts]


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(module, "PAUSE_S", 0.001)
    made = Desk()
    task = asyncio.create_task(made.outbox.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_is_pending_goes_as_one_batch_and_in_order(desk: Desk) -> None:
    ids = desk.put(2) + desk.put(1)
    assert await desk.outbox.flushed(5)
    more = desk.put(BATCH_MAX + 1)
    assert await desk.outbox.flushed(5)
    assert [len(batch) for batch in desk.log.tries] == [3, BATCH_MAX, 1]
    assert desk.log.stored_ids() == ids + more


@pytest.mark.parametrize(
    ("error", "stored"),
    [
        (Unacknowledged("no answer"), False),
        (Unacknowledged("no answer"), True),
        (LogFull("append", "maximum bytes exceeded"), False),
        (BrokerRefused("append", "temporarily unavailable", 10008), False),
    ],
)
async def test_a_batch_is_tried_again_as_it_is_until_it_is_stored_once(
    desk: Desk, error: Exception, stored: bool
) -> None:
    desk.log.moods = [(error, stored)] * 3
    first = desk.put(2)
    await until(lambda: desk.log.tries, what="the first try")
    second = desk.put(2)
    assert await desk.outbox.flushed(5)
    assert desk.log.tries == [first, first, first, first, second]
    assert desk.log.stored_ids() == first + second


async def test_nothing_is_tried_while_cut_off_and_all_is_sent_afterwards(desk: Desk) -> None:
    desk.line.connected = False
    ids = desk.put(1) + desk.put(1)
    assert not await desk.outbox.flushed(0.05)
    assert desk.log.tries == []
    desk.line.reconnect()
    assert await desk.outbox.flushed(5)
    assert desk.log.stored_ids() == ids


async def test_a_reconnection_ends_the_wait_for_a_lost_answer(desk: Desk) -> None:
    desk.log.hanging = True
    ids = desk.put(2)
    await until(lambda: desk.log.tries, what="the first try")
    desk.line.reconnect()
    assert await desk.outbox.flushed(5)
    assert desk.log.tries == [ids, ids]


async def test_it_says_when_it_is_full(desk: Desk) -> None:
    desk.line.connected = False
    said = []
    for count in (module.PENDING_MAX - 1, 1):
        desk.put(count)
        said.append((len(desk.outbox), desk.outbox.full))
    assert said == [(module.PENDING_MAX - 1, False), (module.PENDING_MAX, True)]


# The backlog


def assignment(task_id: str, arrival: int, *, attempt: int = 1, priority: int = 0) -> Assignment:
    work = CommandWork(argv=("true",), cwd="/")
    task = TaskAssigned(task_id=task_id, worker_id="w", incarnation=7, attempt=attempt, work=work, priority=priority)
    return Assignment(key=key_of(7, task_id, attempt), task=task, arrival=arrival, event_id="e", correlation_id=None)


def test_the_backlog_orders_by_urgency_priority_and_arrival() -> None:
    backlog = Backlog()
    for one in (
        assignment("late", 4),
        assignment("first", 1),
        assignment("high", 3, priority=9),
        assignment("again", 5, attempt=2, priority=-3),
        assignment("low", 2, priority=-1),
    ):
        backlog.push(one)
    order = ["again", "high", "first", "late", "low"]
    assert [one.task.task_id for one in backlog] == order
    assert [one.task.task_id for one in iter(backlog.pop, None)] == order


def test_what_is_removed_never_comes_and_may_come_back() -> None:
    backlog = Backlog()
    one, other = assignment("one", 1), assignment("other", 2)
    backlog.push(one)
    backlog.push(other)
    assert backlog.remove(one.key) is one
    assert backlog.remove(one.key) is None
    assert backlog.first() is other
    backlog.push(one)
    assert (backlog.pop(), backlog.pop(), backlog.pop(), len(backlog)) == (one, other, None, 0)


# Texts


@pytest.mark.parametrize("text", ["", "short", "ü" * CHARACTERS_MAX, "\ud800 half a pair", "\0" * 100])
def test_a_text_that_fits_stays_as_it_is(text: str) -> None:
    assert fit(text) == text.encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize("character", ["a", "\0", "🙂", "\ud800", '"'])
def test_a_long_text_is_cut_in_its_middle(character: str) -> None:
    cut = fit(f"begin {character * 200_000} end")
    assert len(cut) <= CHARACTERS_MAX
    assert len(msgspec.json.encode(cut)) <= JSON_BYTES_MAX + 2
    assert cut.startswith("begin ")
    assert cut.endswith(" end")
    assert "characters left out" in cut
