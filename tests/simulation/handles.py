"""What the virtual loop keeps: callbacks that wait for their turn, and timers that wait for their moment."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.tasks import Domain

CANCELLED_MIN = 64


class Handle(asyncio.Handle):
    """A callback. The loop sets its slots itself: a constructor would cost as much as all the rest of a turn."""

    __slots__ = ("domain",)
    domain: "Domain | None"
    """None: the world's."""
    _callback: Callable[..., object] | None
    """None: cancelled."""
    _context: Context

    __init__ = object.__init__

    def cancel(self) -> None:
        self._callback = None
        self._args = ()

    def cancelled(self) -> bool:
        return self._callback is None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {described(self._callback)}>"


class Timer(asyncio.TimerHandle):
    """A callback with a moment, in seconds of the loop's time."""

    __slots__ = ("_heap", "domain")
    domain: "Domain | None"
    _callback: Callable[..., object] | None
    _context: Context
    _when: float
    _heap: "Timers | None"
    """Where it waits; None once it is due, or thrown out."""

    __init__ = object.__init__

    def cancel(self) -> None:
        if self._heap is not None and self._callback is not None:
            self._heap.cancelled()
        self._callback = None
        self._args = ()

    def cancelled(self) -> bool:
        return self._callback is None

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = asyncio.TimerHandle.__hash__  # of its moment, the same in every run

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._when:.6f} {described(self._callback)}>"


class Timers:
    """By moment, and those of one moment in the order in which they were added."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Timer]] = []
        self._added = 0
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, timer: Timer) -> None:
        timer._heap = self
        self._added += 1
        heappush(self._entries, (timer._when, self._added, timer))

    def due(self, ready: "deque[Handle | Timer]") -> float | None:
        """Moves those of the next moment to the end of `ready`; returns the moment, None if there is none."""
        entries = self._entries
        moment: float | None = None
        while entries and (moment is None or entries[0][0] == moment):
            when, _, timer = heappop(entries)
            timer._heap = None
            if timer._callback is None:
                self._cancelled -= 1
            else:
                moment = when
                ready.append(timer)
        return moment

    def cancelled(self) -> None:
        """One of them was. When half of all are, they are thrown out."""
        self._cancelled += 1
        if self._cancelled > CANCELLED_MIN and 2 * self._cancelled > len(self._entries):
            self.discard(lambda timer: timer._callback is None)

    def discard(self, unwanted: Callable[[Timer], bool]) -> None:
        kept = []
        self._cancelled = 0
        for entry in self._entries:
            timer = entry[2]
            if unwanted(timer):
                timer._heap = None
            else:
                kept.append(entry)
                self._cancelled += timer._callback is None
        heapify(kept)
        self._entries[:] = kept


def described(callback: Any) -> str:
    """The name of a callback; of a task and its coroutine, when it is a step of one."""
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return f"{owner.get_name()} in {described(owner.get_coro())}"
    function = getattr(callback, "func", callback)  # of a partial
    return getattr(function, "__qualname__", None) or repr(function)
