"""A simulated process on a simulated host: its clocks and chance, and what the operating system can do to it."""

import asyncio
import random
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

from events.host import CURRENT, Host
from tests.simulation.loop import VirtualLoop
from tests.simulation.tasks import Domain

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EPOCH0 = 1_767_225_600.0
"""The wall clock at the loop's time 0, in seconds: the first of January 2026."""
UPTIME_S_MAX = 1e6
ASLEEP_S_MAX = 1e4


class SimHost(Host):
    """A machine. `skew_s`: how far its wall clock is ahead; `drift`: how many seconds a second it gains.

    Its timers, and so `monotonic`, are the loop's: exact, on every host.
    """

    def __init__(self, loop: VirtualLoop, name: str, *, seed: int, skew_s: float = 0.0, drift: float = 0.0) -> None:
        self.name = name
        # A string seeds by its bytes, not by its hash(), which differs from process to process.
        self.rng = random.Random(f"{seed}/{name}")
        self.loop = loop
        self._uptime_s = self.rng.uniform(0.0, UPTIME_S_MAX)
        self._asleep_s = self.rng.uniform(0.0, ASLEEP_S_MAX)
        self._drift = drift
        self._wall = EPOCH0 + skew_s + loop.time() * (1.0 + drift)
        self._wall_at = loop.time()

    def monotonic(self) -> float:
        return self.loop.time() + self._uptime_s

    def boottime(self) -> float:
        return self.monotonic() + self._asleep_s

    def wall(self) -> float:
        return self._wall + (self.loop.time() - self._wall_at) * (1.0 + self._drift)

    def step_clock(self, seconds: float) -> None:
        """Sets the wall clock forward, or back."""
        self._wall += seconds

    def drift_clock(self, drift: float) -> None:
        """From now on the wall clock gains `drift` seconds a second."""
        self._wall, self._wall_at = self.wall(), self.loop.time()
        self._drift = drift

    def uniform(self, low: float, high: float) -> float:
        return self.rng.uniform(low, high)

    def token(self, size: int) -> bytes:
        return self.rng.randbytes(size)


class SimProcess(Domain):
    """A process of an operating system: it has a host, ends with a code, and is stopped, continued and killed.

    Its code is what runs in `context`, and whatever that starts.
    """

    def __init__(self, loop: VirtualLoop, host: SimHost, name: str) -> None:
        super().__init__(loop, name)
        self.host = host
        self.context.run(CURRENT.set, host)
        self.code: int | None = None
        """How it ended: 0 and above by itself, a negative number by that signal."""
        self._main: asyncio.Task[Any] | None = None
        self._on_death: list[Callable[[], object]] = []
        self._waiters: list[asyncio.Future[int]] = []

    def start(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Runs its main coroutine: what `asyncio.run` would be given. The process ends after it.

        The code is an int that it returns or that a `SystemExit` has, 1 after any other exception, and else 0.
        """
        if self._main is not None:
            raise RuntimeError(f"{self.name} was started already; `spawn` is for what runs beside")
        self._main = main = self.spawn(coroutine, name=name or self.name)
        main.add_done_callback(self._main_done, context=self.context)
        return main

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Runs a coroutine in the process, which goes on without it. The task is never done if the process is killed.

        Who awaits it from outside then waits for ever, unless for `wait()` as well.
        """
        return self.loop.create_task(coroutine, name=name, context=self.context.copy())

    def call(self, function: Callable[[*Ts], object], *args: *Ts) -> None:
        """Runs `function` in the process, on a later turn of the loop."""
        self.loop.call_soon(function, *args, context=self.context)

    def on_death(self, callback: Callable[[], object]) -> None:
        """`callback` runs in the world, before anything else happens to the process that ends; at once if it has."""
        if self.alive:
            self._on_death.append(callback)
        else:
            Context().run(callback)

    def wait(self) -> asyncio.Future[int]:
        """The code that it ends with, or has ended with. A future for each caller, so that each may give up alone."""
        future: asyncio.Future[int] = self.loop.create_future()
        if self.code is not None:
            future.set_result(self.code)
        else:
            self._waiters = [waiter for waiter in self._waiters if not waiter.done()]
            self._waiters.append(future)
        return future

    def pause(self) -> None:
        """As SIGSTOP. What it waits for goes on happening; the process learns of it when it is resumed."""
        if self.alive:
            self.loop.pause(self)

    def resume(self) -> None:
        """As SIGCONT."""
        if self.alive and self.paused:
            self.loop.resume(self)

    def kill(self) -> None:
        """As SIGKILL: its connections are cut by `on_death`, and nothing of it has any effect from now on.

        Its `finally` blocks do run, on the spot (see `tasks.dispose`). What they schedule, create, cancel or send comes
        to nothing; what they do to a file, or to an object that the world shares with them, is done.
        """
        self._end(-signal.SIGKILL)

    def exit(self, code: int) -> None:
        """As `os._exit`, but for the caller, who goes on to the next `await`, without any effect."""
        self._end(code)

    def _end(self, code: int) -> None:
        if not self.alive:
            return
        self.alive = False
        self.code = code
        callbacks, self._on_death = self._on_death, []
        for callback in callbacks:
            Context().run(callback)
        Context().run(self.loop.discard, self)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(code)

    def _main_done(self, main: asyncio.Task[Any]) -> None:
        """As `asyncio.run`: what is still there is cancelled, and waited for."""
        code = self._code_after(main)
        others = [task for task in self.tasks.values() if not task.done()]
        if others:
            self.spawn(self._cancel(others)).add_done_callback(lambda _: self.exit(code), context=self.context)
        else:
            self.exit(code)

    def _code_after(self, main: asyncio.Task[Any]) -> int:
        failure = asyncio.CancelledError() if main.cancelled() else main.exception()
        if failure is None:
            result = main.result()
            return result if isinstance(result, int) else 0
        self._report(f"{self.name} ended with an exception", failure)
        return 1

    async def _cancel(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                self._report("Exception in a task that was cancelled at the end of its process", result)

    def _report(self, message: str, exception: BaseException) -> None:
        self.loop.call_exception_handler({"message": message, "exception": exception, "task": self._main})
