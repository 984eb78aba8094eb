"""Waiting in tests: for a condition, for an event; always with a bound, and with a message that says what was seen."""

import asyncio
import inspect
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from events.envelope import Recorded
from events.kinds import tag_of
from events.log import EventLog

T = TypeVar("T")

POLL_S = 0.01
SEEN_MAX = 20
"""How many of the last events a failure message shows."""


async def until(
    predicate: Callable[[], T | Coroutine[Any, Any, T]], within_s: float = 10.0, what: str = "the condition"
) -> T:
    """Asks again and again until the answer is true, and returns it. `predicate` may be a coroutine function.

    Raises:
        AssertionError: `within_s` seconds were not enough.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while True:
        answer = predicate()
        result: T = await answer if inspect.isawaitable(answer) else answer
        if result:
            return result
        if loop.time() >= deadline:
            raise AssertionError(f"waited {within_s:g} s for {what}; the last answer was {result!r}")
        await asyncio.sleep(POLL_S)


async def event_in(
    log: EventLog,
    predicate: Callable[[Recorded], bool],
    within_s: float = 10.0,
    what: str = "the event",
    after: int = 0,
) -> Recorded:
    """The first event behind sequence `after` that fits, whether it is there already or still comes.

    Raises:
        AssertionError: none came within `within_s` seconds; the message lists the last events seen.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    seen: deque[str] = deque(maxlen=SEEN_MAX)
    async with await log.reader(after) as reader:
        while (left := deadline - loop.time()) > 0:
            for recorded in await reader.next(left):
                if predicate(recorded):
                    return recorded
                seen.append(described(recorded))
    raise AssertionError(f"waited {within_s:g} s for {what}; the last events seen:\n  " + "\n  ".join(seen or ["none"]))


def is_kind(kind: type, **fields: object) -> Callable[[Recorded], bool]:
    """A predicate for `event_in`: an event of this type whose fields have these values."""

    def fits(recorded: Recorded) -> bool:
        event = recorded.event
        return isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items())

    return fits


def described(recorded: Recorded) -> str:
    if recorded.event is None:
        return f"{recorded.sequence} {recorded.subject}: {recorded.problem}"
    return f"{recorded.sequence} {tag_of(type(recorded.event))} {recorded.event!r}"
