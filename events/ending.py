"""Ending what holds a connection."""

import asyncio
from types import TracebackType
from typing import Any, Self

AGAIN_S = 0.1


async def ended(*tasks: "asyncio.Task[Any] | None") -> None:
    """Cancels the tasks and returns when all of them are over, whatever they ended with.

    Once is not enough: nats-py swallows a cancellation that meets it while it flushes or drains.
    """
    open_tasks = {task for task in tasks if task is not None}
    while open_tasks:
        for task in open_tasks:
            task.cancel()
        _, open_tasks = await asyncio.wait(open_tasks, timeout=AGAIN_S)
    # Looked at, so that nobody complains that it was not.
    await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)


class Closing:
    """Base of what is closed at the end of an `async with`."""

    async def close(self) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
