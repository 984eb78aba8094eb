"""Futures and tasks of the virtual loop: hashed by a number, and aware of whose they are; and how they are ended.

asyncio keeps tasks in sets (`wait`, `TaskGroup`, `as_completed`) and iterates over them. A hash that is an address
makes that order differ from run to run; a number that the loop hands out does not. Give tasks to `as_completed`, since
it puts bare coroutines in a set, and these have no other hash than their address.
"""

import asyncio
import warnings
from asyncio.tasks import _enter_task, _leave_task, _unregister_task
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

from tests.simulation.handles import Handle, Timer, described

if TYPE_CHECKING:
    from tests.simulation.loop import VirtualLoop

PROCESS: "ContextVar[Domain]" = ContextVar("process")
"""The simulated process whose code runs; unset in the world around the processes."""

CLOSINGS_MAX = 100
"""How often the cleaning up of a coroutine may wait for something before it counts as one that cannot be ended."""


class Domain:
    """What is paused, resumed and ended together. To the loop, a simulated process is this and no more."""

    def __init__(self, loop: "VirtualLoop", name: str) -> None:
        self.loop = loop
        self.name = name
        self.alive = True
        self.paused = False
        self.parked: list[Handle | Timer] = []
        """What came up while it was paused, in order."""
        self.tasks: dict[int, VirtualTask] = {}
        """Those that are not done, by their numbers, oldest first."""
        self.context = Context()
        self.context.run(PROCESS.set, self)
        loop.domains[self] = None

    def exit(self, code: int) -> None:
        """One of its callbacks raised `SystemExit`."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class VirtualFuture(asyncio.Future[Any]):
    __slots__ = ("_number", "domain")
    domain: Domain | None
    _number: int

    def __hash__(self) -> int:
        try:
            return self._number
        except AttributeError:
            self._number = self.get_loop().number()  # type: ignore[attr-defined]  # a virtual loop
            return self._number


class VirtualTask(asyncio.Task[Any]):
    __slots__ = ("domain", "number")
    _fut_waiter: asyncio.Future[Any] | None
    _log_destroy_pending: bool

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        *,
        loop: "VirtualLoop",
        name: object,
        context: Context | None,
        domain: Domain | None,
    ) -> None:
        self.number = loop.number()
        self.domain = domain
        # asyncio numbers names through all loops of a process; a second simulation would have other names.
        name = f"Task-{self.number}" if name is None else str(name)
        super().__init__(coroutine, loop=loop, name=name, context=context)

    def __hash__(self) -> int:
        return self.number

    def cancel(self, msg: Any | None = None) -> bool:
        # What a task of an ended process waits for may be the world's, and is not cancelled by the cleaning up.
        if self.domain is not None and not self.domain.alive:
            return False
        return super().cancel(msg)


def dispose(loop: "VirtualLoop", tasks: dict[int, VirtualTask], context: Context) -> None:
    """Ends tasks for good, but for those that run at this very moment: these are on the caller's stack, and stay.

    A coroutine cannot be dropped without its `finally` blocks being run, by the collector if by nobody else. So they
    run here: at a defined moment, in the order in which the tasks were made, and in `context`, whose process has ended,
    so that whatever they schedule, create or cancel comes to nothing.

    Raises:
        RuntimeError: a coroutine goes on waiting for whatever is done to it.
    """
    with _stepping_aside(loop), warnings.catch_warnings():
        # Of what was to be awaited by a coroutine that had not begun yet.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        for number, task in list(tasks.items()):
            coroutine: Any = task.get_coro()
            if getattr(coroutine, "cr_running", False) or getattr(coroutine, "gi_running", False):
                continue
            del tasks[number]
            if task.done():
                continue
            task._log_destroy_pending = False
            _unregister_task(task)
            awaited = task._fut_waiter
            if awaited is not None and awaited.done():
                awaited._log_traceback = False  # the task was about to look at it
            _enter_task(loop, task)
            try:
                context.run(close, coroutine)
            finally:
                _leave_task(loop, task)


@contextmanager
def _stepping_aside(loop: "VirtualLoop") -> Iterator[None]:
    """The loop runs no task, so that others can be entered; the caller's own is back afterwards."""
    running, current = asyncio._get_running_loop(), asyncio.current_task(loop)
    asyncio._set_running_loop(loop)
    if current is not None:
        _leave_task(loop, current)
    try:
        yield
    finally:
        if current is not None:
            _enter_task(loop, current)
        asyncio._set_running_loop(running)


def close(coroutine: Any) -> None:
    """Throws `GeneratorExit` into a coroutine until it is over: a `finally` block that awaits is left at its `await`.

    Raises:
        RuntimeError: it is not over after `CLOSINGS_MAX` times.
    """
    for _ in range(CLOSINGS_MAX):
        try:
            coroutine.close()
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001  what its cleaning up raises, or that it awaited; a closed one closes well
            continue
        return
    raise RuntimeError(f"{described(coroutine)} goes on waiting while it is closed")


def domain_of(context: dict[str, Any]) -> Domain | None:
    """Whose the trouble is that asyncio describes to an exception handler."""
    source = next((context[key] for key in ("task", "future", "handle") if key in context), None)
    domain: Domain | None = getattr(source, "domain", None)
    return domain


def exit_code(exit_: SystemExit) -> int:
    """As the interpreter has it: nothing is 0, and a message 1."""
    if exit_.code is None:
        return 0
    return exit_.code if isinstance(exit_.code, int) else 1
