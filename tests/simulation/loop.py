"""An event loop in virtual time: one thread, no I/O, and the same order of everything for the same program.

Nothing waits. When no callback is ready the clock jumps to the next timer. Callbacks run in the order in which they
were scheduled, timers in the order of their moments and, of one moment, in that of their making.

A callback belongs to the process of its context (`tasks.PROCESS`), looked up once when it is scheduled. Those of a
paused process are parked until it is resumed; those of one that has ended are dropped.

anyio works on it, but for its threads; its cancel scopes lie in sets by address, so that scopes beside each other in
one task are cancelled in no defined order.
"""

import asyncio
import sys
import traceback
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from tests.simulation.collector import Collector, by_hand
from tests.simulation.handles import Handle, Timer, Timers, described
from tests.simulation.tasks import PROCESS, Domain, VirtualFuture, VirtualTask, dispose, domain_of, exit_code

if TYPE_CHECKING:
    # The abstract class answers NotImplementedError to all I/O, as is meant; only a type checker calls that abstract.
    Base = asyncio.BaseEventLoop
else:
    Base = asyncio.AbstractEventLoop

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
ExceptionHandler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]

CALLBACKS_AT_ONCE_MAX = 1_000_000
COLLECT_EVERY = 200_000
SAMPLE = 1_000
"""How many callbacks are looked at to say what a livelock consists of."""


class Deadlocked(RuntimeError):
    """Nothing is left that could ever run, and what was to be run is not done."""


class Livelocked(RuntimeError):
    """Callbacks run and run while the time stands still."""


@dataclass(frozen=True)
class Unhandled:
    """An exception that nobody took: of a callback, or of a task or future that nobody asked."""

    at: float
    process: str | None
    """None: of the world."""
    message: str
    exception: BaseException | None

    def __str__(self) -> str:
        said = f"at {self.at:.3f} s: {self.message}"
        if self.exception is None:
            return said
        frames = traceback.extract_tb(self.exception.__traceback__)[-1:]
        where = "".join(f" in {frame.filename}:{frame.lineno} ({frame.line})" for frame in frames)
        return f"{said}: {self.exception!r}{where}"


class VirtualLoop(Base):
    """At one moment up to `callbacks_at_once_max` callbacks may run; garbage is collected after `collect_every`."""

    def __init__(
        self, *, callbacks_at_once_max: int = CALLBACKS_AT_ONCE_MAX, collect_every: int = COLLECT_EVERY
    ) -> None:
        self._now = 0.0
        self._ready: deque[Handle | Timer] = deque()
        self._timers = Timers()
        self._tasks: dict[int, VirtualTask] = {}
        """The world's; those of a process are its own."""
        self._number = 0
        self._running = False
        self._stopping = False
        self._closed = False
        self._callbacks_at_once_max = callbacks_at_once_max
        self._collector = Collector(collect_every)
        self._exception_handler: ExceptionHandler | None = None
        self.callbacks = 0
        """How many have run, up to the last step of the clock."""
        self.unhandled: list[Unhandled] = []
        self.domains: dict[Domain, None] = {}
        """Those that live, oldest first."""
        self.world = Context()
        """For `context=` of what belongs to the world, whoever schedules it."""

    def time(self) -> float:
        return self._now

    def number(self) -> int:
        """The next of this loop's own numbers."""
        self._number += 1
        return self._number

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        """There is no debug mode."""

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if context is None:
            context = copy_context()
        handle: Handle = Handle()
        handle._callback = callback
        handle._args = args
        handle._context = context
        handle.domain = domain = context.get(PROCESS)
        if domain is None or domain.alive:
            self._ready.append(handle)
        else:
            handle.cancel()
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self._timer(self._now + delay, callback, args, context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self._timer(when, callback, args, context)

    def _timer(
        self, when: float, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> Timer:
        if context is None:
            context = copy_context()
        timer: Timer = Timer()
        timer._callback = callback
        timer._args = args
        timer._context = context
        timer._when = when
        timer._heap = None
        timer.domain = domain = context.get(PROCESS)
        if domain is not None and not domain.alive:
            timer.cancel()
        elif when <= self._now:
            self._ready.append(timer)
        else:
            self._timers.add(timer)
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        future = VirtualFuture(loop=self)
        future.domain = PROCESS.get(None)
        return future

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """In the context of a process that has ended the coroutine is closed, and the task never done."""
        self._check_open()
        domain = PROCESS.get(None) if context is None else context.get(PROCESS)
        task = VirtualTask(coro, loop=self, name=name, context=context, domain=domain)
        if domain is not None and not domain.alive:
            task._log_destroy_pending = False
            coro.close()
            return task
        # Held until it is done: what is stuck for ever would else end whenever the collector comes by.
        self._tasks_of(domain)[task.number] = task
        task.add_done_callback(self._forget, context=self.world)
        return task

    def _tasks_of(self, domain: Domain | None) -> dict[int, VirtualTask]:
        return self._tasks if domain is None else domain.tasks

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        assert isinstance(task, VirtualTask)
        self._tasks_of(task.domain).pop(task.number, None)

    def set_task_factory(self, factory: Any) -> None:
        if factory is not None:
            raise NotImplementedError("the tasks of a virtual loop are its own")

    def get_task_factory(self) -> None:
        return None

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Runs it on a later turn of the loop, in the caller's context and thread; `executor` is not used."""
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(_settle, future, func, args)
        return future

    async def shutdown_default_executor(self) -> None:
        """There is none."""

    async def shutdown_asyncgens(self) -> None:
        """Generators are finished by who holds them."""

    def pause(self, domain: Domain) -> None:
        """Takes effect with the next callback: one that runs at the moment runs to its end."""
        domain.paused = True

    def resume(self, domain: Domain) -> None:
        domain.paused = False
        # In front: what came up later is there already.
        self._ready.extendleft(reversed(domain.parked))
        domain.parked.clear()

    def discard(self, domain: Domain) -> None:
        """Nothing of the domain runs any more, but for the `finally` blocks of its coroutines: see `dispose`.

        A coroutine of its own that called this is on the stack, and disposed of when it next awaits.
        """
        domain.alive = False
        domain.parked.clear()
        ready = [handle for handle in self._ready if handle.domain is not domain]
        self._ready.clear()
        self._ready.extend(ready)
        self._timers.discard(lambda timer: timer.domain is domain)
        dispose(self, domain.tasks, domain.context.copy())
        if domain.tasks:
            self.call_soon(self.discard, domain, context=self.world)
        else:
            self.domains.pop(domain, None)

    def run_until_complete(self, future: Any) -> Any:
        """Runs a coroutine or future, returns its result or raises its exception.

        Raises:
            Deadlocked: nothing is left to run.
            Livelocked: too many callbacks ran at one moment.
        """
        self._check_open()
        ours = not asyncio.isfuture(future)
        future = asyncio.ensure_future(future, loop=self)
        if ours:
            future._log_destroy_pending = False
        future.add_done_callback(self._done)
        try:
            self.run_forever()
        finally:
            future.remove_done_callback(self._done)
        if not future.done():
            raise RuntimeError("the loop was stopped before the future was done")
        return future.result()

    def _done(self, _: object) -> None:
        self._stopping = True

    def run_forever(self) -> None:
        self._check_open()
        if self._running:
            raise RuntimeError("the loop is running already")
        self._running = True
        outer = asyncio._get_running_loop()
        hooks = sys.get_asyncgen_hooks()
        asyncio._set_running_loop(self)
        sys.set_asyncgen_hooks(firstiter=None, finalizer=self._generator_abandoned)
        try:
            with by_hand():
                self._run()
        finally:
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(outer)
            self._running = self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Ends what is left, processes first."""
        if self._running:
            raise RuntimeError("a running loop cannot be closed")
        for domain in list(self.domains):
            self.discard(domain)
        while self._tasks:  # the cleaning up of one may make others
            dispose(self, self._tasks, self.world)
        self._ready.clear()
        self._timers.discard(lambda _: True)
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the loop is closed")

    def _run(self) -> None:
        ready = self._ready
        left = at_once = self._callbacks_at_once_max
        sample: Counter[str] = Counter()
        handle: Handle | Timer | None = None
        while not self._stopping:
            if not ready:
                handle = callback = None  # what they hold ends at its own moment, not at the next
                self.callbacks += at_once - left
                left = at_once
                self._advance()
            handle = ready.popleft()
            callback = handle._callback
            if callback is None:
                continue
            domain = handle.domain
            if domain is not None and domain.paused:
                domain.parked.append(handle)
                continue
            left -= 1
            if left < 0:
                sample[described(callback)] += 1
                if left <= -SAMPLE:
                    raise Livelocked(self._busiest(sample))
            try:
                handle._context.run(callback, *handle._args)
            except KeyboardInterrupt:
                raise
            except SystemExit as exit_:
                if domain is None:
                    raise
                domain.exit(exit_code(exit_))
            except BaseException as exception:  # noqa: BLE001  as in asyncio, a callback does not take the loop with it
                message = f"Exception in callback {described(callback)}"
                self.call_exception_handler({"message": message, "exception": exception, "handle": handle})
        self.callbacks += at_once - left

    def _advance(self) -> None:
        """Makes ready what is due next, and the clock jump to it."""
        self._collector.count(self.callbacks)
        moment = self._timers.due(self._ready)
        if moment is not None:
            self._now = moment
        elif not self._ready:
            raise Deadlocked(self._stuck())

    def _generator_abandoned(self, generator: AsyncGenerator[Any, Any]) -> None:
        """As in asyncio, cleaning up becomes a task; but where the collector found it, as whose it was is lost."""
        domain = PROCESS.get(None)
        if not self._collector.collecting and not self._closed and (domain is None or domain.alive):
            self.create_task(generator.aclose())

    def _busiest(self, sample: Counter[str]) -> str:
        names = ", ".join(f"{name}: {number}" for name, number in sample.most_common(5))
        return f"more than {self._callbacks_at_once_max} callbacks at {self._now:.6f} s; of {SAMPLE} of them: {names}"

    def _stuck(self) -> str:
        groups = [("world", self._tasks), *((domain.name, domain.tasks) for domain in self.domains)]
        pending = [
            f"{name}: {task.get_name()} in {described(task.get_coro())}"
            for name, tasks in groups
            for task in tasks.values()
        ]
        paused = [domain.name for domain in self.domains if domain.paused]
        return f"nothing is left to run at {self._now:.6f} s; paused: {paused}; pending: {pending}"

    def set_exception_handler(self, handler: ExceptionHandler | None) -> None:
        self._exception_handler = handler

    def get_exception_handler(self) -> ExceptionHandler | None:
        return self._exception_handler

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tells the handler, or adds to `unhandled`; what a process that has ended leaves behind is of no interest."""
        domain = domain_of(context)
        if domain is not None and not domain.alive:
            return
        (self._exception_handler or type(self).default_exception_handler)(self, context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        domain = domain_of(context)
        name = None if domain is None else domain.name
        self.unhandled.append(Unhandled(self._now, name, context["message"], context.get("exception")))


def _settle(future: asyncio.Future[T], function: Callable[[*Ts], T], arguments: tuple[*Ts]) -> None:
    if future.cancelled():
        return
    try:
        result = function(*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as exception:  # noqa: BLE001  as of a thread: it is the waiter's
        future.set_exception(exception)
    else:
        future.set_result(result)
