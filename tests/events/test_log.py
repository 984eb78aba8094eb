"""What `events.log` promises, of all implementations: one suite, and none gets a test of its own for any of it."""

import asyncio

import pytest

from events import codec
from events.envelope import Recorded
from events.errors import BrokerRefused, Fenced, LogError, Unacknowledged
from events.log import BATCH_MAX, START, Appended, EventLog, Fence, Position, payload_bytes_max, verify_position
from events.policy import Policy, policy_hash
from events.system import LeaderElected, PolicyChanged
from events.task import TaskAssigned, TaskCancelRequested, TaskSubmitted
from events.work import CommandWork
from events.worker import WorkerRegistered, WorkerStopped
from events.writer import Writer, append_until_stored
from tests.events.conftest import Port
from tests.events.examples import EXAMPLES, cancelled, drafted, enveloped
from tests.events.reading import everything, ids, take

LEADER = "system.leader"
NONE_FOR_S = 0.05
"""How long nothing must come for a test to believe that nothing comes."""


async def elect(log: EventLog, term: int, sequence: int) -> int:
    draft = drafted(LeaderElected(coordinator_id=f"c{term}", term=term))
    return (await log.append([draft], fence=Fence(LEADER, sequence))).last


# Appending


async def test_an_empty_log(event_log: EventLog) -> None:
    assert await event_log.last_sequence() == 0
    assert await event_log.read_one(1) is None
    assert await event_log.read_one(0) is None
    assert await event_log.last_on(LEADER) is None
    assert await everything(event_log) == []


async def test_a_single_event_and_a_batch_get_the_next_sequences(event_log: EventLog) -> None:
    assert await event_log.append([cancelled()]) == Appended(1, duplicate=False)
    assert await event_log.append([cancelled() for _ in range(7)]) == Appended(8, duplicate=False)
    assert await event_log.append([cancelled(), cancelled()]) == Appended(10, duplicate=False)
    assert await event_log.last_sequence() == 10


async def test_what_is_written_is_read(port: Port) -> None:
    drafts = [drafted(event, synthetic="drill" if index % 2 else None) for index, event in enumerate(EXAMPLES)]
    await port.log.append(drafts)
    records = await everything(port.log)
    assert [recorded.envelope for recorded in records] == [draft.envelope for draft in drafts]
    assert [recorded.synthetic for recorded in records] == [draft.synthetic for draft in drafts]
    assert [recorded.sequence for recorded in records] == list(range(1, len(drafts) + 1))
    assert [recorded.subject for recorded in records] == [port.prefix + event.tail() for event in EXAMPLES]
    times = [recorded.time for recorded in records]
    assert times == sorted(times)
    assert all(recorded.problem is None for recorded in records)
    # One by one they are the same.
    for sequence in (1, 2, len(drafts)):
        assert await port.log.read_one(sequence) == records[sequence - 1]


async def test_the_largest_batch_keeps_its_order(event_log: EventLog) -> None:
    drafts = [cancelled(f"t{number}") for number in range(BATCH_MAX)]
    assert await event_log.append(drafts) == Appended(BATCH_MAX, duplicate=False)
    assert ids(await everything(event_log)) == [draft.envelope.id for draft in drafts]


@pytest.mark.parametrize("count", [0, BATCH_MAX + 1])
async def test_a_batch_of_a_wrong_size_is_refused(event_log: EventLog, count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} events in one append"):
        await event_log.append([cancelled() for _ in range(count)])
    assert await event_log.last_sequence() == 0


async def test_one_event_twice_in_one_batch_is_refused(event_log: EventLog) -> None:
    one = cancelled()
    with pytest.raises(ValueError, match="twice"):
        await event_log.append([one, cancelled(), one])
    assert await event_log.last_sequence() == 0


def oversized(size: int) -> TaskSubmitted:
    return TaskSubmitted(task_id="t1", run_id="r1", work=CommandWork(argv=("x" * size,), cwd="/"))


@pytest.mark.parametrize("size", [256 * 1024, 1024 * 1024])
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_what_is_too_large_is_refused_with_its_whole_batch(event_log: EventLog, size: int, place: int) -> None:
    drafts = [cancelled() for _ in range(3)]
    drafts[place] = drafted(oversized(size))
    for batch in (drafts, drafts[place : place + 1]):
        with pytest.raises(BrokerRefused, match=r"bytes in task\.t1\.submitted"):
            await event_log.append(batch)
    assert await event_log.last_sequence() == 0


async def test_every_task_leaves_room_for_the_order_that_repeats_it(event_log: EventLog) -> None:
    """Otherwise one submitted task could not be assigned, and the leader would try for ever."""
    token = await elect(event_log, 1, 0)
    overhead = len(codec.encode(enveloped(oversized(0))))
    largest = oversized(payload_bytes_max(None) - overhead)
    await event_log.append([drafted(largest)])
    with pytest.raises(BrokerRefused):
        await event_log.append([drafted(oversized(payload_bytes_max(None) - overhead + 1))])
    order = TaskAssigned(
        task_id="t" * 64, worker_id="w" * 64, incarnation=2**53, attempt=2**53, work=largest.work, timeout_s=1 / 3
    )
    await event_log.append([drafted(order), cancelled()], fence=Fence(LEADER, token))
    assert await event_log.last_sequence() == 4


# Dedupe


async def test_the_same_event_again_is_stored_once(event_log: EventLog) -> None:
    await event_log.append([cancelled(), cancelled()])
    one = cancelled()
    assert await event_log.append([one]) == Appended(3, duplicate=False)
    await event_log.append([cancelled()])
    assert await event_log.append([one]) == Appended(3, duplicate=True)
    assert await event_log.last_sequence() == 4


async def test_the_same_batch_again_is_stored_once(event_log: EventLog) -> None:
    batch = [cancelled() for _ in range(3)]
    await event_log.append(batch)
    assert await event_log.append(batch) == Appended(0, duplicate=True)
    assert await event_log.last_sequence() == 3


@pytest.mark.parametrize("known", [0, 1, 2])
async def test_of_a_batch_that_is_known_in_part_nothing_is_stored(event_log: EventLog, known: int) -> None:
    batch = [cancelled() for _ in range(3)]
    await event_log.append([batch[known]])
    assert (await event_log.append(batch)).duplicate
    assert await event_log.last_sequence() == 1


async def test_a_refused_event_is_not_known(event_log: EventLog) -> None:
    token = await elect(event_log, 1, 0)
    one, batch = cancelled(), [cancelled(), cancelled()]
    for drafts in ([one], batch):
        with pytest.raises(Fenced):
            await event_log.append(drafts, fence=Fence(LEADER, token + 1))
    assert await event_log.append([one], fence=Fence(LEADER, token)) == Appended(2, duplicate=False)
    assert await event_log.append(batch, fence=Fence(LEADER, token)) == Appended(4, duplicate=False)


# Fencing


@pytest.mark.parametrize("count", [1, 2, 50])
async def test_only_the_newest_leader_writes(event_log: EventLog, count: int) -> None:
    first = await elect(event_log, 1, 0)
    batch = [cancelled() for _ in range(count)]
    await event_log.append(batch, fence=Fence(LEADER, first))
    second = await elect(event_log, 2, first)
    before = await event_log.last_sequence()
    with pytest.raises(Fenced) as caught:
        await event_log.append([cancelled() for _ in range(count)], fence=Fence(LEADER, first))
    assert caught.value.code == 10071
    assert await event_log.last_sequence() == before, "nothing of it was stored"
    await event_log.append([cancelled() for _ in range(count)], fence=Fence(LEADER, second))
    assert await event_log.last_sequence() == before + count


async def test_two_candidates_one_is_elected(event_log: EventLog) -> None:
    results = await asyncio.gather(*(elect(event_log, term, 0) for term in (1, 2, 3)), return_exceptions=True)
    assert sum(isinstance(result, int) for result in results) == 1
    assert sum(isinstance(result, Fenced) for result in results) == 2
    last = await event_log.last_on(LEADER)
    assert last is not None
    assert isinstance(last.event, LeaderElected)
    assert results[last.event.term - 1] == last.sequence


async def test_events_of_others_do_not_move_the_fence(event_log: EventLog) -> None:
    token = await elect(event_log, 1, 0)
    await event_log.append([cancelled(), cancelled()])
    assert (await event_log.append([cancelled()], fence=Fence(LEADER, token))).last == 4


async def test_a_known_event_behind_a_fence_that_has_fallen(event_log: EventLog) -> None:
    """Either answer is true; all logs give the same. A single one is refused, a batch is a duplicate."""
    first = await elect(event_log, 1, 0)
    one, batch = cancelled(), [cancelled(), cancelled()]
    await event_log.append([one], fence=Fence(LEADER, first))
    await event_log.append(batch, fence=Fence(LEADER, first))
    await elect(event_log, 2, first)
    with pytest.raises(Fenced):
        await event_log.append([one], fence=Fence(LEADER, first))
    assert (await event_log.append(batch, fence=Fence(LEADER, first))).duplicate
    assert await event_log.last_sequence() == 5


# Reading


async def test_reading_from_any_position(event_log: EventLog) -> None:
    drafts = [cancelled(f"t{number}") for number in range(10)]
    await event_log.append(drafts)
    for after in (0, 1, 5, 9, 10):
        assert ids(await everything(event_log, after)) == [draft.envelope.id for draft in drafts[after:]]


async def test_reading_more_than_one_batch(event_log: EventLog) -> None:
    drafts = [cancelled() for _ in range(2_500)]
    for first in range(0, 2_500, 500):
        await event_log.append(drafts[first : first + 500])
    async with await event_log.reader() as reader:
        found: list[Recorded] = []
        while len(found) < 2_500:
            batch = await reader.next(5.0)
            assert 0 < len(batch) <= BATCH_MAX
            found += batch
            assert reader.sequence == batch[-1].sequence == len(found)
            assert reader.caught_up == (len(found) == 2_500) or not reader.caught_up
        assert reader.caught_up
        assert reader.damage() == []
    assert ids(found) == [draft.envelope.id for draft in drafts]


async def test_tails_select(event_log: EventLog) -> None:
    events = (
        WorkerRegistered(worker_id="w1", host="h", pid=1, slots=1),
        WorkerRegistered(worker_id="w2", host="h", pid=1, slots=1),
        TaskAssigned(task_id="t1", worker_id="w1", incarnation=1, attempt=1, work=CommandWork(argv=("a",), cwd="/")),
        TaskAssigned(task_id="t2", worker_id="w2", incarnation=2, attempt=1, work=CommandWork(argv=("a",), cwd="/")),
        TaskCancelRequested(task_id="t1", actor="alice"),
        WorkerStopped(worker_id="w1", incarnation=1),
        LeaderElected(coordinator_id="c1", term=1),
    )
    await event_log.append([drafted(event) for event in events])
    for tails, expected in (
        (("worker.w1.*", "task.*.*.w1"), [1, 3, 6]),
        (("task.t1.>",), [3, 5]),
        (("worker.*.registered",), [1, 2]),
        (("system.>",), [7]),
        (("worker.w3.*",), []),
    ):
        assert [recorded.sequence for recorded in await everything(event_log, 0, tails)] == expected
        later = [sequence for sequence in expected if sequence > 3]
        assert [recorded.sequence for recorded in await everything(event_log, 3, tails)] == later


async def test_a_reader_with_tails_is_caught_up_at_the_end_of_the_log(event_log: EventLog) -> None:
    await event_log.append([cancelled("t1"), cancelled("t2"), cancelled("t2")])
    async with await event_log.reader(0, ("task.t1.*",)) as reader:
        assert len(await reader.next(5.0)) == 1
        assert reader.caught_up
        assert await reader.next(NONE_FOR_S) == []
        await event_log.append([cancelled("t2"), cancelled("t1")])
        (recorded,) = await reader.next(5.0)
        assert recorded.sequence == 5
        assert reader.damage() == []


async def test_a_reader_follows_the_log_live(event_log: EventLog) -> None:
    async with await event_log.reader() as reader:
        assert await reader.next(NONE_FOR_S) == []
        assert reader.caught_up
        assert reader.sequence == 0
        waiting = asyncio.ensure_future(reader.next())
        one = cancelled()
        await event_log.append([one])
        async with asyncio.timeout(5.0):
            assert ids(await waiting) == [one.envelope.id]
        batch = [cancelled() for _ in range(5)]
        await event_log.append(batch)
        assert ids(await take(reader, 5)) == [draft.envelope.id for draft in batch]
        assert reader.caught_up
        assert await reader.next(0) == []


async def test_many_readers_see_the_same(event_log: EventLog) -> None:
    readers = [await event_log.reader() for _ in range(4)]
    drafts = [cancelled() for _ in range(20)]
    for draft in drafts[:10]:
        await event_log.append([draft])
    await event_log.append(drafts[10:])
    seen = await asyncio.gather(*(take(reader, 20) for reader in readers))
    assert all(ids(one) == [draft.envelope.id for draft in drafts] for one in seen)
    for reader in readers:
        await reader.close()


async def test_appends_at_once_are_all_stored_and_batches_stay_together(event_log: EventLog) -> None:
    batches = [[cancelled(f"b{number}") for _ in range(size)] for number, size in enumerate((1, 5, 2, 1, 9, 3) * 3)]
    await asyncio.gather(*(event_log.append(batch) for batch in batches))
    records = await everything(event_log)
    found = {recorded.id: recorded.sequence for recorded in records}
    assert len(records) == sum(map(len, batches))
    for batch in batches:
        first = found[batch[0].envelope.id]
        assert [found[draft.envelope.id] for draft in batch] == list(range(first, first + len(batch)))


# Single looks


async def test_last_on_looks_at_one_subject(event_log: EventLog) -> None:
    first = await elect(event_log, 1, 0)
    await event_log.append([cancelled("t1"), cancelled("t2")])
    second = await elect(event_log, 2, first)
    await event_log.append([cancelled("t1")])
    for tail, sequence in ((LEADER, second), ("task.t1.cancel_requested", 5), ("task.t2.cancel_requested", 3)):
        last = await event_log.last_on(tail)
        assert last is not None
        assert last.sequence == sequence
    assert await event_log.last_on("task.t3.cancel_requested") is None


async def test_a_position_is_a_sequence_and_an_id(event_log: EventLog) -> None:
    draft = cancelled()
    await event_log.append([draft])
    assert await verify_position(event_log, START)
    assert await verify_position(event_log, Position(1, draft.envelope.id))
    assert not await verify_position(event_log, Position(1, "another-id"))
    assert not await verify_position(event_log, Position(2, draft.envelope.id))


# Writers


async def test_a_writer_stamps_what_it_writes(event_log: EventLog) -> None:
    writer = Writer(event_log, "cli/alice", synthetic="drill")
    await writer.write(WorkerStopped(worker_id="w1", incarnation=1), causation_id="cause-id", correlation_id="run")
    policy = PolicyChanged(policy=Policy(), policy_hash=policy_hash(Policy()), actor="alice")
    appended = await writer.write([policy, LeaderElected(coordinator_id="c1", term=1)])
    assert appended.last == 3
    first, second, third = await everything(event_log)
    assert first.envelope is not None
    assert (first.envelope.source, first.synthetic) == ("cli/alice", "drill")
    assert (first.envelope.causation_id, first.envelope.correlation_id) == ("cause-id", "run")
    assert abs(first.envelope.time.timestamp() - first.time) < 5.0
    assert len({first.id, second.id, third.id}) == 3
    assert second.event == policy


class Failing:
    """An event log that loses some answers, and some questions."""

    def __init__(self, log: EventLog, *, stored: bool, times: int) -> None:
        self.log = log
        self.stored = stored
        self.times = times

    async def append(self, drafts: object, *, fence: Fence | None = None, timeout_s: float = 2.0) -> Appended:
        if self.times == 0:
            return await self.log.append(drafts, fence=fence, timeout_s=timeout_s)  # type: ignore[arg-type]
        self.times -= 1
        if self.stored:
            await self.log.append(drafts, fence=fence)  # type: ignore[arg-type]
        raise Unacknowledged("the answer was lost")


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("count", [1, 3])
async def test_whoever_tries_again_is_stored_once(
    event_log: EventLog, stored: bool, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.writer.RETRY_PAUSE_S", 0.001)
    drafts = [cancelled() for _ in range(count)]
    failing = Failing(event_log, stored=stored, times=2)
    appended = await append_until_stored(failing, drafts)  # type: ignore[arg-type]
    assert appended.duplicate == stored
    assert ids(await everything(event_log)) == [draft.envelope.id for draft in drafts]


async def test_patience_has_an_end(event_log: EventLog) -> None:
    failing = Failing(event_log, stored=False, times=100)
    with pytest.raises(LogError):
        await append_until_stored(failing, [cancelled()], patience_s=0.0)  # type: ignore[arg-type]
    assert failing.times == 99
