"""Processes that do jobs, one each at a time. One that dies or takes too long costs its job, and is replaced.

`concurrent.futures` would give up all other jobs with it.
"""

import contextlib
import gc
import logging
import multiprocessing
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Generic, NamedTuple, Self, TypeVar

from tests.simulation.jobs import Answer, Broken, Job, perform, simulator

END_S_MAX = 5.0
"""For a process to be gone after SIGKILL."""

_CONTEXT = multiprocessing.get_context("spawn")
Ticket = TypeVar("Ticket")


class _Busy(NamedTuple, Generic[Ticket]):
    ticket: Ticket
    deadline: float
    seconds_max: float


class _Hand:
    """A process and the pipe to it."""

    def __init__(self, simulator_name: str) -> None:
        self.pipe, theirs = _CONTEXT.Pipe()
        self.process: SpawnProcess = _CONTEXT.Process(target=serve, args=(theirs, simulator_name), daemon=True)
        with _interrupts_ignored():
            self.process.start()
        # Only the process holds its end now, so its death can be read from the pipe.
        theirs.close()

    def end(self) -> None:
        self.process.kill()
        self.process.join(END_S_MAX)
        self.pipe.close()


class Pool(Generic[Ticket]):
    """Use it as a context manager. `Ticket` is whatever the caller knows its jobs by."""

    def __init__(self, processes: int, simulator_name: str) -> None:
        self._simulator_name = simulator_name
        self._processes = processes
        self._idle: list[_Hand] = []
        self._busy: dict[_Hand, _Busy[Ticket]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hand in (*self._idle, *self._busy):
            hand.end()

    @property
    def has_room(self) -> bool:
        return len(self._busy) < self._processes

    @property
    def busy(self) -> bool:
        return bool(self._busy)

    def submit(self, ticket: Ticket, job: Job, *, seconds_max: float) -> None:
        """Hands a job to an idle process, or to a new one, which is killed if it takes longer than `seconds_max`."""
        assert self.has_room
        hand = self._idle.pop() if self._idle else _Hand(self._simulator_name)
        self._busy[hand] = _Busy(ticket, time.monotonic() + seconds_max, seconds_max)
        # One that has died since its last job is noticed by `answers`.
        with contextlib.suppress(BrokenPipeError):
            hand.pipe.send(job)

    def answers(self) -> list[tuple[Ticket, Answer]]:
        """Waits until at least one job is over."""
        found: list[tuple[Ticket, Answer]] = []
        while not found and self._busy:
            soonest = min(busy.deadline for busy in self._busy.values())
            ready = wait([hand.pipe for hand in self._busy], max(soonest - time.monotonic(), 0.0))
            now = time.monotonic()
            for hand, busy in list(self._busy.items()):
                if hand.pipe in ready:
                    found.append((busy.ticket, self._answer_of(hand)))
                elif now >= busy.deadline:
                    found.append((busy.ticket, Broken(f"did not end within {busy.seconds_max:g} s and was killed")))
                    self._lose(hand)
        return found

    def _answer_of(self, hand: _Hand) -> Answer:
        try:
            answer: Answer = hand.pipe.recv()
        except (EOFError, ConnectionResetError):
            hand.process.join(END_S_MAX)
            sentence = f"the process that ran it {_end_of(hand.process.exitcode)}"
            self._lose(hand)
            return Broken(sentence)
        del self._busy[hand]
        self._idle.append(hand)
        return answer

    def _lose(self, hand: _Hand) -> None:
        del self._busy[hand]
        hand.end()


def _end_of(exit_code: int | None) -> str:
    if exit_code is None:
        return "closed its pipe and runs on"
    return f"was killed by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"ended with exit code {exit_code}"


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl-C goes to the whole group, and is for the campaign to handle: what starts in here ignores it for ever."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def serve(pipe: "Connection[Answer, Job]", simulator_name: str) -> None:
    """The life of a process: does jobs until the campaign is gone."""
    from coordinator.logs import configure_logs

    # What services log about faults is what they are there for, and would be most of a campaign's time.
    configure_logs(logging.CRITICAL)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(_answer(job, simulator_name))
        # A world is one knot of references; left to the collector's own thresholds, a dozen of them are held at once.
        gc.collect()


def _answer(job: Job, simulator_name: str) -> Answer:
    try:
        return perform(job, simulator(simulator_name))
    except Exception as error:  # noqa: BLE001 - whatever it raises is the campaign's finding
        last = traceback.format_exception_only(error)[-1].strip()
        return Broken(f"the simulation raised {last}", traceback.format_exc())
