"""Reading a log in tests."""

from events.envelope import Recorded
from events.log import EventLog, Reader


async def everything(log: EventLog, after: int = 0, tails: tuple[str, ...] = ()) -> list[Recorded]:
    """Up to what the log holds now."""
    found: list[Recorded] = []
    async with await log.reader(after, tails) as reader:
        found += await reader.next(0)
        while not reader.caught_up:
            found += await reader.next(5.0)
    return found


async def take(reader: Reader, count: int) -> list[Recorded]:
    found: list[Recorded] = []
    while len(found) < count:
        batch = await reader.next(5.0)
        assert batch, f"{len(found)} of {count} came"
        found += batch
    return found


def ids(records: list[Recorded]) -> list[str]:
    return [recorded.id for recorded in records]
