"""Reading a stretch of the log, from one sequence to another, and then stopping."""

from collections.abc import AsyncIterator, Callable, Sequence

from events.envelope import Recorded
from events.errors import Unacknowledged
from events.log import EventLog

SILENCE_S_MAX = 3.0
"""Longer than a reader needs to notice a loss and to begin again."""

SILENCES_MAX = 4

Progress = Callable[[int], None]
"""Is told the sequence that has been reached."""


async def stretch(
    log: EventLog,
    *,
    first: int = 1,
    last: int | None = None,
    tails: Sequence[str] = (),
    progress: Progress | None = None,
) -> AsyncIterator[list[Recorded]]:
    """The events with `first <= sequence <= last` that match one of `tails`, in batches. Without `last`: up to what
    the log holds now.

    Raises:
        Unacknowledged: the log has more, and nothing comes.
    """
    end = await log.last_sequence() if last is None else last
    if first > end:
        return
    silences = 0
    async with await log.reader(first - 1, tails) as reader:
        while not reader.caught_up or reader.sequence < first:
            batch = await reader.next(0)
            if not batch and not reader.caught_up:
                batch = await reader.next(SILENCE_S_MAX)
            if not batch:
                if reader.caught_up:
                    return
                await log.last_sequence()  # raises when it is the log that is silent
                silences += 1
                if tails:
                    return  # all that there is has come: a reader in order misses nothing for that long
                if silences >= SILENCES_MAX:
                    raise Unacknowledged(f"the log holds more than {reader.sequence} events, and they do not come")
                continue
            inside = [recorded for recorded in batch if recorded.sequence <= end]
            if inside:
                yield inside
            if progress is not None:
                progress(min(batch[-1].sequence, end))
            if batch[-1].sequence >= end:
                return
